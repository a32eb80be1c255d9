// runtime_storm_test.cc: the runtime on a simulated machine that is too small for it: trees of tasks and stops from all
// sides, sleeps and deadlines in virtual time, what tasks wait for each other with, streams that are cut and taken up
// again. One to four workers, rings that overflow, receive buffers that run out.
//
// What must hold: who waits for tasks goes on when they have ended, and not earlier; a stop ends them soon; no sleep
// ends before its time, nor long after; what is sent comes out once, in order; and at the end no task, no descriptor
// and no receive buffer is missing. A wake-up that is lost is a run in which nothing can happen any more.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/cancellation.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/semaphore.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "sim/random.h"
#include "sim/simulation.h"
#include "tests/sim/seeds.h"

namespace evring::sim {
namespace {

// How long after its time a thing may happen, with all that may be in its way: a thousand calls of the kernel, late
// messages, other tasks.
constexpr absl::Duration kSoon = absl::Milliseconds(100);
// How long a task would wait that nobody stops.
constexpr absl::Duration kLong = absl::Hours(1);

struct Machine {
  bool gentle = false;  // nothing fails on it
  int alive = 0;        // tasks that have begun and not ended
  std::array<CancelSource, 4> sources;
};

absl::Duration Microseconds(Random* random, int64_t max) { return absl::Microseconds(random->Between(0, max)); }

void ExpectCut(const absl::Status& status) {
  EXPECT_TRUE(status.ok() || absl::IsCancelled(status) || absl::IsDeadlineExceeded(status)) << status;
}

// --- Trees of tasks
// ----------------------------------------------------------------------------------------------------

// `inside`: of the scope that the task must not outlive.
Task<absl::Status> Leaf(Machine* machine, int* inside, uint64_t seed) {
  const Alive alive(&machine->alive);
  const Alive within(inside);
  Random random(seed);
  switch (random.Below(5)) {
    case 0:
      co_return co_await Sleep(Microseconds(&random, 400));
    case 1:
      for (uint64_t i = random.Below(20); i > 0; --i) co_await Yield();
      co_return absl::OkStatus();
    case 2:
      co_await ResumeOn(static_cast<int>(random.Below(static_cast<uint64_t>(WorkerCount()))));
      co_return co_await Sleep(Microseconds(&random, 100));
    case 3:
      if (random.OneIn(4)) throw std::runtime_error("thrown by a leaf");
      co_return absl::OkStatus();
    default:
      // Until a stop comes: whoever starts this without asking for one has to wait.
      co_return co_await Sleep(absl::Milliseconds(random.Between(1, 10)));
  }
}

Task<absl::Status> Tree(Machine* machine, int* inside, uint64_t seed, uint64_t depth) {
  const Alive alive(&machine->alive);
  const Alive within(inside);
  Random random(seed);
  if (depth == 0) {
    const uint64_t leaf_seed = random.Next();
    co_return co_await Leaf(machine, inside, leaf_seed);
  }
  int children = 0;
  absl::Status first;
  bool thrown = false;
  {
    std::vector<JoinHandle<absl::Status>> handles;
    const uint64_t n = 1 + random.Below(4);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t child_seed = random.Next();
      handles.push_back(co_await Spawn(Tree(machine, &children, child_seed, depth - 1)));
    }
    if (random.OneIn(3)) handles[random.Below(n)].RequestStop();
    for (JoinHandle<absl::Status>& handle : handles) {
      try {
        const absl::Status status = co_await std::move(handle);
        ExpectCut(status);
        first.Update(status);
      } catch (const std::runtime_error&) {
        thrown = true;
      }
    }
  }
  EXPECT_EQ(children, 0) << "a child outlives the wait for it";
  if (thrown) throw std::runtime_error("thrown by a child");
  co_return first;
}

// Ends only if it is stopped, and with it what it has started.
Task<absl::Status> Endless(Machine* machine, int* inside, uint64_t seed) {
  const Alive alive(&machine->alive);
  const Alive within(inside);
  Random random(seed);
  TaskGroup group(TaskGroup::OnError::kGoOn);
  const uint64_t n = random.Below(4);
  int children = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const uint64_t child_seed = random.Next();
    co_await group.Spawn(Leaf(machine, &children, child_seed));
  }
  absl::Status status;
  while (status.ok()) status = co_await Sleep(kLong);
  try {
    static_cast<void>(co_await group.Join());
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(children, 0);
  co_return status;
}

// One way to run tasks together. None of them is left when it is over, and a stop is not slept through.
Task<> Gather(Machine* machine, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  int inside = 0;
  const absl::Duration start = Now();
  absl::Duration longest = 4 * absl::Milliseconds(11) + kSoon;
  const uint64_t one = random.Next();
  const uint64_t two = random.Next();
  try {
    switch (random.Below(7)) {
      case 0:
        ExpectCut(co_await Tree(machine, &inside, one, random.Below(4)));
        break;
      case 1: {
        const absl::Duration d = Microseconds(&random, 3000);
        const absl::Status status = co_await WithTimeout(d, Endless(machine, &inside, one));
        EXPECT_TRUE(absl::IsDeadlineExceeded(status) || absl::IsCancelled(status)) << status;
        if (absl::IsDeadlineExceeded(status)) {
          EXPECT_GE(Now() - start, d);
        }
        break;
      }
      case 2: {
        const auto first = co_await WhenAny(Tree(machine, &inside, one, 2), Endless(machine, &inside, two));
        if (first.index() == 1) {
          EXPECT_TRUE(absl::IsCancelled(std::get<1>(first))) << "that one does not end by itself";
        }
        break;
      }
      case 3: {
        const auto [a, b] = co_await WhenAll(Tree(machine, &inside, one, 1), Tree(machine, &inside, two, 2));
        ExpectCut(a);
        ExpectCut(b);
        break;
      }
      case 4: {
        TaskGroup group(random.OneIn(2) ? TaskGroup::OnError::kStopOthers : TaskGroup::OnError::kGoOn);
        for (int i = 0; i < 5; ++i) {
          const uint64_t child_seed = random.Next();
          co_await group.Spawn(Endless(machine, &inside, child_seed));
        }
        static_cast<void>(co_await Sleep(Microseconds(&random, 1000)));
        group.RequestStop();
        EXPECT_TRUE(absl::IsCancelled(co_await group.Join()));
        break;
      }
      case 5: {
        const CancelToken token = machine->sources[random.Below(machine->sources.size())].token();
        const absl::Duration d = absl::Milliseconds(5);
        ExpectCut(co_await WithCancellation(token, Leaf(machine, &inside, one)));
        const absl::Status status = co_await WithTimeout(d, Endless(machine, &inside, two));
        EXPECT_FALSE(status.ok());
        break;
      }
      default:
        machine->sources[random.Below(machine->sources.size())].RequestStop();
        co_await ResumeOn(static_cast<int>(random.Below(static_cast<uint64_t>(WorkerCount()))));
    }
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(inside, 0) << "tasks are left of it";
  EXPECT_LT(Now() - start, longest) << "it did not end when it was to";
}

// --- Time
// --------------------------------------------------------------------------------------------------------------

// When sleeps of one worker end: in the order of their deadlines.
struct Order {
  absl::Duration newest = absl::ZeroDuration();
};

Task<> SleepOnce(Machine* machine, Order* order, absl::Duration d) {
  const Alive alive(&machine->alive);
  const absl::Duration deadline = Now() + d;
  const absl::Status status = co_await Sleep(d);
  EXPECT_LE(Now(), deadline + kSoon) << "a sleep of " << d;
  if (!status.ok()) co_return;
  EXPECT_GE(Now(), deadline) << "a sleep of " << d;
  if (WorkerCount() > 1 || d <= absl::ZeroDuration()) co_return;
  EXPECT_GE(deadline, order->newest) << "timers fire out of order";
  order->newest = deadline;
}

// Moves its deadline a few times, then waits for it.
Task<absl::Status> PutOff(Deadline* deadline, uint64_t seed, absl::Duration* due) {
  Random random(seed);
  for (uint64_t i = random.Below(4); i > 0; --i) {
    const absl::Status status = co_await Sleep(Microseconds(&random, 4000));
    if (!status.ok()) co_return status;
    const absl::Duration d = absl::Milliseconds(random.Between(5, 3000));
    const absl::Duration coarse = absl::Nanoseconds(Worker::Current()->CoarseNowNs());
    deadline->MoveTo(d);
    *due = coarse + d;
  }
  co_return co_await Sleep(kLong);
}

Task<> Bound(Machine* machine, uint64_t seed) {
  const Alive alive(&machine->alive);
  Deadline deadline(absl::Milliseconds(5), absl::Milliseconds(5));
  absl::Duration due = Now() + absl::Milliseconds(5);
  const absl::Status status = co_await WithDeadline(&deadline, PutOff(&deadline, seed, &due));
  EXPECT_FALSE(status.ok());
  if (!absl::IsDeadlineExceeded(status)) co_return;
  EXPECT_GE(Now(), due) << "a deadline passes before its time";
  EXPECT_LE(Now(), due + kSoon) << "a deadline is overlooked";
}

Task<> Clock(Machine* machine, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  Order order;
  TaskGroup group(TaskGroup::OnError::kGoOn);
  const uint64_t n = 5 + random.Below(30);
  for (uint64_t i = 0; i < n; ++i) {
    const uint64_t child_seed = random.Next();
    const int64_t microseconds = int64_t{1} << random.Below(22);
    const absl::Duration d = Microseconds(&random, microseconds);
    if (random.OneIn(4)) {
      co_await group.Spawn(Bound(machine, child_seed));
    } else {
      co_await group.Spawn(SleepOnce(machine, &order, d));
    }
    if (random.OneIn(4)) static_cast<void>(co_await Sleep(Microseconds(&random, 2000)));
  }
  if (random.OneIn(3)) {
    static_cast<void>(co_await Sleep(Microseconds(&random, 100'000)));
    group.RequestStop();
  }
  static_cast<void>(co_await group.Join());
}

// --- Waiting for each other
// --------------------------------------------------------------------------------------------

struct Shared {
  Shared(uint64_t permits, size_t capacity) : permits(permits), semaphore(permits), channel(capacity) {}

  const uint64_t permits;
  Mutex mutex;
  Semaphore semaphore;
  Channel<uint64_t> channel;
  Event begin;
  bool locked = false;
  uint64_t taken = 0;
  uint64_t sent = 0;  // of those that Send() has said OK for
  uint64_t received = 0;
  std::array<uint64_t, 8> newest = {};  // of each sender's values, the last that came out
};

Task<absl::Status> UseMutex(Shared* shared, absl::Duration d) {
  absl::StatusOr<MutexGuard> guard = co_await shared->mutex.Lock();
  if (!guard.ok()) co_return guard.status();
  EXPECT_FALSE(shared->locked) << "two hold the mutex";
  shared->locked = true;
  const absl::Status status = co_await Sleep(d);
  shared->locked = false;
  co_return status;
}

Task<absl::Status> UseSemaphore(Shared* shared, uint64_t n, absl::Duration d) {
  if (absl::Status status = co_await shared->semaphore.Acquire(n); !status.ok()) co_return status;
  shared->taken += n;
  EXPECT_LE(shared->taken, shared->permits);
  const absl::Status status = co_await Sleep(d);
  shared->taken -= n;
  shared->semaphore.Release(n);
  co_return status;
}

Task<absl::Status> SendOne(Shared* shared, uint64_t value) {
  const absl::Status status = co_await shared->channel.Send(value);
  if (status.ok()) ++shared->sent;
  co_return status;
}

Task<absl::Status> ReceiveOne(Shared* shared) {
  const absl::StatusOr<uint64_t> value = co_await shared->channel.Receive();
  if (!value.ok()) co_return value.status();
  ++shared->received;
  uint64_t& newest = shared->newest[*value % shared->newest.size()];
  EXPECT_GT(*value, newest) << "a value comes twice, or out of turn";
  newest = *value;
  co_return absl::OkStatus();
}

Task<> Neighbour(Machine* machine, Shared* shared, uint64_t id, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  ExpectCut(co_await shared->begin.Wait());
  for (uint64_t i = 1; i <= 12; ++i) {
    const absl::Duration d = random.OneIn(2) ? absl::ZeroDuration() : Microseconds(&random, 300);
    const absl::Duration patience = random.OneIn(2) ? kLong : Microseconds(&random, 600);
    switch (random.Below(4)) {
      case 0:
        ExpectCut(co_await WithTimeout(patience, UseMutex(shared, d)));
        break;
      case 1: {
        const uint64_t n = 1 + random.Below(shared->permits);
        ExpectCut(co_await WithTimeout(patience, UseSemaphore(shared, n, d)));
        break;
      }
      case 2:
        ExpectCut(co_await WithTimeout(patience, SendOne(shared, i * shared->newest.size() + id)));
        break;
      default:
        co_await ResumeOn(static_cast<int>(random.Below(static_cast<uint64_t>(WorkerCount()))));
    }
  }
}

Task<> Consumer(Machine* machine, Shared* shared, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  for (;;) {
    const absl::Duration patience = random.OneIn(2) ? kLong : Microseconds(&random, 600);
    const absl::Status status = co_await WithTimeout(patience, ReceiveOne(shared));
    if (absl::IsOutOfRange(status) || absl::IsCancelled(status)) co_return;
    if (random.OneIn(4)) static_cast<void>(co_await Sleep(Microseconds(&random, 100)));
  }
}

Task<> Neighbourhood(Machine* machine, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  const uint64_t permits = 1 + random.Below(4);
  const size_t capacity = random.Below(4);
  Shared shared(permits, capacity);
  TaskGroup neighbours(TaskGroup::OnError::kGoOn);
  TaskGroup consumers(TaskGroup::OnError::kGoOn);
  for (uint64_t i = 0; i < shared.newest.size(); ++i) {
    const uint64_t child_seed = random.Next();
    co_await neighbours.Spawn(Neighbour(machine, &shared, i, child_seed));
  }
  // One alone sees all values in their order; several take them in turn, and say so later.
  const uint64_t consumer_seed = random.Next();
  co_await consumers.Spawn(Consumer(machine, &shared, consumer_seed));
  static_cast<void>(co_await Sleep(Microseconds(&random, 1000)));
  shared.begin.Set();
  const bool stopped = random.OneIn(5);
  if (stopped) {
    static_cast<void>(co_await Sleep(Microseconds(&random, 1000)));
    neighbours.RequestStop();
  }
  static_cast<void>(co_await neighbours.Join());
  shared.channel.Close();
  static_cast<void>(co_await consumers.Join());
  if (co_await StopRequested()) co_return;  // the consumer has been told to leave things where they are
  EXPECT_EQ(shared.received, shared.sent) << "values are lost";
  EXPECT_EQ(shared.semaphore.permits(), permits);
  EXPECT_TRUE(shared.mutex.TryLock()) << "the mutex is not given back";
}

// --- Streams
// -----------------------------------------------------------------------------------------------------------

std::byte ByteAt(uint64_t position) { return static_cast<std::byte>((position * 31 + (position >> 8)) & 0xff); }

// Sends, unless it is stopped or something fails, and then its end. How much has certainly been sent in full, or -1.
Task<int64_t> Write(Machine* machine, net::Stream* stream, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  int64_t sent = 0;
  for (uint64_t i = 1 + random.Below(12); i > 0; --i) {
    std::vector<std::byte> chunk(1 + random.Below(random.OneIn(4) ? 5000 : 300));
    for (size_t k = 0; k < chunk.size(); ++k) chunk[k] = ByteAt(static_cast<uint64_t>(sent) + k);
    absl::Status status;
    if (random.OneIn(2)) {
      const size_t half = chunk.size() / 2;
      const std::array<iovec, 2> pieces = {iovec{chunk.data(), half}, iovec{chunk.data() + half, chunk.size() - half}};
      status = co_await stream->WriteV(pieces);
    } else {
      status = co_await stream->Write(chunk);
    }
    if (!status.ok()) {
      sent = -1;
      break;
    }
    sent += static_cast<int64_t>(chunk.size());
    if (random.OneIn(2)) static_cast<void>(co_await Sleep(Microseconds(&random, 200)));
  }
  if (!stream->Shutdown(net::Stream::Direction::kSend).ok()) sent = -1;
  co_return sent;
}

// Whether these are the bytes that were sent, from `position` on.
bool AsSent(std::span<const std::byte> data, int64_t position) {
  for (size_t i = 0; i < data.size(); ++i) {
    if (data[i] != ByteAt(static_cast<uint64_t>(position) + i)) return false;
  }
  return true;
}

// A piece that is looked at again before it is given back: until then nobody else has its memory.
struct Held {
  Held(ReceivedBuffer buffer, int64_t position) : buffer(std::move(buffer)), position(position) {}
  Held(Held&&) = default;
  Held& operator=(Held&&) = default;
  ~Held() { EXPECT_TRUE(AsSent(buffer.data(), position)) << "a buffer that is held has changed"; }

  ReceivedBuffer buffer;
  int64_t position;
};

Task<absl::StatusOr<ReceivedBuffer>> Take(net::Stream* stream) { co_return co_await stream->Receive(); }

// Reads until the end, an error, or until it has had enough, with takes that are cut short in between. True: it has
// seen the end.
Task<bool> Read(Machine* machine, net::Stream* stream, uint64_t seed, int64_t* received) {
  const Alive alive(&machine->alive);
  Random random(seed);
  const bool leaves_early = random.OneIn(4);
  std::vector<Held> held;
  for (;;) {
    if (leaves_early && random.OneIn(6)) co_return false;
    if (random.OneIn(8)) {
      co_await ResumeOn(static_cast<int>(random.Below(static_cast<uint64_t>(WorkerCount()))));
    }
    const absl::Duration patience = random.OneIn(2) ? kLong : Microseconds(&random, 300);
    absl::StatusOr<ReceivedBuffer> buffer = co_await WithTimeout(patience, Take(stream));
    if (!buffer.ok()) {
      if (absl::IsDeadlineExceeded(buffer.status())) continue;
      EXPECT_TRUE(absl::IsCancelled(buffer.status()) || !machine->gentle) << buffer.status();
      co_return false;
    }
    if (buffer->empty()) co_return true;
    if (!AsSent(buffer->data(), *received)) {
      ADD_FAILURE() << "behind byte " << *received << " comes what was not sent";
      co_return false;
    }
    const int64_t position = *received;
    *received += static_cast<int64_t>(buffer->size());
    if (random.OneIn(4)) held.emplace_back(*std::move(buffer), position);
    if (random.OneIn(4)) static_cast<void>(co_await Sleep(Microseconds(&random, 500)));
    if (held.size() > 3) held.clear();
  }
}

Task<> Converse(Machine* machine, net::Stream from, net::Stream to, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  int64_t received = 0;
  const uint64_t writer_seed = random.Next();
  const uint64_t reader_seed = random.Next();
  JoinHandle<int64_t> writer = co_await Spawn(Write(machine, &from, writer_seed));
  JoinHandle<bool> reader = co_await Spawn(Read(machine, &to, reader_seed, &received));
  if (random.OneIn(5)) {
    static_cast<void>(co_await Sleep(Microseconds(&random, 500)));
    (random.OneIn(2) ? static_cast<void>(writer.RequestStop()) : static_cast<void>(reader.RequestStop()));
  }
  const bool saw_end = co_await std::move(reader);
  if (random.OneIn(2)) co_await ResumeOn(static_cast<int>(random.Below(static_cast<uint64_t>(WorkerCount()))));
  to.Close();
  const int64_t sent = co_await std::move(writer);
  // An error that the kernel has told the sender of may be an end for the receiver, but never after all was sent.
  if (saw_end && sent >= 0 && machine->gentle) {
    EXPECT_EQ(received, sent);
  }
  if (sent >= 0) {
    EXPECT_LE(received, sent);
  }
}

Task<> Pair(Machine* machine, uint64_t seed) {
  const Alive alive(&machine->alive);
  absl::StatusOr<std::pair<net::Stream, net::Stream>> pair = net::Stream::Pair();
  EXPECT_TRUE(pair.ok()) << pair.status();
  if (pair.ok()) co_await Converse(machine, std::move(pair->first), std::move(pair->second), seed);
}

Task<> ConnectAndWrite(Machine* machine, net::SocketAddress address, uint64_t seed) {
  const Alive alive(&machine->alive);
  absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (stream.ok()) static_cast<void>(co_await Write(machine, &*stream, seed));
}

Task<> ReadOne(Machine* machine, net::Stream stream, uint64_t seed) {
  int64_t received = 0;
  static_cast<void>(co_await Read(machine, &stream, seed, &received));
}

Task<absl::StatusOr<net::Stream>> AcceptOne(net::Listener* listener) { co_return co_await listener->Accept(); }

// Takes some of the connections that are made to it, with waits that are cut short; the others end with the listener.
Task<> Listen(Machine* machine, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:0"));
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) co_return;
  const net::SocketAddress address = *listener->LocalAddress();
  TaskGroup clients(TaskGroup::OnError::kGoOn);
  TaskGroup readers(TaskGroup::OnError::kGoOn);
  const uint64_t n = 1 + random.Below(6);
  for (uint64_t i = 0; i < n; ++i) {
    const uint64_t child_seed = random.Next();
    co_await clients.Spawn(ConnectAndWrite(machine, address, child_seed));
  }
  const uint64_t wanted = n - random.Below(2);
  for (uint64_t taken = 0, tries = 0; taken < wanted && tries < 50; ++tries) {
    absl::StatusOr<net::Stream> stream = co_await WithTimeout(Microseconds(&random, 20'000), AcceptOne(&*listener));
    if (absl::IsCancelled(stream.status())) break;
    if (!stream.ok()) {
      EXPECT_TRUE(absl::IsDeadlineExceeded(stream.status()) || !machine->gentle) << stream.status();
      continue;
    }
    ++taken;
    const uint64_t child_seed = random.Next();
    co_await readers.Spawn(ReadOne(machine, *std::move(stream), child_seed));
  }
  listener->Close();
  static_cast<void>(co_await clients.Join());
  static_cast<void>(co_await readers.Join());
}

// --- The storm
// ---------------------------------------------------------------------------------------------------------

using Step = Task<> (*)(Machine* machine, uint64_t seed);

Task<> Actor(Machine* machine, std::vector<Step> steps, uint64_t seed) {
  const Alive alive(&machine->alive);
  Random random(seed);
  for (int i = 0; i < 4; ++i) {
    const Step step = steps[random.Below(steps.size())];
    const uint64_t step_seed = random.Next();
    if (random.OneIn(6)) {
      const absl::Duration d = Microseconds(&random, 3000);
      static_cast<void>(co_await WithTimeout(d, step(machine, step_seed)));
    } else {
      co_await step(machine, step_seed);
    }
  }
}

Task<> LetGo(Machine* machine, uint64_t seed) {
  const Alive alive(&machine->alive);
  static_cast<void>(co_await Sleep(absl::Microseconds(seed % 1000)));
}

Task<BuffersLent> Blow(Machine* machine, Random* random, std::vector<Step> steps) {
  {
    TaskGroup actors(TaskGroup::OnError::kGoOn);
    for (uint64_t i = 2 + random->Below(5); i > 0; --i) {
      const uint64_t seed = random->Next();
      co_await actors.Spawn(Actor(machine, steps, seed));
      SpawnDetached(LetGo(machine, seed));
    }
    static_cast<void>(co_await actors.Join());
  }
  co_return co_await Settle();
}

// Whether the clock may jump in a storm: not where a step says how late something may be at most.
enum class Time { kJumps, kIsSteady };

// Even seeds have faults that a program must not notice, odd ones those that it must survive.
void RunStorm(SimulationOptions options, Time time, std::vector<Step> steps) {
  Random random(options.seed, /*stream=*/12);
  Machine machine;
  machine.gentle = options.seed % 2 == 0;
  options.faults = machine.gentle ? FaultRules::Everyday() : FaultRules::Storm();
  if (time == Time::kIsSteady) options.faults[Fault::kClockJump].ppm = 0;
  DrawMachine(&random, {.socket_buffer_bytes = 256, .buffer_bytes = 256, .buffers_max = 4}, &options);
  Simulation simulation(options);
  const BuffersLent lent = simulation.Run(Blow(&machine, simulation.random(), std::move(steps)));
  EXPECT_EQ(machine.alive, 0) << "tasks that have not ended";
  ExpectAllBack(simulation.report(), lent);
}

constexpr uint64_t kSeeds = 1000;

TEST(RuntimeStorm, NoTaskOutlivesItsScope) {
  RunSeeds(kSeeds, [](const SimulationOptions& options) { RunStorm(options, Time::kIsSteady, {&Gather}); });
}

TEST(RuntimeStorm, TimersFireInTimeAndInOrder) {
  RunSeeds(kSeeds, [](const SimulationOptions& options) { RunStorm(options, Time::kIsSteady, {&Clock}); });
}

TEST(RuntimeStorm, WhatTasksWaitForEachOtherWithLosesNothing) {
  RunSeeds(kSeeds, [](const SimulationOptions& options) { RunStorm(options, Time::kJumps, {&Neighbourhood}); });
}

TEST(RuntimeStorm, StreamsDeliverWhatWasSent) {
  RunSeeds(kSeeds, [](const SimulationOptions& options) { RunStorm(options, Time::kJumps, {&Pair, &Listen}); });
}

TEST(RuntimeStorm, EverythingAtOnce) {
  RunSeeds(kSeeds, [](const SimulationOptions& options) {
    RunStorm(options, Time::kIsSteady, {&Gather, &Clock, &Neighbourhood, &Pair, &Pair, &Listen});
  });
}

}  // namespace
}  // namespace evring::sim

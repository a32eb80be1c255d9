// Every operation and combinator, cancelled from the start and at each of its suspensions (runtime/testing.h), on this
// machine's kernel and on simulated ones: each ends soon, well or with kCancelled, and leaves no descriptor, no value,
// no buffer and no waiter behind (what is waited for checks in its destructor that nobody waits).
//
// A row is a scenario: a task that uses the operation until it has suspended in all the ways that it has.

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/event.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/cancellation.h"
#include "runtime/generator.h"
#include "runtime/interval.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/file.h"
#include "runtime/placement.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/barrier.h"
#include "runtime/sync/broadcast.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/cond_var.h"
#include "runtime/sync/event.h"
#include "runtime/sync/latch.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/once.h"
#include "runtime/sync/oneshot.h"
#include "runtime/sync/select.h"
#include "runtime/sync/semaphore.h"
#include "runtime/sync/shared_mutex.h"
#include "runtime/sync/unbounded_channel.h"
#include "runtime/sync/watch.h"
#include "runtime/task_group.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

constexpr absl::Duration kMoment = absl::Microseconds(200);

// How many of the values that a scenario handles there are.
std::atomic<int> alive{0};

struct Row {
  const char* name;
  Task<absl::Status> (*scenario)();
  int at_least;              // so many suspensions it has, whoever is first
  bool others_fail = false;  // who works with what was stopped may fail by it
  friend std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }
};

Task<absl::Status> Sleeps(int n) {
  const Counted counted(&alive);
  for (int i = 0; i < n; ++i) {
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

// --- Time
// --------------------------------------------------------------------------------------------------------------

Task<absl::Status> Sleeping() { co_return co_await Sleeps(3); }

Task<absl::Status> Intervals() {
  const Counted counted(&alive);
  for (const auto missed :
       {IntervalOptions::Missed::kBurst, IntervalOptions::Missed::kDelay, IntervalOptions::Missed::kSkip}) {
    IntervalOptions options;
    options.missed = missed;
    absl::StatusOr<Interval> interval = Interval::Create(kMoment, options);
    if (!interval.ok()) co_return interval.status();
    for (int i = 0; i < 3; ++i) {
      const absl::StatusOr<IntervalTick> tick = co_await interval->Tick();
      if (!tick.ok()) co_return tick.status();
    }
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Timeouts() {
  absl::Status status = co_await WithTimeout(absl::Hours(1), Sleeps(1));
  if (!status.ok()) co_return status;
  status = co_await WithTimeout(kMoment, UntilStopped());
  const bool stopped = co_await StopRequested();
  if (stopped) co_return status.ok() ? absl::CancelledError("stopped") : absl::CancelledError(status.message());
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  Deadline deadline(absl::Hours(1), absl::Milliseconds(1));
  co_return co_await WithDeadline(&deadline, Sleeps(1));
}

// --- Tasks
// -----------------------------------------------------------------------------------------------------------

Task<absl::Status> Joins() {
  JoinHandle<absl::Status> first = co_await Spawn(Sleeps(2));
  JoinHandle<absl::Status> second = co_await Spawn(Sleeps(1));
  absl::Status status = co_await std::move(first);
  absl::Status other = co_await std::move(second);
  co_return status.ok() ? other : status;
}

Task<absl::Status> AllOf() {
  const std::tuple<absl::Status, absl::Status> both = co_await WhenAll(Sleeps(1), Sleeps(2));
  if (!std::get<0>(both).ok()) co_return std::get<0>(both);
  if (!std::get<1>(both).ok()) co_return std::get<1>(both);
  std::vector<Task<absl::Status>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(Sleeps(i));
  const std::vector<absl::Status> all = co_await WhenAll(std::move(tasks));
  for (const absl::Status& status : all) {
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> AnyOf() {
  const std::variant<absl::Status, absl::Status> any = co_await WhenAny(Sleeps(2), UntilStopped());
  co_return any.index() == 0 ? std::get<0>(any) : std::get<1>(any);
}

Task<absl::Status> Groups() {
  TaskGroup group;
  for (int i = 1; i < 4; ++i) co_await group.Spawn(Sleeps(i));
  co_return co_await group.Join();
}

Task<absl::Status> GroupsThatCollect() {
  TaskGroup group(TaskGroup::OnError::kCollect);
  for (int i = 1; i < 4; ++i) co_await group.Spawn(Sleeps(i));
  const std::vector<TaskGroup::Failure> failures = co_await group.JoinAll();
  for (const TaskGroup::Failure& failure : failures) EXPECT_TRUE(absl::IsCancelled(failure.status)) << failure.status;
  co_return failures.empty() ? absl::OkStatus() : failures.front().status;
}

// What is shielded goes on to its end; what comes after it does not begin.
Task<absl::Status> Shields() {
  absl::Status status = co_await Shielded(Sleeps(2));
  EXPECT_TRUE(status.ok()) << status;
  status = co_await Shielded(absl::Hours(1), Sleeps(1));
  EXPECT_TRUE(status.ok()) << status;
  co_return co_await Sleeps(1);
}

Task<absl::Status> WithToken(CancelToken token) { co_return co_await WithCancellation(token, UntilStopped()); }
Task<absl::Status> Tokens() {
  CancelSource never;
  absl::Status status = co_await WithCancellation(never.token(), Sleeps(2));
  if (!status.ok()) co_return status;
  CancelSource source;
  JoinHandle<absl::Status> waiting = co_await Spawn(WithToken(source.token()));
  status = co_await Sleep(kMoment);
  source.RequestStop();
  const absl::Status stopped = co_await std::move(waiting);
  EXPECT_TRUE(absl::IsCancelled(stopped)) << stopped;
  co_return status;
}

AsyncGenerator<Counted, absl::Status> Slowly(int n) {
  for (int i = 0; i < n; ++i) {
    absl::Status status = co_await Sleeps(1);
    if (!status.ok()) co_return status;
    co_yield Counted(&alive);
  }
  co_return absl::OkStatus();
}
Task<absl::Status> Generators() {
  {
    AsyncGenerator<Counted, absl::Status> given_up = Slowly(4);
    static_cast<void>(co_await given_up.Next());
  }
  AsyncGenerator<Counted, absl::Status> values = Slowly(4);
  int n = 0;
  while (co_await values.Next()) ++n;
  EXPECT_TRUE(!values.status().ok() || n == 4);
  co_return values.status();
}

Task<absl::Status> GoElsewhere() {
  const Counted counted(&alive);
  const int workers = Worker::Current()->scheduler()->worker_count();
  for (int i = 0; i < 2 * workers; ++i) {
    co_await ResumeOn(i % workers);
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
    co_await Yield();
  }
  co_return absl::OkStatus();
}

// --- Sync
// --------------------------------------------------------------------------------------------------------------

// Three tasks of the same kind, each with the same things.
template <class Shared>
Task<absl::Status> Three(Task<absl::Status> (*use)(Shared*)) {
  Shared shared;
  TaskGroup group;
  for (int i = 0; i < 3; ++i) co_await group.Spawn(use(&shared));
  co_return co_await group.Join();
}

struct OneMutex {
  Mutex mutex;
};
Task<absl::Status> UseMutex(OneMutex* shared) {
  const Counted counted(&alive);
  for (int i = 0; i < 2; ++i) {
    const auto guard = co_await shared->mutex.Lock();
    if (!guard.ok()) co_return guard.status();
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}
Task<absl::Status> Mutexes() { co_return co_await Three(&UseMutex); }

struct OneSharedMutex {
  SharedMutex mutex;
};
Task<absl::Status> UseSharedMutex(OneSharedMutex* shared) {
  const Counted counted(&alive);
  {
    const auto reading = co_await shared->mutex.LockShared();
    if (!reading.ok()) co_return reading.status();
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
  }
  const auto writing = co_await shared->mutex.Lock();
  if (!writing.ok()) co_return writing.status();
  co_return co_await Sleep(kMoment);
}
Task<absl::Status> SharedMutexes() { co_return co_await Three(&UseSharedMutex); }

struct Guarded {
  Mutex mutex;
  CondVar changed;
  int turn = 0;
  std::atomic<int> numbers{0};
};
// Each waits for its turn and gives it on.
Task<absl::Status> TakeTurn(Guarded* shared) {
  const Counted counted(&alive);
  const int mine = shared->numbers++;
  absl::StatusOr<MutexGuard> guard = co_await shared->mutex.Lock();
  if (!guard.ok()) co_return guard.status();
  while (shared->turn != 2 - mine) {
    absl::Status status = co_await shared->changed.Wait(&*guard);
    if (!status.ok()) co_return status;
  }
  absl::Status status = co_await Sleep(kMoment);
  if (!status.ok()) co_return status;
  ++shared->turn;
  shared->changed.NotifyAll();
  co_return absl::OkStatus();
}
Task<absl::Status> CondVars() { co_return co_await Three(&TakeTurn); }

struct OneSemaphore {
  Semaphore semaphore{2};
};
Task<absl::Status> UseSemaphore(OneSemaphore* shared) {
  const Counted counted(&alive);
  for (const uint64_t permits : {1, 2}) {
    absl::Status status = co_await shared->semaphore.Acquire(permits);
    if (!status.ok()) co_return status;
    status = co_await Sleep(kMoment);
    shared->semaphore.Release(permits);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}
Task<absl::Status> Semaphores() { co_return co_await Three(&UseSemaphore); }

Task<absl::Status> AwaitEvent(Event* event) {
  const Counted counted(&alive);
  co_return co_await event->Wait();
}
Task<absl::Status> Events() {
  Event event;
  TaskGroup group;
  for (int i = 0; i < 3; ++i) co_await group.Spawn(AwaitEvent(&event));
  absl::Status status = co_await Sleep(kMoment);
  event.Set();
  absl::Status joined = co_await group.Join();
  co_return status.ok() ? joined : status;
}

struct OneLatch {
  Latch latch{3};
};
Task<absl::Status> UseLatch(OneLatch* shared) {
  absl::Status status = co_await Sleeps(1);
  if (!status.ok()) co_return status;
  status = co_await shared->latch.ArriveAndWait();
  if (!status.ok()) co_return status;
  co_return co_await shared->latch.Wait();
}
Task<absl::Status> Latches() { co_return co_await Three(&UseLatch); }

struct OneBarrier {
  Barrier<> barrier{3};
};
Task<absl::Status> UseBarrier(OneBarrier* shared) {
  for (int i = 0; i < 3; ++i) {
    absl::Status status = co_await Sleeps(1);
    if (status.ok()) status = co_await shared->barrier.ArriveAndWait();
    if (status.ok()) continue;
    shared->barrier.Drop();
    co_return status;
  }
  co_return absl::OkStatus();
}
Task<absl::Status> Barriers() { co_return co_await Three(&UseBarrier); }

struct OneOnce {
  Once<Counted> once;
};
Task<absl::StatusOr<Counted>> MakeSlowly() {
  absl::Status status = co_await Sleeps(2);
  if (!status.ok()) co_return status;
  co_return Counted(&alive);
}
Task<absl::Status> UseOnce(OneOnce* shared) {
  const absl::StatusOr<Counted*> value = co_await shared->once.GetOrMake(&MakeSlowly);
  EXPECT_TRUE(!value.ok() || *value != nullptr);
  co_return value.status();
}
Task<absl::Status> Onces() { co_return co_await Three(&UseOnce); }

// --- Channels
// ----------------------------------------------------------------------------------------------------------

// What ends a loop of receives: that there are no more is as it should be.
absl::Status EndOf(const absl::Status& received) { return absl::IsOutOfRange(received) ? absl::OkStatus() : received; }

// Runs `sender` beside a loop that receives until the end.
template <class Channel>
Task<absl::Status> SendAndReceive(Channel* channel, Task<absl::Status> sender) {
  TaskGroup group;
  co_await group.Spawn(std::move(sender));
  absl::Status end;
  while (end.ok()) {
    const auto received = co_await channel->Receive();
    end = received.status();
  }
  absl::Status joined = co_await group.Join();
  co_return joined.ok() ? EndOf(end) : joined;
}

Task<absl::Status> SendTo(Channel<Counted>* channel, int n) {
  for (int i = 0; i < n; ++i) {
    absl::Status status = co_await channel->Send(Counted(&alive));
    if (!status.ok()) co_return status;
  }
  channel->Close();
  co_return absl::OkStatus();
}
Task<absl::Status> Channels() {
  for (const size_t capacity : {0, 1, 8}) {
    Channel<Counted> channel(capacity);
    absl::Status status = co_await SendAndReceive(&channel, SendTo(&channel, 4));
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> SendUnbounded(UnboundedChannel<Counted>* channel) {
  for (int i = 0; i < 3; ++i) {
    absl::Status status = co_await Sleeps(1);
    if (!status.ok()) co_return status;
    for (int k = 0; k < 2; ++k) {
      status = channel->Send(Counted(&alive));
      if (!status.ok()) co_return status;
    }
  }
  channel->Close();
  co_return absl::OkStatus();
}
Task<absl::Status> UnboundedChannels() {
  UnboundedChannel<Counted> channel;
  co_return co_await SendAndReceive(&channel, SendUnbounded(&channel));
}

Task<absl::Status> SendLater(OneshotSender<Counted> sender) {
  absl::Status status = co_await Sleeps(1);
  if (!status.ok()) co_return status;
  status = sender.Send(Counted(&alive));
  co_return absl::IsFailedPrecondition(status) ? absl::CancelledError("the receiver has gone") : status;
}
Task<absl::Status> UntilUnwanted(OneshotSender<Counted> sender) { co_return co_await sender.Unwanted(); }
Task<absl::Status> Oneshots() {
  TaskGroup group;
  absl::Status received;
  {
    auto [sender, receiver] = Oneshot<Counted>();
    co_await group.Spawn(SendLater(std::move(sender)));
    const absl::StatusOr<Counted> value = co_await receiver.Receive();
    received = value.status();
  }
  absl::Status slept;
  {
    auto [sender, receiver] = Oneshot<Counted>();
    co_await group.Spawn(UntilUnwanted(std::move(sender)));
    slept = co_await Sleep(kMoment);
  }
  absl::Status joined = co_await group.Join();
  if (!slept.ok()) co_return slept;
  co_return joined.ok() ? received : joined;
}

Task<absl::Status> Change(Watch<Counted>* watch) {
  for (int i = 0; i < 3; ++i) {
    absl::Status status = co_await Sleeps(1);
    if (!status.ok()) co_return status;
    status = watch->Set(Counted(&alive));
    if (!status.ok()) co_return status;
  }
  watch->Close();
  co_return absl::OkStatus();
}
Task<absl::Status> Follow(Watch<Counted>* watch) {
  uint64_t seen = 0;
  for (;;) {
    const absl::StatusOr<WatchValue<Counted>> latest = co_await watch->Next(seen);
    if (!latest.ok()) co_return EndOf(latest.status());
    seen = latest->version;
  }
}
Task<absl::Status> Watches() {
  Watch<Counted> watch{Counted(&alive)};
  TaskGroup group;
  co_await group.Spawn(Change(&watch));
  for (int i = 0; i < 2; ++i) co_await group.Spawn(Follow(&watch));
  co_return co_await group.Join();
}

Task<absl::Status> Announce(Broadcast<Counted>* broadcast) {
  for (int i = 0; i < 3; ++i) {
    absl::Status status = co_await Sleeps(1);
    if (!status.ok()) co_return status;
    status = broadcast->Send(Counted(&alive));
    if (!status.ok()) co_return status;
  }
  broadcast->Close();
  co_return absl::OkStatus();
}
Task<absl::Status> Listen(BroadcastReceiver<Counted> receiver) {
  for (;;) {
    const absl::StatusOr<BroadcastValue<Counted>> value = co_await receiver.Receive();
    if (!value.ok()) co_return EndOf(value.status());
  }
}
Task<absl::Status> Broadcasts() {
  Broadcast<Counted> broadcast(2);
  TaskGroup group;
  for (int i = 0; i < 2; ++i) co_await group.Spawn(Listen(broadcast.Subscribe()));
  co_await group.Spawn(Announce(&broadcast));
  co_return co_await group.Join();
}

Task<absl::Status> SendOneLater(Channel<Counted>* channel) {
  absl::Status status = co_await Sleeps(1);
  if (!status.ok()) co_return status;
  co_return co_await channel->Send(Counted(&alive));
}
// A send, a receive and a time, each of which is chosen once.
Task<absl::Status> Selects() {
  Channel<Counted> incoming(0);
  Channel<Counted> outgoing(1);
  absl::StatusOr<Interval> interval = Interval::Create(kMoment * 10);
  if (!interval.ok()) co_return interval.status();
  TaskGroup group;
  co_await group.Spawn(SendOneLater(&incoming));
  absl::Status status;
  for (int i = 0; i < 3 && status.ok(); ++i) {
    auto chosen =
        co_await Select(outgoing.Send(Counted(&alive)), incoming.Receive(), interval->Tick(), Sleep(absl::Hours(1)));
    switch (chosen.index()) {
      case 0:
        status = std::get<0>(chosen);
        break;
      case 1:
        status = std::get<1>(chosen).status();
        break;
      case 2:
        status = std::get<2>(chosen).status();
        break;
      default:
        status = absl::InternalError("an hour has passed");
    }
  }
  if (!status.ok()) group.RequestStop();
  absl::Status joined = co_await group.Join();
  co_return status.ok() ? joined : status;
}

// --- The kernel
// --------------------------------------------------------------------------------------------------------

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

Task<absl::Status> Serve(net::Listener* listener) {
  absl::StatusOr<net::Stream> stream = co_await listener->Accept();
  if (!stream.ok()) co_return stream.status();
  // All of it: a connection that is closed with something unread is reset.
  std::array<std::byte, 64> buffer;
  for (size_t all = 0; all < 5;) {
    const absl::StatusOr<size_t> n = co_await stream->Read(buffer);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return absl::DataLossError("the client has gone");
    absl::Status status = co_await stream->Write(std::span<const std::byte>(buffer.data(), *n));
    if (!status.ok()) co_return status;
    all += *n;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Ask(net::SocketAddress address) {
  absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (!stream.ok()) co_return stream.status();
  absl::Status status = co_await stream->Write(Bytes("hello"));
  if (!status.ok()) co_return status;
  for (size_t all = 0; all < 5;) {
    const absl::StatusOr<ReceivedBuffer> piece = co_await stream->Receive();
    if (!piece.ok()) co_return piece.status();
    if (piece->size() == 0) co_return absl::DataLossError("the server has gone");
    all += piece->size();
  }
  co_return absl::OkStatus();
}

// Accept, connect, read, write, and a receive that stays armed.
Task<absl::Status> Sockets() {
  const Counted counted(&alive);
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(net::SocketAddress::Loopback4(0));
  if (!listener.ok()) co_return listener.status();
  const absl::StatusOr<net::SocketAddress> address = listener->LocalAddress();
  if (!address.ok()) co_return address.status();
  TaskGroup group;
  co_await group.Spawn(Serve(&*listener));
  co_await group.Spawn(Ask(*address));
  co_return co_await group.Join();
}

// Where the scenarios of files work: a simulated machine has a disk of its own.
std::string* const work_path = new std::string;

Task<absl::Status> UseFile(std::string path) {
  const Counted counted(&alive);
  absl::Status status = co_await ReplaceFile(path, Bytes("content"));
  if (!status.ok()) co_return status;
  absl::StatusOr<File> file = co_await File::Open(path, O_RDWR);
  if (!file.ok()) co_return file.status();
  status = co_await file->WriteAt(Bytes("C"), 0);
  if (!status.ok()) co_return status;
  status = co_await file->SyncToDisk(File::Sync::kData);
  if (!status.ok()) co_return status;
  std::array<std::byte, 16> buffer;
  const absl::StatusOr<size_t> n = co_await file->ReadAt(buffer, 0);
  if (!n.ok()) co_return n.status();
  EXPECT_GT(*n, 0u);
  status = co_await Rename(path, path + ".old");
  if (!status.ok()) co_return status;
  co_return co_await Unlink(path + ".old");
}
Task<absl::Status> Files() { co_return co_await UseFile(*work_path); }

Task<absl::Status> KernelEvents() {
  const Counted counted(&alive);
  for (int i = 0; i < 3; ++i) {
    const timespec moment{.tv_sec = 0, .tv_nsec = absl::ToInt64Nanoseconds(kMoment)};
    kevent::Event event;
    event.type = kevent::EventType::kTimeout;
    event.payload = reinterpret_cast<uintptr_t>(&moment);
    const absl::StatusOr<kevent::Event> record = co_await WaitForEvent(event);
    if (!record.ok()) co_return record.status();
  }
  co_return absl::OkStatus();
}

// --- All of it, everywhere
// ---------------------------------------------------------------------------------------------

const Row kRows[] = {
    {"Sleep", &Sleeping, 3},
    {"Interval", &Intervals, 3},
    {"TimeoutAndDeadline", &Timeouts, 4},
    {"Join", &Joins, 3},
    {"WhenAll", &AllOf, 4},
    {"WhenAny", &AnyOf, 3},
    {"TaskGroup", &Groups, 6},
    {"TaskGroupThatCollects", &GroupsThatCollect, 6},
    {"Shielded", &Shields, 4},
    {"CancelToken", &Tokens, 4},
    {"AsyncGenerator", &Generators, 5},
    {"ResumeOn", &GoElsewhere, 2},
    {"Mutex", &Mutexes, 6},
    {"SharedMutex", &SharedMutexes, 6},
    {"CondVar", &CondVars, 3},
    {"Semaphore", &Semaphores, 6},
    {"Event", &Events, 2},
    {"Latch", &Latches, 4},
    {"Barrier", &Barriers, 10},
    {"Once", &Onces, 2},
    {"Channel", &Channels, 1},
    {"UnboundedChannel", &UnboundedChannels, 3},
    {"Oneshot", &Oneshots, 2},
    {"Watch", &Watches, 4},
    {"Broadcast", &Broadcasts, 4},
    {"Select", &Selects, 3},
    {"Sockets", &Sockets, 3, /*others_fail=*/true},
    {"Files", &Files, 5},
    {"KernelEvent", &KernelEvents, 3},
};

class StopEverywhere : public ::testing::TestWithParam<std::tuple<Machine, Row>> {
 protected:
  static const Machine& machine() { return std::get<0>(GetParam()); }
  static const Row& row() { return std::get<1>(GetParam()); }

  // Few buffers: those that are not given back are missed.
  static RuntimeOptions Options() {
    RuntimeOptions options;
    options.buffers.initial = 4;
    options.buffers.max = 16;
    return options;
  }

  static Task<absl::Status> RunRow(const Row* row) {
    absl::Status status = co_await row->scenario();
    if (!status.ok() && !row->others_fail) {
      EXPECT_TRUE(absl::IsCancelled(status)) << status;
    }
    co_return status;
  }

  static Task<> Everywhere(const Row* row) {
    absl::Status status = co_await StartCancelled(RunRow(row));
    EXPECT_FALSE(status.ok()) << "each waits, and may not";
    EXPECT_EQ(alive, 0);
    const absl::StatusOr<int> points = co_await CancelAtEverySuspension([row] { return RunRow(row); });
    CO_ASSERT_OK(points);
    EXPECT_GE(*points, row->at_least);
    EXPECT_EQ(alive, 0);
  }
};

std::string MachineAndRow(const ::testing::TestParamInfo<std::tuple<Machine, Row>>& info) {
  return absl::StrCat(std::get<0>(info.param).ToString(), "_", std::get<1>(info.param).name);
}
INSTANTIATE_TEST_SUITE_P(All, StopEverywhere,
                         ::testing::Combine(MachinesWithoutErrors({1, 2, 4}), ::testing::ValuesIn(kRows)),
                         MachineAndRow);

TEST_P(StopEverywhere, EndsAndLeavesNothingBehind) {
  *work_path = machine().simulated() ? "/stopped" : absl::StrCat(::testing::TempDir(), "evring_stopped_", getpid());
  const int before = CountIn("fd");
  RunOk(Everywhere(&row()), machine(), Options());
  EXPECT_EQ(CountIn("fd"), before);
  EXPECT_EQ(alive, 0);
  if (machine().simulated()) return;
  // A run that was stopped between two operations on files leaves what it had on the disk.
  unlink(work_path->c_str());
  unlink((*work_path + ".old").c_str());
}

}  // namespace
}  // namespace evring

// storm_test.cc: everything at once, by a seed: trees of tasks, sleeps, timeouts, stops from all sides, computations
// that last until they are rescued, moves between workers, connections that are accepted and let go, streams that are
// cut and taken up again, rings and buffers that are too small. At the end every count is even, every byte that arrived
// is the one that was sent, and every descriptor and every receive buffer is back.
//
// A round takes part of a second. For more of them: EVRING_STORM_SECONDS=600; for the one that failed:
// EVRING_STORM_SEED=n. What the threads do with a seed is theirs, so a failure may take several tries.

#include <fcntl.h>
#include <liburing.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/kernel.h"
#include "runtime/blocking.h"
#include "runtime/cancellation.h"
#include "runtime/multishot_socket.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/socket_io.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/when_all.h"
#include "runtime/when_any.h"
#include "tests/runtime/runtime_test_util.h"
#include "tests/support/forwarding_kernel.h"

namespace evring {
namespace {

using testing::Compute;
using testing::Counted;
using testing::CountIn;

// Of a sequence of its own for each task (SplitMix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int Below(int n) { return static_cast<int>(Next() % static_cast<uint64_t>(n)); }
  int Between(int min, int max) { return min + Below(max - min + 1); }
  bool OneIn(int n) { return Below(n) == 0; }
  absl::Duration Microseconds(int max) { return absl::Microseconds(Below(max + 1)); }

 private:
  uint64_t state_;
};

// --- Buffers
// -----------------------------------------------------------------------------------------------------------

// The system calls. When a worker gives its receive buffers up, all that it ever lent to the kernel must be there
// again.
class BufferCheckingKernel final : public kevent::ForwardingKernel {
 public:
  explicit BufferCheckingKernel(uint32_t initial) : initial_(initial) {}

  int Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) override {
    if (opcode == IORING_UNREGISTER_PBUF_RING) CheckAllBack(ring);
    const int rc = ForwardingKernel::Register(ring, opcode, arg, nr_args);
    if (opcode == IORING_REGISTER_PBUF_RING && rc >= 0) {
      std::lock_guard lock(mutex_);
      buffers_[ring] = *static_cast<io_uring_buf_reg*>(arg);
    }
    return rc;
  }

  int checked() const { return checked_; }

 private:
  // What liburing 2.3 lacks, Linux 6.8: the kernel's read index of a buffer ring.
  static constexpr unsigned kRegisterPbufStatus = 26;
  struct Status {
    uint32_t buf_group;
    uint32_t head;
    uint32_t resv[8];
  };

  void CheckAllBack(io_uring* ring) {
    io_uring_buf_reg reg;
    {
      std::lock_guard lock(mutex_);
      reg = buffers_[ring];
      buffers_.erase(ring);
    }
    Status status = {};
    status.buf_group = reg.bgid;
    ++checked_;
    if (ForwardingKernel::Register(ring, kRegisterPbufStatus, &status, 1) < 0) return;  // before Linux 6.8
    const auto* entries = reinterpret_cast<const io_uring_buf_ring*>(static_cast<uintptr_t>(reg.ring_addr));
    std::set<uint16_t> ids;
    for (auto i = static_cast<uint16_t>(status.head); i != entries->tail; ++i) {
      const uint16_t id = entries->bufs[i & (reg.ring_entries - 1)].bid;
      EXPECT_TRUE(ids.insert(id).second) << "buffer " << id << " was returned twice";
    }
    uint32_t lent = initial_;
    while (lent < ids.size()) lent *= 2;  // BufferRing::Grow
    EXPECT_EQ(ids.size(), lent) << "buffers are missing";
    if (ids.empty()) return;
    EXPECT_EQ(*ids.rbegin() + 1u, ids.size()) << "a buffer in the middle is missing";
  }

  const uint32_t initial_;
  std::mutex mutex_;
  std::map<io_uring*, io_uring_buf_reg> buffers_;
  std::atomic<int> checked_{0};
};

// --- What there is to do
// -----------------------------------------------------------------------------------------------

struct Storm {
  std::atomic<int> alive{0};  // tasks that have begun and not ended
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> cut{0};    // waits that a stop or a deadline ended
  std::atomic<uint64_t> bytes{0};  // received
  std::atomic<uint64_t> connections{0};
  CancelSource sources[4];  // other threads fire them
};

// Mostly short, at times so long that others come to the rescue.
absl::Duration ComputingTime(Random* random) {
  return random->OneIn(10) ? absl::Microseconds(random->Between(500, 2000)) : random->Microseconds(30);
}

Task<absl::Status> Leaf(Storm* storm, uint64_t seed) {
  const Counted counted(&storm->alive);
  Random random(seed);
  switch (random.Below(5)) {
    case 0:
      co_return co_await Sleep(random.Microseconds(400));
    case 1:
      Compute(ComputingTime(&random));
      co_return absl::OkStatus();
    case 2:
      co_await Yield();
      co_return absl::OkStatus();
    case 3:
      co_await ResumeOn(random.Below(WorkerCount()));
      co_return co_await Sleep(random.Microseconds(100));
    default:
      // Until a stop comes, but not for ever: not everybody who starts this asks for one.
      co_return co_await Sleep(absl::Milliseconds(random.Between(1, 10)));
  }
}

Task<absl::Status> Tree(Storm* storm, uint64_t seed, int depth) {
  const Counted counted(&storm->alive);
  Random random(seed);
  if (depth == 0) co_return co_await Leaf(storm, random.Next());
  std::vector<JoinHandle<absl::Status>> children;
  const int n = random.Between(1, 4);
  for (int i = 0; i < n; ++i) children.push_back(co_await Spawn(Tree(storm, random.Next(), depth - 1)));
  if (random.OneIn(3)) children[static_cast<size_t>(random.Below(n))].RequestStop();
  if (random.OneIn(8)) children.pop_back();  // is asked to stop and let go
  absl::Status first;
  for (auto& child : children) {
    const absl::Status status = co_await std::move(child);
    if (status.ok()) continue;
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status.ToString();
    ++storm->cut;
    first = status;
  }
  co_return first;
}

void CountCut(Storm* storm, const absl::Status& status) {
  if (status.ok()) return;
  EXPECT_TRUE(absl::IsCancelled(status) || absl::IsDeadlineExceeded(status)) << status.ToString();
  ++storm->cut;
}

Task<> Group(Storm* storm, uint64_t seed) {
  const Counted counted(&storm->alive);
  Random random(seed);
  TaskGroup group(random.OneIn(2) ? TaskGroup::OnError::kStopOthers : TaskGroup::OnError::kGoOn);
  const int n = random.Between(1, 6);
  for (int i = 0; i < n; ++i) co_await group.Spawn(Tree(storm, random.Next(), random.Below(2)));
  if (random.OneIn(4)) group.RequestStop();
  CountCut(storm, co_await group.Join());
}

// --- Streams
// -----------------------------------------------------------------------------------------------------------

std::byte ByteAt(uint64_t position) { return static_cast<std::byte>((position * 31 + (position >> 8)) & 0xff); }

// Sends all of it, unless it is stopped or the reader has gone. How much has certainly been sent, or -1.
Task<int64_t> Write(Storm* storm, uint64_t seed, int fd) {
  const Counted counted(&storm->alive);
  Random random(seed);
  int64_t sent = 0;
  const int chunks = random.Between(1, 12);
  for (int i = 0; i < chunks; ++i) {
    std::vector<std::byte> chunk(
        static_cast<size_t>(random.OneIn(4) ? random.Between(1, 20000) : random.Between(1, 300)));
    for (size_t k = 0; k < chunk.size(); ++k) chunk[k] = ByteAt(static_cast<uint64_t>(sent) + k);
    const absl::Status status = co_await SendAll(fd, std::span<const std::byte>(chunk));
    if (!status.ok()) {
      sent = -1;
      break;
    }
    sent += static_cast<int64_t>(chunk.size());
    if (random.OneIn(2)) CountCut(storm, co_await Sleep(random.Microseconds(200)));
    if (random.OneIn(10)) Compute(ComputingTime(&random));
  }
  shutdown(fd, SHUT_WR);
  co_return sent;
}

Task<absl::StatusOr<ReceivedBuffer>> Take(Storm* storm, internal::MultishotReceive* source) {
  const Counted counted(&storm->alive);
  co_return co_await internal::MultishotReceive::Operation(source);
}

// Reads until the end, or until it has had enough, with takes that are cut short in between. True: it has seen the end.
Task<bool> Read(Storm* storm, uint64_t seed, internal::MultishotReceive* source, int64_t* received) {
  const Counted counted(&storm->alive);
  Random random(seed);
  const bool leaves_early = random.OneIn(4);
  std::vector<ReceivedBuffer> held;
  for (;;) {
    if (leaves_early && random.OneIn(6)) co_return false;
    if (co_await StopRequested()) co_return false;
    if (random.OneIn(8)) co_await ResumeOn(random.Below(WorkerCount()));
    const absl::Duration patience = random.OneIn(2) ? absl::Seconds(20) : random.Microseconds(300);
    absl::StatusOr<ReceivedBuffer> buffer = co_await WithTimeout(patience, Take(storm, source));
    if (!buffer.ok()) {
      CountCut(storm, buffer.status());
      continue;
    }
    if (buffer->empty()) co_return true;
    for (size_t i = 0; i < buffer->size(); ++i) {
      if (buffer->data()[i] != ByteAt(static_cast<uint64_t>(*received) + i)) {
        ADD_FAILURE() << "byte " << *received + static_cast<int64_t>(i) << " is not the one that was sent";
        co_return false;
      }
    }
    *received += static_cast<int64_t>(buffer->size());
    storm->bytes += buffer->size();
    if (random.OneIn(4)) held.push_back(*std::move(buffer));
    if (held.size() > 3) held.clear();
    if (random.OneIn(10)) Compute(ComputingTime(&random));
  }
}

Task<> Converse(Storm* storm, uint64_t seed) {
  const Counted counted(&storm->alive);
  Random random(seed);
  int fds[2];
  CO_ASSERT_TRUE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  auto* source = new internal::MultishotReceive(fds[0]);
  int64_t received = 0;
  JoinHandle<int64_t> writer = co_await Spawn(Write(storm, random.Next(), fds[1]));
  JoinHandle<bool> reader = co_await Spawn(Read(storm, random.Next(), source, &received));
  if (random.OneIn(5)) {
    static_cast<void>(co_await Sleep(random.Microseconds(500)));
    (random.OneIn(2) ? static_cast<void>(writer.RequestStop()) : static_cast<void>(reader.RequestStop()));
  }
  const bool saw_end = co_await std::move(reader);
  if (random.OneIn(2)) co_await ResumeOn(random.Below(WorkerCount()));
  source->Close();  // and fds[0] with it
  const int64_t sent = co_await std::move(writer);
  if (saw_end && sent >= 0) {
    EXPECT_EQ(received, sent);
  }
  close(fds[1]);
}

// --- Connections
// -------------------------------------------------------------------------------------------------------

Task<> ConnectTo(Storm* storm, uint64_t seed, const sockaddr_un* address, socklen_t size) {
  const Counted counted(&storm->alive);
  Random random(seed);
  static_cast<void>(co_await Sleep(random.Microseconds(300)));
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CO_ASSERT_TRUE(fd >= 0);
  // Refused, if the listener has gone.
  const absl::Status status = co_await Connect(fd, reinterpret_cast<const sockaddr*>(address), size);
  if (status.ok() && random.OneIn(2)) static_cast<void>(co_await Sleep(random.Microseconds(100)));
  close(fd);
}

Task<absl::StatusOr<int>> Accept(Storm* storm, internal::MultishotAccept* source) {
  const Counted counted(&storm->alive);
  co_return co_await internal::MultishotAccept::Operation(source);
}

Task<> Listen(Storm* storm, uint64_t seed) {
  const Counted counted(&storm->alive);
  Random random(seed);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CO_ASSERT_TRUE(fd >= 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof(sa_family_t);  // the kernel picks a name, unix(7)
  CO_ASSERT_TRUE(bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd, 64) == 0);
  size = sizeof(address);
  CO_ASSERT_TRUE(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  auto* source = new internal::MultishotAccept(fd);
  const int n = random.Between(1, 8);
  std::vector<JoinHandle<>> connectors;
  for (int i = 0; i < n; ++i) connectors.push_back(co_await Spawn(ConnectTo(storm, random.Next(), &address, size)));
  // Some are left untaken, to be closed with the listener.
  for (int accepted = 0; accepted < n - random.Below(3);) {
    if (co_await StopRequested()) break;
    const absl::StatusOr<int> connection =
        co_await WithTimeout(random.OneIn(2) ? absl::Seconds(20) : random.Microseconds(300), Accept(storm, source));
    if (!connection.ok()) {
      CountCut(storm, connection.status());
      continue;
    }
    close(*connection);
    ++accepted;
    ++storm->connections;
  }
  source->Close();  // and `fd` with it
  for (auto& connector : connectors) co_await std::move(connector);
}

// --- The storm
// ---------------------------------------------------------------------------------------------------------

Task<> Step(Storm* storm, uint64_t seed) {
  const Counted counted(&storm->alive);
  Random random(seed);
  ++storm->steps;
  switch (random.Below(10)) {
    case 0:
      CountCut(storm, co_await Tree(storm, random.Next(), random.Between(1, 3)));
      break;
    case 1:
      CountCut(storm, co_await WithTimeout(random.Microseconds(600), Tree(storm, random.Next(), 2)));
      break;
    case 2: {
      auto first = co_await WhenAny(Leaf(storm, random.Next()), Tree(storm, random.Next(), 1));
      CountCut(storm, first.index() == 0 ? std::get<0>(first) : std::get<1>(first));
      break;
    }
    case 3: {
      auto [one, two] = co_await WhenAll(Leaf(storm, random.Next()), Tree(storm, random.Next(), 1));
      CountCut(storm, one);
      CountCut(storm, two);
      break;
    }
    case 4:
      co_await Group(storm, random.Next());
      break;
    case 5: {
      const absl::Duration d = random.Microseconds(200);
      CountCut(storm, co_await RunBlocking([d] { Compute(d); }));
      break;
    }
    case 6:
      co_await WithCancellation(storm->sources[random.Below(4)].token(), Converse(storm, random.Next()));
      break;
    case 7:
    case 8:
      co_await Converse(storm, random.Next());
      break;
    default:
      co_await Listen(storm, random.Next());
      break;
  }
}

Task<> Actor(Storm* storm, uint64_t seed, int steps) {
  const Counted counted(&storm->alive);
  Random random(seed);
  for (int i = 0; i < steps; ++i) {
    if (random.OneIn(6)) {
      CountCut(storm, co_await WithTimeout(random.Microseconds(2000), Step(storm, random.Next())));
    } else {
      co_await Step(storm, random.Next());
    }
    if (random.OneIn(4)) co_await ResumeOn(random.Below(WorkerCount()));
  }
}

// Every worker lends again what other workers have returned: it does so whenever it looks at its ring, but need not
// once it is told to end.
Task<> ReclaimEverywhere() {
  for (int i = 0; i < WorkerCount(); ++i) {
    do {
      co_await ResumeOn(i);
    } while (Worker::Current()->index() != i);
    Worker::Current()->buffers()->Reclaim();
  }
}

Task<> Blow(Storm* storm, uint64_t seed, int actors, int steps) {
  {
    const Counted counted(&storm->alive);
    Random random(seed);
    std::vector<JoinHandle<>> handles;
    for (int i = 0; i < actors; ++i) handles.push_back(co_await Spawn(Actor(storm, random.Next(), steps)));
    for (auto& handle : handles) co_await std::move(handle);
  }
  // Those that were let go.
  CO_ASSERT_TRUE(co_await testing::EventuallyInTask([storm] { return storm->alive == 0; }));
  co_await ReclaimEverywhere();
}

Task<int> Small(int value) {
  if (value % 2 == 0) co_await Yield();
  co_return value;
}

// A thread that is no worker: fires what tasks are tied to, spawns, and waits.
void Disturb(Storm* storm, Runtime* runtime, uint64_t seed, const std::atomic<bool>* over) {
  Random random(seed);
  for (int i = 0; !over->load(); ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(random.Between(200, 1500)));
    if (i % 16 < 4) storm->sources[i % 16].RequestStop();
    absl::StatusOr<JoinHandle<int>> handle = runtime->Spawn(Small(i));
    ASSERT_TRUE(handle.ok()) << handle.status().ToString();
    if (random.OneIn(3)) handle->RequestStop();
    EXPECT_EQ(handle->Wait(), i);
  }
}

constexpr int kActors = 32;

void Round(uint64_t seed, int workers) {
  SCOPED_TRACE("EVRING_STORM_SEED=" + std::to_string(seed));
  Random random(seed);
  const int descriptors_before = CountIn("fd");
  RuntimeOptions options = testing::WithWorkers(workers);
  options.rescue_threshold = absl::Microseconds(200);
  options.buffers.buffer_bytes = 256;
  options.buffers.initial = 2;
  options.buffers.max = random.OneIn(2) ? 8 : 64;
  options.blocking_threads_max = 3;
  if (random.OneIn(2)) {
    options.ring.sq_entries = 8;
    options.ring.cq_entries = 16;
  }
  if (random.OneIn(4)) options.ring.allowed = kevent::Features();
  BufferCheckingKernel kernel(options.buffers.initial);
  options.kernel = &kernel;
  Storm storm;
  {
    auto runtime = Runtime::Create(options);
    ASSERT_TRUE(runtime.ok()) << runtime.status().ToString();
    std::atomic<bool> over{false};
    std::thread disturber([&, s = random.Next()] { Disturb(&storm, runtime->get(), s, &over); });
    auto handle = (*runtime)->Spawn(Blow(&storm, random.Next(), kActors, 12));
    ASSERT_TRUE(handle.ok());
    handle->Wait();
    over = true;
    disturber.join();
    (*runtime)->Shutdown();
    const WorkerCounters counters = (*runtime)->counters();
    std::printf(
        "%d workers, seed %llu: %llu steps, %llu cut short, %llu bytes, %llu connections, %llu rescues of %llu\n",
        workers, static_cast<unsigned long long>(seed), static_cast<unsigned long long>(storm.steps),
        static_cast<unsigned long long>(storm.cut), static_cast<unsigned long long>(storm.bytes),
        static_cast<unsigned long long>(storm.connections), static_cast<unsigned long long>(counters.rescues),
        static_cast<unsigned long long>(counters.rescued_events));
  }
  EXPECT_EQ(storm.alive, 0) << "tasks that have not ended";
  EXPECT_EQ(kernel.checked(), workers);
  EXPECT_EQ(CountIn("fd"), descriptors_before);
}

class StormTest : public testing::EveryWorkerCount {};
INSTANTIATE_TEST_SUITE_P(Workers, StormTest, testing::WorkerCounts());

TEST_P(StormTest, NothingIsLostLeakedOrStuck) {
  const char* const seed = std::getenv("EVRING_STORM_SEED");
  const char* const seconds = std::getenv("EVRING_STORM_SECONDS");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds == nullptr ? 0 : std::atoi(seconds));
  uint64_t next = seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10);
  do {
    alarm(testing::kCaseSeconds);  // for each round anew
    Round(next, GetParam());
    next = Random(next).Next() % 1'000'000'000;
  } while (!HasFailure() && std::chrono::steady_clock::now() < end);
}

}  // namespace
}  // namespace evring

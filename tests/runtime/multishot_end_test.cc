// multishot_end_test.cc: the end of a stream is seen however it comes: after data or without, before the receive is
// armed or after, with more behind it than the kernel takes at once; as a shutdown, a close, a reset.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/check.h"
#include "kevent/features.h"
#include "runtime/multishot_socket.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using internal::MultishotReceive;
using testing::RunValue;
using testing::WithWorkers;

enum class Family { kUnix, kTcp };
enum class Ending { kShutdown, kClose, kReset };

constexpr size_t kBufferBytes = 256;

struct Pair {
  explicit Pair(Family family) {
    if (family == Family::kUnix) {
      int fds[2];
      EVRING_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "the test needs sockets");
      reader = fds[0];
      writer = fds[1];
      return;
    }
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    EVRING_CHECK(bind(listener, any, size) == 0 && listen(listener, 1) == 0 && getsockname(listener, any, &size) == 0,
                 "the test needs a listener");
    writer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EVRING_CHECK(connect(writer, any, size) == 0, "the test needs a connection");
    reader = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    EVRING_CHECK(reader >= 0, "the test needs a connection");
    close(listener);
  }

  void Write(size_t n) const {
    const std::vector<std::byte> data(n, std::byte{'x'});
    EVRING_CHECK(write(writer, data.data(), n) == static_cast<ssize_t>(n), "it fits into the socket");
  }
  void End(Ending ending) const {
    if (ending == Ending::kShutdown) {
      shutdown(writer, SHUT_WR);
      return;
    }
    const linger reset = {.l_onoff = 1, .l_linger = 0};
    if (ending == Ending::kReset) setsockopt(writer, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(writer);
  }

  int reader;
  int writer;
};

Task<absl::StatusOr<ReceivedBuffer>> Take(MultishotReceive* source) {
  co_return co_await MultishotReceive::Operation(source);
}

// What was received until the end, and how it ended.
struct Outcome {
  Outcome(size_t received, absl::Status status) : received(received), status(std::move(status)) {}
  size_t received;
  absl::Status status;
};

// `moves`: each take on another worker than the one before.
Task<Outcome> TakeAll(MultishotReceive* source, bool moves) {
  size_t received = 0;
  for (int next = 0;; ++next) {
    if (moves) co_await ResumeOn(next % WorkerCount());
    const absl::StatusOr<ReceivedBuffer> buffer = co_await WithTimeout(absl::Seconds(10), Take(source));
    if (!buffer.ok()) co_return Outcome(received, buffer.status());
    if (buffer->empty()) co_return Outcome(received, absl::OkStatus());
    received += buffer->size();
  }
}

class MultishotEndTest : public ::testing::TestWithParam<std::tuple<Family, Ending, size_t, bool>> {
 protected:
  Family family() const { return std::get<0>(GetParam()); }
  Ending ending() const { return std::get<1>(GetParam()); }
  size_t bytes() const { return std::get<2>(GetParam()); }

  RuntimeOptions options(int workers) const {
    RuntimeOptions options = WithWorkers(workers);
    options.buffers.buffer_bytes = kBufferBytes;
    options.buffers.initial = 256;  // so that none is missing: every piece comes by the same request
    options.buffers.max = 256;
    if (!std::get<3>(GetParam())) {
      options.ring.allowed = kevent::Features::All().Without(kevent::Feature::kMultishotReceive);
    }
    return options;
  }

  void ExpectAll(const Outcome& outcome) const {
    if (family() == Family::kTcp && ending() == Ending::kReset) {
      EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status.ToString();
    } else {
      EXPECT_TRUE(outcome.status.ok()) << outcome.status.ToString();
    }
    EXPECT_EQ(outcome.received, bytes());
  }
};

// None, a piece, some pieces, and more than the kernel takes in one go.
INSTANTIATE_TEST_SUITE_P(Streams, MultishotEndTest,
                         ::testing::Combine(::testing::Values(Family::kUnix, Family::kTcp),
                                            ::testing::Values(Ending::kShutdown, Ending::kClose, Ending::kReset),
                                            ::testing::Values(size_t{0}, size_t{3}, 10 * kBufferBytes,
                                                              50 * kBufferBytes + 1),
                                            ::testing::Bool()));

Task<Outcome> EndedBeforeItIsArmed(Pair pair, Ending ending, size_t n, bool moves) {
  pair.Write(n);
  pair.End(ending);
  auto* source = new MultishotReceive(pair.reader);
  Outcome outcome = co_await TakeAll(source, moves);
  source->Close();
  if (ending == Ending::kShutdown) close(pair.writer);
  co_return outcome;
}

TEST_P(MultishotEndTest, IsSeenIfItWasThereBefore) {
  ExpectAll(RunValue(EndedBeforeItIsArmed(Pair(family()), ending(), bytes(), /*moves=*/false), options(1)));
}

// The request is in the ring of one worker, and another finds that it has slept over the end.
TEST_P(MultishotEndTest, IsSeenByATakeOnAnotherWorker) {
  for (int round = 0; round < 10; ++round) {
    ExpectAll(RunValue(EndedBeforeItIsArmed(Pair(family()), ending(), bytes(), /*moves=*/true), options(3)));
  }
}

// The worker with the request is stuck in a task, so that others deliver the whole run of pieces and take them one by
// one: nothing pauses the request.
Task<Outcome> TakenFromAStuckWorker(Pair pair, Ending ending, size_t n) {
  pair.Write(n);
  pair.End(ending);
  auto* source = new MultishotReceive(pair.reader);
  JoinHandle<Outcome> reader = co_await Spawn(TakeAll(source, /*moves=*/false));
  co_await Yield();
  testing::Compute(absl::Milliseconds(20));
  Outcome outcome = co_await std::move(reader);
  source->Close();
  if (ending == Ending::kShutdown) close(pair.writer);
  co_return outcome;
}

TEST_P(MultishotEndTest, IsSeenByTheTakerFromAStuckWorker) {
  RuntimeOptions with_rescue = options(2);
  with_rescue.rescue_threshold = absl::Microseconds(200);
  for (int round = 0; round < 5; ++round) {
    ExpectAll(RunValue(TakenFromAStuckWorker(Pair(family()), ending(), bytes()), with_rescue));
  }
}

// The data and the end come to a receive that sleeps, with one visit to the ring after both.
Task<Outcome> EndsWhileItIsArmed(Pair pair, Ending ending, size_t n) {
  auto* source = new MultishotReceive(pair.reader);
  pair.Write(1);
  const absl::StatusOr<ReceivedBuffer> first = co_await Take(source);
  if (!first.ok()) co_return Outcome(0, first.status());
  pair.Write(n);
  pair.End(ending);
  Outcome outcome = co_await TakeAll(source, /*moves=*/false);
  source->Close();
  if (ending == Ending::kShutdown) close(pair.writer);
  co_return outcome;
}

TEST_P(MultishotEndTest, IsSeenIfItComesWithTheData) {
  ExpectAll(RunValue(EndsWhileItIsArmed(Pair(family()), ending(), bytes()), options(1)));
}

}  // namespace
}  // namespace evring

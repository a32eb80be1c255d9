// The helpers of runtime/testing.h, and by them every operation and combinator, cancelled from the start and at each of
// its suspensions, on this machine's kernel and on simulated ones: each ends soon, and leaves no descriptor, no value,
// no buffer and no waiter behind.

#include "runtime/testing.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/generator.h"
#include "runtime/os/file.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/event.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/select.h"
#include "runtime/sync/semaphore.h"
#include "runtime/task_group.h"
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

class TestingTest : public EveryMachine {
 protected:
  // Few buffers: those that are not given back are missed.
  static RuntimeOptions Options() {
    RuntimeOptions options;
    options.buffers.initial = 4;
    options.buffers.max = 16;
    return options;
  }

  // Cancels the scenario everywhere. `at_least`: so many suspensions it has, whoever is first.
  static void CancelEverywhere(std::function<Task<absl::Status>()> scenario, int at_least) {
    const int before = CountIn("fd");
    RunOk(Everywhere(std::move(scenario), at_least), Options());
    EXPECT_EQ(CountIn("fd"), before);
    EXPECT_EQ(alive, 0);
  }

 private:
  static Task<> Everywhere(std::function<Task<absl::Status>()> scenario, int at_least) {
    static_cast<void>(co_await StartCancelled(scenario()));
    EXPECT_EQ(alive, 0);
    const absl::StatusOr<int> points = co_await CancelAtEverySuspension(scenario);
    CO_ASSERT_OK(points);
    EXPECT_GE(*points, at_least);
  }
};
INSTANTIATE_TEST_SUITE_P(Machines, TestingTest, MachinesWithoutErrors({1, 2, 4}), MachineName);

// --- The helpers
// ------------------------------------------------------------------------------------------------------

Task<absl::Status> Sleeps(int n) {
  const Counted counted(&alive);
  for (int i = 0; i < n; ++i) {
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

struct Log {
  int runs = 0;
  std::vector<int> slept;
};
Task<absl::Status> LoggedSleeps(Log* log) {
  const int run = log->runs++;
  log->slept.push_back(0);
  for (int i = 0; i < 5; ++i) {
    absl::Status status = co_await Sleep(absl::Hours(1));
    if (!status.ok()) co_return status;
    ++log->slept[run];
  }
  co_return absl::OkStatus();
}

Task<> EachPointOnce() {
  // Hours: the stop comes long before the wait's own end. Simulated, hours pass in no time.
  Log log;
  const absl::StatusOr<int> points = co_await CancelAtEverySuspension([&log] { return LoggedSleeps(&log); });
  CO_ASSERT_OK(points);
  EXPECT_EQ(*points, 5);
  EXPECT_EQ(log.slept, (std::vector<int>{0, 1, 2, 3, 4, 5}));
}

class TestingOnVirtualTime : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, TestingOnVirtualTime, MachinesWith({}, Simulated(true, 0, 12)), MachineName);

TEST_P(TestingOnVirtualTime, EverySuspensionIsCancelledOnce) { RunOk(EachPointOnce()); }

Task<absl::Status> IgnoreStops() { co_return co_await Shielded(Sleeps(100)); }
Task<absl::Status> FailAtOnce() { co_return absl::DataLossError("mine"); }
Task<absl::Status> ThrowAtOnce() {
  throw std::runtime_error("mine");
  co_return absl::OkStatus();
}

Task<> Answers() {
  CancelOptions options;
  options.limit = absl::Milliseconds(1);
  EXPECT_TRUE(absl::IsDeadlineExceeded((co_await CancelAtEverySuspension(&IgnoreStops, options)).status()));
  options = CancelOptions();
  options.suspensions_max = 3;
  const auto five = [] { return Sleeps(5); };
  EXPECT_TRUE(absl::IsResourceExhausted((co_await CancelAtEverySuspension(five, options)).status()));
  options.suspensions_max = 6;
  EXPECT_EQ(*co_await CancelAtEverySuspension(five, options), 5);
  EXPECT_TRUE(absl::IsDataLoss((co_await CancelAtEverySuspension(&FailAtOnce)).status()));
  bool caught = false;
  try {
    static_cast<void>(co_await CancelAtEverySuspension(&ThrowAtOnce));
  } catch (const std::runtime_error&) {
    caught = true;
  }
  EXPECT_TRUE(caught);
  const auto ever = [] { return Sleeps(1'000'000); };
  JoinHandle<absl::StatusOr<int>> helper = co_await Spawn(CancelAtEverySuspension(ever));
  CO_ASSERT_OK(co_await Sleep(kMoment));
  helper.RequestStop();
  EXPECT_TRUE(absl::IsCancelled((co_await std::move(helper)).status()));
  const bool none = co_await EventuallyInTask([] { return alive == 0; });
  EXPECT_TRUE(none);
}

TEST_P(TestingTest, TheHelperTellsWhatBecameOfIt) { RunOk(Answers()); }

Task<> Cancelled() {
  EXPECT_TRUE(absl::IsCancelled(co_await StartCancelled(Sleeps(1))));
  EXPECT_TRUE(absl::IsCancelled(co_await StartCancelled(UntilStopped())));
  EXPECT_TRUE((co_await StartCancelled(Sleeps(0))).ok()) << "a stop is a request";
}

TEST_P(TestingTest, WhatStartsCancelledHasNoWaits) { RunOk(Cancelled()); }

// --- Operations
// -------------------------------------------------------------------------------------------------------

TEST_P(TestingTest, Sleep) {
  CancelEverywhere([] { return Sleeps(3); }, 3);
}

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

Task<absl::Status> AskAndServe() {
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

TEST_P(TestingTest, AcceptConnectReadWriteReceive) { CancelEverywhere(&AskAndServe, 3); }

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

TEST_P(TestingTest, Files) {
  const std::string path = absl::StrCat(::testing::TempDir(), "evring_testing_", getpid());
  const std::string simulated = "/testing";
  const std::string& where = machine().simulated() ? simulated : path;
  CancelEverywhere([&where] { return UseFile(where); }, 5);
  if (machine().simulated()) return;
  // A run that was cancelled between two operations leaves what it had on the disk.
  unlink(path.c_str());
  unlink((path + ".old").c_str());
}

// --- Tasks that wait for each other
// -----------------------------------------------------------------------------------

Task<absl::Status> SendCounted(Channel<Counted>* channel, int n) {
  for (int i = 0; i < n; ++i) {
    absl::Status status = co_await channel->Send(Counted(&alive));
    if (!status.ok()) co_return status;
  }
  channel->Close();
  co_return absl::OkStatus();
}

Task<absl::Status> Channels() {
  Channel<Counted> channel(1);
  TaskGroup group;
  co_await group.Spawn(SendCounted(&channel, 4));
  absl::Status end;
  for (;;) {
    const absl::StatusOr<Counted> received = co_await channel.Receive();
    if (received.ok()) continue;
    end = received.status();
    break;
  }
  absl::Status joined = co_await group.Join();
  if (!joined.ok()) co_return joined;
  co_return absl::IsOutOfRange(end) ? absl::OkStatus() : end;
}

TEST_P(TestingTest, Channel) { CancelEverywhere(&Channels, 1); }

struct Shared {
  Mutex mutex;
  Semaphore semaphore{1};
  Event event;
};
Task<absl::Status> UseShared(Shared* shared) {
  const Counted counted(&alive);
  {
    const auto guard = co_await shared->mutex.Lock();
    if (!guard.ok()) co_return guard.status();
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
  }
  absl::Status status = co_await shared->semaphore.Acquire();
  if (!status.ok()) co_return status;
  status = co_await Sleep(kMoment);
  shared->semaphore.Release();
  if (!status.ok()) co_return status;
  co_return co_await shared->event.Wait();
}
Task<absl::Status> Sync() {
  Shared shared;
  TaskGroup group;
  for (int i = 0; i < 3; ++i) co_await group.Spawn(UseShared(&shared));
  absl::Status status = co_await Sleep(kMoment);
  shared.event.Set();
  absl::Status joined = co_await group.Join();
  co_return status.ok() ? joined : status;
}

TEST_P(TestingTest, MutexSemaphoreEvent) { CancelEverywhere(&Sync, 8); }

Task<absl::Status> Joins() {
  JoinHandle<absl::Status> first = co_await Spawn(Sleeps(2));
  JoinHandle<absl::Status> second = co_await Spawn(Sleeps(1));
  absl::Status status = co_await std::move(first);
  if (!status.ok()) co_return status;  // the second is let go of
  co_return co_await std::move(second);
}

TEST_P(TestingTest, Join) {
  const int before = alive;
  RunOk([]() -> Task<> {
    static_cast<void>(co_await StartCancelled(Joins()));
    const absl::StatusOr<int> points = co_await CancelAtEverySuspension(&Joins);
    CO_ASSERT_OK(points);
    EXPECT_GE(*points, 3);
    const bool none = co_await EventuallyInTask([] { return alive == 0; });
    EXPECT_TRUE(none);
  }());
  EXPECT_EQ(alive, before);
}

Task<absl::Status> Combined() {
  const std::tuple<absl::Status, absl::Status> all = co_await WhenAll(Sleeps(1), Sleeps(2));
  if (!std::get<0>(all).ok()) co_return std::get<0>(all);
  if (!std::get<1>(all).ok()) co_return std::get<1>(all);
  const std::variant<absl::Status, absl::Status> any = co_await WhenAny(Sleeps(1), UntilStopped());
  if (any.index() != 0) co_return std::get<1>(any);
  if (!std::get<0>(any).ok()) co_return std::get<0>(any);
  TaskGroup group;
  co_await group.Spawn(Sleeps(1));
  co_await group.Spawn(Sleeps(2));
  absl::Status status = co_await group.Join();
  if (!status.ok()) co_return status;
  status = co_await WithTimeout(absl::Hours(1), Sleeps(1));
  if (!status.ok()) co_return status;
  co_return co_await Shielded(Sleeps(1));
}

TEST_P(TestingTest, WhenAllWhenAnyTaskGroupWithTimeoutShielded) { CancelEverywhere(&Combined, 12); }

Task<absl::Status> SendOneLater(Channel<Counted>* channel) {
  absl::Status status = co_await Sleep(kMoment);
  if (!status.ok()) co_return status;
  co_return co_await channel->Send(Counted(&alive));
}
Task<absl::Status> Selects() {
  Channel<Counted> a(0);
  Channel<Counted> b(0);
  TaskGroup group;
  co_await group.Spawn(SendOneLater(&a));
  co_await group.Spawn(SendOneLater(&b));
  absl::Status status;
  for (int i = 0; i < 2 && status.ok(); ++i) {
    auto chosen = co_await Select(a.Receive(), b.Receive(), Sleep(absl::Hours(1)));
    status = chosen.index() == 0   ? std::get<0>(chosen).status()
             : chosen.index() == 1 ? std::get<1>(chosen).status()
                                   : absl::InternalError("too late");
  }
  if (!status.ok()) group.RequestStop();
  absl::Status joined = co_await group.Join();
  co_return status.ok() ? joined : status;
}

TEST_P(TestingTest, Select) { CancelEverywhere(&Selects, 3); }

AsyncGenerator<Counted, absl::Status> Slowly(int n) {
  for (int i = 0; i < n; ++i) {
    absl::Status status = co_await Sleep(kMoment);
    if (!status.ok()) co_return status;
    co_yield Counted(&alive);
  }
  co_return absl::OkStatus();
}
Task<absl::Status> Generates() {
  AsyncGenerator<Counted, absl::Status> values = Slowly(4);
  int n = 0;
  while (co_await values.Next()) ++n;
  EXPECT_TRUE(!values.status().ok() || n == 4);
  co_return values.status();
}

TEST_P(TestingTest, Generator) { CancelEverywhere(&Generates, 4); }

}  // namespace
}  // namespace evring

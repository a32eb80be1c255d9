// AsyncGenerator, on this machine's kernel and on simulated ones: values, ends, errors, early destruction, stops of
// what it waits for, and stacks that do not grow.

#include "runtime/generator.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/cancellation.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

class GeneratorTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, GeneratorTest, Machines(), MachineName);

// --- Values
// -----------------------------------------------------------------------------------------------------------

AsyncGenerator<int> CountTo(int n) {
  for (int i = 0; i < n; ++i) co_yield int{i};
}

AsyncGenerator<int> CountSlowlyTo(int n) {
  for (int i = 0; i < n; ++i) {
    const absl::Status slept = co_await Sleep(absl::Microseconds(i % 7 * 10));
    EXPECT_TRUE(slept.ok());
    co_yield int{i};
  }
}

Task<int64_t> Sum(AsyncGenerator<int> numbers) {
  int64_t sum = 0;
  while (const int* number = co_await numbers.Next()) sum += *number;
  EXPECT_EQ(co_await numbers.Next(), nullptr);  // then and ever after
  co_return sum;
}

TEST_P(GeneratorTest, GivesItsValuesInOrderAndThenItsEnd) {
  EXPECT_EQ(RunValue(Sum(CountTo(0))), 0);
  EXPECT_EQ(RunValue(Sum(CountTo(100))), 4950);
  EXPECT_EQ(RunValue(Sum(CountSlowlyTo(100))), 4950);
}

AsyncGenerator<int> Doubled(AsyncGenerator<int> of) {
  while (const int* number = co_await of.Next()) co_yield *number * 2;
}

TEST_P(GeneratorTest, OneIsMadeOfAnother) { EXPECT_EQ(RunValue(Sum(Doubled(Doubled(CountSlowlyTo(100))))), 4 * 4950); }

AsyncGenerator<std::unique_ptr<std::string>> MoveOnly() {
  co_yield std::make_unique<std::string>("temporary");
  auto named = std::make_unique<std::string>("named");
  co_yield std::move(named);
  EXPECT_EQ(named, nullptr) << "the asker has moved it out of the frame";
}

Task<> TakeMoveOnly() {
  AsyncGenerator<std::unique_ptr<std::string>> generator = MoveOnly();
  std::vector<std::string> seen;
  while (std::unique_ptr<std::string>* value = co_await generator.Next()) {
    const std::unique_ptr<std::string> taken = std::move(*value);
    seen.push_back(*taken);
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"temporary", "named"}));
}

TEST_P(GeneratorTest, AValueMayBeMovedOut) { RunOk(TakeMoveOnly()); }

AsyncGenerator<std::string> Prefixes(std::string text) {
  std::string prefix;
  for (const char c : text) {
    prefix += c;
    co_yield prefix;  // its own, and still its own afterwards
  }
  EXPECT_EQ(prefix, text);
}

Task<> ChangePrefixes() {
  AsyncGenerator<std::string> prefixes = Prefixes("a text that is too long for a small string");
  size_t size = 0;
  while (std::string* prefix = co_await prefixes.Next()) {
    EXPECT_EQ(prefix->size(), ++size);
    *prefix = "changed";
  }
}

TEST_P(GeneratorTest, AnLvalueIsYieldedAsACopy) { RunOk(ChangePrefixes()); }

// --- Lifetime
// ---------------------------------------------------------------------------------------------------------

AsyncGenerator<Counted> Yielding(std::atomic<int>* alive) {
  const Counted outer(alive);
  for (;;) {
    const Counted inner(alive);
    co_yield Counted(alive);
    co_yield outer;
  }
}

Task<> GiveUpAfter(std::atomic<int>* alive, int values) {
  {
    AsyncGenerator<Counted> generator = Yielding(alive);
    for (int i = 0; i < values; ++i) {
      CO_ASSERT_TRUE(co_await generator.Next() != nullptr);
      EXPECT_EQ(*alive, 3);  // the two locals, and what is yielded
    }
    AsyncGenerator<Counted> moved = std::move(generator);
    EXPECT_FALSE(generator.valid());
    EXPECT_EQ(*alive, values == 0 ? 0 : 3);
  }
  EXPECT_EQ(*alive, 0);
}

TEST_P(GeneratorTest, OneThatIsGivenUpLeavesNothing) {
  std::atomic<int> alive{0};
  for (const int values : {0, 1, 2, 5}) RunOk(GiveUpAfter(&alive, values));
}

AsyncGenerator<int> HoldsAParameter(Counted /*counted*/) { co_yield 1; }

TEST_P(GeneratorTest, OneThatWasNeverAskedIsFreedAnywhere) {
  std::atomic<int> alive{0};
  {
    const AsyncGenerator<int> generator = HoldsAParameter(Counted(&alive));
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

Task<AsyncGenerator<int>> AskOnce(AsyncGenerator<int> numbers, int expected) {
  const int* number = co_await numbers.Next();
  EXPECT_TRUE(number != nullptr && *number == expected);
  co_return std::move(numbers);
}

Task<> PassAround(int rounds) {
  AsyncGenerator<int> numbers = CountSlowlyTo(rounds);
  for (int i = 0; i < rounds; ++i) {
    JoinHandle<AsyncGenerator<int>> asker = co_await Spawn(AskOnce(std::move(numbers), i));
    numbers = co_await std::move(asker);
  }
  EXPECT_EQ(co_await numbers.Next(), nullptr);
}

TEST_P(GeneratorTest, ItGoesFromTaskToTask) { RunOk(PassAround(Rounds(1000))); }

// --- Errors
// -----------------------------------------------------------------------------------------------------------

AsyncGenerator<int> ThrowAfter(int n, std::atomic<int>* alive) {
  const Counted counted(alive);
  for (int i = 0; i < n; ++i) co_yield int{i};
  throw std::runtime_error("from the generator");
}

Task<> Catch(int n, std::atomic<int>* alive) {
  AsyncGenerator<int> numbers = ThrowAfter(n, alive);
  int seen = 0;
  int caught = 0;
  try {
    while (co_await numbers.Next()) ++seen;
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "from the generator");
    ++caught;
  }
  EXPECT_EQ(seen, n);
  EXPECT_EQ(caught, 1);
  EXPECT_EQ(*alive, 0);
  EXPECT_EQ(co_await numbers.Next(), nullptr) << "it has ended";
}

TEST_P(GeneratorTest, AnExceptionReachesWhoAsks) {
  std::atomic<int> alive{0};
  for (const int n : {0, 1, 10}) RunOk(Catch(n, &alive));
}

AsyncGenerator<int, absl::Status> FailAfter(int n, absl::Status status) {
  for (int i = 0; i < n; ++i) co_yield int{i};
  co_return status;
}

Task<> LookAtTheStatus() {
  AsyncGenerator<int, absl::Status> good = FailAfter(3, absl::OkStatus());
  AsyncGenerator<int, absl::Status> bad = FailAfter(3, absl::DataLossError("torn"));
  int seen = 0;
  while (co_await good.Next()) ++seen;
  while (co_await bad.Next()) {
    EXPECT_TRUE(bad.status().ok()) << "it has not ended";
    ++seen;
  }
  EXPECT_EQ(seen, 6);
  EXPECT_TRUE(good.status().ok());
  EXPECT_EQ(bad.status(), absl::DataLossError("torn"));
}

TEST_P(GeneratorTest, AStatusIsKeptForWhoHasSeenTheEnd) { RunOk(LookAtTheStatus()); }

// --- Stops
// ------------------------------------------------------------------------------------------------------------

AsyncGenerator<int, absl::Status> ReceiveAll(Channel<int>* channel) {
  for (;;) {
    absl::StatusOr<int> received = co_await channel->Receive();
    if (absl::IsOutOfRange(received.status())) co_return absl::OkStatus();
    if (!received.ok()) co_return received.status();
    co_yield *std::move(received);
  }
}

Task<absl::Status> ReceiveUntilTheEnd(Channel<int>* channel, std::atomic<int>* received) {
  AsyncGenerator<int, absl::Status> values = ReceiveAll(channel);
  while (const int* value = co_await values.Next()) {
    EXPECT_EQ(*value, received->load());
    ++*received;
  }
  co_return values.status();
}

Task<> StopWhileItWaits() {
  Channel<int> channel(4);
  std::atomic<int> received{0};
  JoinHandle<absl::Status> task = co_await Spawn(ReceiveUntilTheEnd(&channel, &received));
  for (int i = 0; i < 10; ++i) CO_ASSERT_OK(co_await channel.Send(i));
  const bool all = co_await EventuallyInTask([&received] { return received == 10; });
  EXPECT_TRUE(all);
  task.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(task)));
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(co_await WithTimeout(absl::Milliseconds(2), ReceiveUntilTheEnd(&channel, &received))));
  channel.Close();
  EXPECT_TRUE((co_await ReceiveUntilTheEnd(&channel, &received)).ok());
}

TEST_P(GeneratorTest, AStopReachesWhatItWaitsFor) { RunOk(StopWhileItWaits()); }

// The stop of the task that asked once is not the stop of the next one.
Task<> AskedByAStoppedTask() {
  Channel<int> channel(4);
  AsyncGenerator<int, absl::Status> values = ReceiveAll(&channel);
  CO_ASSERT_OK(co_await channel.Send(1));
  JoinHandle<> stopped = co_await Spawn([](AsyncGenerator<int, absl::Status>* from) -> Task<> {
    static_cast<void>(co_await from->Next());
    static_cast<void>(co_await UntilStopped());
  }(&values));
  stopped.RequestStop();
  co_await std::move(stopped);
  const bool ended = !values.status().ok();  // the stop may have come before the value was taken
  if (ended) co_return;
  CO_ASSERT_OK(co_await channel.Send(2));
  const int* value = co_await values.Next();
  EXPECT_TRUE(value != nullptr && *value == 2);
}

TEST_P(GeneratorTest, ItsWaitsAreThoseOfWhoAsks) { RunOk(AskedByAStoppedTask()); }

// --- Flat
// -------------------------------------------------------------------------------------------------------------

AsyncGenerator<int> Noting(int n, StackRange* stack) {
  for (int i = 0; i < n; ++i) {
    if ((i & 0xffff) == 0) stack->Note();
    co_yield int{i & 1};
  }
}

TEST(GeneratorStack, TenMillionValuesAreFlat) {
  SmallStacks small;
  StackRange stack;
  EXPECT_EQ(RunValue(Sum(Noting(10'000'000, &stack)), WithWorkers(1)), 5'000'000);
  EXPECT_LT(stack.bytes(), 4096u);
}

TEST(GeneratorStack, OneInsideOfAnotherIsFlat) {
  SmallStacks small;
  StackRange stack;
  EXPECT_EQ(RunValue(Sum(Doubled(Noting(Scaled(1'000'000), &stack))), WithWorkers(1)), Scaled(1'000'000));
  EXPECT_LT(stack.bytes(), 4096u);
}

// --- Misuse
// -----------------------------------------------------------------------------------------------------------

Task<> AskMoved() {
  AsyncGenerator<int> numbers = CountTo(1);
  const AsyncGenerator<int> moved = std::move(numbers);
  static_cast<void>(co_await numbers.Next());
}

AsyncGenerator<int> NeverGives() {
  static_cast<void>(co_await UntilStopped());
  co_yield 0;
}
Task<> AskInBackground(AsyncGenerator<int>* numbers) { static_cast<void>(co_await numbers->Next()); }

Task<> AskTwiceAtOnce() {
  AsyncGenerator<int> numbers = NeverGives();
  JoinHandle<> first = co_await Spawn(AskInBackground(&numbers));
  JoinHandle<> second = co_await Spawn(AskInBackground(&numbers));
  co_await std::move(first);
  co_await std::move(second);
}

Task<> DestroyWhileAsked() {
  auto numbers = std::make_unique<AsyncGenerator<int>>(NeverGives());
  JoinHandle<> asker = co_await Spawn(AskInBackground(numbers.get()));
  const absl::Status slept = co_await Sleep(absl::Milliseconds(50));
  EXPECT_TRUE(slept.ok());
  numbers.reset();
  co_await std::move(asker);
}

TEST(GeneratorDeathTest, MisuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(AskMoved(), WithWorkers(1)), "moved from has no values");
  EXPECT_DEATH(RunOk(AskTwiceAtOnce(), WithWorkers(1)), "one task at a time asks a generator");
  EXPECT_DEATH(RunOk(DestroyWhileAsked(), WithWorkers(1)), "destroyed while a task waits");
}

}  // namespace
}  // namespace evring

// The code of docs/guide/channels.md, word for word (tests/house/guide_test.sh), and that it does what is said there.

#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/runtime.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/broadcast.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/oneshot.h"
#include "runtime/sync/select.h"
#include "runtime/sync/unbounded_channel.h"
#include "runtime/sync/watch.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::guide {
namespace {

Task<absl::Status> Produce(Channel<std::string>* lines) {
  std::vector<std::string> texts = {"one", "two", "three"};
  for (std::string& text : texts) {
    const absl::Status sent = co_await lines->Send(std::move(text));
    if (!sent.ok()) co_return sent;
  }
  lines->Close();
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::string>> Join(Channel<std::string>* lines) {
  std::string all;
  for (;;) {
    absl::StatusOr<std::string> line = co_await lines->Receive();
    if (absl::IsOutOfRange(line.status())) co_return all;  // closed, and everything has come out
    if (!line.ok()) co_return line.status();
    all += *line;
  }
}

Task<absl::StatusOr<std::string>> ProduceAndJoin() {
  Channel<std::string> lines(1);
  JoinHandle<absl::Status> producer = co_await Spawn(Produce(&lines));
  absl::StatusOr<std::string> all = co_await Join(&lines);
  const absl::Status produced = co_await std::move(producer);
  if (!produced.ok()) co_return produced;
  co_return all;
}

TEST(Channels, ValuesComeOutInOrderUntilTheEnd) { EXPECT_EQ(*evring::Run(ProduceAndJoin()), "onetwothree"); }

Task<int> SumOfThree(UnboundedChannel<int>* numbers) {
  int sum = 0;
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<int> number = co_await numbers->Receive();
    if (number.ok()) sum += *number;
  }
  co_return sum;
}

TEST(Channels, AThreadSends) {
  UnboundedChannel<int> numbers;
  std::thread thread([&numbers] {
    for (int i = 1; i <= 3; ++i) EXPECT_TRUE(numbers.Send(i).ok());
  });
  EXPECT_EQ(*evring::Run(SumOfThree(&numbers)), 6);
  thread.join();
}

struct Question {
  Question(int n, OneshotSender<int> answer) : n(n), answer(std::move(answer)) {}
  int n;
  OneshotSender<int> answer;
};

Task<absl::Status> AnswerAll(Channel<Question>* questions) {
  for (;;) {
    absl::StatusOr<Question> question = co_await questions->Receive();
    if (!question.ok()) co_return question.status();
    question->answer.Send(question->n * question->n).IgnoreError();  // nobody may want it any more
  }
}

Task<absl::StatusOr<int>> Ask(Channel<Question>* questions, int n) {
  auto [sender, receiver] = Oneshot<int>();
  Question question(n, std::move(sender));
  const absl::Status asked = co_await questions->Send(std::move(question));
  if (!asked.ok()) co_return asked;
  co_return co_await receiver.Receive();
}

Task<absl::StatusOr<int>> AskOnce() {
  Channel<Question> questions(8);
  JoinHandle<absl::Status> answerer = co_await Spawn(AnswerAll(&questions));
  absl::StatusOr<int> answer = co_await Ask(&questions, 9);
  questions.Close();
  const absl::Status ended = co_await std::move(answerer);
  EXPECT_TRUE(absl::IsOutOfRange(ended));
  co_return answer;
}

TEST(Channels, AQuestionHasItsAnswer) { EXPECT_EQ(*evring::Run(AskOnce()), 81); }

Task<absl::StatusOr<int>> Follow(Watch<int>* level) {
  uint64_t seen = 0;
  for (;;) {
    const absl::StatusOr<WatchValue<int>> latest = co_await level->Next(seen);
    if (!latest.ok()) co_return latest.status();
    seen = latest->version;
    if (*latest->value >= 10) co_return *latest->value;
  }
}

Task<absl::StatusOr<int>> RaiseTheLevel() {
  Watch<int> level(0);
  JoinHandle<absl::StatusOr<int>> follower = co_await Spawn(Follow(&level));
  for (int i = 1; i <= 10; ++i) {
    EXPECT_TRUE(level.Set(i).ok());
    co_await Yield();
  }
  co_return co_await std::move(follower);
}

TEST(Channels, TheLatestIsSeen) { EXPECT_EQ(*evring::Run(RaiseTheLevel()), 10); }

Task<> SlowReceiver() {
  Broadcast<int> prices(2);  // the last two are kept
  BroadcastReceiver<int> receiver = prices.Subscribe();
  for (int price = 1; price <= 5; ++price) EXPECT_TRUE(prices.Send(price).ok());

  const absl::StatusOr<BroadcastValue<int>> next = co_await receiver.Receive();
  EXPECT_EQ(*next->value, 4);
  EXPECT_EQ(next->missed, 3u);
}

TEST(Channels, WhoIsSlowIsTold) { EXPECT_TRUE(evring::Run(SlowReceiver()).ok()); }

Task<std::string> WaitForWork(Channel<int>* jobs, Channel<int>* orders) {
  auto chosen = co_await Select(orders->Receive(), jobs->Receive(), Sleep(absl::Milliseconds(5)));
  if (chosen.index() == 0) co_return "an order";
  if (chosen.index() == 1) co_return std::get<1>(chosen).ok() ? "a job" : "no more jobs";
  co_return "nothing";
}

Task<> SelectInOrder() {
  Channel<int> jobs(1);
  Channel<int> orders(1);
  std::string what = co_await WaitForWork(&jobs, &orders);
  EXPECT_EQ(what, "nothing");
  EXPECT_TRUE(jobs.TrySend(1).ok() && orders.TrySend(1).ok());
  what = co_await WaitForWork(&jobs, &orders);
  EXPECT_EQ(what, "an order");
  what = co_await WaitForWork(&jobs, &orders);
  EXPECT_EQ(what, "a job");
  jobs.Close();
  what = co_await WaitForWork(&jobs, &orders);
  EXPECT_EQ(what, "no more jobs");
}

TEST(Channels, OneCaseHappens) { EXPECT_TRUE(evring::Run(SelectInOrder()).ok()); }

}  // namespace
}  // namespace evring::guide

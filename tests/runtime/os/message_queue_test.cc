// message_queue_test.cc: POSIX message queues: order by priority, waiting on both sides, stops, errors.

#include "runtime/os/message_queue.h"

#include <errno.h>
#include <mqueue.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/testing.h"
#include "runtime/timeout.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

class MessageQueueTest : public ::testing::TestWithParam<int> {
 protected:
  MessageQueueTest() : descriptors_(CountIn("fd")), name_(absl::StrCat("/evring-test-", getpid())) {}
  ~MessageQueueTest() override {
    EXPECT_EQ(CountIn("fd"), descriptors_);
    mq_unlink(name_.c_str());
  }
  static void Run(Task<> task) { RunOk(std::move(task), WithWorkers(GetParam())); }
  const std::string& name() const { return name_; }

 private:
  const int descriptors_;
  const std::string name_;
};
INSTANTIATE_TEST_SUITE_P(Workers, MessageQueueTest, ::testing::Values(1, 2, 4));

// One with room for two messages of eight bytes.
absl::StatusOr<MessageQueue> OpenSmall(const std::string& name) {
  MessageQueue::Options options;
  options.messages_max = 2;
  options.message_bytes_max = 8;
  return MessageQueue::Open(name, O_RDWR | O_CREAT, options);
}

Task<absl::StatusOr<std::string>> ReceiveText(MessageQueue* queue) {
  std::array<std::byte, 8> buffer;
  const absl::StatusOr<ReceivedMessage> message = co_await queue->Receive(buffer);
  if (!message.ok()) co_return message.status();
  co_return Text(std::span(buffer).first(message->bytes));
}

// --- The example of the header

Task<absl::Status> SendAndReceive(std::string name, std::string* text) {
  const std::string first = "first";
  const std::span<const std::byte> job = Bytes(first);
  absl::StatusOr<MessageQueue> queue = MessageQueue::Open(name, O_RDWR | O_CREAT);
  if (!queue.ok()) co_return queue.status();
  absl::Status sent = co_await queue->Send(job, 5);
  if (!sent.ok()) co_return sent;
  std::vector<std::byte> buffer(queue->message_bytes_max());
  absl::StatusOr<ReceivedMessage> message = co_await queue->Receive(buffer);
  if (!message.ok()) co_return message.status();
  EXPECT_EQ(message->priority, 5u);
  *text = Text(std::span(buffer).first(message->bytes));
  co_return absl::OkStatus();
}

Task<> Example(std::string name) {
  std::string text;
  CO_ASSERT_OK(co_await SendAndReceive(name, &text));
  EXPECT_EQ(text, "first");
  CO_ASSERT_OK(MessageQueue::Unlink(name));
  EXPECT_TRUE(absl::IsNotFound(MessageQueue::Unlink(name)));
}

TEST_P(MessageQueueTest, TheExample) { Run(Example(name())); }

// --- Order, and waiting

Task<> Order(std::string name) {
  CO_ASSERT_OK_AND_ASSIGN(MessageQueue queue, OpenSmall(name));
  EXPECT_EQ(queue.message_bytes_max(), 8u);
  CO_ASSERT_OK(co_await queue.Send(Bytes("low"), 1));
  CO_ASSERT_OK(co_await queue.Send(Bytes("high"), 2));
  EXPECT_EQ(kevent::StatusErrno(queue.TrySend(Bytes("more"), 3)), EAGAIN);
  CO_ASSERT_OK_AND_ASSIGN(std::string text, co_await ReceiveText(&queue));
  EXPECT_EQ(text, "high");
  CO_ASSERT_OK_AND_ASSIGN(text, co_await ReceiveText(&queue));
  EXPECT_EQ(text, "low");
  std::array<std::byte, 8> buffer;
  EXPECT_EQ(kevent::StatusErrno(queue.TryReceive(buffer).status()), EAGAIN);
  CO_ASSERT_OK(queue.TrySend({}, 0));
  CO_ASSERT_OK_AND_ASSIGN(const ReceivedMessage empty, queue.TryReceive(buffer));
  EXPECT_EQ(empty.bytes, 0u);
}

TEST_P(MessageQueueTest, TheHighestPriorityComesFirst) { Run(Order(name())); }

Task<absl::Status> SendAll(MessageQueue* queue, int from, int to) {
  for (int i = from; i < to; ++i) {
    const std::string text = absl::StrCat(i);
    const absl::Status sent = co_await queue->Send(Bytes(text));
    if (!sent.ok()) co_return sent;
  }
  co_return absl::OkStatus();
}

Task<> ReceiveAll(MessageQueue* queue, std::vector<std::atomic<int>>* seen, std::atomic<int>* left) {
  while (left->fetch_sub(1) > 0) {
    CO_ASSERT_OK_AND_ASSIGN(const std::string text, co_await ReceiveText(queue));
    ++(*seen)[std::stoul(text)];
  }
}

Task<> ManyOfBoth(std::string name) {
  CO_ASSERT_OK_AND_ASSIGN(MessageQueue queue, OpenSmall(name));
  const int n = Scaled(400);
  std::vector<std::atomic<int>> seen(static_cast<size_t>(4 * n));
  std::atomic<int> left{4 * n};
  std::vector<JoinHandle<>> receivers;
  std::vector<JoinHandle<absl::Status>> senders;
  for (int i = 0; i < 3; ++i) receivers.push_back(co_await Spawn(ReceiveAll(&queue, &seen, &left)));
  for (int i = 0; i < 4; ++i) senders.push_back(co_await Spawn(SendAll(&queue, i * n, (i + 1) * n)));
  for (auto& sender : senders) CO_ASSERT_OK(co_await std::move(sender));
  for (auto& receiver : receivers) co_await std::move(receiver);
  for (const auto& count : seen) CO_ASSERT_EQ(count.load(), 1);
}

TEST_P(MessageQueueTest, ManyWaitOnBothSidesAndEachMessageComesOnce) { Run(ManyOfBoth(name())); }

Task<> FromAnother(std::string name, int* status) {
  CO_ASSERT_OK_AND_ASSIGN(MessageQueue queue, OpenSmall(name));
  const pid_t child = fork();
  if (child == 0) {
    usleep(5000);
    const mqd_t fd = mq_open(name.c_str(), O_WRONLY);
    _exit(mq_send(fd, "other", 5, 0) == 0 ? 0 : 1);
  }
  CO_ASSERT_OK_AND_ASSIGN(const std::string text, co_await ReceiveText(&queue));
  EXPECT_EQ(text, "other");
  EXPECT_EQ(waitpid(child, status, 0), child);
}

TEST_P(MessageQueueTest, AnotherProcessSends) {
  int status = -1;
  Run(FromAnother(name(), &status));
  EXPECT_EQ(status, 0);
}

// --- Stops

Task<absl::Status> Both(std::string name) {
  absl::StatusOr<MessageQueue> queue = OpenSmall(name);
  if (!queue.ok()) co_return queue.status();
  const auto none = co_await WithTimeout(absl::Milliseconds(5), ReceiveText(&*queue));
  if (!absl::IsDeadlineExceeded(none.status())) co_return none.status();
  absl::Status sent = co_await SendAll(&*queue, 0, 2);
  if (!sent.ok()) co_return sent;
  sent = co_await WithTimeout(absl::Milliseconds(5), SendAll(&*queue, 2, 3));
  if (!absl::IsDeadlineExceeded(sent)) co_return sent;
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<std::string> text = co_await ReceiveText(&*queue);
    if (!text.ok()) co_return text.status();
    EXPECT_EQ(*text, absl::StrCat(i));
  }
  co_return absl::OkStatus();
}

Task<absl::Status> Fresh(std::string name) {
  mq_unlink(name.c_str());
  co_return co_await Both(name);
}

Task<> Cancelled(std::string name) {
  const absl::Status status = co_await StartCancelled(Fresh(name));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  std::function<Task<absl::Status>()> scenario = [name] { return Fresh(name); };
  CO_ASSERT_OK_AND_ASSIGN(const int points, co_await CancelAtEverySuspension(scenario));
  EXPECT_GE(points, 4);
}

TEST_P(MessageQueueTest, WhereverItIsCancelledItEnds) { Run(Cancelled(name())); }

Task<> StoppedOften(std::string name) {
  CO_ASSERT_OK_AND_ASSIGN(MessageQueue queue, OpenSmall(name));
  for (int i = 0; i < Scaled(300); ++i) {
    JoinHandle<absl::StatusOr<std::string>> waiting = co_await Spawn(ReceiveText(&queue));
    static_cast<void>(co_await Sleep(absl::Microseconds(i)));
    const std::string text = absl::StrCat(i);
    CO_ASSERT_OK(queue.TrySend(Bytes(text), 0));
    waiting.RequestStop();
    absl::StatusOr<std::string> received = co_await std::move(waiting);
    if (!received.ok()) {
      CO_ASSERT_TRUE(absl::IsCancelled(received.status())) << received.status();
      received = co_await ReceiveText(&queue);
    }
    CO_ASSERT_OK(received);
    CO_ASSERT_EQ(*received, text);
  }
}

TEST_P(MessageQueueTest, AStopLosesNoMessage) { Run(StoppedOften(name())); }

// --- Errors

Task<> Errors(std::string name) {
  EXPECT_EQ(kevent::StatusErrno(MessageQueue::Open(name, O_RDWR).status()), ENOENT);
  EXPECT_EQ(kevent::StatusErrno(MessageQueue::Open("no-slash", O_RDWR).status()), EINVAL);
  const std::string nul("/a\0b", 4);
  EXPECT_TRUE(absl::IsInvalidArgument(MessageQueue::Open(nul, O_RDWR).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MessageQueue::Unlink(nul)));
  EXPECT_EQ(kevent::StatusErrno(MessageQueue::Open("/" + std::string(300, 'n'), O_RDWR).status()), ENAMETOOLONG);
  MessageQueue::Options half;
  half.messages_max = 3;
  EXPECT_TRUE(absl::IsInvalidArgument(MessageQueue::Open(name, O_RDWR | O_CREAT, half).status()));
  CO_ASSERT_OK_AND_ASSIGN(MessageQueue queue, OpenSmall(name));
  EXPECT_EQ(kevent::StatusErrno(MessageQueue::Open(name, O_RDWR | O_CREAT | O_EXCL).status()), EEXIST);
  absl::Status status = co_await queue.Send(Bytes("123456789"));
  EXPECT_EQ(kevent::StatusErrno(status), EMSGSIZE) << status;
  status = co_await queue.Send(Bytes("1"), 1u << 20);
  EXPECT_EQ(kevent::StatusErrno(status), EINVAL) << status;
  std::array<std::byte, 7> small;
  const absl::StatusOr<ReceivedMessage> received = co_await queue.Receive(small);
  EXPECT_EQ(kevent::StatusErrno(received.status()), EMSGSIZE) << received.status();
  EXPECT_EQ(kevent::StatusErrno(queue.TryReceive({}).status()), EMSGSIZE);
  CO_ASSERT_OK_AND_ASSIGN(MessageQueue reader, MessageQueue::Open(name, O_RDONLY));
  status = co_await reader.Send(Bytes("1"));
  EXPECT_EQ(kevent::StatusErrno(status), EBADF) << status;
  EXPECT_NE(status.message().find("mq_send fd="), absl::string_view::npos) << status;
}

TEST_P(MessageQueueTest, WhatTheSystemRefusesComesBackByErrno) { Run(Errors(name())); }

Task<> OpenSimulated() {
  const absl::StatusOr<MessageQueue> queue = MessageQueue::Open("/evring-simulated", O_RDWR | O_CREAT);
  EXPECT_EQ(kevent::StatusErrno(queue.status()), ENOSYS) << queue.status();
  co_return;
}

class SimulatedMessageQueueTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedMessageQueueTest, SimulatedMachines(), MachineName);

TEST_P(SimulatedMessageQueueTest, ASimulatedMachineHasNone) { RunOk(OpenSimulated()); }

}  // namespace
}  // namespace evring

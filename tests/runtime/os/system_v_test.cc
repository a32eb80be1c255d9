// system_v_test.cc: messages and semaphores of System V: by type, waiting on both sides, stops, removal, errors.

#include "runtime/os/system_v.h"

#include <errno.h>
#include <sys/msg.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <limits>
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

// Objects for a test, removed with it.
class Objects {
 public:
  Objects()
      : messages_(*SystemVMessages::Open(IPC_PRIVATE, IPC_CREAT | 0600)),
        semaphores_(*SystemVSemaphores::Open(IPC_PRIVATE, 3, IPC_CREAT | 0600)) {}
  ~Objects() {
    static_cast<void>(messages_.Remove());
    static_cast<void>(semaphores_.Remove());
  }

  SystemVMessages* messages() { return &messages_; }
  SystemVSemaphores* semaphores() { return &semaphores_; }

 private:
  SystemVMessages messages_;
  SystemVSemaphores semaphores_;
};

class SystemVTest : public EveryWorkerCount {
 protected:
  void Run(Task<> (*body)(Objects*)) { RunOk(body(&objects_), options()); }

 private:
  Objects objects_;
};
INSTANTIATE_TEST_SUITE_P(Workers, SystemVTest, ::testing::Values(1, 2, 4));

Task<absl::StatusOr<std::string>> ReceiveText(SystemVMessages* queue, long type) {
  std::array<std::byte, 64> buffer;
  const absl::StatusOr<SystemVMessage> message = co_await queue->Receive(type, buffer);
  if (!message.ok()) co_return message.status();
  co_return absl::StrCat(message->type, ":", std::string(reinterpret_cast<const char*>(buffer.data()), message->bytes));
}

Task<absl::Status> SendText(SystemVMessages* queue, long type, std::string text) {
  co_return co_await queue->Send(type, Bytes(text));
}

// --- The example of the header

Task<absl::Status> SendReceiveAndTake(key_t key, std::span<const std::byte> hello, std::span<std::byte> buffer) {
  absl::StatusOr<SystemVMessages> queue = SystemVMessages::Open(key, IPC_CREAT | 0600);
  if (!queue.ok()) co_return queue.status();
  absl::Status sent = co_await queue->Send(7, hello);
  if (!sent.ok()) co_return sent;
  absl::StatusOr<SystemVMessage> message = co_await queue->Receive(7, buffer);
  if (!message.ok()) co_return message.status();
  absl::StatusOr<SystemVSemaphores> semaphores = SystemVSemaphores::Open(key, 1, IPC_CREAT | 0600);
  if (!semaphores.ok()) co_return semaphores.status();
  absl::Status taken = co_await semaphores->Change(0, -1);  // waits until it is 1 at least
  if (!taken.ok()) co_return taken;
  EXPECT_EQ(message->bytes, 5u);
  EXPECT_EQ(message->type, 7);
  taken = semaphores->Remove();
  taken.Update(queue->Remove());
  co_return taken;
}

Task<> Example(Objects*) {
  const key_t key = 0x45560000 + getpid() % 0x10000;
  const std::string hello = "hello";
  std::array<std::byte, 64> buffer;
  CO_ASSERT_OK_AND_ASSIGN(SystemVSemaphores semaphores, SystemVSemaphores::Open(key, 1, IPC_CREAT | 0600));
  JoinHandle<absl::Status> example = co_await Spawn(SendReceiveAndTake(key, Bytes(hello), buffer));
  CO_ASSERT_OK(co_await semaphores.Change(0, 1));
  CO_ASSERT_OK(co_await std::move(example));
}

TEST_P(SystemVTest, TheExample) { Run(&Example); }

// --- Messages

Task<> ByType(Objects* objects) {
  SystemVMessages* const queue = objects->messages();
  for (const long type : {3, 1, 2}) CO_ASSERT_OK(co_await SendText(queue, type, absl::StrCat("of ", type)));
  CO_ASSERT_OK_AND_ASSIGN(std::string text, co_await ReceiveText(queue, 2));
  EXPECT_EQ(text, "2:of 2");
  CO_ASSERT_OK_AND_ASSIGN(text, co_await ReceiveText(queue, -5));
  EXPECT_EQ(text, "1:of 1") << "the lowest";
  CO_ASSERT_OK_AND_ASSIGN(text, co_await ReceiveText(queue, 0));
  EXPECT_EQ(text, "3:of 3");
  CO_ASSERT_OK(co_await SendText(queue, 9, ""));
  const absl::StatusOr<SystemVMessage> empty = co_await queue->Receive(9, std::span<std::byte>());
  CO_ASSERT_OK(empty);
  EXPECT_EQ(empty->bytes, 0u);
}

TEST_P(SystemVTest, MessagesAreTakenByType) { Run(&ByType); }

Task<> WaitForMessage(Objects* objects) {
  JoinHandle<absl::StatusOr<std::string>> waiting = co_await Spawn(ReceiveText(objects->messages(), 4));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));  // the only worker is not held up
  CO_ASSERT_OK(co_await SendText(objects->messages(), 3, "not this"));
  EXPECT_FALSE(waiting.done());
  CO_ASSERT_OK(co_await SendText(objects->messages(), 4, "this"));
  CO_ASSERT_OK_AND_ASSIGN(const std::string text, co_await std::move(waiting));
  EXPECT_EQ(text, "4:this");
}

TEST_P(SystemVTest, AMessageIsWaitedFor) { Run(&WaitForMessage); }

Task<> Full(Objects* objects) {
  SystemVMessages* const queue = objects->messages();
  msqid_ds state;
  EXPECT_EQ(msgctl(queue->id(), IPC_STAT, &state), 0);
  state.msg_qbytes = 10;
  EXPECT_EQ(msgctl(queue->id(), IPC_SET, &state), 0);
  CO_ASSERT_OK(co_await SendText(queue, 1, "12345678"));
  JoinHandle<absl::Status> waiting = co_await Spawn(SendText(queue, 1, "second"));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  EXPECT_FALSE(waiting.done()) << "there is no room";
  CO_ASSERT_OK(co_await ReceiveText(queue, 1));
  CO_ASSERT_OK(co_await std::move(waiting));
  CO_ASSERT_OK_AND_ASSIGN(const std::string text, co_await ReceiveText(queue, 1));
  EXPECT_EQ(text, "1:second");
}

TEST_P(SystemVTest, RoomIsWaitedFor) { Run(&Full); }

Task<> MessageRace(Objects* objects) {
  SystemVMessages* const queue = objects->messages();
  for (int i = 0; i < Scaled(300); ++i) {
    JoinHandle<absl::StatusOr<std::string>> waiting = co_await Spawn(ReceiveText(queue, 1));
    static_cast<void>(co_await Sleep(absl::Microseconds(i)));
    CO_ASSERT_OK(co_await SendText(queue, 1, absl::StrCat(i)));
    waiting.RequestStop();
    absl::StatusOr<std::string> received = co_await std::move(waiting);
    if (!received.ok()) {
      CO_ASSERT_TRUE(absl::IsCancelled(received.status())) << received.status();
      received = co_await ReceiveText(queue, 1);
    }
    CO_ASSERT_OK(received);
    CO_ASSERT_EQ(*received, absl::StrCat("1:", i));
  }
}

TEST_P(SystemVTest, AStopLosesNoMessage) { Run(&MessageRace); }

// --- Semaphores

Task<absl::Status> Change(SystemVSemaphores* semaphores, unsigned short index, short by) {
  co_return co_await semaphores->Change(index, by);
}

Task<> UpDown(Objects* objects) {
  SystemVSemaphores* const semaphores = objects->semaphores();
  CO_ASSERT_OK(semaphores->SetValue(1, 5));
  CO_ASSERT_OK(co_await semaphores->Change(1, -5));
  CO_ASSERT_OK(co_await semaphores->Change(1, 0));
  JoinHandle<absl::Status> waiting = co_await Spawn(Change(semaphores, 1, -2));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  CO_ASSERT_OK(co_await semaphores->Change(1, 1));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  EXPECT_FALSE(waiting.done()) << "one is not two";
  CO_ASSERT_OK(co_await semaphores->Change(1, 1));
  CO_ASSERT_OK(co_await std::move(waiting));
  CO_ASSERT_OK_AND_ASSIGN(const int value, semaphores->Value(1));
  EXPECT_EQ(value, 0);
  // Until it is 0.
  CO_ASSERT_OK(semaphores->SetValue(1, 1));
  JoinHandle<absl::Status> zero = co_await Spawn(Change(semaphores, 1, 0));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  EXPECT_FALSE(zero.done());
  CO_ASSERT_OK(co_await semaphores->Change(1, -1));
  CO_ASSERT_OK(co_await std::move(zero));
}

TEST_P(SystemVTest, ASemaphoreIsWaitedFor) { Run(&UpDown); }

Task<> Together(Objects* objects) {
  SystemVSemaphores* const semaphores = objects->semaphores();
  CO_ASSERT_OK(semaphores->SetValue(0, 1));
  std::vector<sembuf> both(2);
  both[0] = sembuf{0, -1, 0};
  both[1] = sembuf{2, -1, IPC_NOWAIT};
  // The second may not wait, so nothing is done; where none may, neither.
  absl::Status status = co_await semaphores->Change(both);
  EXPECT_EQ(kevent::StatusErrno(status), EAGAIN) << status;
  both[0].sem_flg = IPC_NOWAIT;
  status = co_await semaphores->Change(both);
  EXPECT_EQ(kevent::StatusErrno(status), EAGAIN) << status;
  CO_ASSERT_OK_AND_ASSIGN(int value, semaphores->Value(0));
  EXPECT_EQ(value, 1) << "both or none";
  CO_ASSERT_OK(semaphores->SetValue(2, 1));
  CO_ASSERT_OK(co_await semaphores->Change(both));
  CO_ASSERT_OK_AND_ASSIGN(value, semaphores->Value(0));
  EXPECT_EQ(value, 0);
}

TEST_P(SystemVTest, SeveralAreChangedTogether) { Run(&Together); }

Task<> SemaphoreRace(Objects* objects) {
  SystemVSemaphores* const semaphores = objects->semaphores();
  int taken = 0;
  const int n = Scaled(300);
  for (int i = 0; i < n; ++i) {
    JoinHandle<absl::Status> waiting = co_await Spawn(Change(semaphores, 0, -1));
    static_cast<void>(co_await Sleep(absl::Microseconds(i)));
    CO_ASSERT_OK(co_await semaphores->Change(0, 1));
    waiting.RequestStop();
    const absl::Status status = co_await std::move(waiting);
    CO_ASSERT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    taken += status.ok() ? 1 : 0;
  }
  CO_ASSERT_OK_AND_ASSIGN(const int left, semaphores->Value(0));
  EXPECT_EQ(left, n - taken);
}

TEST_P(SystemVTest, AStopTakesNothing) { Run(&SemaphoreRace); }

// --- Stops

Task<absl::Status> AllWaits(Objects* objects) {
  const auto none = co_await WithTimeout(absl::Milliseconds(5), ReceiveText(objects->messages(), 1));
  if (!absl::IsDeadlineExceeded(none.status())) co_return none.status();
  const absl::Status status = co_await WithTimeout(absl::Milliseconds(5), Change(objects->semaphores(), 0, -1));
  co_return absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status;
}

Task<> Cancelled(Objects* objects) {
  const absl::Status status = co_await StartCancelled(AllWaits(objects));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  const absl::Status sent = co_await StartCancelled(SendText(objects->messages(), 1, "x"));
  EXPECT_TRUE(absl::IsCancelled(sent)) << sent;
  std::function<Task<absl::Status>()> scenario = [objects] { return AllWaits(objects); };
  CO_ASSERT_OK_AND_ASSIGN(const int points, co_await CancelAtEverySuspension(scenario));
  EXPECT_GE(points, 2);
  const auto none = co_await WithTimeout(absl::Milliseconds(1), ReceiveText(objects->messages(), 0));
  EXPECT_TRUE(absl::IsDeadlineExceeded(none.status())) << "nothing was sent";
}

TEST_P(SystemVTest, WhereverItIsCancelledItEnds) { Run(&Cancelled); }

// --- Errors

Task<> Removed(Objects* objects) {
  JoinHandle<absl::StatusOr<std::string>> message = co_await Spawn(ReceiveText(objects->messages(), 1));
  JoinHandle<absl::Status> semaphore = co_await Spawn(Change(objects->semaphores(), 0, -1));
  static_cast<void>(co_await Sleep(absl::Milliseconds(5)));
  CO_ASSERT_OK(objects->messages()->Remove());
  CO_ASSERT_OK(objects->semaphores()->Remove());
  const absl::StatusOr<std::string> text = co_await std::move(message);
  const absl::Status changed = co_await std::move(semaphore);
  // A wait that begins after the removal finds nothing.
  for (const absl::Status& status : {text.status(), changed}) {
    const int error = kevent::StatusErrno(status);
    EXPECT_TRUE(error == EIDRM || error == EINVAL) << status;
    EXPECT_EQ(absl::IsAborted(status), error == EIDRM) << status;
    EXPECT_NE(status.message().find(" id="), absl::string_view::npos) << status;
  }
  EXPECT_EQ(kevent::StatusErrno(objects->messages()->Remove()), EINVAL);
  EXPECT_EQ(kevent::StatusErrno(objects->semaphores()->Value(0).status()), EINVAL);
}

TEST_P(SystemVTest, WhoWaitsLearnsThatItWasRemoved) { Run(&Removed); }

Task<> Errors(Objects* objects) {
  constexpr key_t kKey = 0x65767269;  // "evri"
  EXPECT_EQ(kevent::StatusErrno(SystemVMessages::Open(kKey, 0).status()), ENOENT);
  EXPECT_EQ(kevent::StatusErrno(SystemVSemaphores::Open(kKey, 1, 0).status()), ENOENT);
  EXPECT_EQ(kevent::StatusErrno(SystemVSemaphores::Open(IPC_PRIVATE, 0, IPC_CREAT).status()), EINVAL);
  absl::Status status = co_await SendText(objects->messages(), 0, "no type");
  EXPECT_EQ(kevent::StatusErrno(status), EINVAL) << status;
  status = co_await SendText(objects->messages(), 1, std::string(1 << 20, 'x'));
  EXPECT_EQ(kevent::StatusErrno(status), EINVAL) << status;
  CO_ASSERT_OK(co_await SendText(objects->messages(), 1, "too long"));
  std::array<std::byte, 3> small;
  const absl::StatusOr<SystemVMessage> received = co_await objects->messages()->Receive(1, small);
  EXPECT_EQ(kevent::StatusErrno(received.status()), E2BIG) << received.status();
  CO_ASSERT_OK(co_await ReceiveText(objects->messages(), 1));
  status = co_await objects->semaphores()->Change(3, 1);
  EXPECT_EQ(kevent::StatusErrno(status), EFBIG) << status;
  CO_ASSERT_OK(objects->semaphores()->SetValue(0, std::numeric_limits<short>::max()));
  status = co_await objects->semaphores()->Change(0, 1);
  EXPECT_EQ(kevent::StatusErrno(status), ERANGE) << status;
  status = objects->semaphores()->SetValue(0, -1);
  EXPECT_EQ(kevent::StatusErrno(status), ERANGE) << status;
  status = co_await objects->semaphores()->Change(std::vector<sembuf>(10'000));
  EXPECT_EQ(kevent::StatusErrno(status), E2BIG) << status;
}

TEST_P(SystemVTest, WhatTheSystemRefusesComesBackByErrno) { Run(&Errors); }

Task<> OpenSimulated(Objects* real) {
  EXPECT_EQ(kevent::StatusErrno(SystemVMessages::Open(IPC_PRIVATE, 0600).status()), ENOSYS);
  EXPECT_EQ(kevent::StatusErrno(SystemVSemaphores::Open(IPC_PRIVATE, 1, 0600).status()), ENOSYS);
  // Those that were opened outside are not waited for either: the simulated clock would stand still meanwhile.
  const absl::StatusOr<std::string> text = co_await ReceiveText(real->messages(), 1);
  EXPECT_EQ(kevent::StatusErrno(text.status()), ENOSYS) << text.status();
  const absl::Status changed = co_await Change(real->semaphores(), 0, -1);
  EXPECT_EQ(kevent::StatusErrno(changed), ENOSYS) << changed;
}

class SimulatedSystemVTest : public EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, SimulatedSystemVTest, SimulatedMachines(), MachineName);

TEST_P(SimulatedSystemVTest, ASimulatedMachineHasNone) {
  Objects real;
  RunOk(OpenSimulated(&real));
}

}  // namespace
}  // namespace evring

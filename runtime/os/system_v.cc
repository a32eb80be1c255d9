#include "runtime/os/system_v.h"

#include <errno.h>
#include <sys/msg.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "kevent/event.h"
#include "kevent/kevent.h"
#include "runtime/cancellation.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/internal/machine.h"

namespace evring {
namespace {

absl::Status Error(int error, absl::string_view doing, int id) {
  const absl::Status status = kevent::ErrnoToStatus(error, absl::StrCat(doing, " id=", id));
  if (error != EIDRM) return status;
  return kevent::StatusWithErrno(error, absl::StatusCode::kAborted, status.message());
}

// The same, of a wait that has failed: its message says of whom.
absl::Status WaitError(const absl::Status& status, absl::string_view doing, int id) {
  const int error = kevent::StatusErrno(status);
  return error == 0 ? status : Error(error, doing, id);
}

// semctl(2) has its caller define it.
union SemaphoreArgument {
  int value;
  semid_ds* set;
};

// struct msgbuf: the type, then the text.
std::vector<std::byte> NewMessage(long type, size_t bytes) {
  std::vector<std::byte> message(sizeof(type) + bytes);
  std::memcpy(message.data(), &type, sizeof(type));
  return message;
}

// By a helper thread.
Task<absl::StatusOr<kevent::Event>> CallMessages(int id, kevent_msg call) {
  kevent::Event event;
  event.type = kevent::EventType::kSysvMsg;
  event.descriptor = id;
  event.payload = reinterpret_cast<uintptr_t>(&call);
  co_return co_await WaitForEvent(event);
}

Task<absl::Status> SendMessage(int id, std::vector<std::byte> message) {
  constexpr char kDoing[] = "msgsnd";
  const bool stopped = co_await StopRequested();
  if (stopped) co_return absl::CancelledError("msgsnd: cancelled");
  const size_t bytes = message.size() - sizeof(long);
  if (msgsnd(id, message.data(), bytes, IPC_NOWAIT) == 0) co_return absl::OkStatus();
  if (errno != EAGAIN) co_return Error(errno, kDoing, id);
  kevent_msg call = {};
  call.message = message.data();
  call.size = bytes;
  call.send = 1;
  const absl::StatusOr<kevent::Event> sent = co_await CallMessages(id, call);
  co_return WaitError(sent.status(), kDoing, id);
}

Task<absl::StatusOr<SystemVMessage>> ReceiveMessage(int id, long type, std::span<std::byte> buffer) {
  constexpr char kDoing[] = "msgrcv";
  const bool stopped = co_await StopRequested();
  if (stopped) co_return absl::CancelledError("msgrcv: cancelled");
  std::vector<std::byte> message = NewMessage(0, buffer.size());
  ssize_t bytes = msgrcv(id, message.data(), buffer.size(), type, IPC_NOWAIT);
  if (bytes < 0) {
    if (errno != ENOMSG) co_return Error(errno, kDoing, id);
    kevent_msg call = {};
    call.message = message.data();
    call.size = buffer.size();
    call.type = type;
    const absl::StatusOr<kevent::Event> received = co_await CallMessages(id, call);
    if (!received.ok()) co_return WaitError(received.status(), kDoing, id);
    bytes = received->result;
  }
  SystemVMessage result;
  result.bytes = static_cast<size_t>(bytes);
  std::memcpy(&result.type, message.data(), sizeof(result.type));
  std::copy_n(message.data() + sizeof(result.type), result.bytes, buffer.data());
  co_return result;
}

Task<absl::Status> ChangeSemaphores(int id, std::vector<sembuf> operations) {
  constexpr char kDoing[] = "semop";
  const bool stopped = co_await StopRequested();
  if (stopped) co_return absl::CancelledError("semop: cancelled");
  // Without a helper thread, if that need not wait. Where some may wait and others not, the kernel is to see it as it
  // is.
  const auto may_not_wait = [](const sembuf& operation) { return (operation.sem_flg & IPC_NOWAIT) != 0; };
  const auto bound = std::count_if(operations.begin(), operations.end(), may_not_wait);
  const bool all_bound = bound == static_cast<ptrdiff_t>(operations.size());
  if (bound == 0 || all_bound) {
    std::vector<sembuf> now = operations;
    for (sembuf& operation : now) operation.sem_flg = static_cast<short>(operation.sem_flg | IPC_NOWAIT);
    if (semop(id, now.data(), now.size()) == 0) co_return absl::OkStatus();
    if (errno != EAGAIN || all_bound) co_return Error(errno, kDoing, id);
  }
  kevent_sem call = {};
  call.operations = operations.data();
  call.count = operations.size();
  kevent::Event event;
  event.type = kevent::EventType::kSysvSem;
  event.descriptor = id;
  event.payload = reinterpret_cast<uintptr_t>(&call);
  const absl::StatusOr<kevent::Event> changed = co_await WaitForEvent(event);
  co_return WaitError(changed.status(), kDoing, id);
}

}  // namespace

absl::StatusOr<SystemVMessages> SystemVMessages::Open(key_t key, int flags) {
  if (absl::Status machine = internal::CheckMachine("msgget"); !machine.ok()) return machine;
  const int id = msgget(key, flags);
  if (id < 0) return kevent::ErrnoToStatus(errno, absl::StrCat("msgget of key ", key));
  return SystemVMessages(id);
}

absl::Status SystemVMessages::Remove() {
  return msgctl(id_, IPC_RMID, nullptr) == 0 ? absl::OkStatus() : Error(errno, "removal of messages", id_);
}

Task<absl::Status> SystemVMessages::Send(long type, std::span<const std::byte> data) {
  std::vector<std::byte> message = NewMessage(type, data.size());
  std::copy(data.begin(), data.end(), message.begin() + sizeof(type));
  return SendMessage(id_, std::move(message));
}

Task<absl::StatusOr<SystemVMessage>> SystemVMessages::Receive(long type, std::span<std::byte> buffer) {
  return ReceiveMessage(id_, type, buffer);
}

absl::StatusOr<SystemVSemaphores> SystemVSemaphores::Open(key_t key, int count, int flags) {
  if (absl::Status machine = internal::CheckMachine("semget"); !machine.ok()) return machine;
  const int id = semget(key, count, flags);
  if (id < 0) return kevent::ErrnoToStatus(errno, absl::StrCat("semget of key ", key));
  return SystemVSemaphores(id);
}

absl::Status SystemVSemaphores::Remove() {
  return semctl(id_, 0, IPC_RMID) == 0 ? absl::OkStatus() : Error(errno, "removal of semaphores", id_);
}

Task<absl::Status> SystemVSemaphores::Change(unsigned short index, short by, bool undo) {
  return Change(std::vector<sembuf>{{index, by, static_cast<short>(undo ? SEM_UNDO : 0)}});
}

Task<absl::Status> SystemVSemaphores::Change(std::vector<sembuf> operations) {
  return ChangeSemaphores(id_, std::move(operations));
}

absl::StatusOr<int> SystemVSemaphores::Value(unsigned short index) const {
  const int value = semctl(id_, index, GETVAL);
  if (value < 0) return Error(errno, "value of semaphores", id_);
  return value;
}

absl::Status SystemVSemaphores::SetValue(unsigned short index, int value) {
  SemaphoreArgument argument;
  argument.value = value;
  return semctl(id_, index, SETVAL, argument) == 0 ? absl::OkStatus() : Error(errno, "setting of semaphores", id_);
}

}  // namespace evring

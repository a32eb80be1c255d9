// Futexes, System V messages and semaphores, and POSIX message queues through a queue, with real ones. DESIGN.md row
// K5. Futexes run twice, on the kernel's operations and on helper threads.

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "tests/kevent/queue_types.h"

namespace evring::kevent {
namespace {

// --- Futexes
// ----------------------------------------------------------------------------------------------------------

// Wakes one that waits for `word`; a helper thread may have to get there first.
void WakeOne(uint32_t* word, int private_flag) {
  const int64_t deadline_ns = SystemKernel()->NowNs() + int64_t{kPatienceMs} * 1'000'000;
  while (syscall(SYS_futex, word, FUTEX_WAKE | private_flag, 1, nullptr, nullptr, 0) != 1) {
    ASSERT_LT(SystemKernel()->NowNs(), deadline_ns) << "nobody waits";
    sched_yield();
  }
}

class QueueTypesFutex : public WithAndWithoutOperations {
 protected:
  static constexpr size_t kWords = 3;

  Event FutexRequest(int value, int flags = KEVENT_FUTEX_PRIVATE) {
    return Request(EventType::kFutex, flags, value, &words_[0]);
  }
  // All of the words.
  Event WaitvRequest() {
    for (size_t i = 0; i < kWords; ++i) {
      waits_[i] = {};
      waits_[i].val = words_[i];
      waits_[i].uaddr = Address(&words_[i]);
      waits_[i].flags = FUTEX_32 | FUTEX_PRIVATE_FLAG;
    }
    return Request(EventType::kFutexV, 0, kWords, waits_.data());
  }

  std::array<uint32_t, kWords> words_ = {5, 0xffff'ffff, 0};
  std::array<futex_waitv, kWords> waits_ = {};
};
INSTANTIATE_TEST_SUITE_P(Forms, QueueTypesFutex, ::testing::Bool(), FormName);

TEST_P(QueueTypesFutex, IsWoken) {
  auto queue = Make();
  for (const int flags : {KEVENT_FUTEX_PRIVATE, 0}) {
    const Event request = FutexRequest(5, flags);
    ASSERT_GT(queue->Submit(request), 0);
    Event record;
    EXPECT_FALSE(queue->TryNext(&record));
    WakeOne(&words_[0], flags != 0 ? FUTEX_PRIVATE_FLAG : 0);
    EXPECT_EQ(LastRecord(queue.get(), request).result, 0);
  }
}

TEST_P(QueueTypesFutex, WithAnotherValueIsNotWaitedFor) {
  auto queue = Make();
  EXPECT_EQ(Outcome(queue.get(), FutexRequest(6)), -EAGAIN);
  words_[0] = 0x8000'0000;  // the value's bits, not its sign
  EXPECT_EQ(Outcome(queue.get(), FutexRequest(0)), -EAGAIN);
  ExpectCancelAndTearDown(FutexRequest(INT32_MIN), GetParam());
}

TEST_P(QueueTypesFutex, OfSeveralTellsWhichWasWoken) {
  auto queue = Make();
  for (size_t i = 0; i < kWords; ++i) {
    const Event request = WaitvRequest();
    ASSERT_GT(queue->Submit(request), 0);
    Event record;
    EXPECT_FALSE(queue->TryNext(&record));
    WakeOne(&words_[i], FUTEX_PRIVATE_FLAG);
    EXPECT_EQ(LastRecord(queue.get(), request).result, static_cast<int32_t>(i));
  }
}

TEST_P(QueueTypesFutex, OfSeveralWithAnotherValueIsNotWaitedFor) {
  auto queue = Make();
  const Event request = WaitvRequest();
  waits_[2].val = 1;
  EXPECT_EQ(Outcome(queue.get(), request), -EAGAIN);
  waits_[1].flags = 0x7000;
  EXPECT_EQ(Outcome(queue.get(), request), -EINVAL);
}

TEST_P(QueueTypesFutex, IsCancelledAndTornDown) {
  ExpectCancelAndTearDown(FutexRequest(5), GetParam());
  ExpectCancelAndTearDown(FutexRequest(5, 0), GetParam());
  const Event waitv = WaitvRequest();
  if (GetParam()) {
    ExpectCancelAndTearDown(waitv, true, {SYS_futex_waitv});
  } else {
    ExpectCancelAndTearDown(waitv);
  }
}

// --- System V
// ---------------------------------------------------------------------------------------------------------

struct Message {
  long type = 0;
  char text[16] = {};
};

// A message queue of its own, with room for one text of 16 bytes.
class MessageQueue {
 public:
  MessageQueue() : id_(msgget(IPC_PRIVATE, IPC_CREAT | 0600)) {
    EXPECT_GE(id_, 0) << errno;
    msqid_ds settings;
    EXPECT_EQ(msgctl(id_, IPC_STAT, &settings), 0);
    settings.msg_qbytes = sizeof(Message::text);
    EXPECT_EQ(msgctl(id_, IPC_SET, &settings), 0);
  }
  ~MessageQueue() { Remove(); }
  void Remove() { EXPECT_TRUE(id_ < 0 || msgctl(std::exchange(id_, -1), IPC_RMID, nullptr) == 0); }
  int id() const { return id_; }
  void Send(long type, const char* text) const {
    Message message;
    message.type = type;
    std::strncpy(message.text, text, sizeof(message.text) - 1);
    EXPECT_EQ(msgsnd(id_, &message, sizeof(message.text), IPC_NOWAIT), 0);
  }

 private:
  int id_;
};

TEST(QueueTypesSysvMessage, IsReceived) {
  auto queue = MakeQueue();
  MessageQueue messages;
  Message message;
  kevent_msg argument = {.message = &message, .size = sizeof(message.text), .type = 2, .flags = 0, .send = 0};
  Event request = Request(EventType::kSysvMsg, messages.id(), 0, &argument);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  AwaitHelperIn({SYS_msgrcv});
  messages.Send(2, "hello");
  EXPECT_EQ(LastRecord(queue.get(), request).result, static_cast<int32_t>(sizeof(message.text)));
  EXPECT_EQ(message.type, 2);
  EXPECT_STREQ(message.text, "hello");

  messages.Send(1, "another type");
  argument.flags = IPC_NOWAIT;
  EXPECT_EQ(Outcome(queue.get(), request), -ENOMSG);
  argument.type = 0;
  argument.size = 4;
  EXPECT_EQ(Outcome(queue.get(), request), -E2BIG);
  argument.flags = MSG_NOERROR;
  EXPECT_EQ(Outcome(queue.get(), request), 4);
}

TEST(QueueTypesSysvMessage, IsSentWhenThereIsRoom) {
  auto queue = MakeQueue();
  MessageQueue messages;
  messages.Send(1, "it is full now");
  Message message;
  message.type = 3;
  std::strcpy(message.text, "next");
  const kevent_msg argument = {.message = &message, .size = sizeof(message.text), .type = 0, .flags = 0, .send = 1};
  const Event request = Request(EventType::kSysvMsg, messages.id(), 0, &argument);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  AwaitHelperIn({SYS_msgsnd});
  Message got;
  EXPECT_GT(msgrcv(messages.id(), &got, sizeof(got.text), 1, 0), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, 0);
  EXPECT_GT(msgrcv(messages.id(), &got, sizeof(got.text), 3, IPC_NOWAIT), 0);
  EXPECT_STREQ(got.text, "next");
}

TEST(QueueTypesSysvMessage, OfAQueueThatIsRemovedIsAnError) {
  auto queue = MakeQueue();
  MessageQueue messages;
  Message message;
  const kevent_msg argument = {.message = &message, .size = sizeof(message.text), .type = 0, .flags = 0, .send = 0};
  const Event request = Request(EventType::kSysvMsg, messages.id(), 0, &argument);
  ASSERT_GT(queue->Submit(request), 0);
  AwaitHelperIn({SYS_msgrcv});
  messages.Remove();
  EXPECT_EQ(LastRecord(queue.get(), request).result, -EIDRM);
}

TEST(QueueTypesSysvMessage, IsCancelledAndTornDown) {
  MessageQueue messages;
  Message message;
  message.type = 1;
  kevent_msg argument = {.message = &message, .size = sizeof(message.text), .type = 0, .flags = 0, .send = 0};
  ExpectCancelAndTearDown(Request(EventType::kSysvMsg, messages.id(), 0, &argument), false, {SYS_msgrcv});
  argument.send = 1;
  messages.Send(1, "it is full now");
  ExpectCancelAndTearDown(Request(EventType::kSysvMsg, messages.id(), 0, &argument), false, {SYS_msgsnd});
}

class Semaphore {
 public:
  Semaphore() : id_(semget(IPC_PRIVATE, 1, IPC_CREAT | 0600)) { EXPECT_GE(id_, 0) << errno; }
  ~Semaphore() { Remove(); }
  void Remove() { EXPECT_TRUE(id_ < 0 || semctl(std::exchange(id_, -1), 0, IPC_RMID) == 0); }
  int id() const { return id_; }
  int value() const { return semctl(id_, 0, GETVAL); }

 private:
  int id_;
};

TEST(QueueTypesSysvSemaphore, IsTakenWhenItIsFree) {
  auto queue = MakeQueue();
  Semaphore semaphore;
  sembuf operations[] = {{.sem_num = 0, .sem_op = -2, .sem_flg = 0}, {.sem_num = 0, .sem_op = 1, .sem_flg = 0}};
  const kevent_sem argument = {.operations = operations, .count = 2};
  const Event request = Request(EventType::kSysvSem, semaphore.id(), 0, &argument);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  AwaitHelperIn({SYS_semop, SYS_semtimedop});
  sembuf up = {.sem_num = 0, .sem_op = 2, .sem_flg = 0};
  ASSERT_EQ(semop(semaphore.id(), &up, 1), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, 0);
  EXPECT_EQ(semaphore.value(), 1) << "both operations were done";
  operations[0].sem_flg = IPC_NOWAIT;
  EXPECT_EQ(Outcome(queue.get(), request), -EAGAIN);
  operations[0].sem_num = 1;
  EXPECT_EQ(Outcome(queue.get(), request), -EFBIG);
}

TEST(QueueTypesSysvSemaphore, ThatIsRemovedIsAnError) {
  auto queue = MakeQueue();
  Semaphore semaphore;
  sembuf down = {.sem_num = 0, .sem_op = -1, .sem_flg = 0};
  const kevent_sem argument = {.operations = &down, .count = 1};
  const Event request = Request(EventType::kSysvSem, semaphore.id(), 0, &argument);
  ASSERT_GT(queue->Submit(request), 0);
  AwaitHelperIn({SYS_semop, SYS_semtimedop});
  semaphore.Remove();
  EXPECT_EQ(LastRecord(queue.get(), request).result, -EIDRM);
}

TEST(QueueTypesSysvSemaphore, IsCancelledAndTornDown) {
  const Semaphore semaphore;
  sembuf down = {.sem_num = 0, .sem_op = -1, .sem_flg = 0};
  const kevent_sem argument = {.operations = &down, .count = 1};
  ExpectCancelAndTearDown(Request(EventType::kSysvSem, semaphore.id(), 0, &argument), false,
                          {SYS_semop, SYS_semtimedop});
  sembuf up = {.sem_num = 0, .sem_op = 1, .sem_flg = 0};
  ASSERT_EQ(semop(semaphore.id(), &up, 1), 0);
  EXPECT_EQ(semaphore.value(), 1) << "what was cancelled has not taken it";
}

// --- POSIX message queues
// ---------------------------------------------------------------------------------------------

// One of its own, with room for one message.
class PosixMessageQueue {
 public:
  PosixMessageQueue() {
    const std::string name = "/evring_queue_types_" + std::to_string(getpid());
    mq_attr attributes = {};
    attributes.mq_maxmsg = 1;
    attributes.mq_msgsize = 16;
    mq_ = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
    EXPECT_GE(mq_, 0) << errno;
    mq_unlink(name.c_str());
  }
  ~PosixMessageQueue() { mq_close(mq_); }
  mqd_t get() const { return mq_; }
  void Send() const { EXPECT_EQ(mq_send(mq_, "hello", 5, 0), 0); }
  void Receive() const {
    char text[16];
    EXPECT_EQ(mq_receive(mq_, text, sizeof(text), nullptr), 5);
  }

 private:
  mqd_t mq_;
};

Event MqRequest(mqd_t mq, int events, uint32_t flags = 0) {
  return Request(EventType::kMq, mq, events, nullptr, flags);
}

TEST(QueueTypesMq, TellsWhatItIsReadyFor) {
  auto queue = MakeQueue();
  const PosixMessageQueue messages;
  EXPECT_EQ(Outcome(queue.get(), MqRequest(messages.get(), POLLIN | POLLOUT)), POLLOUT);
  Event request = MqRequest(messages.get(), POLLIN);
  ASSERT_GT(queue->Submit(request), 0);
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  messages.Send();
  EXPECT_EQ(LastRecord(queue.get(), request).result, POLLIN);
  request = MqRequest(messages.get(), POLLOUT);
  ASSERT_GT(queue->Submit(request), 0);
  EXPECT_FALSE(queue->TryNext(&record)) << "it is full";
  messages.Receive();
  EXPECT_EQ(LastRecord(queue.get(), request).result, POLLOUT);
}

TEST(QueueTypesMq, LevelTellsAsLongAsItIsReady) {
  auto queue = MakeQueue();
  const PosixMessageQueue messages;
  const Event request = MqRequest(messages.get(), POLLIN, KEVENT_LEVEL);
  const int64_t number = queue->Submit(request);
  messages.Send();
  for (int i = 0; i < 3; ++i) {
    const Event record = NextRecord(queue.get());
    EXPECT_EQ(record.cookie, request.cookie);
    EXPECT_EQ(record.result, POLLIN);
    EXPECT_FALSE(record.last());
  }
  messages.Receive();
  Event record;
  EXPECT_FALSE(queue->TryNext(&record));
  EXPECT_EQ(queue->Cancel(number), 0);
  EXPECT_EQ(LastRecord(queue.get(), request).result, -ECANCELED);
}

TEST(QueueTypesMq, IsCancelledAndTornDown) {
  const PosixMessageQueue messages;
  ExpectCancelAndTearDown(MqRequest(messages.get(), POLLIN));
  ExpectCancelAndTearDown(MqRequest(messages.get(), POLLIN, KEVENT_LEVEL));
  EXPECT_EQ(Outcome(MakeQueue().get(), MqRequest(-1, POLLIN)), -EBADF);
}

}  // namespace
}  // namespace evring::kevent

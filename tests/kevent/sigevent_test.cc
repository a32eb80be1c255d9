// SIGEV_KEVENT (DESIGN.md row K6): interfaces of POSIX report into a queue, through the C interface, with the real
// ones: timer_create, mq_notify, aio_read, aio_write, lio_listio, getaddrinfo_a.

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/sanitizer.h"

namespace evring::kevent {
namespace {

constexpr timespec kPatience = {.tv_sec = 10, .tv_nsec = 0};
constexpr uint64_t kCookie = 0x0123'4567'89ab'cdef;

class Sigevent : public ::testing::Test {
 protected:
  void SetUp() override {
    kfd_ = kevent_init(64);
    ASSERT_GE(kfd_, 0) << strerror(errno);
  }
  void TearDown() override { Destroy(); }
  void Destroy() { EXPECT_TRUE(kfd_ < 0 || kevent_destroy(std::exchange(kfd_, -1), nullptr, 0) == 0); }

  // What reports into the queue, with the cookie.
  sigevent Reporting(uint64_t cookie = kCookie) {
    sigevent sev;
    EXPECT_EQ(kevent_sigevent(kfd_, &sev, cookie, &number_), 0) << strerror(errno);
    return sev;
  }
  kevent_event Next() {
    kevent_event record = {};
    EXPECT_EQ(kevent_get_events(kfd_, &record, 1, 1, &kPatience, nullptr), 1) << strerror(errno);
    return record;
  }
  bool HasRecord() {
    kevent_event record;
    return kevent_get_events(kfd_, &record, 0, 1, nullptr, nullptr) == 1;
  }
  void ExpectReport(uint64_t cookie = kCookie) {
    const kevent_event record = Next();
    EXPECT_EQ(record.type, KEVENT_EVENT_SIGEVENT);
    EXPECT_EQ(record.cookie, cookie);
    EXPECT_EQ(record.flags, KEVENT_MORE);
    EXPECT_EQ(record.payload, number_);
  }
  void ExpectCancelled() {
    const kevent_event record = Next();
    EXPECT_EQ(record.type, KEVENT_EVENT_SIGEVENT);
    EXPECT_EQ(record.cookie, kCookie);
    EXPECT_EQ(record.result, -ECANCELED);
    EXPECT_EQ(record.flags, 0u);
    EXPECT_EQ(kevent_cancel(kfd_, number_), -1);
    EXPECT_EQ(errno, ENOENT);
  }

  int kfd_ = -1;
  uint64_t number_ = 0;  // of the registration that was made last
};

// Notified on threads that the C library makes inside of itself. ThreadSanitizer does not see them begin, and its
// runtime faults on them.
class SigeventOfTheLibrary : public Sigevent {
 protected:
  void SetUp() override {
#ifdef EVRING_TSAN
    GTEST_SKIP() << "ThreadSanitizer does not know the threads of the C library";
#endif
    Sigevent::SetUp();
  }
};

class Timer {
 public:
  explicit Timer(sigevent sev) { EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &sev, &timer_), 0); }
  ~Timer() { timer_delete(timer_); }
  void Start(long first_ns, long interval_ns) {
    const itimerspec times = {.it_interval = {0, interval_ns}, .it_value = {0, first_ns}};
    EXPECT_EQ(timer_settime(timer_, 0, &times, nullptr), 0);
  }

 private:
  timer_t timer_{};
};

class File {
 public:
  File() : path_(::testing::TempDir() + "sigevent_XXXXXX"), fd_(mkstemp(path_.data())) { EXPECT_GE(fd_, 0); }
  ~File() {
    close(fd_);
    unlink(path_.c_str());
  }
  int fd() const { return fd_; }

 private:
  std::string path_;
  const int fd_;
};

// --- Timers
// -----------------------------------------------------------------------------------------------------------

TEST_F(SigeventOfTheLibrary, OfATimerReportsEachTime) {
  Timer timer(Reporting());
  timer.Start(1, 1'000'000);
  for (int i = 0; i < 3; ++i) ExpectReport();
}

// After the last record nothing comes, though the timer goes on and its notifications arrive: another registration, of
// a timer that was started later, sees several.
TEST_F(SigeventOfTheLibrary, AfterACancelNothingIsReported) {
  Timer timer(Reporting());
  timer.Start(1, 200'000);
  ExpectReport();
  const uint64_t cancelled = number_;
  ASSERT_EQ(kevent_cancel(kfd_, cancelled), 0) << strerror(errno);
  kevent_event record;
  while ((record = Next()).flags == KEVENT_MORE) EXPECT_EQ(record.payload, cancelled) << "came before the cancel";
  EXPECT_EQ(record.result, -ECANCELED);
  Timer other(Reporting(/*cookie=*/2));
  other.Start(1, 1'000'000);
  for (int i = 0; i < 10; ++i) ExpectReport(/*cookie=*/2);
}

// The number of a registration that has ended is not that of the next one, which may stand in the same place.
TEST_F(SigeventOfTheLibrary, OfAnEndedRegistrationDoesNotReportForTheNext) {
  Timer timer(Reporting());
  ASSERT_EQ(kevent_cancel(kfd_, number_), 0);
  ExpectCancelled();
  const uint64_t before = number_;
  Reporting(/*cookie=*/2);
  EXPECT_NE(number_, before);
  timer.Start(1, 0);
  Timer later(Reporting(/*cookie=*/3));
  later.Start(20'000'000, 0);
  ExpectReport(/*cookie=*/3);
}

// Notifications run on threads of the C library's while the queue goes, and after it has gone.
TEST_F(SigeventOfTheLibrary, TheQueueIsDestroyedWhileATimerReports) {
  std::array<std::unique_ptr<Timer>, 4> timers;
  for (auto& timer : timers) {
    timer = std::make_unique<Timer>(Reporting());
    timer->Start(1, 100'000);
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Next().type, KEVENT_EVENT_SIGEVENT);
  Destroy();
  // A queue after it, with the same descriptor and the same numbers, hears nothing of them; but of its own.
  SetUp();
  Timer own(Reporting());
  own.Start(1, 1'000'000);
  for (int i = 0; i < 10; ++i) ExpectReport();
}

// --- Message queues
// ---------------------------------------------------------------------------------------------------

TEST_F(SigeventOfTheLibrary, OfAMessageQueueReportsTheFirstMessage) {
  const std::string name = "/evring_sigevent_" + std::to_string(getpid());
  const mqd_t mq = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, nullptr);
  ASSERT_GE(mq, 0) << strerror(errno);
  EXPECT_EQ(mq_unlink(name.c_str()), 0);
  const sigevent sev = Reporting();
  std::string text(8192, '\0');
  for (int i = 0; i < 2; ++i) {  // mq_notify(3): asked for anew each time
    ASSERT_EQ(mq_notify(mq, &sev), 0) << strerror(errno);
    EXPECT_FALSE(HasRecord());
    ASSERT_EQ(mq_send(mq, "hello", 5, 0), 0);
    ExpectReport();
    EXPECT_EQ(mq_receive(mq, text.data(), text.size(), nullptr), 5);
  }
  ASSERT_EQ(mq_notify(mq, &sev), 0);
  ASSERT_EQ(kevent_cancel(kfd_, number_), 0);
  ExpectCancelled();
  ASSERT_EQ(mq_send(mq, "hello", 5, 0), 0);
  Timer timer(Reporting(/*cookie=*/2));
  timer.Start(20'000'000, 0);
  ExpectReport(/*cookie=*/2);
  EXPECT_EQ(mq_close(mq), 0);
}

// --- Asynchronous I/O
// -------------------------------------------------------------------------------------------------

TEST_F(SigeventOfTheLibrary, OfAsynchronousIoReportsItsEnd) {
  const File file;
  char text[] = "hello";
  aiocb control = {};
  control.aio_fildes = file.fd();
  control.aio_buf = text;
  control.aio_nbytes = 5;
  control.aio_sigevent = Reporting(/*cookie=*/1);
  ASSERT_EQ(aio_write(&control), 0) << strerror(errno);
  ExpectReport(/*cookie=*/1);
  EXPECT_EQ(aio_error(&control), 0);
  EXPECT_EQ(aio_return(&control), 5);

  char got[8] = {};
  control.aio_buf = got;
  control.aio_nbytes = sizeof(got);
  control.aio_offset = 1;
  control.aio_sigevent = Reporting(/*cookie=*/2);
  ASSERT_EQ(aio_read(&control), 0);
  ExpectReport(/*cookie=*/2);
  EXPECT_EQ(aio_return(&control), 4);
  EXPECT_STREQ(got, "ello");
}

TEST_F(SigeventOfTheLibrary, OfAListOfAsynchronousIoReportsTheEndOfAll) {
  const File file;
  char texts[2][4] = {"one", "two"};
  std::array<aiocb, 2> controls = {};
  std::array<aiocb*, 2> list;
  for (size_t i = 0; i < list.size(); ++i) {
    controls[i].aio_fildes = file.fd();
    controls[i].aio_lio_opcode = LIO_WRITE;
    controls[i].aio_buf = texts[i];
    controls[i].aio_nbytes = 3;
    controls[i].aio_offset = static_cast<off_t>(3 * i);
    controls[i].aio_sigevent.sigev_notify = SIGEV_NONE;
    list[i] = &controls[i];
  }
  sigevent sev = Reporting();
  ASSERT_EQ(lio_listio(LIO_NOWAIT, list.data(), static_cast<int>(list.size()), &sev), 0) << strerror(errno);
  ExpectReport();
  for (aiocb& control : controls) EXPECT_EQ(aio_return(&control), 3);
  char got[8] = {};
  EXPECT_EQ(pread(file.fd(), got, sizeof(got), 0), 6);
  EXPECT_STREQ(got, "onetwo");
}

// The read waits in a thread of the C library's until after the registration has ended.
TEST_F(SigeventOfTheLibrary, OfAsynchronousIoThatWasCancelledReportsNothing) {
  int pipe[2];
  ASSERT_EQ(pipe2(pipe, O_CLOEXEC), 0);
  char byte = 0;
  aiocb control = {};
  control.aio_fildes = pipe[0];
  control.aio_buf = &byte;
  control.aio_nbytes = 1;
  control.aio_sigevent = Reporting();
  ASSERT_EQ(aio_read(&control), 0);
  ASSERT_EQ(kevent_cancel(kfd_, number_), 0);
  ExpectCancelled();
  ASSERT_EQ(write(pipe[1], "x", 1), 1);
  const aiocb* list[] = {&control};
  EXPECT_EQ(aio_suspend(list, 1, &kPatience), 0);
  EXPECT_EQ(aio_return(&control), 1);
  EXPECT_FALSE(HasRecord());
  close(pipe[0]);
  close(pipe[1]);
}

// --- Names
// ------------------------------------------------------------------------------------------------------------

TEST_F(SigeventOfTheLibrary, OfALookUpReportsItsEnd) {
  addrinfo hints = {};
  hints.ai_flags = AI_NUMERICHOST;  // of a name in hand: no network is asked
  hints.ai_family = AF_INET;
  gaicb request = {};
  request.ar_name = "127.0.0.1";
  request.ar_request = &hints;
  gaicb* list[] = {&request};
  sigevent sev = Reporting();
  ASSERT_EQ(getaddrinfo_a(GAI_NOWAIT, list, 1, &sev), 0);
  ExpectReport();
  EXPECT_EQ(gai_error(&request), 0);
  ASSERT_NE(request.ar_result, nullptr);
  EXPECT_EQ(request.ar_result->ai_family, AF_INET);
  freeaddrinfo(request.ar_result);
}

// --- The registration
// -------------------------------------------------------------------------------------------------

TEST_F(Sigevent, ManyNotificationsAtOnceAreAllReported) {
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  const sigevent sev = Reporting();
  std::array<std::thread, kThreads> threads;
  for (std::thread& thread : threads) {
    thread = std::thread([&] {
      for (int i = 0; i < kEach; ++i) sev.sigev_notify_function(sev.sigev_value);
    });
  }
  for (int i = 0; i < kThreads * kEach; ++i) ExpectReport();
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(HasRecord());
}

TEST_F(Sigevent, RefusesWhatCannotBe) {
  sigevent sev;
  EXPECT_EQ(kevent_sigevent(kfd_, nullptr, 1, &number_), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(kevent_sigevent(kfd_, &sev, 1, nullptr), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(kevent_sigevent(-1, &sev, 1, &number_), -1);
  EXPECT_EQ(errno, EBADF);
  ASSERT_EQ(kevent_ctl(kfd_, KEVENT_CTL_REGISTRATIONS_MAX, 1u), 0);
  sev = Reporting();
  EXPECT_EQ(kevent_sigevent(kfd_, &sev, 1, &number_), -1);
  EXPECT_EQ(errno, ENOSPC);
  // Only kevent_sigevent() makes one.
  kevent_event event = {};
  event.type = KEVENT_EVENT_SIGEVENT;
  EXPECT_EQ(kevent_submit(kfd_, &event, 0, nullptr), -1);
  EXPECT_EQ(errno, EINVAL);
}

}  // namespace
}  // namespace evring::kevent

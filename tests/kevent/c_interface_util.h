// c_interface_util.h: what the tests of the C interface share.
//
// EXPECT_FAILS("kevent_wait EINTR", kevent_wait(...)): the call is that one, it returns -1, and errno is that. The text
// is what tests/house/man_pages.sh looks for: each error of a manual page has a test, each error that is tested stands
// in the page.

#ifndef EVRING_TESTS_KEVENT_C_INTERFACE_UTIL_H_
#define EVRING_TESTS_KEVENT_C_INTERFACE_UTIL_H_

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "kevent/kevent.h"

namespace evring::kevent {

// `run()` makes the call whose text is `call`, and gives what it returned as a number.
template <class F>
::testing::AssertionResult Fails(const std::string& what, const std::string& call, F&& run) {
  errno = 0;
  const long rc = run();
  const int error = errno;
  const size_t space = what.find(' ');
  const std::string name = what.substr(0, space);
  std::string wanted = what.substr(space + 1);
  if (wanted == "EWOULDBLOCK") wanted = "EAGAIN";  // one number, two names
  if (call.rfind(name + "(", 0) != 0) return ::testing::AssertionFailure() << call << " is not " << name;
  if (rc != -1) return ::testing::AssertionFailure() << call << " returned " << rc << ", not " << wanted;
  const char* const got = strerrorname_np(error);
  if (got == nullptr || wanted != got) {
    return ::testing::AssertionFailure() << call << " failed with " << (got == nullptr ? "?" : got) << ", not "
                                         << wanted;
  }
  return ::testing::AssertionSuccess();
}

inline long AsNumber(int rc) { return rc; }
inline long AsNumber(const void* pointer) { return pointer == nullptr ? -1 : 0; }

#define EXPECT_FAILS(what, ...) \
  EXPECT_TRUE(                  \
      ::evring::kevent::Fails(what, #__VA_ARGS__, [&]() -> long { return ::evring::kevent::AsNumber(__VA_ARGS__); }))

constexpr timespec kAtOnce = {0, 0};
constexpr timespec kLong = {20, 0};  // a test that waits for this has failed

inline kevent_event Request(int type, int descriptor, uint64_t cookie, int result = 0, uint32_t flags = 0) {
  kevent_event ev = {};
  ev.type = type;
  ev.descriptor = descriptor;
  ev.cookie = cookie;
  ev.result = result;
  ev.flags = flags;
  return ev;
}

// A queue with its ring; destroyed at the end, if the test has not.
class TestQueue {
 public:
  explicit TestQueue(int num = 64) : num_(num), kfd_(kevent_init(num)) {
    EXPECT_GE(kfd_, 0) << strerror(errno);
    ring_ = kevent_map_ringbuf(kfd_, static_cast<size_t>(num));
    EXPECT_NE(ring_, nullptr) << strerror(errno);
  }
  TestQueue(const TestQueue&) = delete;
  TestQueue& operator=(const TestQueue&) = delete;
  ~TestQueue() { Destroy(); }

  void Destroy() {
    if (kfd_ < 0) return;
    EXPECT_EQ(kevent_destroy(kfd_, ring_, static_cast<size_t>(num_)), 0) << strerror(errno);
    kfd_ = -1;
  }
  // The test has closed or destroyed it.
  void Forget() { kfd_ = -1; }

  int kfd() const { return kfd_; }
  kevent_ring* ring() const { return ring_; }

  int Post(uint64_t cookie) {
    kevent_event ev = Request(KEVENT_EVENT_USER, 0, cookie);
    return kevent_submit(kfd_, &ev, 0, nullptr);
  }
  // The next record; its type is 0 if none comes.
  kevent_event Next() {
    kevent_event ev = {};
    for (;;) {
      const unsigned state = kevent_ring_state(ring_);
      if (kevent_consume(ring_, &ev) == 1) return ev;
      if (kevent_wait(kfd_, state, &kLong, nullptr) != 0 && errno != EWOULDBLOCK) {
        ADD_FAILURE() << "no record: " << strerror(errno);
        return kevent_event{};
      }
    }
  }

 private:
  const int num_;
  int kfd_;
  kevent_ring* ring_ = nullptr;
};

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe2(fds_, O_CLOEXEC | O_NONBLOCK), 0); }
  ~Pipe() {
    close(fds_[0]);
    close(fds_[1]);
  }
  int reads() const { return fds_[0]; }
  int writes() const { return fds_[1]; }

 private:
  int fds_[2];
};

}  // namespace evring::kevent

#endif  // EVRING_TESTS_KEVENT_C_INTERFACE_UTIL_H_

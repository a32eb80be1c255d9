// An accepted connection that a thread was given by kevent_wait() and has not consumed is closed with that thread when
// its queue has gone before; with a queue that is there, it goes to another.

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <future>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/kevent.h"

namespace evring::kevent {
namespace {

constexpr timespec kPatience = {.tv_sec = 10, .tv_nsec = 0};

class GivenAccept : public ::testing::Test {
 protected:
  void SetUp() override {
    server_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    client_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(listen(server_, 1), 0) << strerror(errno);
    sockaddr_in address;
    socklen_t size = sizeof(address);
    ASSERT_EQ(getsockname(server_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    ASSERT_EQ(connect(client_, reinterpret_cast<sockaddr*>(&address), size), 0) << strerror(errno);
    kfd_ = kevent_init(8);
    ASSERT_GE(kfd_, 0) << strerror(errno);
    kevent_event event = {};
    event.type = KEVENT_EVENT_ACCEPT;
    event.descriptor = server_;
    ASSERT_EQ(kevent_submit(kfd_, &event, 0, nullptr), 0) << strerror(errno);
  }
  void TearDown() override {
    close(client_);
    close(server_);
  }

  // A thread that is given the record; it ends when `end` is set.
  std::thread WithTheRecord(std::promise<void>* end) {
    std::promise<void> given;
    std::future<void> has_it = given.get_future();
    std::thread thread([this, given = std::move(given), ended = end->get_future()]() mutable {
      // The connection is there already, and its record may come between the look at the state and the wait.
      int rc;
      do {
        rc = kevent_wait(kfd_, kevent_ring_state(kevent_map_ringbuf(kfd_, 8)), &kPatience, nullptr);
      } while (rc != 0 && errno == EWOULDBLOCK);
      EXPECT_EQ(rc, 0) << strerror(errno);
      given.set_value();
      ended.wait();
    });
    has_it.wait();
    return thread;
  }

  int server_ = -1;
  int client_ = -1;
  int kfd_ = -1;
};

TEST_F(GivenAccept, IsClosedWithAThreadThatOutlivesTheQueue) {
  std::promise<void> end;
  std::thread thread = WithTheRecord(&end);
  ASSERT_EQ(kevent_destroy(kfd_, nullptr, 0), 0) << strerror(errno);
  end.set_value();
  thread.join();
  const timeval patience = {.tv_sec = kPatience.tv_sec, .tv_usec = 0};
  ASSERT_EQ(setsockopt(client_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
  char byte;
  EXPECT_EQ(recv(client_, &byte, 1, 0), 0) << "the connection is open still";
}

TEST_F(GivenAccept, GoesBackWithAThreadThatTheQueueOutlives) {
  std::promise<void> end;
  std::thread thread = WithTheRecord(&end);
  end.set_value();
  thread.join();
  kevent_event record;
  ASSERT_EQ(kevent_get_events(kfd_, &record, 1, 1, &kPatience, nullptr), 1) << strerror(errno);
  EXPECT_EQ(record.type, KEVENT_EVENT_ACCEPT);
  ASSERT_GE(record.result, 0);
  EXPECT_EQ(send(client_, "x", 1, 0), 1);
  char byte = 0;
  EXPECT_EQ(recv(record.result, &byte, 1, 0), 1);
  EXPECT_EQ(close(record.result), 0);
  EXPECT_EQ(kevent_destroy(kfd_, nullptr, 0), 0);
}

}  // namespace
}  // namespace evring::kevent

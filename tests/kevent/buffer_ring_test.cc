// buffer_ring_test.cc: buffers go from the kernel to the receiver and back, as often as one likes and from any thread;
// what happens when none is left; what is caught when a returned one is used.

#include "kevent/buffer_ring.h"

#include <errno.h>
#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/ring.h"
#include "kevent/sanitizer.h"
#include "tests/kevent/test_ring.h"

namespace evring::kevent {
namespace {

BufferRingOptions Options(uint32_t buffer_bytes, uint32_t initial, uint32_t max, uint16_t group = 0) {
  BufferRingOptions options;
  options.buffer_bytes = buffer_bytes;
  options.initial = initial;
  options.max = max;
  options.group = group;
  return options;
}

std::unique_ptr<BufferRing> MakeBuffers(Ring* ring, const BufferRingOptions& options) {
  absl::StatusOr<std::unique_ptr<BufferRing>> buffers = BufferRing::Create(ring, options);
  EVRING_CHECK(buffers.ok(), "the test needs buffers");
  return *std::move(buffers);
}

std::string Text(std::span<std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Datagrams: each is one message, however fast they come.
class Datagrams {
 public:
  Datagrams() { EVRING_CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds_) == 0, "the test needs sockets"); }
  Datagrams(const Datagrams&) = delete;
  Datagrams& operator=(const Datagrams&) = delete;
  ~Datagrams() {
    close(fds_[0]);
    close(fds_[1]);
  }
  int receiver() const { return fds_[0]; }
  void Send(const std::string& text) {
    EVRING_CHECK(send(fds_[1], text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()), "a message is sent");
  }

 private:
  int fds_[2];
};

class Receive : public TestKevent {
 public:
  Receive(Ring* ring, BufferRing* buffers, int fd)
      : TestKevent(EventType::kReceive, fd), ring_(ring), buffers_(buffers) {}

  void Start(bool multishot = false) {
    io_uring_sqe* sqe = ring_->GetSqe();
    EVRING_CHECK(sqe != nullptr, "the test has room");
    if (multishot) {
      io_uring_prep_recv_multishot(sqe, descriptor(), nullptr, 0, 0);
    } else {
      io_uring_prep_recv(sqe, descriptor(), nullptr, buffers_->buffer_bytes(), 0);
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffers_->group();
    ring_->Start(this, sqe);
  }
  // Receives one message.
  const Event& One() {
    Start();
    Drain(ring_);
    return events().back();
  }

 private:
  Ring* const ring_;
  BufferRing* const buffers_;
};

TEST(BufferRing, GivesABufferToWhatArrivesAndTakesItBack) {
  const auto ring = MakeRing();
  const auto buffers = MakeBuffers(ring.get(), Options(64, 2, 2));
  Datagrams datagrams;
  Receive receive(ring.get(), buffers.get(), datagrams.receiver());
  std::set<uint16_t> used;
  // Far more messages than buffers.
  for (int i = 0; i < 100; ++i) {
    const std::string text = "message " + std::to_string(i);
    datagrams.Send(text);
    const Event& event = receive.One();
    ASSERT_EQ(event.result, static_cast<int32_t>(text.size()));
    ASSERT_TRUE(event.has_buffer());
    used.insert(event.buffer_id());
    EXPECT_EQ(Text(buffers->Take(event.buffer_id(), text.size())), text);
    buffers->Return(event.buffer_id());
  }
  EXPECT_EQ(used, (std::set<uint16_t>{0, 1}));
}

TEST(BufferRing, KeepsItsNumbers) {
  const auto ring = MakeRing();
  const auto buffers = MakeBuffers(ring.get(), Options(128, 3, 16, 5));
  EXPECT_EQ(buffers->group(), 5);
  EXPECT_EQ(buffers->buffer_bytes(), 128u);
  EXPECT_EQ(buffers->lent_max(), 3u);
}

TEST(BufferRing, OneGoesRoundWhereOneIsEnough) {
  const auto ring = MakeRing();
  const auto buffers = MakeBuffers(ring.get(), Options(64, 1, 64));
  Datagrams datagrams;
  Receive receive(ring.get(), buffers.get(), datagrams.receiver());
  for (int i = 0; i < 10; ++i) {
    datagrams.Send("x");
    const Event& event = receive.One();
    EXPECT_EQ(event.buffer_id(), 0);
    buffers->Return(event.buffer_id());
  }
}

// --- None left
// -----------------------------------------------------------------------------------------------------------

TEST(BufferRing, WithoutABufferAReceiveFailsAndLosesNothing) {
  const auto ring = MakeRing();
  const auto buffers = MakeBuffers(ring.get(), Options(64, 1, 4));
  Datagrams datagrams;
  Receive receive(ring.get(), buffers.get(), datagrams.receiver());
  for (const char* text : {"one", "two", "three", "four"}) datagrams.Send(text);

  EXPECT_EQ(receive.One().result, 3);
  EXPECT_EQ(receive.One().result, -ENOBUFS);
  EXPECT_FALSE(receive.events().back().has_buffer());
  EXPECT_EQ(buffers->lent_max(), 1u);
  EXPECT_TRUE(buffers->Grow());
  EXPECT_EQ(buffers->lent_max(), 2u) << "doubles";
  EXPECT_EQ(receive.One().result, 3);
  EXPECT_EQ(Text(buffers->Take(receive.events().back().buffer_id(), 3)), "two") << "it waited in the socket";
  EXPECT_TRUE(buffers->Grow());
  EXPECT_EQ(buffers->lent_max(), 4u);
  EXPECT_EQ(receive.One().result, 5);
  EXPECT_EQ(receive.One().result, 4);
  EXPECT_FALSE(buffers->Grow()) << "the maximum is out";
  EXPECT_EQ(buffers->lent_max(), 4u);

  // A buffer that comes back serves as well.
  datagrams.Send("five!");
  EXPECT_EQ(receive.One().result, -ENOBUFS);
  buffers->Return(0);
  EXPECT_EQ(receive.One().result, 5);
  EXPECT_EQ(receive.events().back().buffer_id(), 0);
}

TEST(BufferRing, AMultishotEndsWithoutABufferAndGoesOnWhenArmedAgain) {
  const auto ring = MakeRing();
  const auto buffers = MakeBuffers(ring.get(), Options(64, 2, 4));
  Datagrams datagrams;
  Receive receive(ring.get(), buffers.get(), datagrams.receiver());
  receive.Start(/*multishot=*/true);
  ring->Enter();
  for (int i = 0; i < 5; ++i) datagrams.Send(std::to_string(i));
  Drain(ring.get());
  ASSERT_EQ(receive.events().size(), 3u);
  EXPECT_FALSE(receive.events()[0].last());
  EXPECT_FALSE(receive.events()[1].last());
  EXPECT_EQ(receive.events()[2].result, -ENOBUFS);
  EXPECT_TRUE(receive.events()[2].last());
  std::string all;
  for (int i = 0; i < 2; ++i) all += Text(buffers->Take(receive.events()[i].buffer_id(), 1));
  EXPECT_TRUE(buffers->Grow());
  receive.Start(/*multishot=*/true);
  Drain(ring.get());
  for (size_t i = 3; i < receive.events().size(); ++i) {
    if (receive.events()[i].result < 0) continue;
    all += Text(buffers->Take(receive.events()[i].buffer_id(), 1));
  }
  EXPECT_EQ(all, "0123");
  for (uint16_t id = 0; id < 4; ++id) buffers->Return(id);
  EXPECT_EQ(receive.One().result, 1);
  EXPECT_EQ(Text(buffers->Take(receive.events().back().buffer_id(), 1)), "4");
}

// --- Other threads
// -------------------------------------------------------------------------------------------------------

TEST(BufferRing, ABufferReturnedElsewhereIsLentAgainByReclaim) {
  const auto ring = MakeRing();
  const auto buffers = MakeBuffers(ring.get(), Options(64, 2, 2));
  Datagrams datagrams;
  Receive receive(ring.get(), buffers.get(), datagrams.receiver());
  buffers->Reclaim();  // nothing to do
  for (int i = 0; i < 3; ++i) datagrams.Send("x");
  const uint16_t first = receive.One().buffer_id();
  const uint16_t second = receive.One().buffer_id();
  std::thread([&] {
    buffers->ReturnRemote(second);
    buffers->ReturnRemote(first);
  }).join();
  EXPECT_EQ(receive.One().result, -ENOBUFS) << "kept aside until then";
  buffers->Reclaim();
  EXPECT_EQ(receive.One().result, 1);
  buffers->Reclaim();  // each comes back once
  datagrams.Send("y");
  EXPECT_EQ(receive.One().result, 1);
  datagrams.Send("z");
  EXPECT_EQ(receive.One().result, -ENOBUFS);
}

// The owner receives numbered messages and hands each buffer to one of four threads, which looks at it, holds it for a
// while, looks again and returns it. A buffer that was lent while it was held, or a number that was lost or came twice,
// shows.
TEST(BufferRing, FourThreadsReturnWhileTheOwnerReceives) {
  constexpr int kThreads = 4;
  constexpr uint32_t kBuffers = 32;
  constexpr uint64_t kMessages = 20'000;
  const auto ring = MakeRing();
  const auto buffers = MakeBuffers(ring.get(), Options(64, kBuffers, kBuffers));
  Datagrams datagrams;

  struct Held {
    uint16_t id;
    uint64_t number;
    size_t size;
  };
  std::mutex mutex;
  std::condition_variable filled;
  std::deque<Held> queue;
  bool done = false;
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (;;) {
        Held held;
        {
          std::unique_lock lock(mutex);
          filled.wait(lock, [&] { return done || !queue.empty(); });
          if (queue.empty()) return;
          held = queue.front();
          queue.pop_front();
        }
        const std::span<std::byte> bytes = buffers->Take(held.id, held.size);
        const std::string expected = std::to_string(held.number);
        if (Text(bytes) != expected) ++wrong;
        std::this_thread::yield();
        if (Text(bytes) != expected) ++wrong;
        std::memset(bytes.data(), 0xee, bytes.size());
        buffers->ReturnRemote(held.id);
      }
    });
  }

  Receive receive(ring.get(), buffers.get(), datagrams.receiver());
  uint64_t received = 0;
  uint64_t sent = 0;
  uint64_t out_of_buffers = 0;
  while (received < kMessages) {
    buffers->Reclaim();
    for (; sent < kMessages && sent < received + 4; ++sent) datagrams.Send(std::to_string(sent));
    const Event event = receive.One();
    if (event.result == -ENOBUFS) {
      ++out_of_buffers;
      std::this_thread::yield();
      continue;
    }
    ASSERT_GT(event.result, 0);
    std::lock_guard lock(mutex);
    queue.push_back(Held{event.buffer_id(), received++, static_cast<size_t>(event.result)});
    filled.notify_one();
  }
  {
    std::lock_guard lock(mutex);
    done = true;
  }
  filled.notify_all();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  // All are back, each once.
  buffers->Reclaim();
  std::set<uint16_t> ids;
  for (uint32_t i = 0; i < kBuffers; ++i) {
    datagrams.Send("x");
    const Event& event = receive.One();
    ASSERT_EQ(event.result, 1);
    EXPECT_TRUE(ids.insert(event.buffer_id()).second) << event.buffer_id();
  }
  datagrams.Send("x");
  EXPECT_EQ(receive.One().result, -ENOBUFS);
  RecordProperty("out_of_buffers", static_cast<int>(out_of_buffers));
}

// --- Options and errors
// --------------------------------------------------------------------------------------------------

TEST(BufferRingOptions, AreChecked) {
  const auto ring = MakeRing();
  for (const uint32_t max : {0u, 3u, 48u, 65536u, 1u << 31}) {
    const auto buffers = BufferRing::Create(ring.get(), Options(64, 1, max));
    EXPECT_EQ(buffers.status().code(), absl::StatusCode::kInvalidArgument) << max;
    EXPECT_EQ(buffers.status().message(), "BufferRing: max is a power of two, at most 32768");
  }
  for (const uint32_t bytes : {0u, 1u, 63u, 65u, 100u}) {
    const auto buffers = BufferRing::Create(ring.get(), Options(bytes, 1, 4));
    EXPECT_EQ(buffers.status().code(), absl::StatusCode::kInvalidArgument) << bytes;
    EXPECT_EQ(buffers.status().message(), "BufferRing: buffer_bytes is a multiple of 64");
  }
  EXPECT_EQ(MakeBuffers(ring.get(), Options(64, 0, 4))->lent_max(), 1u);
  EXPECT_EQ(MakeBuffers(ring.get(), Options(64, 100, 4))->lent_max(), 4u);
  EXPECT_EQ(MakeBuffers(ring.get(), Options(64, 32768, 32768))->lent_max(), 32768u);
}

TEST(BufferRingErrors, AGroupNumberInUse) {
  const auto ring = MakeRing();
  {
    const auto buffers = MakeBuffers(ring.get(), Options(64, 1, 4, 7));
    const auto second = BufferRing::Create(ring.get(), Options(64, 1, 4, 7));
    EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(StatusErrno(second.status()), EEXIST);
    EXPECT_TRUE(BufferRing::Create(ring.get(), Options(64, 1, 4, 8)).ok());
  }
  EXPECT_TRUE(BufferRing::Create(ring.get(), Options(64, 1, 4, 7)).ok()) << "it is free again";
}

TEST(BufferRingErrors, MoreMemoryThanThereIsAddressSpace) {
  const auto ring = MakeRing();
  const auto buffers = BufferRing::Create(ring.get(), Options(4'294'967'232u, 1, 32768));
  EXPECT_EQ(buffers.status().code(), absl::StatusCode::kResourceExhausted) << buffers.status();
  EXPECT_EQ(StatusErrno(buffers.status()), ENOMEM);
}

// --- Misuse
// --------------------------------------------------------------------------------------------------------------

class BufferRingDeathTest : public testing::Test {
 protected:
  void SetUp() override { testing::GTEST_FLAG(death_test_style) = "threadsafe"; }
};

TEST_F(BufferRingDeathTest, ANumberThatIsNone) {
  EXPECT_DEATH(
      {
        const auto ring = MakeRing();
        MakeBuffers(ring.get(), Options(64, 1, 4))->Take(4, 1);
      },
      "the kernel names a buffer of ours");
  EXPECT_DEATH(
      {
        const auto ring = MakeRing();
        MakeBuffers(ring.get(), Options(64, 1, 4))->Take(0, 65);
      },
      "the kernel names a buffer of ours");
  EXPECT_DEATH(
      {
        const auto ring = MakeRing();
        MakeBuffers(ring.get(), Options(64, 1, 4))->Return(4);
      },
      "a buffer of ours is returned");
  EXPECT_DEATH(
      {
        const auto ring = MakeRing();
        MakeBuffers(ring.get(), Options(64, 1, 4))->ReturnRemote(4);
      },
      "a buffer of ours is returned");
}

// AddressSanitizer does not see the kernel write; what it can see is a reader that comes too late.
TEST_F(BufferRingDeathTest, AReturnedBufferIsPoisoned) {
#ifndef EVRING_ASAN
  GTEST_SKIP() << "needs AddressSanitizer";
#else
  const auto use_after = [](bool remote) {
    const auto ring = MakeRing();
    const auto buffers = MakeBuffers(ring.get(), Options(64, 1, 4));
    Datagrams datagrams;
    datagrams.Send("x");
    Receive receive(ring.get(), buffers.get(), datagrams.receiver());
    const uint16_t id = receive.One().buffer_id();
    const std::span<std::byte> bytes = buffers->Take(id, 1);
    EXPECT_EQ(bytes[0], std::byte{'x'});
    remote ? buffers->ReturnRemote(id) : buffers->Return(id);
    volatile std::byte late = bytes[0];
    static_cast<void>(late);
  };
  EXPECT_DEATH(use_after(false), "use-after-poison");
  EXPECT_DEATH(use_after(true), "use-after-poison");
  const auto read_behind = [] {
    const auto ring = MakeRing();
    const auto buffers = MakeBuffers(ring.get(), Options(64, 1, 4));
    volatile std::byte behind = buffers->Take(0, 8).data()[8];
    static_cast<void>(behind);
  };
  EXPECT_DEATH(read_behind(), "use-after-poison");
#endif
}

}  // namespace
}  // namespace evring::kevent

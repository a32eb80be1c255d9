// multishot_socket.h: connections and data that keep coming: multishot accept, and multishot receive into buffers that
// the kernel picks, so that an idle connection holds none.
//
// What applications use is in net/. One task at a time takes from each; threads and cancellation: multishot.h.

#ifndef EVRING_RUNTIME_MULTISHOT_SOCKET_H_
#define EVRING_RUNTIME_MULTISHOT_SOCKET_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "kevent/errors.h"
#include "runtime/multishot.h"
#include "runtime/worker.h"

namespace evring {

// Bytes that were received into a buffer of a worker's ring (or, when those ran out, into one of their own). Gives the
// buffer back when it is destroyed, on any thread, before the runtime is shut down. Hold it for short: buffers are
// shared by all connections of a worker.
class ReceivedBuffer {
 public:
  ReceivedBuffer() = default;
  ReceivedBuffer(Worker* owner, uint16_t id, std::span<std::byte> data) : data_(data), owner_(owner), id_(id) {}
  ReceivedBuffer(std::unique_ptr<std::byte[]> memory, size_t size)
      : data_(memory.get(), size), memory_(std::move(memory)) {}
  ReceivedBuffer(ReceivedBuffer&& other) noexcept { *this = std::move(other); }
  ReceivedBuffer& operator=(ReceivedBuffer&& other) noexcept {
    Reset();
    data_ = std::exchange(other.data_, {});
    owner_ = std::exchange(other.owner_, nullptr);
    id_ = other.id_;
    memory_ = std::move(other.memory_);
    return *this;
  }
  ~ReceivedBuffer() { Reset(); }

  // Empty: the end of the stream.
  std::span<std::byte> data() const { return data_; }
  size_t size() const { return data_.size(); }
  bool empty() const { return data_.empty(); }

  // Gives the memory back now.
  void Reset();

 private:
  std::span<std::byte> data_;
  Worker* owner_ = nullptr;
  uint16_t id_ = 0;
  std::unique_ptr<std::byte[]> memory_;
};

namespace internal {

class MultishotReceive final : public Multishot {
 public:
  explicit MultishotReceive(int fd) : Multishot(kevent::EventType::kReceive, fd) {}

  class Operation final : public TakeWait {
   public:
    explicit Operation(MultishotReceive* source) : TakeWait(source) {}
    bool await_ready() { return TakeNow(); }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      return Suspend(handle.promise().context(), handle);
    }
    absl::StatusOr<ReceivedBuffer> await_resume();
  };

 private:
  void Prepare(io_uring_sqe* sqe, Worker* worker) override;
  void Discard(const Record& record) override;
  bool IsPause(int32_t result, Worker* worker) override;

  // When all buffers of a worker are out: one receive into memory of its own, so that there is always progress.
  static constexpr size_t kOwnBytes = 4096;
  bool use_own_ = false;
  std::unique_ptr<std::byte[]> own_;
};

class MultishotAccept final : public Multishot {
 public:
  explicit MultishotAccept(int fd) : Multishot(kevent::EventType::kAccept, fd) {}

  class Operation final : public TakeWait {
   public:
    explicit Operation(MultishotAccept* source) : TakeWait(source) {}
    bool await_ready() { return TakeNow(); }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
      return Suspend(handle.promise().context(), handle);
    }
    // The descriptor, which is the caller's now.
    absl::StatusOr<int> await_resume() {
      if (result_ < 0) return kevent::ErrnoToStatus(result_, "accept", source_->fd());
      return result_;
    }
  };

 private:
  void Prepare(io_uring_sqe* sqe, Worker* worker) override;
  void Discard(const Record& record) override;
};

}  // namespace internal
}  // namespace evring

#endif  // EVRING_RUNTIME_MULTISHOT_SOCKET_H_

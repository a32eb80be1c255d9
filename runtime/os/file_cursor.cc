#include "runtime/os/file_cursor.h"

#include "kevent/check.h"

namespace evring {

// Relaxed: it finds a wrong use, and publishes nothing.
class FileCursor::Use {
 public:
  explicit Use(FileCursor* cursor) : cursor_(cursor) {
    EVRING_CHECK(!cursor->in_use_.exchange(true, std::memory_order_relaxed), "one task at a time moves a cursor");
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() { cursor_->in_use_.store(false, std::memory_order_relaxed); }

 private:
  FileCursor* const cursor_;
};

Task<absl::StatusOr<size_t>> FileCursor::Read(std::span<std::byte> buffer) {
  const Use use(this);
  const absl::StatusOr<size_t> n = co_await file_->ReadAt(buffer, offset_);
  offset_ += n.value_or(0);
  co_return n;
}

Task<absl::Status> FileCursor::Write(std::span<const std::byte> data) {
  const Use use(this);
  const absl::Status status = co_await file_->WriteAt(data, offset_);
  if (status.ok()) offset_ += data.size();
  co_return status;
}

}  // namespace evring

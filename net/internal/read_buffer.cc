#include "net/internal/read_buffer.h"

#include <string.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "kevent/check.h"

namespace evring::net::internal {

ReadBuffer::ReadBuffer(size_t capacity) : capacity_(std::max<size_t>(capacity, 1)) {}

void ReadBuffer::Consume(size_t n) {
  EVRING_CHECK(n <= size(), "what was read is consumed");
  begin_ += n;
}

size_t ReadBuffer::MoveTo(std::span<std::byte> out) {
  const size_t n = std::min(out.size(), size());
  if (n != 0) memcpy(out.data(), memory_.get() + begin_, n);
  begin_ += n;
  return n;
}

std::span<std::byte> ReadBuffer::Room(size_t size_max) {
  EVRING_CHECK(size_max > size(), "a limit that is reached is answered before more is read");
  if (memory_ == nullptr) memory_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
  if (size() == 0) begin_ = end_ = 0;
  if (begin_ != 0 && (end_ == capacity_ || begin_ >= size())) {
    memmove(memory_.get(), memory_.get() + begin_, size());
    end_ -= std::exchange(begin_, 0);
  }
  if (end_ == capacity_) Reallocate(std::max(std::min(capacity_ * 2, size_max), size() + 1), 0);
  return std::span(memory_.get() + end_, capacity_ - end_);
}

void ReadBuffer::Added(size_t n) {
  EVRING_CHECK(n <= capacity_ - end_, "a stream reads no more than it was given room for");
  end_ += n;
}

void ReadBuffer::PutBack(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  // Consumed bytes leave a gap only where they came out of the buffer; others may have gone past it.
  if (memory_ == nullptr || begin_ < bytes.size()) {
    Reallocate(std::max(capacity_, bytes.size() + size()), bytes.size());
  }
  begin_ -= bytes.size();
  memcpy(memory_.get() + begin_, bytes.data(), bytes.size());
}

// Moves the data to new memory, `begin` bytes behind its start.
void ReadBuffer::Reallocate(size_t capacity, size_t begin) {
  auto memory = std::make_unique_for_overwrite<std::byte[]>(capacity);
  if (size() != 0) memcpy(memory.get() + begin, memory_.get() + begin_, size());
  end_ = begin + size();
  begin_ = begin;
  capacity_ = capacity;
  memory_ = std::move(memory);
}

}  // namespace evring::net::internal

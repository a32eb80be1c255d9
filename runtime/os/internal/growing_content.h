// growing_content.h: the memory that something is read into whose length is not known before.
//
//   GrowingContent content(limit);
//   for (;;) {
//     const size_t n = … read into content.Room() …
//     if (n == 0) return std::move(content).Take();
//     if (!content.Add(n)) … there are more than `limit` bytes …
//   }

#ifndef EVRING_RUNTIME_OS_INTERNAL_GROWING_CONTENT_H_
#define EVRING_RUNTIME_OS_INTERNAL_GROWING_CONTENT_H_

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace evring::internal {

class GrowingContent {
 public:
  explicit GrowingContent(size_t limit) : limit_(limit) {}

  // How many bytes there are.
  size_t size() const { return size_; }

  // Where the next ones go, valid until the next call.
  std::span<std::byte> Room() {
    // One byte beyond the limit tells the end from too much.
    const size_t room = limit_ - size_ < step_ ? limit_ - size_ + 1 : step_;
    content_.resize(size_ + room);
    return std::as_writable_bytes(std::span(content_).subspan(size_));
  }
  // `n` bytes have come into what Room() gave. False: that is more than the limit.
  [[nodiscard]] bool Add(size_t n) {
    size_ += n;
    if (size_ == content_.size()) step_ = std::min(2 * step_, kStepMax);
    return size_ <= limit_;
  }

  std::string Take() && {
    content_.resize(size_);
    return std::move(content_);
  }

 private:
  static constexpr size_t kStepMin = size_t{16} << 10;
  static constexpr size_t kStepMax = size_t{1} << 20;

  const size_t limit_;
  std::string content_;
  size_t size_ = 0;  // of it, the bytes that were read
  size_t step_ = kStepMin;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_GROWING_CONTENT_H_

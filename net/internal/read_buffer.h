// read_buffer.h: the memory of a buffered reader: bytes that have arrived and were not consumed, in one piece.
//
//     memory_   | consumed | data ............ | room |
//               0        begin_              end_   capacity_
//
// Memory comes with the first Room(), and grows by doubling as bytes arrive: a peer that announces much and sends
// little costs little. Moving data to the front is paid for by the bytes consumed before it.

#ifndef EVRING_NET_INTERNAL_READ_BUFFER_H_
#define EVRING_NET_INTERNAL_READ_BUFFER_H_

#include <cstddef>
#include <memory>
#include <span>

#include "absl/strings/string_view.h"

namespace evring::net::internal {

class ReadBuffer {
 public:
  // `capacity` bytes at first; at least 1.
  explicit ReadBuffer(size_t capacity);
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  size_t size() const { return end_ - begin_; }
  size_t capacity() const { return capacity_; }
  // Valid until the next Room() or PutBack().
  absl::string_view data() const {
    return size() == 0 ? absl::string_view()
                       : absl::string_view(reinterpret_cast<char*>(memory_.get()) + begin_, size());
  }

  // Forgets the first `n` bytes, at most size().
  void Consume(size_t n);

  // Copies the first bytes to `out` and forgets them; how many: as many as there are and fit.
  size_t MoveTo(std::span<std::byte> out);

  // Memory behind the data, at least one byte. Where the buffer is full it grows, to `size_max` bytes of data at most,
  // which is more than size().
  std::span<std::byte> Room(size_t size_max);
  // `n` bytes were written to the last Room().
  void Added(size_t n);

  // Puts `bytes` before the data, as if they had not been consumed.
  void PutBack(std::span<const std::byte> bytes);

 private:
  void Reallocate(size_t capacity, size_t begin);

  size_t capacity_;
  size_t begin_ = 0;
  size_t end_ = 0;
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace evring::net::internal

#endif  // EVRING_NET_INTERNAL_READ_BUFFER_H_

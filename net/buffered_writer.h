// buffered_writer.h: BufferedWriter, which gathers small writes to a stream and passes large ones through.
//
//   BufferedWriter writer(&stream);
//   absl::Status status = co_await writer.Write("HTTP/1.1 200 OK\r\n");   // copied; does not suspend
//   status = co_await writer.Flush();
//
// A write that fits behind what is buffered is copied, at once. One that does not goes out together with what is
// buffered before it, by one vectored write and without a copy. So memory is `capacity` bytes, from the first copied
// write on, whatever is written; and no call makes a coroutine frame.
//
// One call at a time (a debug check), by one task after another, on a worker if the stream wants one. Borrows the
// stream; data that is written is borrowed until the await has ended.
//
// An error of the stream, kCancelled among them, leaves open how much went out. So it is final: every later call
// answers it and writes nothing.
//
// Who ends with unflushed data has forgotten Flush(), or means it and says Abandon(). The destructor drops the data; in
// debug builds it checks that one of the two was called, unless the stream has failed or an exception is on its way.
//
// Checked by: tests/net/buffered_writer_test.cc.

#ifndef EVRING_NET_BUFFERED_WRITER_H_
#define EVRING_NET_BUFFERED_WRITER_H_

#include <string.h>
#include <sys/uio.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "kevent/check.h"
#include "net/byte_stream.h"

namespace evring::net {

template <ByteSink Stream>
class BufferedWriter {
 public:
  static constexpr size_t kDefaultCapacity = 16 * 1024;

  // With a capacity of 0 every write passes through.
  explicit BufferedWriter(Stream* stream, size_t capacity = kDefaultCapacity)
      : stream_(stream), capacity_(capacity), exceptions_(std::uncaught_exceptions()) {}
  BufferedWriter(const BufferedWriter&) = delete;
  BufferedWriter& operator=(const BufferedWriter&) = delete;
  ~BufferedWriter() {
    EVRING_DCHECK(!busy_, "a writer outlives its calls");
    EVRING_DCHECK(size_ == 0 || std::uncaught_exceptions() > exceptions_, "unflushed data: Flush() or Abandon()");
  }

  class WriteAwaiter;
  class FlushAwaiter;

  // All of `data`, after what was written before. -> absl::Status
  WriteAwaiter Write(std::span<const std::byte> data) { return WriteAwaiter(this, data); }
  WriteAwaiter Write(absl::string_view text) {
    return WriteAwaiter(this, std::as_bytes(std::span(text.data(), text.size())));
  }

  // Hands what is buffered to the stream. -> absl::Status
  FlushAwaiter Flush() { return FlushAwaiter(this); }

  // Bytes that were written and not handed to the stream yet.
  size_t buffered() const { return size_; }

  // The error that ended the stream for this writer, OK as long as there was none.
  const absl::Status& status() const { return status_; }

  // Drops what is buffered: it will not be sent. Not while a call waits.
  void Abandon() {
    EVRING_DCHECK(!busy_, "one call at a time");
    size_ = 0;
  }

 private:
  bool TryCopy(std::span<const std::byte> data) {
    if (data.size() > capacity_ - size_) return false;
    if (data.empty()) return true;
    if (memory_ == nullptr) memory_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    memcpy(memory_.get() + size_, data.data(), data.size());
    size_ += data.size();
    return true;
  }

  void BeginCall() {
    EVRING_DCHECK(!busy_, "one call at a time");
    busy_ = true;
  }

  // Also after a failure nothing is left: how much of it went out is not known.
  absl::Status EndCall(absl::Status status) {
    size_ = 0;
    status_ = std::move(status);
    return status_;
  }

  Stream* const stream_;
  const size_t capacity_;
  const int exceptions_;  // under way when this was made
  size_t size_ = 0;
  bool busy_ = false;  // a call is waiting
  std::unique_ptr<std::byte[]> memory_;
  absl::Status status_;
};

template <ByteSink Stream>
class [[nodiscard]] BufferedWriter<Stream>::WriteAwaiter {
 public:
  WriteAwaiter(BufferedWriter* writer, std::span<const std::byte> data) : writer_(writer), data_(data) {}
  WriteAwaiter(const WriteAwaiter&) = delete;
  WriteAwaiter& operator=(const WriteAwaiter&) = delete;

  bool await_ready() {
    EVRING_DCHECK(!writer_->busy_, "one call at a time");
    if (!writer_->status_.ok() || writer_->TryCopy(data_)) return true;
    writer_->BeginCall();
    pieces_[0] = iovec{writer_->memory_.get(), writer_->size_};
    pieces_[1] = iovec{const_cast<std::byte*>(data_.data()), data_.size()};  // read only, in spite of its type
    const std::span<const iovec> pieces = std::span(pieces_).subspan(writer_->size_ == 0 ? 1 : 0);
    write_.emplace([this, pieces] { return writer_->stream_->WriteV(pieces); });
    return write_->awaiter().await_ready();
  }
  template <class Promise>
  auto await_suspend(std::coroutine_handle<Promise> waiting) {
    return write_->awaiter().await_suspend(waiting);
  }
  absl::Status await_resume() {
    if (!write_.has_value()) [[likely]]
      return writer_->status_;
    writer_->busy_ = false;
    return writer_->EndCall(write_->awaiter().await_resume());
  }

 private:
  BufferedWriter* const writer_;
  const std::span<const std::byte> data_;
  std::array<iovec, 2> pieces_;
  std::optional<internal::Nested<decltype(std::declval<Stream&>().WriteV(std::span<const iovec>()))>> write_;
};

template <ByteSink Stream>
class [[nodiscard]] BufferedWriter<Stream>::FlushAwaiter {
 public:
  explicit FlushAwaiter(BufferedWriter* writer) : writer_(writer) {}
  FlushAwaiter(const FlushAwaiter&) = delete;
  FlushAwaiter& operator=(const FlushAwaiter&) = delete;

  bool await_ready() {
    EVRING_DCHECK(!writer_->busy_, "one call at a time");
    if (writer_->size_ == 0) return true;  // also after an error, which leaves nothing behind
    writer_->BeginCall();
    write_.emplace(
        [this] { return writer_->stream_->Write(std::span<const std::byte>(writer_->memory_.get(), writer_->size_)); });
    return write_->awaiter().await_ready();
  }
  template <class Promise>
  auto await_suspend(std::coroutine_handle<Promise> waiting) {
    return write_->awaiter().await_suspend(waiting);
  }
  absl::Status await_resume() {
    if (!write_.has_value()) return writer_->status_;
    writer_->busy_ = false;
    return writer_->EndCall(write_->awaiter().await_resume());
  }

 private:
  BufferedWriter* const writer_;
  std::optional<internal::Nested<decltype(std::declval<Stream&>().Write(std::span<const std::byte>()))>> write_;
};

}  // namespace evring::net

#endif  // EVRING_NET_BUFFERED_WRITER_H_

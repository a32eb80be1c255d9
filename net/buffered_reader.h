// buffered_reader.h: BufferedReader, which reads lines, delimited and counted pieces from a stream, each with a limit.
//
//   BufferedReader reader(&stream);
//   absl::StatusOr<absl::string_view> line = co_await reader.ReadLine(8192);
//
// What a call returns as a string_view lies in the reader's memory, until the next call on the reader. One call at a
// time (a debug check), by one task after another, on a worker if the stream wants one. Borrows the stream.
//
// A call that finds what it asks for in the bytes that have arrived does not suspend and makes no coroutine frame. One
// that has to read makes one, whatever the number of reads; Fill() and ReadSome(), which read once, make none. Bytes
// are read ahead as far as there is room.
//
// Errors, and what they leave behind. Nothing that has arrived is ever lost: a call either consumes its result or
// nothing, and after an error buffered() has all that came, so that the call can be repeated.
//   kOutOfRange          the stream has ended before the first byte of what was asked for: the ordinary end
//   kDataLoss            it has ended in the middle; the bytes that there are stand in buffered()
//   kResourceExhausted   the limit; said as soon as no more bytes could bring the result within it
//   anything else        the stream's own answer, kCancelled among them; not remembered: the next call reads again
// The end of the stream is remembered: nothing is read after it.
//
// Memory: `capacity` bytes from the first read on. More as far as a limit or a count asks for it and bytes arrive to
// fill it; it is kept until the end.
//
// Checked by: tests/net/buffered_reader_test.cc.

#ifndef EVRING_NET_BUFFERED_READER_H_
#define EVRING_NET_BUFFERED_READER_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kevent/check.h"
#include "net/byte_stream.h"
#include "net/internal/needs.h"
#include "net/internal/read_buffer.h"
#include "runtime/task.h"

namespace evring::net {

template <ByteSource Stream>
class BufferedReader {
 public:
  static constexpr size_t kDefaultCapacity = 16 * 1024;

  explicit BufferedReader(Stream* stream, size_t capacity = kDefaultCapacity) : stream_(stream), buffer_(capacity) {}
  BufferedReader(const BufferedReader&) = delete;
  BufferedReader& operator=(const BufferedReader&) = delete;
  ~BufferedReader() { EVRING_DCHECK(!busy_, "a reader outlives its calls"); }

  template <class Call>
  class Awaiter;
  template <class Need>
  class ViewCall;
  class ReadExactlyCall;
  class OneRead;
  class FillAwaiter;
  class ReadSomeAwaiter;

  // --- To be awaited
  // --------------------------------------------------------------------------------------------------

  // Everything up to `delimiter` (at least one byte, of any value), without it; it is consumed too. The result has at
  // most `limit` bytes. `delimiter` is borrowed until the await ends. -> absl::StatusOr<absl::string_view>
  auto ReadUntil(absl::string_view delimiter, size_t limit) {
    return Awaiter<ViewCall<internal::NeedUntil>>(this, internal::NeedUntil(delimiter, limit));
  }

  // The next line without its LF or CR LF, at most `limit` bytes. A lone CR is part of the line. A last line without LF
  // is kDataLoss. -> absl::StatusOr<absl::string_view>
  auto ReadLine(size_t limit) { return Awaiter<ViewCall<internal::NeedLine>>(this, internal::NeedLine(limit)); }

  // The next `n` bytes, in one piece. The memory for them is made as they arrive; a count that comes from the peer is
  // the caller's to bound. -> absl::StatusOr<absl::string_view>
  auto ReadExactly(size_t n) { return Awaiter<ViewCall<internal::NeedBytes>>(this, internal::NeedBytes(n, true)); }

  // The same without consuming them. -> absl::StatusOr<absl::string_view>
  auto Peek(size_t n) { return Awaiter<ViewCall<internal::NeedBytes>>(this, internal::NeedBytes(n, false)); }

  // All that still comes, at most `limit` bytes; empty at the end of the stream. -> absl::StatusOr<absl::string_view>
  auto ReadAll(size_t limit) { return Awaiter<ViewCall<internal::NeedAll>>(this, internal::NeedAll(limit)); }

  // Fills `out`, which is borrowed; what does not fit into the buffer anyway is read straight into it. After an error
  // what had arrived is back in the buffer. -> absl::Status
  auto ReadExactly(std::span<std::byte> out) { return Awaiter<ReadExactlyCall>(this, out); }

  // What there is, at least one byte, at most out.size(); 0: the end of the stream, or an empty `out`. Reads, once,
  // only if nothing is buffered. -> absl::StatusOr<size_t>
  ReadSomeAwaiter ReadSome(std::span<std::byte> out) { return ReadSomeAwaiter(this, out); }

  // Reads once, behind what is buffered; how many bytes came. 0: the end of the stream. kResourceExhausted: the buffer
  // is full; it does not grow here. -> absl::StatusOr<size_t>
  FillAwaiter Fill() { return FillAwaiter(this); }

  // --- At once
  // --------------------------------------------------------------------------------------------------------

  // What has arrived and was not consumed. Valid until the next awaited call.
  absl::string_view buffered() const { return buffer_.data(); }

  // Forgets the first `n` of the buffered bytes.
  void Consume(size_t n) {
    EVRING_DCHECK(!busy_, "one call at a time");
    buffer_.Consume(n);
  }

  // The stream has said that nothing comes after buffered().
  bool ended() const { return ended_; }

 private:
  static absl::Status EndError(size_t arrived, const char* wanted) {
    if (arrived == 0) return absl::OutOfRangeError("the stream has ended");
    return absl::DataLossError(absl::StrCat("the stream has ended after ", arrived, " bytes, before ", wanted));
  }

  // What `need` says about the bytes that have arrived; nullopt: more has to be read.
  template <class Need>
  std::optional<absl::StatusOr<absl::string_view>> TryNeed(Need* need) {
    const absl::string_view data = buffer_.data();
    internal::Verdict verdict = need->Look(data);
    if (verdict.kind == internal::Verdict::kMore) {
      if (!ended_) return std::nullopt;
      verdict = need->LookAtEnd(data);
      if (verdict.kind == internal::Verdict::kMore) return EndError(data.size(), Need::kName);
    }
    if (verdict.kind == internal::Verdict::kTooLong) {
      return absl::ResourceExhaustedError(absl::StrCat("more than the limit before ", Need::kName));
    }
    buffer_.Consume(verdict.consumed);
    return data.substr(0, verdict.length);
  }

  // Notes the outcome of a read into the buffer's room.
  absl::Status Took(const absl::StatusOr<size_t>& n) {
    if (!n.ok()) return n.status();
    buffer_.Added(*n);
    ended_ = *n == 0;
    return absl::OkStatus();
  }

  // The same for one into the caller's memory, of `size` bytes.
  absl::Status TookDirectly(const absl::StatusOr<size_t>& n, size_t size) {
    if (!n.ok()) return n.status();
    EVRING_CHECK(*n <= size, "a stream reads no more than it was given room for");
    ended_ = *n == 0;
    return absl::OkStatus();
  }

  template <class Need>
  Task<absl::StatusOr<absl::string_view>> ReadNeed(Need need) {
    for (;;) {
      if (absl::Status status = Took(co_await stream_->Read(buffer_.Room(need.size_max()))); !status.ok()) {
        co_return status;
      }
      if (std::optional<absl::StatusOr<absl::string_view>> result = TryNeed(&need); result.has_value()) {
        co_return *std::move(result);
      }
    }
  }

  Task<absl::Status> ReadInto(std::span<std::byte> out) {
    size_t done = buffer_.MoveTo(out);
    while (done < out.size()) {
      const std::span<std::byte> rest = out.subspan(done);
      absl::Status status;
      if (rest.size() >= buffer_.capacity()) {
        const absl::StatusOr<size_t> n = co_await stream_->Read(rest);
        status = TookDirectly(n, rest.size());
        if (status.ok()) done += *n;
      } else {
        status = Took(co_await stream_->Read(buffer_.Room(buffer_.capacity())));
        done += buffer_.MoveTo(rest);
      }
      if (status.ok() && ended_) status = EndError(done, internal::NeedBytes::kName);
      if (!status.ok()) {
        buffer_.PutBack(out.first(done));
        co_return status;
      }
    }
    co_return absl::OkStatus();
  }

  Stream* const stream_;
  internal::ReadBuffer buffer_;
  bool ended_ = false;
  bool busy_ = false;  // a call is waiting
};

// Awaits a Call: what can be answered at once by TryNow(), the rest in the coroutine that Start() makes.
template <ByteSource Stream>
template <class Call>
class [[nodiscard]] BufferedReader<Stream>::Awaiter {
 public:
  using Result = typename Call::Result;

  template <class... Args>
  explicit Awaiter(BufferedReader* reader, Args... args) : reader_(reader), call_(args...) {}
  Awaiter(const Awaiter&) = delete;
  Awaiter& operator=(const Awaiter&) = delete;

  bool await_ready() {
    EVRING_DCHECK(!reader_->busy_, "one call at a time");
    result_ = call_.TryNow(reader_);
    return result_.has_value();
  }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) {
    reader_->busy_ = true;
    task_.emplace(call_.Start(reader_));
    awaiter_.emplace(std::move(*task_).operator co_await());
    return awaiter_->await_suspend(waiting);
  }
  Result await_resume() {
    if (result_.has_value()) [[likely]]
      return *std::move(result_);
    reader_->busy_ = false;
    return awaiter_->await_resume();
  }

 private:
  BufferedReader* const reader_;
  Call call_;
  std::optional<Result> result_;
  std::optional<Task<Result>> task_;
  std::optional<typename Task<Result>::Awaiter> awaiter_;
};

// The next bytes as a view into the buffer.
template <ByteSource Stream>
template <class Need>
class BufferedReader<Stream>::ViewCall {
 public:
  using Result = absl::StatusOr<absl::string_view>;
  explicit ViewCall(Need need) : need_(need) {}
  std::optional<Result> TryNow(BufferedReader* reader) { return reader->TryNeed(&need_); }
  Task<Result> Start(BufferedReader* reader) { return reader->ReadNeed(need_); }

 private:
  Need need_;
};

template <ByteSource Stream>
class BufferedReader<Stream>::ReadExactlyCall {
 public:
  using Result = absl::Status;
  explicit ReadExactlyCall(std::span<std::byte> out) : out_(out) {}
  std::optional<Result> TryNow(BufferedReader* reader) {
    if (out_.size() <= reader->buffer_.size()) {
      reader->buffer_.MoveTo(out_);
      return absl::OkStatus();
    }
    if (reader->ended_) return EndError(reader->buffer_.size(), internal::NeedBytes::kName);
    return std::nullopt;
  }
  Task<Result> Start(BufferedReader* reader) { return reader->ReadInto(out_); }

 private:
  std::span<std::byte> out_;
};

// One read, by the stream's own awaiter, without a coroutine around it.
template <ByteSource Stream>
class BufferedReader<Stream>::OneRead {
 public:
  OneRead(const OneRead&) = delete;
  OneRead& operator=(const OneRead&) = delete;

  template <class Promise>
  auto await_suspend(std::coroutine_handle<Promise> waiting) {
    return read_->awaiter().await_suspend(waiting);
  }

 protected:
  explicit OneRead(BufferedReader* reader) : reader_(reader) {}
  ~OneRead() = default;

  // The result of await_ready().
  bool Begin(std::span<std::byte> to) {
    reader_->busy_ = true;
    read_.emplace([this, to] { return reader_->stream_->Read(to); });
    return read_->awaiter().await_ready();
  }
  bool BeginIntoBuffer() { return Begin(reader_->buffer_.Room(reader_->buffer_.capacity())); }
  bool begun() const { return read_.has_value(); }
  absl::StatusOr<size_t> End() {
    reader_->busy_ = false;
    return read_->awaiter().await_resume();
  }

  BufferedReader* const reader_;

 private:
  std::optional<internal::Nested<decltype(std::declval<Stream&>().Read(std::span<std::byte>()))>> read_;
};

template <ByteSource Stream>
class [[nodiscard]] BufferedReader<Stream>::FillAwaiter : public OneRead {
 public:
  explicit FillAwaiter(BufferedReader* reader) : OneRead(reader) {}

  bool await_ready() {
    EVRING_DCHECK(!this->reader_->busy_, "one call at a time");
    return this->reader_->ended_ || full() || this->BeginIntoBuffer();
  }
  absl::StatusOr<size_t> await_resume() {
    if (!this->begun()) {
      if (this->reader_->ended_) return size_t{0};
      return absl::ResourceExhaustedError(
          absl::StrCat("the buffer is full: ", this->reader_->buffer_.size(), " bytes"));
    }
    absl::StatusOr<size_t> n = this->End();
    if (absl::Status status = this->reader_->Took(n); !status.ok()) return status;
    return n;
  }

 private:
  bool full() const { return this->reader_->buffer_.size() == this->reader_->buffer_.capacity(); }
};

template <ByteSource Stream>
class [[nodiscard]] BufferedReader<Stream>::ReadSomeAwaiter : public OneRead {
 public:
  ReadSomeAwaiter(BufferedReader* reader, std::span<std::byte> out) : OneRead(reader), out_(out) {}

  bool await_ready() {
    EVRING_DCHECK(!this->reader_->busy_, "one call at a time");
    if (out_.empty() || this->reader_->buffer_.size() != 0 || this->reader_->ended_) return true;
    // A large piece goes where it is wanted; a small one comes with what stands behind it.
    return direct() ? this->Begin(out_) : this->BeginIntoBuffer();
  }
  absl::StatusOr<size_t> await_resume() {
    if (!this->begun()) return this->reader_->buffer_.MoveTo(out_);
    const absl::StatusOr<size_t> n = this->End();
    if (direct()) {
      if (absl::Status status = this->reader_->TookDirectly(n, out_.size()); !status.ok()) return status;
      return n;
    }
    if (absl::Status status = this->reader_->Took(n); !status.ok()) return status;
    return this->reader_->buffer_.MoveTo(out_);
  }

 private:
  bool direct() const { return out_.size() >= this->reader_->buffer_.capacity(); }

  const std::span<std::byte> out_;
};

}  // namespace evring::net

#endif  // EVRING_NET_BUFFERED_READER_H_

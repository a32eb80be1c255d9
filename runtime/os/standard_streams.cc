#include "runtime/os/standard_streams.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/os/internal/machine.h"
#include "runtime/os/internal/request.h"
#include "runtime/os/internal/stream_io.h"

namespace evring {
namespace {

constexpr size_t kFillBytes = size_t{8} << 10;

// A descriptor of a simulated kernel is none of these.
absl::Status CheckDescriptor(int fd) {
  return fd > STDERR_FILENO ? absl::OkStatus() : internal::CheckMachine("a standard stream");
}

}  // namespace

Task<absl::StatusOr<size_t>> InputStream::Read(std::span<std::byte> buffer) {
  absl::StatusOr<MutexGuard> guard = co_await mutex_.Lock();
  if (!guard.ok()) co_return guard.status();
  if (absl::Status status = CheckDescriptor(fd_); !status.ok()) co_return status;
  const size_t buffered = buffer_.size() - begin_;
  if (buffered == 0) co_return co_await internal::ReadStream(fd_, buffer, "read");
  const size_t n = std::min(buffered, buffer.size());
  std::copy_n(std::as_bytes(std::span(buffer_)).begin() + static_cast<std::ptrdiff_t>(begin_), n, buffer.begin());
  begin_ += n;
  co_return n;
}

Task<absl::StatusOr<std::string>> InputStream::ReadLine(size_t limit) {
  absl::StatusOr<MutexGuard> guard = co_await mutex_.Lock();
  if (!guard.ok()) co_return guard.status();
  if (absl::Status status = CheckDescriptor(fd_); !status.ok()) co_return status;
  size_t seen = 0;  // without an LF
  for (;;) {
    const size_t end = buffer_.find('\n', begin_ + seen);
    if (end != std::string::npos) {
      size_t length = end - begin_;
      if (length > 0 && buffer_[end - 1] == '\r') --length;
      if (length > limit) break;
      co_return Take(length, end + 1 - begin_);
    }
    seen = buffer_.size() - begin_;
    // One more may be a CR.
    if (seen > limit && (seen > limit + 1 || buffer_.back() != '\r')) break;
    const absl::StatusOr<size_t> n = co_await Fill();
    if (!n.ok()) co_return n.status();
    if (*n > 0) continue;
    if (seen == 0) co_return absl::OutOfRangeError(absl::StrCat("read fd=", fd_, ": the end"));
    if (seen > limit) break;
    co_return Take(seen, seen);
  }
  co_return absl::ResourceExhaustedError(absl::StrCat("read fd=", fd_, ": a line of more than ", limit, " bytes"));
}

// Reads once, behind what is buffered.
Task<absl::StatusOr<size_t>> InputStream::Fill() {
  buffer_.erase(0, begin_);
  begin_ = 0;
  const size_t size = buffer_.size();
  buffer_.resize(size + kFillBytes);
  const absl::StatusOr<size_t> n =
      co_await internal::ReadStream(fd_, std::as_writable_bytes(std::span(buffer_).subspan(size)), "read");
  buffer_.resize(size + n.value_or(0));
  co_return n;
}

std::string InputStream::Take(size_t length, size_t with_end) {
  std::string line = buffer_.substr(begin_, length);
  begin_ += with_end;
  return line;
}

Task<absl::Status> OutputStream::Write(std::string_view text) {
  absl::StatusOr<MutexGuard> guard = co_await mutex_.Lock();
  if (!guard.ok()) co_return guard.status();
  if (absl::Status status = CheckDescriptor(fd_); !status.ok()) co_return status;
  co_return co_await internal::WriteStream(fd_, std::as_bytes(std::span(text)), "write");
}

InputStream& Stdin() {
  static auto* const stream = new InputStream(STDIN_FILENO);
  return *stream;
}

OutputStream& Stdout() {
  static auto* const stream = new OutputStream(STDOUT_FILENO);
  return *stream;
}

OutputStream& Stderr() {
  static auto* const stream = new OutputStream(STDERR_FILENO);
  return *stream;
}

}  // namespace evring

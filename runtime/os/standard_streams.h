// standard_streams.h: standard input, output and error, whatever they are: a terminal, a pipe, a file, /dev/null.
//
//   for (;;) {
//     const absl::StatusOr<std::string> line = co_await Stdin().ReadLine(/*limit=*/1000);
//     if (absl::IsOutOfRange(line.status())) break;
//     if (!line.ok()) co_return line.status();
//     const absl::Status status = co_await Stdout().Write(absl::StrCat("you said: ", *line, "\n"));
//     if (!status.ok()) co_return status;
//   }
//
// These descriptors belong to other processes as well, so nothing about them is changed: neither O_NONBLOCK nor the
// modes of a terminal; they are not closed. A file is read and written where it stands, as by everybody who shares it.
//
// Await on a worker; several tasks may: a line goes to one of them whole, in the order of asking, and so does what is
// written in one Write(). A stop ends a wait with kCancelled, also that for a user who types nothing; what has been
// read is kept for the next. Errors carry their errno and name the call and the descriptor; kUnimplemented: on a
// simulated machine, which has no such streams.

#ifndef EVRING_RUNTIME_OS_STANDARD_STREAMS_H_
#define EVRING_RUNTIME_OS_STANDARD_STREAMS_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sync/mutex.h"
#include "runtime/task.h"

namespace evring {

// Reads ahead: what is buffered here is not seen by a program that is started with the same standard input.
class InputStream {
 public:
  // Borrows `fd`, which stays open as long as this is used.
  explicit InputStream(int fd) : fd_(fd) {}
  InputStream(const InputStream&) = delete;
  InputStream& operator=(const InputStream&) = delete;

  // Some bytes, at least one, at most buffer.size(); 0: the end, or an empty buffer. On a terminal the end is what its
  // user says by ^D; a later read may find more. `buffer` is lent until the await has ended.
  Task<absl::StatusOr<size_t>> Read(std::span<std::byte> buffer);

  // The next line without its LF or CR LF, of at most `limit` bytes. A last line without LF is one too.
  // kOutOfRange: the end, before any byte. kResourceExhausted: no LF within `limit` bytes, or CR LF; nothing is
  // consumed, a Read() or a greater limit gets on.
  Task<absl::StatusOr<std::string>> ReadLine(size_t limit = size_t{64} << 10);

 private:
  Task<absl::StatusOr<size_t>> Fill();
  std::string Take(size_t length, size_t with_end);

  const int fd_;
  Mutex mutex_;
  std::string buffer_;  // under it: what has been read, from begin_ on
  size_t begin_ = 0;
};

// Writes through, without a buffer.
class OutputStream {
 public:
  explicit OutputStream(int fd) : fd_(fd) {}
  OutputStream(const OutputStream&) = delete;
  OutputStream& operator=(const OutputStream&) = delete;

  // All of `text`, which is lent until the await has ended. After an error some of it may have been written.
  // kFailedPrecondition (EPIPE): nobody reads it any more; no signal is raised.
  Task<absl::Status> Write(std::string_view text);

 private:
  const int fd_;
  Mutex mutex_;
};

// One of each for the process.
InputStream& Stdin();
OutputStream& Stdout();
OutputStream& Stderr();

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_STANDARD_STREAMS_H_

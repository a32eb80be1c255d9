// file_cursor.h: reading or writing a file on from where one is.
//
//   absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
//   if (!file.ok()) co_return file.status();
//   FileCursor writer(&*file);
//   for (const std::string_view part : {"one ", "two ", "three"}) {
//     const absl::Status status = co_await writer.Write(std::as_bytes(std::span(part)));
//     if (!status.ok()) co_return status;
//   }
//   FileCursor reader(&*file, /*offset=*/4);
//   std::array<std::byte, 3> word;
//   const absl::StatusOr<size_t> n = co_await reader.Read(word);
//
// The place is the cursor's own, not the descriptor's: as many cursors as one likes are in one file, each for one task
// at a time (checked), and no other process moves them. For a place that is shared, such as that of standard input,
// there is standard_streams.h.

#ifndef EVRING_RUNTIME_OS_FILE_CURSOR_H_
#define EVRING_RUNTIME_OS_FILE_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/os/file.h"
#include "runtime/os/internal/sole_use.h"
#include "runtime/task.h"

namespace evring {

// Await on a worker. Buffers are lent until the await has ended; errors and stops are those of File.
class FileCursor {
 public:
  // Borrows the file.
  explicit FileCursor(const File* file, uint64_t offset = 0) : file_(file), offset_(offset) {}
  FileCursor(const FileCursor&) = delete;
  FileCursor& operator=(const FileCursor&) = delete;

  // Bytes from the beginning of the file; not during a Read() or Write().
  uint64_t offset() const { return offset_; }
  void Seek(uint64_t offset) { offset_ = offset; }

  // Some bytes, at most buffer.size(); 0: the end of the file. The cursor is behind them then; after an error it has
  // not moved.
  Task<absl::StatusOr<size_t>> Read(std::span<std::byte> buffer);
  // All of `data`, over what is there. After an error, or a stop, the cursor stands where the write began, some of
  // which may have been done: writing the same once more makes it whole.
  Task<absl::Status> Write(std::span<const std::byte> data);

 private:
  const File* const file_;
  uint64_t offset_;
  internal::SoleUse use_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_FILE_CURSOR_H_

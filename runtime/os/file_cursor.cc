#include "runtime/os/file_cursor.h"

namespace evring {

namespace {

constexpr char kRule[] = "one task at a time moves a cursor";

}  // namespace

Task<absl::StatusOr<size_t>> FileCursor::Read(std::span<std::byte> buffer) {
  const internal::SoleUse::Scope use(&use_, kRule);
  const absl::StatusOr<size_t> n = co_await file_->ReadAt(buffer, offset_);
  offset_ += n.value_or(0);
  co_return n;
}

Task<absl::Status> FileCursor::Write(std::span<const std::byte> data) {
  const internal::SoleUse::Scope use(&use_, kRule);
  const absl::Status status = co_await file_->WriteAt(data, offset_);
  if (status.ok()) offset_ += data.size();
  co_return status;
}

}  // namespace evring

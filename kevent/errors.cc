#include "kevent/errors.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace evring::kevent {
namespace {

constexpr char kErrnoPayload[] = "evring/errno";

}  // namespace

absl::StatusCode ErrnoToCode(int error) {
  switch (error) {
    case 0:
      return absl::StatusCode::kOk;
    case ECANCELED:
      return absl::StatusCode::kCancelled;
    case ETIME:
    case ETIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    case EINVAL:
    case ENAMETOOLONG:
    case E2BIG:
    case EDESTADDRREQ:
    case EDOM:
    case EFAULT:
    case EILSEQ:
    case ENOPROTOOPT:
    case ENOTBLK:
    case ENOTDIR:
    case ENOTSOCK:
    case ENOTTY:
    case EPROTOTYPE:
    case ESPIPE:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case ESOCKTNOSUPPORT:
    case EMSGSIZE:
    case ELOOP:
      return absl::StatusCode::kInvalidArgument;
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ESRCH:
    case ENOMSG:
      return absl::StatusCode::kNotFound;
    case EEXIST:
    case EADDRINUSE:
    case EALREADY:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EMLINK:
    case EUSERS:
    case EFBIG:
      return absl::StatusCode::kResourceExhausted;
    case EBADF:
    case EBADFD:
    case EBUSY:
    case EISCONN:
    case EISDIR:
    case ENOTCONN:
    case ENOTEMPTY:
    case EPIPE:
    case ESHUTDOWN:
    case ETXTBSY:
    case ECHILD:
      return absl::StatusCode::kFailedPrecondition;
    case ERANGE:
    case EOVERFLOW:
      return absl::StatusCode::kOutOfRange;
    case EAGAIN:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
    case EINTR:
    case ENOLCK:
      return absl::StatusCode::kUnavailable;
    case EDEADLK:
    case ESTALE:
      return absl::StatusCode::kAborted;
    case ENOSYS:
    case EOPNOTSUPP:
    case EPFNOSUPPORT:
    case EXDEV:
      return absl::StatusCode::kUnimplemented;
    case EIO:
      return absl::StatusCode::kDataLoss;
    default:
      return absl::StatusCode::kUnknown;
  }
}

absl::Status ErrnoToStatus(int error, absl::string_view doing) {
  if (error < 0) error = -error;
  if (error == 0) return absl::OkStatus();
  const char* name = strerrorname_np(error);
  return StatusWithErrno(
      error, ErrnoToCode(error),
      absl::StrCat(doing, ": ", name == nullptr ? absl::StrCat("errno ", error) : std::string(name), " (",
                   strerrordesc_np(error) == nullptr ? "unknown" : strerrordesc_np(error), ")"));
}

absl::Status ErrnoToStatus(int error, absl::string_view doing, int fd) {
  if (error == 0) return absl::OkStatus();
  return ErrnoToStatus(error, absl::StrCat(doing, " fd=", fd));
}

absl::Status StatusWithErrno(int error, absl::StatusCode code, absl::string_view message) {
  absl::Status status(code, message);
  // From a string_view: the constructor from a string is a template that clang and Debian's gcc name differently.
  const std::string digits = absl::StrCat(error < 0 ? -error : error);
  status.SetPayload(kErrnoPayload, absl::Cord(absl::string_view(digits)));
  return status;
}

int StatusErrno(const absl::Status& status) {
  int error = 0;
  if (const auto payload = status.GetPayload(kErrnoPayload); payload.has_value()) {
    if (!absl::SimpleAtoi(std::string(*payload), &error)) return 0;
  }
  return error;
}

}  // namespace evring::kevent

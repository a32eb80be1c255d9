// errors_test.cc: the errno table written out a second time, and what a Status made from an errno carries.

#include "kevent/errors.h"

#include <errno.h>
#include <string.h>

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace evring::kevent {
namespace {

using absl::StatusCode;

constexpr struct {
  int error;
  StatusCode code;
} kTable[] = {
    {0, StatusCode::kOk},
    {ECANCELED, StatusCode::kCancelled},
    {ETIME, StatusCode::kDeadlineExceeded},
    {ETIMEDOUT, StatusCode::kDeadlineExceeded},
    {EINVAL, StatusCode::kInvalidArgument},
    {ENAMETOOLONG, StatusCode::kInvalidArgument},
    {E2BIG, StatusCode::kInvalidArgument},
    {EDESTADDRREQ, StatusCode::kInvalidArgument},
    {EDOM, StatusCode::kInvalidArgument},
    {EFAULT, StatusCode::kInvalidArgument},
    {EILSEQ, StatusCode::kInvalidArgument},
    {ENOPROTOOPT, StatusCode::kInvalidArgument},
    {ENOTBLK, StatusCode::kInvalidArgument},
    {ENOTDIR, StatusCode::kInvalidArgument},
    {ENOTSOCK, StatusCode::kInvalidArgument},
    {ENOTTY, StatusCode::kInvalidArgument},
    {EPROTOTYPE, StatusCode::kInvalidArgument},
    {ESPIPE, StatusCode::kInvalidArgument},
    {EAFNOSUPPORT, StatusCode::kInvalidArgument},
    {EPROTONOSUPPORT, StatusCode::kInvalidArgument},
    {ESOCKTNOSUPPORT, StatusCode::kInvalidArgument},
    {EMSGSIZE, StatusCode::kInvalidArgument},
    {ELOOP, StatusCode::kInvalidArgument},
    {ENOENT, StatusCode::kNotFound},
    {ENODEV, StatusCode::kNotFound},
    {ENXIO, StatusCode::kNotFound},
    {ESRCH, StatusCode::kNotFound},
    {ENOMSG, StatusCode::kNotFound},
    {EEXIST, StatusCode::kAlreadyExists},
    {EADDRINUSE, StatusCode::kAlreadyExists},
    {EALREADY, StatusCode::kAlreadyExists},
    {EACCES, StatusCode::kPermissionDenied},
    {EPERM, StatusCode::kPermissionDenied},
    {EROFS, StatusCode::kPermissionDenied},
    {EMFILE, StatusCode::kResourceExhausted},
    {ENFILE, StatusCode::kResourceExhausted},
    {ENOBUFS, StatusCode::kResourceExhausted},
    {ENOMEM, StatusCode::kResourceExhausted},
    {ENOSPC, StatusCode::kResourceExhausted},
    {EDQUOT, StatusCode::kResourceExhausted},
    {EMLINK, StatusCode::kResourceExhausted},
    {EUSERS, StatusCode::kResourceExhausted},
    {EFBIG, StatusCode::kResourceExhausted},
    {EBADF, StatusCode::kFailedPrecondition},
    {EBADFD, StatusCode::kFailedPrecondition},
    {EBUSY, StatusCode::kFailedPrecondition},
    {EISCONN, StatusCode::kFailedPrecondition},
    {EISDIR, StatusCode::kFailedPrecondition},
    {ENOTCONN, StatusCode::kFailedPrecondition},
    {ENOTEMPTY, StatusCode::kFailedPrecondition},
    {EPIPE, StatusCode::kFailedPrecondition},
    {ESHUTDOWN, StatusCode::kFailedPrecondition},
    {ETXTBSY, StatusCode::kFailedPrecondition},
    {ECHILD, StatusCode::kFailedPrecondition},
    {ERANGE, StatusCode::kOutOfRange},
    {EOVERFLOW, StatusCode::kOutOfRange},
    {EAGAIN, StatusCode::kUnavailable},
    {ECONNREFUSED, StatusCode::kUnavailable},
    {ECONNRESET, StatusCode::kUnavailable},
    {ECONNABORTED, StatusCode::kUnavailable},
    {EHOSTDOWN, StatusCode::kUnavailable},
    {EHOSTUNREACH, StatusCode::kUnavailable},
    {ENETDOWN, StatusCode::kUnavailable},
    {ENETRESET, StatusCode::kUnavailable},
    {ENETUNREACH, StatusCode::kUnavailable},
    {EADDRNOTAVAIL, StatusCode::kUnavailable},
    {EINTR, StatusCode::kUnavailable},
    {ENOLCK, StatusCode::kUnavailable},
    {EDEADLK, StatusCode::kAborted},
    {ESTALE, StatusCode::kAborted},
    {ENOSYS, StatusCode::kUnimplemented},
    {EOPNOTSUPP, StatusCode::kUnimplemented},
    {EPFNOSUPPORT, StatusCode::kUnimplemented},
    {EXDEV, StatusCode::kUnimplemented},
    {EIO, StatusCode::kDataLoss},
};

TEST(ErrnoToCode, EachErrnoOfTheTable) {
  std::set<int> seen;
  for (const auto& [error, code] : kTable) {
    EXPECT_TRUE(seen.insert(error).second) << "twice: " << error;
    EXPECT_EQ(ErrnoToCode(error), code) << strerrorname_np(error);
  }
  for (int error = 1; error < 4096; ++error) {
    if (seen.count(error) != 0) continue;
    EXPECT_EQ(ErrnoToCode(error), StatusCode::kUnknown) << error;
  }
}

TEST(ErrnoToStatus, NamesWhatWasDoneAndKeepsTheErrno) {
  const absl::Status status = ErrnoToStatus(EMFILE, "accept", 7);
  EXPECT_EQ(status.message(), "accept fd=7: EMFILE (Too many open files)");
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusErrno(status), EMFILE);
  EXPECT_EQ(ErrnoToStatus(ENOENT, "open /etc/x").message(), "open /etc/x: ENOENT (No such file or directory)");
}

// Completions carry the errno negative, system calls positive.
TEST(ErrnoToStatus, TakesEitherSign) {
  EXPECT_EQ(ErrnoToStatus(-ECONNRESET, "receive", 3), ErrnoToStatus(ECONNRESET, "receive", 3));
  EXPECT_EQ(ErrnoToStatus(-EPIPE, "send"), ErrnoToStatus(EPIPE, "send"));
}

TEST(ErrnoToStatus, ZeroIsOk) {
  EXPECT_TRUE(ErrnoToStatus(0, "send").ok());
  EXPECT_TRUE(ErrnoToStatus(0, "send", 3).ok());
}

TEST(ErrnoToStatus, KeepsANumberThatHasNoName) {
  const absl::Status status = ErrnoToStatus(4000, "odd");
  EXPECT_EQ(status.code(), StatusCode::kUnknown);
  EXPECT_EQ(status.message(), "odd: errno 4000 (unknown)");
  EXPECT_EQ(StatusErrno(status), 4000);
}

TEST(StatusErrno, TellsApartWhatHasTheSameCode) {
  for (const auto& [error, code] : kTable) {
    const absl::Status copy = ErrnoToStatus(error, "x", 1);
    EXPECT_EQ(StatusErrno(copy), error);
  }
}

TEST(StatusErrno, IsZeroForAStatusThatNoErrnoMade) {
  EXPECT_EQ(StatusErrno(absl::OkStatus()), 0);
  EXPECT_EQ(StatusErrno(absl::CancelledError("sleep")), 0);
  absl::Status strange = ErrnoToStatus(EIO, "read");
  strange.SetPayload("evring/errno", absl::Cord(absl::string_view("not a number")));
  EXPECT_EQ(StatusErrno(strange), 0);
}

}  // namespace
}  // namespace evring::kevent

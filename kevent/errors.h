// errors.h: the one place that turns an errno into a Status.
//
// The message names what was being done and keeps the errno: `accept fd=7: EMFILE (Too many open files)`. The number
// itself travels along as a payload, so that a caller who must tell EMFILE from ENFILE need not parse text.

#ifndef EVRING_KEVENT_ERRORS_H_
#define EVRING_KEVENT_ERRORS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace evring::kevent {

// `error` is an errno (either sign); 0 gives OK. Any thread.
absl::Status ErrnoToStatus(int error, absl::string_view doing);
// The same with the descriptor in the message.
absl::Status ErrnoToStatus(int error, absl::string_view doing, int fd);

// For an errno that means something else here than the table says, or that calls for advice: code and message are the
// caller's, the errno travels along all the same. `error` is not 0.
absl::Status StatusWithErrno(int error, absl::StatusCode code, absl::string_view message);

// The errno that `status` was made from, 0 if from none.
int StatusErrno(const absl::Status& status);

// The canonical code of an errno; kUnknown for one that the table does not list.
absl::StatusCode ErrnoToCode(int error);

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_ERRORS_H_

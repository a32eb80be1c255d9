// signals.h: signals as events.
//
//   absl::StatusOr<SignalSet> signals = SignalSet::Block({SIGINT, SIGTERM});  // before any thread is made
//   if (!signals.ok()) return signals.status();
//   return Run(Main(&*signals));
//
// And in a task: `absl::StatusOr<int> signal = co_await signals->Next();`.
//
// A signal that is blocked in every thread is kept by the kernel until it is read: nothing runs in a handler. New
// threads inherit what the thread that makes them has blocked; hence "before". Processes that are started inherit it as
// well, but for those of process.h.

#ifndef EVRING_RUNTIME_OS_SIGNALS_H_
#define EVRING_RUNTIME_OS_SIGNALS_H_

#include <signal.h>

#include <initializer_list>
#include <utility>

#include "absl/status/statusor.h"
#include "runtime/task.h"

namespace evring {

// Movable; destroying it leaves the signals blocked: one that comes during the shutdown must not kill the process then.
class SignalSet {
 public:
  // Blocks `signals` in the calling thread and opens a descriptor for them. On the main thread, before other threads
  // are made. kInvalidArgument: one is no signal, or cannot be blocked (SIGKILL, SIGSTOP). kResourceExhausted: no
  // descriptor.
  static absl::StatusOr<SignalSet> Block(std::initializer_list<int> signals);

  SignalSet(SignalSet&& other) noexcept : fd_(std::exchange(other.fd_, -1)), set_(other.set_) {}
  SignalSet& operator=(SignalSet&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(set_, other.set_);
    return *this;
  }
  ~SignalSet();

  // The number of the next signal that is sent to the process (one that is sent to a single thread is kept for that
  // one). Await on a worker; several may wait, each signal goes to one of them. Of a standard
  // signal that comes again before it was read the kernel keeps one. kCancelled: a stop came first; no signal is lost
  // by it. kFailedPrecondition: this worker does not block the signals, Block() came after the runtime was made; or one
  // of them is the runtime's rescue signal. kUnimplemented (ENOSYS): in a simulation. The set may be moved while one
  // waits, and is destroyed after.
  Task<absl::StatusOr<int>> Next() const;

 private:
  SignalSet(int fd, const sigset_t& set) : fd_(fd), set_(set) {}

  int fd_;
  sigset_t set_;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_OS_SIGNALS_H_

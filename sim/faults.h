// faults.h: what a simulated kernel does to a program, within what the real one may do: how often, how often at most,
// and which of them, one by one.

#ifndef EVRING_SIM_FAULTS_H_
#define EVRING_SIM_FAULTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sim/random.h"

namespace evring::sim {

enum class Fault : uint8_t {
  kShortReceive,   // fewer bytes than are there
  kShortSend,      // fewer bytes taken than there is room for (not where MSG_WAITALL is given)
  kReceiveError,   // an errno of recv(2): ECONNRESET, ENOMEM, …
  kSendError,      // an errno of send(2): EPIPE, ENOBUFS, …
  kAcceptError,    // an errno of accept(2): EMFILE, ECONNABORTED, …
  kConnectError,   // an errno of connect(2): ECONNREFUSED, EACCES, …
  kReset,          // the network resets a connection that data is sent on
  kNoBuffers,      // the buffer ring counts as empty
  kMultishotEnds,  // a multishot request ends with this completion
  kCancelLoses,    // a cancel comes too late for a request that is about to complete
  kEnterRefused,   // EAGAIN or EBUSY from the enter: nothing was submitted
  kInterrupted,    // EINTR from a wait
  kLateWake,       // a message to a ring takes its time
  kDeferred,       // a request that could complete at once does so later, behind others
  kSlow,           // the network holds data back
  kShortFile,      // a file's read or write stops short; a read of an inotify instance has fewer events than are there
  kFileError,      // an errno of open(2), read(2), write(2), fsync(2), rename(2), unlink(2), flock(2), inotify_init(2)
                   // or inotify_add_watch(2): EIO, ENOSPC, …
  kClockJump,      // the process stops for a while: at a call of the kernel, CLOCK_MONOTONIC has leapt forward
  kBindError,      // an errno of bind(2) or listen(2), of a request: EADDRINUSE, EACCES, …
  kFutexError,     // an errno of a wait for a futex: ENOMEM
  kSpuriousWake,   // a wait for a futex ends without a wake-up
  kClockSet,       // while a timeout counts by CLOCK_REALTIME: it is set, forwards or back
  kEventLost,      // no memory for an event of inotify: it is lost, and IN_Q_OVERFLOW says so
};
inline constexpr size_t kFaults = 23;
const char* FaultName(Fault fault);

struct FaultRule {
  uint32_t ppm = 0;                                     // of the occasions, in millionths
  uint64_t max = std::numeric_limits<uint64_t>::max();  // in a run
};

struct FaultRules {
  std::array<FaultRule, kFaults> rules = {};

  FaultRule& operator[](Fault fault) { return rules[static_cast<size_t>(fault)]; }
  const FaultRule& operator[](Fault fault) const { return rules[static_cast<size_t>(fault)]; }

  static FaultRules None() { return {}; }
  // What happens on every machine every day: short counts, late completions, slow links, multishots that end.
  static FaultRules Everyday();
  // The same, and errors, resets and refusals.
  static FaultRules Storm();
};

// Which of the injections of a run happen after all, by number: to find the few that matter.
struct FaultChoice {
  std::set<uint64_t> left_out;                          // these do not
  uint64_t end = std::numeric_limits<uint64_t>::max();  // nor this one and those behind it

  bool Has(uint64_t number) const { return number < end && !left_out.contains(number); }
};

// A fault that was injected: the n-th of its run.
struct Injection {
  uint64_t number;
  Fault fault;
};

class Faults {
 public:
  Faults(uint64_t seed, const FaultRules& rules, FaultChoice choice)
      : random_(seed, /*stream=*/3), rules_(rules), choice_(std::move(choice)) {}

  // Whether `fault` happens on this occasion.
  bool Happens(Fault fault);
  // Which of several ways it happens in.
  uint64_t Below(uint64_t n) { return random_.Below(n); }
  int OneOf(std::span<const int> errors) { return errors[random_.Below(errors.size())]; }

  const std::vector<Injection>& injected() const { return injected_; }
  // They happen between the two only.
  void Start() { on_ = true; }
  void Stop() {
    on_ = false;
    stopped_ = true;
  }
  bool stopped() const { return stopped_; }

 private:
  Random random_;
  const FaultRules rules_;
  const FaultChoice choice_;
  std::array<uint64_t, kFaults> counts_ = {};
  uint64_t next_ = 0;
  bool on_ = false;
  bool stopped_ = false;
  std::vector<Injection> injected_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_FAULTS_H_

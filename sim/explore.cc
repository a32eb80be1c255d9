#include "sim/explore.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kevent/check.h"
#include "kevent/sanitizer.h"

#ifdef EVRING_ASAN
#include <sanitizer/lsan_interface.h>
#endif

namespace evring::sim {
namespace {

// Exit codes of a child: what it has to say about its run. Others are of a sanitizer, or of the scenario's own.
constexpr int kHeld = 0;
constexpr int kBroken = 110;
constexpr int kThrew = 111;
constexpr int kLeaked = 112;

constexpr off_t kOutputBytes = 64 * 1024;  // kept of what a run has written

// What a child and its parent share, made once for many runs.
class Stage {
 public:
  Stage() {
    void* memory = mmap(nullptr, sizeof(Journal), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EVRING_CHECK(memory != MAP_FAILED, "there is memory for a journal");
    journal_ = new (memory) Journal;
    output_ = memfd_create("output of a run", MFD_CLOEXEC);
    EVRING_CHECK(output_ >= 0, "there is memory for the output of a run");
  }
  // Of the last run.
  const Journal::States& states() const { return journal_->states(); }

  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage() {
    munmap(journal_, sizeof(Journal));
    close(output_);
  }

  RunOutcome Run(SimulationOptions options, absl::Duration run_max, const Scenario& scenario) {
    journal_->Clear();
    EVRING_CHECK(ftruncate(output_, 0) == 0 && lseek(output_, 0, SEEK_SET) == 0, "a file in memory is cut");
    options.journal = journal_;
    std::fflush(nullptr);  // or the child would write it as well
    const pid_t parent = getpid();
    const pid_t child = fork();
    EVRING_CHECK(child >= 0, "a run has a process of its own");
    if (child == 0) Child(parent, options, scenario);
    RunOutcome outcome;
    outcome.what = Await(child, run_max);
    outcome.failed = !outcome.what.empty();
    outcome.digest = journal_->digest();
    outcome.injected = journal_->injected();
    outcome.faults = journal_->injections();
    if (outcome.failed) {
      outcome.log = journal_->log();
      outcome.output = Output();
    }
    return outcome;
  }

 private:
  [[noreturn]] void Child(pid_t parent, const SimulationOptions& options, const Scenario& scenario) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kBroken);  // it has gone before that was said
    dup2(output_, STDOUT_FILENO);
    dup2(output_, STDERR_FILENO);
    int code = kThrew;
    try {
      code = scenario(options) ? kHeld : kBroken;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "the scenario threw: %s\n", error.what());
    } catch (...) {
      std::fprintf(stderr, "the scenario threw\n");
    }
    std::fflush(nullptr);
#ifdef EVRING_ASAN
    if (code == kHeld && __lsan_do_recoverable_leak_check() != 0) code = kLeaked;
#endif
    _exit(code);  // nothing of the parent's is destroyed here
  }

  // Empty: it has held. Otherwise how it failed.
  static std::string Await(pid_t child, absl::Duration run_max) {
    bool too_long = false;
    // Children that have ended stay until they are waited for, so the descriptor is this child's.
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
    EVRING_CHECK(fd >= 0, "Linux 5.3 and later has descriptors of processes");
    const absl::Time end = absl::Now() + run_max;
    for (;;) {
      pollfd ended = {.fd = fd, .events = POLLIN, .revents = 0};
      const int64_t left_ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(end - absl::Now()), 0, 1'000'000);
      const int n = poll(&ended, 1, static_cast<int>(left_ms));
      if (n > 0) break;
      EVRING_CHECK(n == 0 || errno == EINTR, "poll(2) of one descriptor");
      if (absl::Now() < end) continue;
      too_long = true;
      kill(child, SIGKILL);
      break;
    }
    close(fd);
    int status = 0;
    pid_t reaped = -1;
    do {
      reaped = waitpid(child, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    EVRING_CHECK(reaped == child, "a child is waited for once");
    if (WIFEXITED(status) && WEXITSTATUS(status) == kHeld) return "";
    if (too_long) return absl::StrCat("it took longer than ", absl::FormatDuration(run_max));
    if (WIFSIGNALED(status)) return absl::StrCat("it was ended by SIG", sigabbrev_np(WTERMSIG(status)));
    switch (WEXITSTATUS(status)) {
      case kBroken:
        return "the scenario answered false";
      case kThrew:
        return "the scenario threw an exception";
      case kLeaked:
        return "it leaked memory";
      default:
        return absl::StrCat("it left with code ", WEXITSTATUS(status));
    }
  }

  // The end of what the child has written, whole lines.
  std::string Output() const {
    const off_t size = lseek(output_, 0, SEEK_END);
    const off_t from = std::max<off_t>(0, size - kOutputBytes);
    std::string text(static_cast<size_t>(size - from), '\0');
    const ssize_t n = pread(output_, text.data(), text.size(), from);
    text.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return from == 0 ? text : text.substr(text.find('\n') + 1);
  }

  Journal* journal_;
  int output_;
};

// Looks for the fewest faults with which `failure` still fails.
class Shrinker {
 public:
  Shrinker(Stage* stage, const ExploreOptions& options, const Scenario& scenario, ExploreFailure* failure)
      : stage_(stage), options_(options), scenario_(scenario), failure_(failure) {}

  void Shrink() {
    // From here on no fault comes anew behind those that the run has had: each step has fewer to choose from.
    FaultChoice none = failure_->choice;
    none.end = 0;
    if (Try(none, Injected())) {
      failure_->shrunk = true;
      return;
    }
    const uint64_t end = failure_->run.faults.empty() ? 0 : failure_->run.faults.back().number + 1;
    // Most failures take one fault.
    const std::vector<Injection> each = failure_->run.faults;
    for (const Injection& injection : each) {
      if (Spent()) return;
      FaultChoice alone;
      for (uint64_t number = 0; number < injection.number; ++number) alone.left_out.insert(number);
      alone.end = injection.number + 1;
      if (Try(alone, Injected())) break;
    }
    FaultChoice bounded = failure_->choice;
    bounded.end = std::min(bounded.end, end);
    if (bounded.end != failure_->choice.end) Try(bounded, Injected() + 1);
    for (size_t chunk = std::max<size_t>(1, failure_->run.faults.size());;) {
      const bool dropped = Pass(chunk);
      if (Spent()) return;
      if (chunk == 1 && !dropped) break;
      chunk = dropped ? std::min(chunk, std::max<size_t>(1, failure_->run.faults.size())) : (chunk + 1) / 2;
    }
    failure_->shrunk = true;
  }

 private:
  uint64_t Injected() const { return failure_->run.injected; }
  bool Spent() const { return failure_->shrink_runs >= options_.shrink_runs_max; }

  // Tries to drop each `chunk` of the faults, the last ones first: what comes before a dropped one stays as it was.
  // True if one could be dropped.
  bool Pass(size_t chunk) {
    bool dropped = false;
    for (size_t end = failure_->run.faults.size(); end > 0 && !Spent();) {
      const size_t begin = end > chunk ? end - chunk : 0;
      FaultChoice choice = failure_->choice;
      for (size_t i = begin; i < end; ++i) choice.left_out.insert(failure_->run.faults[i].number);
      if (Try(choice, Injected())) dropped = true;
      end = std::min(begin, failure_->run.faults.size());
    }
    return dropped;
  }

  // True if the run with `choice` fails too, with less than `below` faults: it is the shortest now.
  bool Try(const FaultChoice& choice, uint64_t below) {
    RunOutcome outcome = Run(choice);
    if (!outcome.failed || outcome.injected >= below) return false;
    failure_->run = std::move(outcome);
    failure_->choice = choice;
    return true;
  }

  RunOutcome Run(const FaultChoice& choice) {
    SimulationOptions options = options_.simulation;
    options.seed = failure_->seed;
    options.choice = choice;
    ++failure_->shrink_runs;
    return stage_->Run(options, options_.run_max, scenario_);
  }

  Stage* const stage_;
  const ExploreOptions& options_;
  const Scenario& scenario_;
  ExploreFailure* const failure_;
};

}  // namespace

RunOutcome RunApart(const SimulationOptions& options, absl::Duration run_max, const Scenario& scenario) {
  return Stage().Run(options, run_max, scenario);
}

Exploration Explore(const ExploreOptions& options, const Scenario& scenario) {
  Stage stage;
  Exploration result;
  std::unordered_set<uint64_t> digests;
  const auto states = std::make_unique<Journal::States>();
  const absl::Time start = absl::Now();
  absl::Time next_line = start + options.progress_every;
  const auto enough = [&] {
    return options.duration > absl::ZeroDuration() ? result.elapsed >= options.duration : result.seeds >= options.seeds;
  };
  while (!enough()) {
    SimulationOptions simulation = options.simulation;
    simulation.seed += result.seeds;
    RunOutcome outcome = stage.Run(simulation, options.run_max, scenario);
    ++result.seeds;
    result.injected += outcome.injected;
    digests.insert(outcome.digest);
    result.different = digests.size();
    *states |= stage.states();
    result.states = states->count();
    result.elapsed = absl::Now() - start;
    if (outcome.failed) {
      ExploreFailure& failure = result.failure.emplace();
      failure.seed = simulation.seed;
      failure.choice = simulation.choice;
      failure.first = outcome;
      failure.run = std::move(outcome);
      if (options.shrink_runs_max != 0) Shrinker(&stage, options, scenario, &failure).Shrink();
    }
    if (options.progress != nullptr && (result.failure || enough() || absl::Now() >= next_line)) {
      std::fprintf(options.progress, "%s\n", result.Progress().c_str());
      std::fflush(options.progress);
      next_line = absl::Now() + options.progress_every;
    }
    if (result.failure) break;
  }
  return result;
}

std::string Exploration::Progress() const {
  const double seconds = std::max(absl::ToDoubleSeconds(elapsed), 1e-3);
  return absl::StrCat(seeds, " seeds, ", different, " different runs, ", injected, " faults injected, ", states,
                      " states seen, ", static_cast<uint64_t>(static_cast<double>(seeds) / seconds), " runs per second",
                      failure ? absl::StrCat("; seed ", failure->seed, " fails") : "");
}

std::string ExploreFailure::ToString() const {
  std::string text = absl::StrCat("seed ", seed, " fails: ", run.what, "\nfaults: ", run.injected, " of ",
                                  first.injected, shrunk ? " matter" : " are left", ", after ", shrink_runs, " runs\n");
  for (const Injection& fault : run.faults)
    absl::StrAppend(&text, "  ", fault.number, ": ", FaultName(fault.fault), "\n");
  if (choice.end != FaultChoice().end) absl::StrAppend(&text, "none from ", choice.end, " on\n");
  absl::StrAppend(&text, "left out:");
  for (const uint64_t number : choice.left_out) absl::StrAppend(&text, " ", number);
  absl::StrAppend(&text, "\nlog, newest last:\n", run.log, "what it wrote:\n", run.output);
  return text;
}

}  // namespace evring::sim

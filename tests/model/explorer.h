// explorer.h: runs a small multi-threaded scenario over the real code in every way it can go.
//
// The code under test takes its atomics from ModelAtomics (model_atomics.h). Each access is then a point at which the
// explorer decides which thread goes on, and, for a load, which of the values that its memory order permits it sees
// (weak_memory.h). A scenario is run again and again, depth first over these decisions, until all are exhausted.
//
// Which schedules are run. Two schedules that differ only in the order of neighbouring steps that do not touch the same
// atomic (or both only read it) have the same outcome. Of each such class at least one is run: by dynamic partial-order
// reduction with source sets and sleep sets (Abdulla et al., POPL 2014). `Options::preemptions` chooses a bound
// instead: all schedules with at most so many switches away from a thread that could go on, for scenarios whose
// classes are too many. Both decide reads in every way, within `stale_reads`.
//
// A schedule fails if model::Check or an EVRING_CHECK fails (explorer.cc stands in for kevent/check.cc), if a Plain
// variable is accessed without a happens-before edge, if it does not end within `steps_max`, or if all
// threads are blocked and the scenario does not call that fine: a lost wake-up. The trace says, step by step, who did
// what.
//
// A Mutant is one access of the real code gone wrong; a test that explores it must fail (mutants.h).
// Thread: Explore is called from one thread at a time. Scenarios are deterministic but for what the explorer decides.

#ifndef EVRING_TESTS_MODEL_EXPLORER_H_
#define EVRING_TESTS_MODEL_EXPLORER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace evring::model {

enum class Op : uint8_t { kLoad, kStore, kReadModifyWrite, kCompareExchange, kPost, kWait, kLock, kUnlock };

// An access in the source.
struct Site {
  Op op;
  std::memory_order order;
  std::memory_order failure;  // of a compare-and-swap
  std::source_location where;

  std::string ToString() const;  // "run_queue.h:147 StealInto: compare_exchange(release)"
  std::string Function() const;  // "StealInto"
  friend bool operator==(const Site& a, const Site& b);
  friend bool operator<(const Site& a, const Site& b);
};

enum class Change : uint8_t {
  kNone,
  kDropAcquire,           // the order without its acquire half
  kDropAcquireOnFailure,  // as well, of a compare-and-swap that fails
  kDropRelease,           // the order without its release half
  kNoWrite,    // a store or read-modify-write that leaves the atomic as it is (a plain load, in the latter case)
  kTwoSteps,   // a read-modify-write as a load and a store, between which others can come
  kNoCompare,  // a compare-and-swap that succeeds whatever is there
};

struct Mutant {
  Site site;
  Change change = Change::kNone;
  std::string ToString() const;
};

struct Options {
  static constexpr int kUnlimited = -1;
  int preemptions = kUnlimited;
  int stale_reads = kUnlimited;  // reads of other than the last store, per thread; of one outdated store at most two
  int spurious_failures = 0;     // of compare_exchange_weak, per thread
  int steps_max = 1000;          // of one schedule
  uint64_t schedules_max = 5'000'000;
  std::optional<Mutant> mutant = {};
  std::string replay = {};  // Failure::schedule: run just that one
};

struct Failure {
  std::string what;
  std::string schedule;  // for Options::replay
  std::string trace;
};

struct Result {
  uint64_t schedules = 0;  // run to their end
  uint64_t redundant = 0;  // broken off, because the rest was known from another
  uint64_t steps = 0;      // of all of them
  int depth = 0;           // steps of the longest
  bool complete = false;   // all were run. False after a failure, and at schedules_max
  std::optional<Failure> failure;
  std::vector<Site> sites;  // accesses made, in the order of the source

  std::string ToString() const;
};

// One run of a scenario, as the function that sets it up sees it.
class Execution {
 public:
  // Makes an object that lives until the end of this run. Atomics are made here, not by the threads.
  template <class T, class... Args>
  T* Make(Args&&... args) {
    auto object = std::make_shared<T>(std::forward<Args>(args)...);
    T* t = object.get();
    owned_.push_back(std::move(object));
    return t;
  }
  void Thread(std::string name, std::function<void()> body) { threads_.emplace_back(std::move(name), std::move(body)); }
  // Called when all threads have ended. It sees everything that they did.
  void Finally(std::function<void()> check) { finally_ = std::move(check); }
  // Called when all threads wait. True: this is how the scenario ends; each Event::Wait then returns false.
  void WhenAllBlocked(std::function<bool()> fine) { when_all_blocked_ = std::move(fine); }
  // What the trace calls this value, or the atomics within this object.
  template <class T>
  void Name(const T* object, std::string name) {
    names_.push_back({reinterpret_cast<uintptr_t>(object), sizeof(T), std::move(name)});
  }

 private:
  friend class Engine;
  struct Named {
    uintptr_t address;
    size_t size;
    std::string name;
  };
  std::vector<std::shared_ptr<void>> owned_;
  std::vector<std::pair<std::string, std::function<void()>>> threads_;
  std::function<void()> finally_;
  std::function<bool()> when_all_blocked_;
  std::vector<Named> names_;
};

Result Explore(const Options& options, const std::function<void(Execution&)>& scenario);

// Ends the schedule as failed if `ok` is false. On a scenario's thread, or in Finally.
void Check(bool ok, const char* what);

namespace internal {

// An access, as the atomics of model_atomics.h ask for it.
struct Request {
  Op op = Op::kLoad;
  int location = 0;
  std::memory_order order = std::memory_order_relaxed;
  std::memory_order failure = std::memory_order_relaxed;
  uint64_t operand = 0;
  uint64_t expected = 0;
  uint64_t (*compute)(uint64_t old, uint64_t operand) = nullptr;
  bool weak = false;
  std::source_location where;
};
struct Reply {
  uint64_t value = 0;  // read
  bool done = true;    // the compare-and-swap succeeded; the wait was not ended by the end of the scenario
};

int NewLocation(uint64_t value, const void* address);
Reply Perform(const Request& request);

// Of a variable that is no atomic: who accessed it last, at which of his steps.
struct PlainState {
  int writer = -1;
  uint16_t written_at = 0;
  uint16_t read_at[8] = {};
  bool read_by[8] = {};
};
void PlainAccess(PlainState* state, bool write, const std::source_location& where);

}  // namespace internal

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_EXPLORER_H_

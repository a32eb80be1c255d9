// engine.h: one exploration, behind explorer.h: the tree of decisions, as the path that leads to the schedule being
// run, and that schedule's state.
//
// A schedule (engine.cc): the set-up makes the objects; each thread runs on its fiber to its first access and announces
// it; from then on whoever announces an access decides who goes on (decisions.cc) and leaves the fiber to him; whoever
// is chosen makes his access (accesses.cc). In the end the path is changed at its last open decision.

#ifndef EVRING_TESTS_MODEL_ENGINE_H_
#define EVRING_TESTS_MODEL_ENGINE_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#include "tests/model/explorer.h"
#include "tests/model/weak_memory.h"

namespace evring::model {

using internal::Reply;
using internal::Request;

inline constexpr int kNoThread = -1;

// Thrown on the threads of a schedule that is not run to its end, so that what lives on their stacks is destroyed.
struct Abandoned {};

inline bool Acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel;
}
inline bool Releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel;
}
inline std::memory_order OrderOf(bool acquire, bool release) {
  if (acquire) return release ? std::memory_order_acq_rel : std::memory_order_acquire;
  return release ? std::memory_order_release : std::memory_order_relaxed;
}

inline Site SiteOf(const Request& request) {
  return {.op = request.op, .order = request.order, .failure = request.failure, .where = request.where};
}

std::string FileOf(const std::source_location& where);  // without its folders

inline uint32_t BitOf(int thread) { return uint32_t{1} << thread; }

class Engine {
 public:
  Engine(const Options& options, const std::function<void(Execution&)>& scenario);
  Result Explore();

  int NewLocation(uint64_t value, const void* address);
  Reply Perform(Request request);
  void PlainAccess(internal::PlainState* state, bool write, const std::source_location& where);
  [[noreturn]] void Fail(std::string what);
  void RunThread(int thread);

 private:
  enum class Phase {
    kSetup,       // the scenario makes its objects
    kStarting,    // each thread runs to its first access
    kRunning,     // decisions are made
    kDraining,    // all threads waited: they end, without decisions
    kAbandoning,  // the threads unwind
    kFinal,       // Finally
  };

  // The steps that come before, in every schedule of the class: for each thread, how far in the path.
  using Clock = std::array<int, kThreadsMax>;

  // A decision, and what came of it in the schedule being run.
  struct Node {
    uint32_t enabled = 0;    // threads that could go on
    uint32_t backtrack = 0;  // threads to be tried here
    uint32_t done = 0;       // threads that were
    uint32_t asleep = 0;     // threads whose next step here is known from an earlier branch
    int thread = kNoThread;
    int preemptions = 0;  // up to here
    int choice = 0;       // of the values that the access can see
    int choices = 1;
    int location = 0;
    Op op = Op::kLoad;
    bool writes = false;
    bool enables = false;  // a post that somebody could have been waiting for
    Clock clock{};         // the step and those before it
  };

  struct Thread {
    const std::function<void()>* body = nullptr;
    bool finished = true;
    Request pending;
    Clock clock{};
    int stale_reads = 0;
    int spurious_failures = 0;
  };

  struct Location {
    const void* address;
    int held_by = kNoThread;  // of a mutex
    Clock accesses{};
    Clock writes{};
    std::vector<int> nodes;  // the steps that accessed it
    struct Stale {
      int store = -1;
      int times = 0;
    };
    std::array<Stale, kThreadsMax> stale;
  };

  // For the trace.
  struct Step {
    int thread;
    Request request;
    Reply reply;
    uint64_t written;
    bool wrote;
    int stale;  // how many stores ago the value read was written
  };

  void RunSchedule();
  bool NextSchedule();
  void ForceReplay();
  void GoOnWith(int next);
  void ResumeUnfinished(Phase phase);

  void Announce(const Request& request);
  int Decide();
  uint32_t Enabled() const;
  bool Runnable(const Request& request) const;
  int Choose(int choices);
  Reply Execute(const Request& request);
  Reply CompareExchange(const Request& request, Step* step);
  int ChooseStore(int location);
  bool MayReadStale(int location, int store);
  void NoteRead(int location, int store, bool acquire, Step* step);
  void NoteWrite(int location, uint64_t value, bool release, int sequence, Step* step);
  void FinishStep(const Request& request, bool writes);

  bool Bounded() const { return options_.preemptions != Options::kUnlimited; }
  void Races(int thread, const Request& next, bool writes, int depth);
  void Reverse(int index, int thread, const Request& next, bool writes, int depth);
  static bool Dependent(int location, bool writes, int other_location, bool other_writes);
  static bool MayWrite(const Request& pending);
  static void Join(Clock* clock, const Clock& other) {
    for (int i = 0; i < kThreadsMax; ++i) (*clock)[i] = std::max((*clock)[i], other[i]);
  }

  Request Mutated(const Request& request) const;
  bool IsMutant(const Request& request) const;
  void NoteSite(const Request& request);
  void NoteFailure(std::string what);
  std::string Trace() const;
  std::string Schedule() const;
  std::string NameOfValue(uint64_t value) const;
  std::string NameOfLocation(int location) const;

  const Options& options_;
  const std::function<void(Execution&)>& scenario_;
  Result result_;

  std::vector<Node> path_;
  std::optional<Execution> run_;
  Phase phase_ = Phase::kSetup;
  bool failed_ = false;
  bool redundant_ = false;
  int depth_ = 0;      // steps begun in this schedule: path_[depth_ - 1] is the one being executed
  int first_new_ = 0;  // steps before this one are as in the last schedule
  int running_ = kSetupThread;
  int thread_count_ = 0;
  std::vector<Thread> threads_;
  std::vector<Location> locations_;
  WeakMemory memory_;
  std::vector<Step> steps_;
};

// The exploration that is going on, or nullptr.
extern Engine* engine;

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_ENGINE_H_

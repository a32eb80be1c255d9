// idle_machine.h: workers that do nothing but push, steal, sleep and wake: the runtime's worker loop reduced to its
// queues, over the real Idle, RunQueue and InjectQueue, as threads of the explorer. A ring is a stored message.

#ifndef EVRING_TESTS_MODEL_IDLE_MACHINE_H_
#define EVRING_TESTS_MODEL_IDLE_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/idle.h"
#include "runtime/inject_queue.h"
#include "runtime/run_queue.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"

namespace evring::model {

// A scenario makes one, gives it tasks, starts threads on it. The end is that all tasks have run, each once, and nobody
// is counted as searching; before, all threads being blocked is a lost wake-up.
class IdleMachine {
 public:
  // What the worker loop owes to the protocol; a canary leaves one out.
  struct Rules {
    bool publish_before_notify = true;
    bool look_after_park = true;
    bool hand_on = true;
    bool look_before_hand_on = true;  // not owed: saves a wake
    bool look_at_stop_after_park = true;
  };

  struct Task {
    Task* queue_next = nullptr;
    std::string name;
    std::function<void(int worker)> body;
    Event ran;
    Plain<int> content;
    int times = 0;
    bool last = true;  // whoever runs it leaves the loop: what he would do then only adds schedules
  };

  IdleMachine(Execution* run, int workers, Rules rules)
      : run_(run),
        rules_(rules),
        workers_(workers),
        idle_(workers),
        queues_(new Queue[workers]),
        rings_(new Event[workers]),
        completed_(new ModelAtomic<Task*>[workers]),
        search_(workers) {
    run->WhenAllBlocked([this] { return !stopped_ && AllRan(); });
    run->Finally([this] {
      Check(AllRan(), "all tasks have run");
      const IdleCounters c = idle_.counters();
      Check(idle_.SearchingApprox() == 0, "nobody is counted as searching who sleeps, runs a task or has left");
      Check(c.wakes <= static_cast<uint64_t>(announced_) + c.hand_ons, "a task wakes at most one");
    });
  }

  // --- Set-up --------------------------------------------------------------------------------------------------------

  Task* Make(std::string name, std::function<void(int)> body = [](int) {}) {
    Task* task = run_->Make<Task>();
    task->name = std::move(name);
    task->body = std::move(body);
    run_->Name(task, task->name);
    tasks_.push_back(task);
    return task;
  }
  void Give(int worker, Task* task) {
    task->content.Set(1);
    queues_[worker].Push(task, [](Task**, size_t) { Check(false, "room"); });
  }
  void StartWorker(int worker) {
    run_->Thread("worker " + std::to_string(worker), [this, worker] { Loop(worker, false); });
  }
  // Asleep when the others begin.
  void StartParkedWorker(int worker) {
    static_cast<void>(idle_.Park(worker, false));
    run_->Thread("worker " + std::to_string(worker), [this, worker] { Loop(worker, true); });
  }

  void UseInjectQueue() { inject_.emplace(); }

  // --- Within threads and tasks --------------------------------------------------------------------------------------

  void Push(int worker, Task* task) {
    task->content.Set(1);
    const auto no_overflow = [](Task**, size_t) { Check(false, "room"); };
    if (rules_.publish_before_notify) {
      queues_[worker].Push(task, no_overflow);
      Announce(worker);
    } else {
      Announce(worker);
      queues_[worker].Push(task, no_overflow);
    }
  }
  void PushForeign(Task* task) {
    task->content.Set(1);
    inject_->Push(task);
    Announce(kForeign);
  }
  // The kernel's part: `task` is ready on `worker`; nullptr: something else is.
  void Complete(int worker, Task* task) {
    if (task != nullptr) completed_[worker].store(task, std::memory_order_relaxed);  // the ring hands it over
    rings_[worker].Post();
  }
  // A task computes until another has run.
  void ComputeUntil(Task* task) { static_cast<void>(task->ran.Wait()); }

  void Stop() {
    stopped_ = true;
    stop_.store(true, std::memory_order_relaxed);
    idle_.WakeAll([this](int worker) {
      ++announced_;
      rings_[worker].Post();
    });
  }

 private:
  static constexpr int kForeign = -1;
  using Queue = RunQueue<Task, 4, ModelAtomics>;

  bool AllRan() const {
    for (const Task* task : tasks_) {
      if (task->times != 1) return false;
    }
    return true;
  }

  // Since when a worker is known to be searching: from the end of the call that began it to the start of the one that
  // ends it.
  struct Search {
    bool known = false;
    bool counts = true;  // against the half that may (SearchOn is not refused)
    int number = 0;
  };
  void BeginSearch(int worker, bool counts = true) {
    search_[worker] = {true, counts, search_[worker].number + 1};
    int known = 0;
    for (const Search& search : search_) known += search.known && search.counts ? 1 : 0;
    Check(2 * known <= workers_ + 1, "half of the workers search at most");
  }

  void Announce(int worker) {
    ++announced_;
    Notify(worker);
  }
  void Notify(int worker) {
    const std::vector<Search> before = search_;
    const int chosen = worker == kForeign ? idle_.NotifyOne() : idle_.NotifyOneFrom(worker);
    if (chosen < 0) return;
    for (int i = 0; i < workers_; ++i) {
      Check(!(before[i].known && search_[i].known && before[i].number == search_[i].number),
            "nobody is woken while a worker searches");
    }
    BeginSearch(chosen);
    rings_[chosen].Post();
  }

  void Loop(int self, bool asleep) {
    bool searching = false;
    for (;;) {
      if (!asleep) {
        if (Task* task = Next(self, &searching); task != nullptr) {
          if (std::exchange(searching, false)) EndSearch(self);
          RunTask(self, task);
          if (task->last) return;
          continue;
        }
        search_[self].known = false;
        const bool look = idle_.Park(self, std::exchange(searching, false));
        if (rules_.look_at_stop_after_park && stop_.load(std::memory_order_relaxed)) {
          return Leave(self, !idle_.Unpark(self));
        }
        if (look && rules_.look_after_park && SomethingThere()) {
          idle_.SearchOn(self);
          BeginSearch(self, false);
          searching = true;
          continue;
        }
      }
      asleep = false;
      if (!rings_[self].Wait()) return;
      searching = !idle_.Unpark(self);
      if (Task* task = completed_[self].exchange(nullptr, std::memory_order_relaxed); task != nullptr) Give(self, task);
      if (stop_.load(std::memory_order_relaxed)) return Leave(self, searching);
    }
  }

  Task* Next(int self, bool* searching) {
    if (Task* task = queues_[self].Pop(); task != nullptr) return task;
    if (!*searching) {
      if (!idle_.TryBeginSearch()) return nullptr;
      BeginSearch(self);
      *searching = true;
    }
    if (Task* task = inject_ ? inject_->Pop() : nullptr; task != nullptr) return task;
    for (int i = 1; i < workers_; ++i) {
      if (Task* task = queues_[(self + i) % workers_].StealInto(queues_[self]); task != nullptr) return task;
    }
    return nullptr;
  }

  void EndSearch(int self) {
    search_[self].known = false;
    if (!idle_.EndSearchFound() || !rules_.hand_on) return;
    if (!rules_.look_before_hand_on || SomethingThere()) Notify(self);
  }

  void Leave(int self, bool searching) {
    if (searching) EndSearch(self);
  }

  bool SomethingThere() const {
    for (int i = 0; i < workers_; ++i) {
      if (!queues_[i].EmptyApprox()) return true;
    }
    return inject_ && !inject_->EmptyApprox();
  }

  void RunTask(int self, Task* task) {
    Check(task->content.Get() == 1, "the content came along");
    Check(++task->times == 1, "a task runs once");
    task->ran.Post();
    task->body(self);
  }

  Execution* const run_;
  const Rules rules_;
  const int workers_;
  Idle<ModelAtomics, 1> idle_;  // a mask for each worker: what is known of one says nothing of the others
  std::unique_ptr<Queue[]> queues_;
  std::optional<InjectQueue<Task, ModelAtomics>> inject_;
  std::unique_ptr<Event[]> rings_;
  std::unique_ptr<ModelAtomic<Task*>[]> completed_;
  ModelAtomic<bool> stop_{false};
  bool stopped_ = false;
  std::vector<Task*> tasks_;
  std::vector<Search> search_;
  int announced_ = 0;
};

}  // namespace evring::model

#endif  // EVRING_TESTS_MODEL_IDLE_MACHINE_H_

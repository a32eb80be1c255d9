// select.h: waiting for the first of several channels and a time.
//
//   auto chosen = co_await Select(jobs.Receive(), results.Send(std::move(result)), Sleep(absl::Seconds(1)));
//   if (chosen.index() == 0) { absl::StatusOr<Job>& job = std::get<0>(chosen); … }
//
// The cases are what would be awaited otherwise: Receive() and Send() of a Channel, Receive() of its kin that are made
// like it, Sleep(), SleepUntil(), and Tick() of an Interval. Exactly one of them happens, the first that is ready; of
// several that are ready at once, the first in order. The others do not happen: no value is taken that is not given to
// the caller, and what was not sent is still with the sender.
//
// For operations of the kernel and other tasks there is WhenAny (when_any.h): what they have begun cannot be undone, so
// the losers are stopped and awaited. Select costs no task and no allocation.
//
// How it is done.
//   S1  With the locks of all its channels held (in the order of their addresses, so that two selects never wait for
//       each other) the cases are tried in order. One that succeeds is the choice; nobody else knew of this wait.
//   S2  Else each case gets its node into its channel's queue, behind who came before. Only then the locks are let go.
//   S3  From here on whoever would serve a node claims the choice first, so does the timer, and so does a stop
//       (sync/internal/select_wait.h). Who succeeds completes the wait; who fails goes on to the next in its queue:
//       fairness is that of the channels, and a select that has chosen elsewhere holds nobody up.
//   S4  The task, when it goes on, takes its other nodes off their queues.
//
// Checked by: tests/model/sync_select_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_SELECT_H_
#define EVRING_RUNTIME_SYNC_SELECT_H_

#include <array>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/sleep.h"
#include "runtime/spin_lock.h"
#include "runtime/sync/internal/awaiter.h"
#include "runtime/sync/internal/channel_core.h"
#include "runtime/sync/internal/select_wait.h"
#include "runtime/sync/internal/waiter.h"
#include "runtime/timer_wheel.h"
#include "runtime/worker.h"

namespace evring {
namespace internal {

// In the order of their addresses, each once, without nullptr.
std::span<SpinLock*> OrderLocks(std::span<SpinLock*> locks);

// A receive or a send.
template <class Awaiter>
class SelectCase {
 public:
  using Result = decltype(std::declval<Awaiter&>().await_resume());

  explicit SelectCase(Awaiter* awaiter) : awaiter_(awaiter) {}

  SpinLock* lock() const { return awaiter_->core()->lock(); }
  int64_t Deadline(Worker*, int64_t) const { return TimerWheel::kNever; }
  bool TryLocked() { return awaiter_->core()->TryLocked(awaiter_, &rest_); }
  void QueueLocked(Choice<RuntimeHost>* choice) {
    awaiter_->choice = choice;
    awaiter_->core()->QueueLocked(awaiter_);
  }
  // After unlocking, when it was tried.
  void Finish() {
    if (rest_.partner != nullptr) rest_.partner->Complete();
    rest_ = {};
  }
  // What claims the choice for it.
  const void* mark() const { return static_cast<const Waiter<RuntimeHost>*>(awaiter_); }
  // It was queued, and something else was chosen.
  void Withdraw() { static_cast<void>(awaiter_->core()->Cancel(awaiter_)); }
  void SetCancelled() { awaiter_->state = Awaiter::State::kCancelled; }
  Result Take() { return awaiter_->await_resume(); }

 private:
  Awaiter* awaiter_;
  typename std::remove_pointer_t<decltype(std::declval<Awaiter*>()->core())>::Rest rest_;
};

// What waits for a time: a sleep, or the next tick of an interval.
template <class T>
concept TimeAwaiter = std::is_base_of_v<TimerWait, T>;

template <TimeAwaiter Awaiter>
class SelectCase<Awaiter> {
 public:
  using Result = decltype(std::declval<Awaiter&>().await_resume());

  explicit SelectCase(Awaiter* awaiter) : awaiter_(awaiter) {}

  SpinLock* lock() const { return nullptr; }
  // Before it is tried.
  int64_t Deadline(Worker* worker, int64_t now_ns) {
    due_ = awaiter_->due(now_ns);
    return awaiter_->FireNsFrom(worker, now_ns);
  }
  bool TryLocked() { return due_; }
  void QueueLocked(Choice<RuntimeHost>*) {}
  void Finish() {}
  const void* mark() const { return nullptr; }
  void Withdraw() {}
  void SetCancelled() { awaiter_->SetCancelled(); }
  Result Take() { return awaiter_->await_resume(); }

 private:
  Awaiter* awaiter_;
  bool due_ = false;
};

template <class T, class Host, class Store, class Node>
std::true_type IsChannelAwaiter(const Suspension<ChannelCore<T, Host, Store>, Node>*);
std::false_type IsChannelAwaiter(const void*);
template <class T>
concept Selectable = TimeAwaiter<T> || decltype(IsChannelAwaiter(static_cast<const T*>(nullptr)))::value;

template <class... Awaiters>
class [[nodiscard]] SelectAwaiter final {
 public:
  using Result = std::variant<typename SelectCase<Awaiters>::Result...>;

  explicit SelectAwaiter(Awaiters*... awaiters) : cases_(SelectCase<Awaiters>(awaiters)...) {}

  bool await_ready() const noexcept { return false; }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    TaskContext* context = waiting.promise().context();
    if (context->stop_requested()) return false;
    std::array<SpinLock*, kCases> of_cases =
        std::apply([](auto&... one) { return std::array<SpinLock*, kCases>{one.lock()...}; }, cases_);
    const std::span<SpinLock*> locks = OrderLocks(of_cases);
    const int64_t deadline_ns = Deadline();

    for (SpinLock* lock : locks) lock->lock();
    Each([this](size_t i, auto& one) {
      if (chosen_ == kNone && one.TryLocked()) chosen_ = i;
    });
    const bool begun = chosen_ == kNone && wait_.Begin(context, waiting, Worker::Current(), deadline_ns);
    if (begun) {
      Each([this](size_t, auto& one) { one.QueueLocked(wait_.choice()); });
    }
    for (SpinLock* lock : locks) lock->unlock();

    if (begun) return wait_.Suspend();
    Each([](size_t, auto& one) { one.Finish(); });
    return chosen_ != kNone && Worker::Current()->GiveWayIfSpent(context, waiting);
  }

  Result await_resume() {
    if (wait_.waited()) {
      Each([this](size_t i, auto& one) {
        if (one.mark() != nullptr ? wait_.ClaimedBy(one.mark()) : wait_.timed_out() && i == nearest_) {
          chosen_ = i;
        } else {
          one.Withdraw();
        }
      });
    }
    if (chosen_ == kNone) {
      std::get<0>(cases_).SetCancelled();
      chosen_ = 0;
    }
    return Take(std::index_sequence_for<Awaiters...>());
  }

 private:
  static constexpr size_t kCases = sizeof...(Awaiters);
  static constexpr size_t kNone = SIZE_MAX;

  // `function(index, case)` for each case in order.
  template <class Function>
  void Each(Function function) {
    std::apply([&function, i = size_t{0}](auto&... one) mutable { (function(i++, one), ...); }, cases_);
  }

  // Of the nearest time among the cases.
  int64_t Deadline() {
    Worker* worker = Worker::Current();
    EVRING_CHECK(worker != nullptr, "Select is awaited on a worker");
    int64_t nearest_ns = TimerWheel::kNever;
    if constexpr ((TimeAwaiter<Awaiters> || ...)) {
      const int64_t now_ns = worker->NowNs();
      Each([&](size_t i, auto& one) {
        const int64_t deadline_ns = one.Deadline(worker, now_ns);
        if (deadline_ns >= nearest_ns) return;
        nearest_ns = deadline_ns;
        nearest_ = i;
      });
    }
    return nearest_ns;
  }

  template <size_t kIndex>
  static Result TakeOne(SelectAwaiter* self) {
    return Result(std::in_place_index<kIndex>, std::get<kIndex>(self->cases_).Take());
  }
  template <size_t... kIndex>
  Result Take(std::index_sequence<kIndex...>) {
    constexpr std::array<Result (*)(SelectAwaiter*), kCases> kTake = {&TakeOne<kIndex>...};
    return kTake[chosen_](this);
  }

  SelectWait<RuntimeHost> wait_;
  std::tuple<SelectCase<Awaiters>...> cases_;
  size_t chosen_ = kNone;
  size_t nearest_ = kNone;
};

// The cases are temporaries of the expression that awaits: kept as a name, this would outlive them.
template <class... Awaiters>
class [[nodiscard]] SelectAwaitable {
 public:
  explicit SelectAwaitable(Awaiters*... awaiters) : awaiters_(awaiters...) {}
  SelectAwaitable(const SelectAwaitable&) = delete;
  SelectAwaitable& operator=(const SelectAwaitable&) = delete;

  SelectAwaiter<Awaiters...> operator co_await() && {
    return std::make_from_tuple<SelectAwaiter<Awaiters...>>(awaiters_);
  }

 private:
  std::tuple<Awaiters*...> awaiters_;
};

}  // namespace internal

// `co_await Select(cases…)`, all in one expression: a std::variant of what awaiting each case by itself would give; its
// index() says which one happened. A case whose channel is closed is ready, and tells so. Await on a worker. The
// channels outlive it, unless their Close() is what it answers.
// kCancelled: a stop was requested first, and nothing has happened; that is told as the result of the first case.
template <class... Awaiters>
  requires(sizeof...(Awaiters) > 0 && (internal::Selectable<Awaiters> && ...))
internal::SelectAwaitable<Awaiters...> Select(Awaiters&&... cases) {
  return internal::SelectAwaitable<Awaiters...>(&cases...);
}

}  // namespace evring

#endif  // EVRING_RUNTIME_SYNC_SELECT_H_

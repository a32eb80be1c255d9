// waiter.h: a task in the queue of a primitive, from the moment it decides to wait until it goes on.
//
// The node lives in the awaiter, in the frame of the waiting coroutine: no wait allocates. Its state is written under
// the lock of the primitive it waits at:
//
//     kNew --Enqueue--> kQueued --taken off by a waker--> kGranted
//       \                  \-------Cancel----------------> kCancelled
//        \---Enqueue, ready meanwhile--> kGranted;  Cancel before Enqueue --> kCancelled
//
//   Q1  The task: BeginWait (context.h). From here on a stop may call Cancel, before Q2 even.
//   Q2  The task: Enqueue, under the lock: cancelled meanwhile, or ready meanwhile: it does not queue and ends its wait
//       itself. Else it is in the queue now, and nothing of the awaiter may be touched any more: whoever takes the node
//       off the queue completes the wait, and the task may go on and free the frame on another thread.
//   Q3  A waker, under the lock: takes the node off and grants. After unlocking: completes the wait.
//   Q4  A stop, under the lock: a queued node is taken off and is cancelled; after unlocking the wait is completed. A
//       new one is marked, for Q2 to see. A granted one is left alone: what it got, it has.
//
// So exactly one of Q2, Q3 and Q4 completes the wait: who changed the state from kNew or kQueued under the lock, but
// for a mark of Q4, which leaves it to Q2.
//
// A task that waits for one of several things (select.h) has a node at each of them, and one Choice among them. Whoever
// would take such a node off to grant it claims the choice first, under the lock. If another has claimed it before, the
// node is taken off ungranted and nothing of it is touched after unlocking; the task takes off the others by itself.
//
// Some wakers take the whole queue off in one step and write no node (Event::Set, Channel::Close). The primitive then
// remembers that what was queued before is no longer in the queue; such a node stays kQueued to its end.
//
// `Host` says what tasks are made of, so that tests/model runs this very code: Host::Wait and Host::Context with the
// meaning of Wait and TaskContext.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_WAITER_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_WAITER_H_

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <utility>

namespace evring::internal {

template <class Awaiter>
class SelectCase;

// What the nodes of a task share that waits for one of several things.
template <class Host>
class Choice {
 public:
  Choice(const Choice&) = delete;
  Choice& operator=(const Choice&) = delete;

  // True: `by` is what was chosen, and the caller calls Complete(), once, holding no lock. By a node, under the lock of
  // the primitive it waits at, or by whatever else the task waits for.
  [[nodiscard]] bool Claim(const void* by) {
    uintptr_t nobody = 0;
    // Relaxed: Complete() publishes to the task what is done for it. A failure tells nothing else.
    return by_.compare_exchange_strong(nobody, reinterpret_cast<uintptr_t>(by), std::memory_order_relaxed,
                                       std::memory_order_relaxed);
  }
  // The wait is over.
  virtual void Complete() noexcept = 0;

 protected:
  Choice() = default;
  ~Choice() = default;

  // By the task, after the wait.
  bool ClaimedBy(const void* by) const {
    return by_.load(std::memory_order_relaxed) == reinterpret_cast<uintptr_t>(by);
  }

 private:
  typename Host::Atomics::template Atomic<uintptr_t> by_{0};
};

template <class Host>
class Waiter : private Host::Wait {
 public:
  using Context = typename Host::Context;
  enum class State : uint8_t { kNew, kQueued, kGranted, kCancelled };

  // By the task itself. False: a stop was requested, do not wait.
  [[nodiscard]] bool Begin(Context* context, std::coroutine_handle<> resume) {
    context_ = context;
    return context->BeginWait(this, resume);
  }
  // The wait is over before the task has suspended. True: go on. False: a stopper is at it, and makes the task ready.
  [[nodiscard]] bool End() { return context_->FinishWait(this); }

  // By whoever took this off the queue, holding no lock. `*this` may be gone when it returns.
  void Complete() {
    if (choice != nullptr) [[unlikely]]
      return choice->Complete();
    context_->Complete(this);
  }

  // These under the lock of the primitive, and by the task before Begin() and after it was made ready.
  State state = State::kNew;
  Waiter* next;  // these two are set when it queues: an await that does not wait pays nothing for them
  Waiter* previous;
  Choice<Host>* choice = nullptr;  // it is one node of several

 private:
  Context* context_;  // set by Begin()
};

// First come, first served. Under the lock of the primitive. Node: a Waiter.
template <class Node>
class WaiterQueue {
 public:
  bool empty() const { return first_ == nullptr; }
  Node* first() const { return static_cast<Node*>(first_); }

  void PushBack(Node* node) {
    node->state = Node::State::kQueued;
    node->next = nullptr;
    node->previous = last_;
    (last_ != nullptr ? last_->next : first_) = node;
    last_ = node;
    choices_ |= node->choice != nullptr;
  }

  void Remove(Node* node) {
    (node->previous != nullptr ? node->previous->next : first_) = node->next;
    (node->next != nullptr ? node->next->previous : last_) = node->previous;
  }

  // The first, granted; on the way those go that have chosen something else. nullptr: there is none.
  Node* Grant() {
    for (;;) {
      Node* node = first();
      if (node == nullptr) return nullptr;
      Remove(node);
      if (Claim(node)) [[likely]] {
        node->state = Node::State::kGranted;
        return node;
      }
      node->state = Node::State::kCancelled;
    }
  }

  // All of them but those that have chosen something else, linked by `next`, their state unchanged.
  Node* TakeAll() {
    if (choices_) [[unlikely]]
      RemoveUnclaimable();
    last_ = nullptr;
    return static_cast<Node*>(std::exchange(first_, nullptr));
  }

  // Q4, but for unlocking. True: the caller unlocks and completes the wait.
  bool Cancel(Node* node) {
    if (node->state == Node::State::kGranted) return false;
    const bool queued = node->state == Node::State::kQueued;
    if (queued) Remove(node);
    node->state = Node::State::kCancelled;
    return queued;
  }

 private:
  using Link = decltype(Node::next);

  static bool Claim(Link node) { return node->choice == nullptr || node->choice->Claim(node); }

  void RemoveUnclaimable() {
    for (Link node = first_; node != nullptr;) {
      const Link next = node->next;
      if (!Claim(node)) {
        Remove(static_cast<Node*>(node));
        node->state = Node::State::kCancelled;
      }
      node = next;
    }
  }

  Link first_ = nullptr;
  Link last_ = nullptr;
  bool choices_ = false;  // a node of several was queued here once
};

// Completes the waits of nodes that were taken off and are linked by `next`. The first of them comes last: a worker
// runs next what it woke last, and what it woke before that in order. Holding no lock.
template <class Host>
void CompleteAll(Waiter<Host>* first) {
  if (first == nullptr) return;
  for (Waiter<Host>* node = first->next; node != nullptr;) std::exchange(node, node->next)->Complete();
  first->Complete();
}

// A node with what it takes to wait at a `Core`, which has
//   bool Enqueue(Node*)   Q2: true: queued. False: the node's state says what it is instead
//   bool Cancel(Node*)    Q4: true: the caller completes the wait
template <class Core, class Node>
class Suspension : public Node {
 public:
  using Context = typename Node::Context;

  template <class... Args>
  explicit Suspension(Core* core, Args&&... args) : Node(std::forward<Args>(args)...), core_(core) {}

  // What await_suspend returns.
  [[gnu::noinline]] bool Suspend(Context* context, std::coroutine_handle<> resume) {
    if (!this->Begin(context, resume)) {
      this->state = Node::State::kCancelled;
      return false;
    }
    if (core_->Enqueue(this)) return true;  // the last touch
    return !this->End();
  }

 protected:
  Core* core() const { return core_; }

 private:
  template <class Awaiter>
  friend class SelectCase;

  void OnStop() noexcept override {
    if (core_->Cancel(this)) this->Complete();
  }

  Core* const core_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_WAITER_H_

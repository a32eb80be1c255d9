// publish_core.h: the algorithm of Broadcast and Watch: a ring of the last values, which everybody may read, a queue of
// those that wait for the next one, one lock.
//
//   U1  Values are numbered from 0 in the order of publishing; those from end_ - capacity to end_ - 1 are in the ring.
//   U2  Who waits wants the value number end_. So Publish takes the whole queue off in one step and writes no node: one
//       that wants less is not in the queue any more. Close does the same, and then nobody queues.
//   U3  A reader that was woken takes its value when it runs, under the lock, wherever the ring has got to by then.
//
// A value is copied and destroyed under the lock by nobody but for copies that do not throw: it is a counted pointer.
//
// Checked by: tests/model/sync_publish_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_PUBLISH_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_PUBLISH_CORE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "kevent/check.h"
#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class Value, class Host>
class PublishCore {
  static_assert(std::is_nothrow_copy_constructible_v<Value> && std::is_nothrow_swappable_v<Value>,
                "values are copied under a lock");

 public:
  enum class Answer : unsigned char { kThere, kClosed, kWait };

  // A value that was read.
  struct Taken {
    Value value{};
    uint64_t next = 0;    // the number of the one after it
    uint64_t missed = 0;  // how many were skipped, from the wanted one to this
  };

  struct Node : public Waiter<Host> {
    explicit Node(uint64_t n) : wanted(n) {}
    const uint64_t wanted;
  };

  explicit PublishCore(size_t capacity) : capacity_(capacity), ring_(new Value[capacity]) {}

  // Nobody waits.
  bool idle() const { return queue_.empty(); }

  // False: closed. The value that it displaces is destroyed after unlocking.
  bool Publish(Value value) {
    Node* woken = nullptr;
    {
      std::lock_guard lock(lock_);
      if (closed_) return false;
      std::swap(ring_[end_ % capacity_], value);
      ++end_;
      woken = queue_.TakeAll();
    }
    CompleteAll<Host>(woken);
    return true;
  }

  void Close() {
    Node* woken = nullptr;
    {
      std::lock_guard lock(lock_);
      closed_ = true;
      woken = queue_.TakeAll();
    }
    CompleteAll<Host>(woken);
  }

  // The number of the next value.
  uint64_t end() {
    std::lock_guard lock(lock_);
    return end_;
  }

  // The value with that number, or the oldest that is still there. kClosed: it will never be there.
  Answer Take(uint64_t wanted, Taken* to) {
    std::lock_guard lock(lock_);
    if (!Settled(wanted)) return Answer::kWait;
    if (wanted == end_) return Answer::kClosed;
    const uint64_t number = std::max(wanted, end_ - std::min<uint64_t>(end_, capacity_));
    to->value = ring_[number % capacity_];
    to->next = number + 1;
    to->missed = number - wanted;
    return Answer::kThere;
  }

  bool Try(Node* node) {
    std::lock_guard lock(lock_);
    return Settled(node->wanted);
  }

  bool Enqueue(Node* node) {
    std::lock_guard lock(lock_);
    if (node->state == Node::State::kCancelled || Settled(node->wanted)) return false;
    queue_.PushBack(node);
    return true;
  }

  bool Cancel(Node* node) {
    std::lock_guard lock(lock_);
    return !Settled(node->wanted) && queue_.Cancel(node);
  }

 private:
  // Under the lock: who wants this does not have to wait.
  bool Settled(uint64_t wanted) const {
    EVRING_CHECK(wanted <= end_, "a value is waited for when all before it are known");
    return wanted != end_ || closed_;
  }

  typename Host::Lock lock_;
  bool closed_ = false;  // these under the lock
  uint64_t end_ = 0;
  const size_t capacity_;
  const std::unique_ptr<Value[]> ring_;
  WaiterQueue<Node> queue_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_PUBLISH_CORE_H_

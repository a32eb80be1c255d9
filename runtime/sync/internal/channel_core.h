// channel_core.h: the algorithm of Channel and its kin: a store of values, a queue of senders, a queue of receivers,
// one lock. What there is room for is the store's (value_store.h): so many values, one, or any number.
//
//   C1  Receivers wait only while the store is empty and no sender waits.
//   C2  Senders wait only while the store is full (with a capacity of 0 it always is).
//   C3  Once closed, nobody waits, and nothing gets into the store any more.
//
// A value goes straight to the first receiver that waits; else into the store; else it stays with its sender. A
// receiver that takes a value out of a full store puts that of the first sender into its place. By C1 and C2 neither
// overtakes anybody: values come out in the order in which they got in.
//
// Values are moved under the lock, which is why their moves must not throw; Close takes the queues off in one step and
// writes no node but those that wait elsewhere too.
//
// Checked by: tests/model/sync_channel_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_CHANNEL_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_CHANNEL_CORE_H_

#include <mutex>
#include <type_traits>
#include <utility>

#include "runtime/sync/internal/value_store.h"
#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class T, class Host, class Store = FixedStore<T>>
class ChannelCore {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "values are moved under a lock");

 public:
  using Source = ValueSource<T>;

  enum class Answer : unsigned char { kDone, kClosed, kWait };

  // How a wait ended: granted, cancelled, or else closed.
  struct SendNode : public Waiter<Host> {
    explicit SendNode(Source* s) : source(s) {}
    Source* const source;
  };

  struct ReceiveNode : public Waiter<Host> {
    ReceiveNode() {}
    ~ReceiveNode() {
      if (this->state == ReceiveNode::State::kGranted) value.~T();
    }
    union {
      T value;  // there if granted
    };
  };

  // A value that may be there, for TryReceive().
  struct Room {
    Room() {}
    ~Room() {
      if (full) value.~T();
    }
    bool full = false;
    union {
      T value;
    };
  };

  template <class... Args>
  explicit ChannelCore(Args&&... args) : store_(std::forward<Args>(args)...) {}

  // To be looked at, but for what never changes, in WithStore().
  const Store& store() const { return store_; }
  template <class Function>
  auto WithStore(Function function) {
    std::lock_guard lock(lock_);
    return function(&store_);
  }

  // Nobody waits.
  bool idle() const { return senders_.empty() && receivers_.empty(); }

  // --- Sending
  // ---------------------------------------------------------------------------------------------------------

  // *source is taken only if the answer is kDone.
  Answer TrySend(Source* source) {
    ReceiveNode* receiver = nullptr;
    Answer answer;
    {
      std::lock_guard lock(lock_);
      answer = Put(source, &receiver);
    }
    if (receiver != nullptr) receiver->Complete();
    return answer;
  }

  bool Try(SendNode* node) { return Settle(node, TrySend(node->source)); }

  bool Enqueue(SendNode* node) {
    ReceiveNode* receiver = nullptr;
    {
      std::lock_guard lock(lock_);
      if (node->state == SendNode::State::kCancelled) return false;
      if (!Settle(node, Put(node->source, &receiver))) {
        senders_.PushBack(node);
        return true;
      }
    }
    if (receiver != nullptr) receiver->Complete();
    return false;
  }

  bool Cancel(SendNode* node) {
    std::lock_guard lock(lock_);
    return !closed_ && senders_.Cancel(node);
  }

  // --- Receiving
  // -------------------------------------------------------------------------------------------------------

  // Not inlined: gcc 12 would say that `value` may be uninitialized.
  [[gnu::noinline]] Answer TryReceive(Room* room) {
    const Answer answer = TryReceive(&room->value);
    room->full = answer == Answer::kDone;
    return answer;
  }

  bool Try(ReceiveNode* node) { return Settle(node, TryReceive(&node->value)); }

  bool Enqueue(ReceiveNode* node) {
    SendNode* sender = nullptr;
    [[maybe_unused]] typename Store::Garbage garbage;
    {
      std::lock_guard lock(lock_);
      if (node->state == ReceiveNode::State::kCancelled) return false;
      if (!Settle(node, Take(&node->value, &sender))) {
        receivers_.PushBack(node);
        return true;
      }
      garbage = store_.TakeGarbage();
    }
    if (sender != nullptr) sender->Complete();
    return false;
  }

  bool Cancel(ReceiveNode* node) {
    std::lock_guard lock(lock_);
    return !closed_ && receivers_.Cancel(node);
  }

  // --- As one case of several (select.h), which have their locks held together
  // ----------------------------------------------------------------------------------------------------

  // What is left to be done after unlocking.
  struct Rest {
    Waiter<Host>* partner = nullptr;  // to be completed
    typename Store::Garbage garbage{};
  };

  typename Host::Lock* lock() { return &lock_; }

  // Under the lock. As Try().
  bool TryLocked(SendNode* node, Rest* rest) {
    ReceiveNode* receiver = nullptr;
    const bool settled = Settle(node, Put(node->source, &receiver));
    rest->partner = receiver;
    return settled;
  }
  bool TryLocked(ReceiveNode* node, Rest* rest) {
    SendNode* sender = nullptr;
    const bool settled = Settle(node, Take(&node->value, &sender));
    rest->partner = sender;
    rest->garbage = store_.TakeGarbage();
    return settled;
  }
  // Under the lock, after a TryLocked() that did not settle it.
  void QueueLocked(SendNode* node) { senders_.PushBack(node); }
  void QueueLocked(ReceiveNode* node) { receivers_.PushBack(node); }

  // --- Closing
  // ---------------------------------------------------------------------------------------------------------

  void Close() {
    SendNode* senders = nullptr;
    ReceiveNode* receivers = nullptr;
    {
      std::lock_guard lock(lock_);
      closed_ = true;
      senders = senders_.TakeAll();
      receivers = receivers_.TakeAll();
    }
    CompleteAll<Host>(senders);
    CompleteAll<Host>(receivers);
  }

 private:
  // Under the lock. *receiver, if there was one, has got the value and is to be completed.
  Answer Put(Source* source, ReceiveNode** receiver) {
    if (closed_) return Answer::kClosed;
    if ((*receiver = receivers_.Grant()) != nullptr) {
      ConstructFrom(&(*receiver)->value, source);
    } else if (!store_.full()) {
      store_.Push(source);
    } else {
      return Answer::kWait;
    }
    return Answer::kDone;
  }

  // kDone: a T was made at `to`.
  Answer TryReceive(T* to) {
    SendNode* sender = nullptr;
    [[maybe_unused]] typename Store::Garbage garbage;
    Answer answer;
    {
      std::lock_guard lock(lock_);
      answer = Take(to, &sender);
      garbage = store_.TakeGarbage();
    }
    if (sender != nullptr) sender->Complete();
    return answer;
  }

  // Under the lock. *sender, if there was one, has got rid of its value and is to be completed.
  Answer Take(T* to, SendNode** sender) {
    if (!store_.empty()) {
      store_.Pop(to);
      if ((*sender = senders_.Grant()) != nullptr) store_.Push((*sender)->source);
    } else if ((*sender = senders_.Grant()) != nullptr) {
      ConstructFrom(to, (*sender)->source);
    } else {
      return closed_ ? Answer::kClosed : Answer::kWait;
    }
    return Answer::kDone;
  }

  // True: the node does not have to wait.
  template <class Node>
  static bool Settle(Node* node, Answer answer) {
    if (answer == Answer::kDone) node->state = Node::State::kGranted;
    return answer != Answer::kWait;
  }

  typename Host::Lock lock_;
  bool closed_ = false;  // all below under the lock
  Store store_;
  WaiterQueue<SendNode> senders_;
  WaiterQueue<ReceiveNode> receivers_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_CHANNEL_CORE_H_

// channel_core.h: the algorithm of Channel: a ring of values, a queue of senders, a queue of receivers, one lock.
//
//   C1  Receivers wait only while the ring is empty and no sender waits.
//   C2  Senders wait only while the ring is full (with a capacity of 0 it always is).
//   C3  Once closed, nobody waits, and nothing gets into the ring any more.
//
// A value goes straight to the first receiver that waits; else into the ring; else it stays with its sender. A receiver
// that takes a value out of a full ring puts that of the first sender into its place. By C1 and C2 neither overtakes
// anybody: values come out in the order in which they got in.
//
// Values are moved under the lock, which is why their moves must not throw; Close takes the queues off in one step and
// writes no node.
//
// Checked by: tests/model/sync_channel_model_test.cc.

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_CHANNEL_CORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_CHANNEL_CORE_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

#include "runtime/sync/internal/waiter.h"

namespace evring::internal {

template <class T, class Host>
class ChannelCore {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "values are moved under a lock");

 public:
  // What a value is taken from: it is moved out of, or copied if that makes no difference.
  using Source = std::conditional_t<std::is_trivially_copyable_v<T>, const T, T>;

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

  explicit ChannelCore(size_t capacity)
      : capacity_(capacity), ring_(capacity == 0 ? nullptr : std::allocator<T>().allocate(capacity)) {}
  ~ChannelCore() {
    for (; size_ != 0; --size_) {
      ring_[first_].~T();
      first_ = Next(first_);
    }
    if (ring_ != nullptr) std::allocator<T>().deallocate(ring_, capacity_);
  }

  size_t capacity() const { return capacity_; }

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

  Answer TryReceive(Room* room) {
    const Answer answer = TryReceive(&room->value);
    room->full = answer == Answer::kDone;
    return answer;
  }

  bool Try(ReceiveNode* node) { return Settle(node, TryReceive(&node->value)); }

  bool Enqueue(ReceiveNode* node) {
    SendNode* sender = nullptr;
    {
      std::lock_guard lock(lock_);
      if (node->state == ReceiveNode::State::kCancelled) return false;
      if (!Settle(node, Take(&node->value, &sender))) {
        receivers_.PushBack(node);
        return true;
      }
    }
    if (sender != nullptr) sender->Complete();
    return false;
  }

  bool Cancel(ReceiveNode* node) {
    std::lock_guard lock(lock_);
    return !closed_ && receivers_.Cancel(node);
  }

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
      Construct(&(*receiver)->value, source);
    } else if (size_ != capacity_) {
      PushRing(source);
    } else {
      return Answer::kWait;
    }
    return Answer::kDone;
  }

  // kDone: a T was made at `to`.
  Answer TryReceive(T* to) {
    SendNode* sender = nullptr;
    Answer answer;
    {
      std::lock_guard lock(lock_);
      answer = Take(to, &sender);
    }
    if (sender != nullptr) sender->Complete();
    return answer;
  }

  // Under the lock. *sender, if there was one, has got rid of its value and is to be completed.
  Answer Take(T* to, SendNode** sender) {
    if (size_ != 0) {
      PopRing(to);
      if ((*sender = senders_.Grant()) != nullptr) PushRing((*sender)->source);
    } else if ((*sender = senders_.Grant()) != nullptr) {
      Construct(to, (*sender)->source);
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

  static void Construct(T* to, Source* source) { ::new (static_cast<void*>(to)) T(std::move(*source)); }

  size_t Next(size_t i) const { return i + 1 == capacity_ ? 0 : i + 1; }
  void PushRing(Source* source) {
    Construct(&ring_[last_], source);
    last_ = Next(last_);
    ++size_;
  }
  void PopRing(T* to) {
    T& value = ring_[first_];
    ::new (static_cast<void*>(to)) T(std::move(value));
    value.~T();
    first_ = Next(first_);
    --size_;
  }

  typename Host::Lock lock_;
  bool closed_ = false;  // all below under the lock
  size_t first_ = 0;
  size_t last_ = 0;
  size_t size_ = 0;
  const size_t capacity_;
  T* const ring_;
  WaiterQueue<SendNode> senders_;
  WaiterQueue<ReceiveNode> receivers_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_CHANNEL_CORE_H_

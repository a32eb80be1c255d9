// value_store.h: where the values of a channel are between their senders and their receivers: FixedStore, a ring of
// fixed size; GrowingStore, blocks that are added from outside; SingleStore, one place in the object itself.
// ChannelCore calls them under its lock, so none of them allocates or frees there:
//
//   bool empty() const, full() const
//   void Push(Source*)            not full: takes the value
//   void Pop(T* to)               not empty: makes the oldest at `to`
//   Garbage TakeGarbage()         what Pop() has left over, to be destroyed after unlocking

#ifndef EVRING_RUNTIME_SYNC_INTERNAL_VALUE_STORE_H_
#define EVRING_RUNTIME_SYNC_INTERNAL_VALUE_STORE_H_

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace evring::internal {

// What a value is taken from: it is moved out of, or copied if that makes no difference.
template <class T>
using ValueSource = std::conditional_t<std::is_trivially_copyable_v<T>, const T, T>;

template <class T>
void ConstructFrom(T* to, ValueSource<T>* source) {
  ::new (static_cast<void*>(to)) T(std::move(*source));
}
template <class T>
void MoveOut(T* to, T* from) {
  ::new (static_cast<void*>(to)) T(std::move(*from));
  from->~T();
}

struct NoGarbage {};

// `capacity` values in an array that the constructor makes; none if it is 0, which is always full.
template <class T>
class FixedStore {
 public:
  using Garbage = NoGarbage;

  explicit FixedStore(size_t capacity)
      : capacity_(capacity), ring_(capacity == 0 ? nullptr : std::allocator<T>().allocate(capacity)) {}
  FixedStore(const FixedStore&) = delete;
  FixedStore& operator=(const FixedStore&) = delete;
  ~FixedStore() {
    for (; size_ != 0; --size_) {
      ring_[first_].~T();
      first_ = Next(first_);
    }
    if (ring_ != nullptr) std::allocator<T>().deallocate(ring_, capacity_);
  }

  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  bool full() const { return size_ == capacity_; }

  void Push(ValueSource<T>* source) {
    ConstructFrom(&ring_[last_], source);
    last_ = Next(last_);
    ++size_;
  }
  void Pop(T* to) {
    MoveOut(to, &ring_[first_]);
    first_ = Next(first_);
    --size_;
  }
  Garbage TakeGarbage() { return {}; }

 private:
  size_t Next(size_t i) const { return i + 1 == capacity_ ? 0 : i + 1; }

  size_t first_ = 0;
  size_t last_ = 0;
  size_t size_ = 0;
  const size_t capacity_;
  T* const ring_;
};

// One value, once.
template <class T>
class SingleStore {
 public:
  using Garbage = NoGarbage;

  SingleStore() {}
  SingleStore(const SingleStore&) = delete;
  SingleStore& operator=(const SingleStore&) = delete;
  ~SingleStore() {
    if (there_) value_.~T();
  }

  bool empty() const { return !there_; }
  bool full() const { return there_; }
  void Push(ValueSource<T>* source) {
    ConstructFrom(&value_, source);
    there_ = true;
  }
  void Pop(T* to) {
    there_ = false;
    MoveOut(to, &value_);
  }
  Garbage TakeGarbage() { return {}; }

 private:
  bool there_ = false;
  union {
    T value_;
  };
};

// As many as there is memory for, in a list of blocks. It is full when its last block is, until another is added. One
// block that has been emptied is kept for later, so that a queue that stays short allocates nothing.
template <class T>
class GrowingStore {
 public:
  static constexpr size_t kBlockValues = sizeof(T) >= 512 ? 2 : 1024 / sizeof(T);

  struct Block {
    Block() {}
    ~Block() {}
    std::unique_ptr<Block> next;
    union {
      T values[kBlockValues];
    };
  };
  using Garbage = std::unique_ptr<Block>;

  GrowingStore() = default;
  GrowingStore(const GrowingStore&) = delete;
  GrowingStore& operator=(const GrowingStore&) = delete;
  ~GrowingStore() {
    while (first_ != nullptr) {
      const size_t end = first_.get() == last_ ? pushed_ : kBlockValues;
      for (; popped_ != end; ++popped_) first_->values[popped_].~T();
      popped_ = 0;
      first_ = std::move(first_->next);
    }
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool full() const { return last_ == nullptr || pushed_ == kBlockValues; }

  // Makes room. If there is room by now, `*block` is kept for later, or left to the caller.
  void Add(std::unique_ptr<Block>* block) {
    if (full()) {
      Append(std::move(*block));
    } else if (spare_ == nullptr) {
      spare_ = std::move(*block);
    }
  }

  void Push(ValueSource<T>* source) {
    ConstructFrom(&last_->values[pushed_++], source);
    ++size_;
    if (full() && spare_ != nullptr) Append(std::move(spare_));
  }
  void Pop(T* to) {
    MoveOut(to, &first_->values[popped_++]);
    --size_;
    if (popped_ == kBlockValues) DropFirst();
  }
  Garbage TakeGarbage() { return std::move(garbage_); }

 private:
  void Append(std::unique_ptr<Block> block) {
    Block* added = block.get();
    (last_ != nullptr ? last_->next : first_) = std::move(block);
    last_ = added;
    pushed_ = 0;
  }
  // The first block has been emptied, and its garbage taken before.
  void DropFirst() {
    std::unique_ptr<Block> emptied = std::move(first_);
    first_ = std::move(emptied->next);
    popped_ = 0;
    if (first_ == nullptr) {
      last_ = nullptr;
      Append(std::move(emptied));
    } else if (full()) {
      Append(std::move(emptied));
    } else if (spare_ == nullptr) {
      spare_ = std::move(emptied);
    } else {
      garbage_ = std::move(emptied);
    }
  }

  std::unique_ptr<Block> first_;
  Block* last_ = nullptr;
  size_t popped_ = 0;  // of the first block
  size_t pushed_ = 0;  // of the last
  size_t size_ = 0;
  std::unique_ptr<Block> spare_;  // none if the last block is full
  std::unique_ptr<Block> garbage_;
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_SYNC_INTERNAL_VALUE_STORE_H_

// queue_table.h: the queues of the C interface, by their descriptors.
//
// A call looks its queue up by number and holds it for as long as it lasts. kevent_destroy() takes the queue out of the
// table, lets its waiters go, and waits until nobody holds it.
//
// The program's descriptor is a duplicate of the ring's own, which nobody else knows: whatever the program does with
// its number, the queue enters its own ring and no other file. A descriptor that was closed by close(2) alone leaves
// its queue behind; the queue goes, without touching the number, when that turns up again as a new queue's. Nothing
// dangles meanwhile.
//
// fork(2): the child has the descriptors and the memory of the queues, but io_uring serves the process that made them.
// Each call of the child answers EPERM, and what it inherited is never destroyed there.
//
// What a thread has been given by kevent_wait() and has not consumed lies in its GivenRecords; when the thread ends it
// goes back into the queue.
//
// Threads: any.

#ifndef EVRING_KEVENT_QUEUE_TABLE_H_
#define EVRING_KEVENT_QUEUE_TABLE_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kevent/event.h"
#include "kevent/queue.h"

// What kevent_map_ringbuf() gives: one for each queue, in its memory until the queue is destroyed.
struct kevent_ring {
  evring::kevent::Queue* queue;
  uint64_t serial;   // of the queue; no two have the same
  uint32_t process;  // QueueTable::Process() where it was made
};

namespace evring::kevent {

struct TableEntry {
  std::unique_ptr<Queue> queue;
  kevent_ring ring = {};
  uint32_t num = 0;  // as of kevent_init()
  int holders = 0;   // calls under way
};

class QueueTable {
 public:
  static QueueTable* Get();

  // Puts it in, and gives the program's descriptor, or -errno: EMFILE. What was left behind under that number is
  // destroyed.
  int Add(std::unique_ptr<Queue> queue, uint32_t num);
  // Holds the entry of `kfd` until Release(). nullptr: `*error` is EBADF or EPERM.
  TableEntry* Hold(int kfd, int* error);
  // The same by serial number, for what comes late; nullptr if that queue is gone.
  TableEntry* HoldSerial(uint64_t serial);
  void Release(TableEntry* entry);
  // Takes out the entry of `kfd`, lets its waiters go and waits until nobody holds it. `ring` is its ring, of `num`
  // records, or nullptr and 0. Closes the descriptor. nullptr: `*error` is EBADF, EPERM, or EINVAL for the ring.
  std::unique_ptr<TableEntry> Remove(int kfd, const void* ring, size_t num, int* error);

  // Counts the forks between the first process and this one: differs from that of all its ancestors.
  static uint32_t Process() { return process_.load(std::memory_order_relaxed); }  // written before a child has threads

 private:
  using Lock = std::unique_lock<std::mutex>;

  QueueTable();

  // Under the lock.
  TableEntry* Find(int kfd, int* error);
  // Lets the waiters of an entry go, which is not in the table any more, and waits until nobody holds it.
  void AwaitReleased(Lock* lock, TableEntry* entry);

  std::mutex mutex_;  // guards all below, and `holders`
  std::condition_variable released_;
  std::vector<std::unique_ptr<TableEntry>> entries_;  // by descriptor
  // Of the parent's, whose number the child has given to a queue of its own: not the child's to cancel and drain.
  std::vector<std::unique_ptr<TableEntry>> inherited_;
  uint64_t next_serial_ = 1;

  static std::atomic<uint32_t> process_;
};

// An entry held for the length of a scope.
class HeldEntry {
 public:
  HeldEntry(int kfd, int* error) : entry_(QueueTable::Get()->Hold(kfd, error)) {}
  explicit HeldEntry(uint64_t serial) : entry_(QueueTable::Get()->HoldSerial(serial)) {}
  HeldEntry(const HeldEntry&) = delete;
  HeldEntry& operator=(const HeldEntry&) = delete;
  ~HeldEntry() {
    if (entry_ != nullptr) QueueTable::Get()->Release(entry_);
  }
  explicit operator bool() const { return entry_ != nullptr; }
  TableEntry* operator->() const { return entry_; }
  TableEntry* get() const { return entry_; }

 private:
  TableEntry* const entry_;
};

// The records that the calling thread has been given and has not consumed.
class GivenRecords {
 public:
  static GivenRecords* OfThisThread();
  // Puts them back.
  ~GivenRecords();

  GivenRecords() = default;
  GivenRecords(const GivenRecords&) = delete;
  GivenRecords& operator=(const GivenRecords&) = delete;

  // So that Keep() finds room for one. Drops those of queues that are gone.
  void MakeRoom();
  void Keep(uint64_t serial, const Event& record);
  bool Take(uint64_t serial, Event* record);
  bool Has(uint64_t serial) const;

 private:
  struct Item {
    uint64_t serial;
    Event record;
  };
  std::vector<Item> items_;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_QUEUE_TABLE_H_

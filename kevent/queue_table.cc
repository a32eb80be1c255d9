#include "kevent/queue_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "kevent/check.h"
#include "kevent/owned_descriptor.h"

namespace evring::kevent {

std::atomic<uint32_t> QueueTable::process_{0};

QueueTable* QueueTable::Get() {
  // Never destroyed: threads may outlive the statics.
  static auto* table = new QueueTable;
  return table;
}

QueueTable::QueueTable() {
  // The lock is held over the fork, so that the child does not inherit it from a thread that it has not.
  const int error = pthread_atfork([] { Get()->mutex_.lock(); }, [] { Get()->mutex_.unlock(); },
                                   [] {
                                     process_.fetch_add(1, std::memory_order_relaxed);
                                     Get()->mutex_.unlock();
                                   });
  EVRING_CHECK(error == 0, "no memory for the handlers of a fork");
}

int QueueTable::Add(std::unique_ptr<Queue> queue, uint32_t num) {
  OwnedDescriptor kfd(fcntl(queue->descriptor(), F_DUPFD_CLOEXEC, 0));
  if (!kfd.valid()) return -errno;
  const auto index = static_cast<size_t>(kfd.get());
  auto entry = std::make_unique<TableEntry>();
  entry->num = num;
  entry->ring.queue = queue.get();
  entry->ring.process = Process();
  entry->queue = std::move(queue);
  std::unique_ptr<TableEntry> left_behind;  // destroyed without the lock
  Lock lock(mutex_);
  if (entries_.size() <= index) entries_.resize(index + 1);
  inherited_.reserve(inherited_.size() + 1);
  entry->ring.serial = next_serial_++;
  left_behind = std::exchange(entries_[index], std::move(entry));
  if (left_behind != nullptr && left_behind->ring.process != Process()) {
    inherited_.push_back(std::move(left_behind));
  } else if (left_behind != nullptr) {
    AwaitReleased(&lock, left_behind.get());
  }
  return kfd.Release();
}

TableEntry* QueueTable::Find(int kfd, int* error) {
  *error = EBADF;
  if (kfd < 0 || static_cast<size_t>(kfd) >= entries_.size()) return nullptr;
  TableEntry* const entry = entries_[static_cast<size_t>(kfd)].get();
  if (entry == nullptr || entry->ring.process == Process()) return entry;
  *error = EPERM;
  return nullptr;
}

TableEntry* QueueTable::Hold(int kfd, int* error) {
  const Lock lock(mutex_);
  TableEntry* const entry = Find(kfd, error);
  if (entry != nullptr) ++entry->holders;
  return entry;
}

TableEntry* QueueTable::HoldSerial(uint64_t serial) {
  const Lock lock(mutex_);
  for (const std::unique_ptr<TableEntry>& entry : entries_) {
    if (entry != nullptr && entry->ring.serial == serial && entry->ring.process == Process()) {
      ++entry->holders;
      return entry.get();
    }
  }
  return nullptr;
}

void QueueTable::Release(TableEntry* entry) {
  const Lock lock(mutex_);
  if (--entry->holders == 0) released_.notify_all();
}

std::unique_ptr<TableEntry> QueueTable::Remove(int kfd, const void* ring, size_t num, int* error) {
  Lock lock(mutex_);
  TableEntry* const entry = Find(kfd, error);
  if (entry == nullptr) return nullptr;
  const bool named = ring == nullptr ? num == 0 : ring == &entry->ring && num > 0 && num <= entry->num;
  if (!named) {
    *error = EINVAL;
    return nullptr;
  }
  // EBADF: close(2) came first. The number is free for others from here on, and for a queue of theirs in the table.
  std::unique_ptr<TableEntry> removed = std::move(entries_[static_cast<size_t>(kfd)]);
  close(kfd);
  AwaitReleased(&lock, removed.get());
  return removed;
}

void QueueTable::AwaitReleased(Lock* lock, TableEntry* entry) {
  entry->queue->Close();
  released_.wait(*lock, [entry] { return entry->holders == 0; });
}

GivenRecords* GivenRecords::OfThisThread() {
  thread_local GivenRecords records;
  return &records;
}

GivenRecords::~GivenRecords() {
  for (const Item& item : items_) {
    const HeldEntry entry(item.serial);
    // Without its queue, or memory for it, the record is lost, as the thread's answer to it is.
    if (!entry || entry->queue->Post(item.record) != 0) Drop(item.record);
  }
}

void GivenRecords::MakeRoom() {
  if (items_.size() == items_.capacity()) {
    std::erase_if(items_, [](const Item& item) { return !HeldEntry(item.serial); });
  }
  items_.reserve(items_.size() + 1);
}

void GivenRecords::Keep(uint64_t serial, const Event& record) { items_.push_back(Item{serial, record}); }

bool GivenRecords::Take(uint64_t serial, Event* record) {
  for (auto item = items_.begin(); item != items_.end(); ++item) {
    if (item->serial != serial) continue;
    *record = item->record;
    items_.erase(item);
    return true;
  }
  return false;
}

bool GivenRecords::Has(uint64_t serial) const {
  for (const Item& item : items_) {
    if (item.serial == serial) return true;
  }
  return false;
}

}  // namespace evring::kevent

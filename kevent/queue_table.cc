#include "kevent/queue_table.h"

#include <errno.h>
#include <pthread.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace evring::kevent {

QueueTable* QueueTable::Get() {
  // Never destroyed: threads may outlive the statics.
  static auto* table = new QueueTable;
  return table;
}

QueueTable::QueueTable() {
  // The lock is held over the fork, so that the child does not inherit it from a thread that it has not.
  pthread_atfork([] { Get()->mutex_.lock(); }, [] { Get()->mutex_.unlock(); },
                 [] {
                   Get()->forked_ = true;
                   Get()->mutex_.unlock();
                 });
}

int QueueTable::Add(std::unique_ptr<Queue> queue, uint32_t num) {
  const auto kfd = static_cast<size_t>(queue->descriptor());
  auto entry = std::make_unique<TableEntry>();
  std::unique_ptr<TableEntry> left_behind;
  entry->num = num;
  entry->ring.queue = queue.get();
  entry->queue = std::move(queue);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (forked_) {
    // The queues of the parent are not the child's to close: they are forgotten.
    for (std::unique_ptr<TableEntry>& old : entries_) static_cast<void>(old.release());
    forked_ = false;
  }
  if (entries_.size() <= kfd) entries_.resize(kfd + 1);
  left_behind = std::move(entries_[kfd]);
  if (left_behind != nullptr && left_behind->holders > 0) {
    entries_[kfd] = std::move(left_behind);
    return EBUSY;
  }
  entry->ring.serial = next_serial_++;
  entries_[kfd] = std::move(entry);
  return 0;
}

TableEntry* QueueTable::Find(int kfd, int* error) {
  *error = EBADF;
  if (kfd < 0 || static_cast<size_t>(kfd) >= entries_.size()) return nullptr;
  TableEntry* const entry = entries_[static_cast<size_t>(kfd)].get();
  if (entry == nullptr || !forked_) return entry;
  *error = EPERM;
  return nullptr;
}

TableEntry* QueueTable::Hold(int kfd, int* error) {
  const std::lock_guard<std::mutex> lock(mutex_);
  TableEntry* const entry = Find(kfd, error);
  if (entry != nullptr) ++entry->holders;
  return entry;
}

TableEntry* QueueTable::HoldSerial(uint64_t serial) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (forked_) return nullptr;
  for (const std::unique_ptr<TableEntry>& entry : entries_) {
    if (entry != nullptr && entry->ring.serial == serial) {
      ++entry->holders;
      return entry.get();
    }
  }
  return nullptr;
}

void QueueTable::Release(TableEntry* entry) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (--entry->holders == 0) released_.notify_all();
}

std::unique_ptr<TableEntry> QueueTable::Remove(int kfd, const void* ring, size_t num, int* error) {
  std::unique_lock<std::mutex> lock(mutex_);
  TableEntry* const entry = Find(kfd, error);
  if (entry == nullptr) return nullptr;
  if (ring != nullptr && (ring != &entry->ring || num > entry->num)) {
    *error = EINVAL;
    return nullptr;
  }
  std::unique_ptr<TableEntry> removed = std::move(entries_[static_cast<size_t>(kfd)]);
  entry->queue->Close();
  released_.wait(lock, [entry] { return entry->holders == 0; });
  return removed;
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

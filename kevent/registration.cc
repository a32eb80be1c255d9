#include "kevent/registration.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace evring::kevent {

void Registration::CloseOwn() {
  // Not by close(), which is a cancellation point.
  if (own_fd >= 0) syscall(SYS_close, std::exchange(own_fd, -1));
}

Registration* Registrations::Take() {
  if (free_ == nullptr) {
    std::unique_ptr<Registration[]> chunk(new (std::nothrow) Registration[kChunk]);
    if (chunk == nullptr) return nullptr;
    const auto first = static_cast<uint32_t>(chunks_.size()) * kChunk;
    Registration* const registrations = chunk.get();
    try {
      chunks_.push_back(std::move(chunk));
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
    for (uint32_t i = kChunk; i-- > 0;) {
      registrations[i].index = first + i;
      registrations[i].next = std::exchange(free_, &registrations[i]);
    }
  }
  Registration* const registration = free_;
  free_ = registration->next;
  registration->next = nullptr;
  registration->state = Registration::State::kStanding;
  registration->generation = registration->generation == 0x7fff'ffff ? 1 : registration->generation + 1;
  ++in_use_;
  return registration;
}

void Registrations::Free(Registration* registration) {
  registration->state = Registration::State::kFree;
  registration->goes_on = false;
  registration->again = false;
  registration->ending = false;
  registration->posted = false;
  registration->helped = false;
  registration->called = false;
  registration->later = false;
  registration->cancelled.store(false, std::memory_order_relaxed);
  registration->due_ns = 0;
  registration->period_ns = 0;
  registration->call.reset();
  registration->CloseOwn();
  registration->next = std::exchange(free_, registration);
  --in_use_;
}

Registration* Registrations::Find(uint64_t number) {
  const auto index = static_cast<uint32_t>(number);
  if (index / kChunk >= chunks_.size()) return nullptr;
  Registration* const registration = &chunks_[index / kChunk][index % kChunk];
  if (registration->state == Registration::State::kFree || registration->number() != number) return nullptr;
  return registration;
}

}  // namespace evring::kevent

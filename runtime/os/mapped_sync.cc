#include "runtime/os/mapped_sync.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "kevent/event.h"
#include "kevent/kevent.h"
#include "runtime/os/event_wait.h"

namespace evring {

Task<absl::Status> SyncMemory(std::span<const std::byte> memory) {
  if (memory.empty()) co_return absl::OkStatus();
  const auto first = reinterpret_cast<uintptr_t>(memory.data());
  const uintptr_t page = first & ~(static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)) - 1);
  kevent_memory pages;
  pages.address = reinterpret_cast<void*>(page);
  pages.size = memory.size() + (first - page);
  kevent::Event event;
  event.type = kevent::EventType::kMsync;
  event.result = MS_SYNC;
  event.payload = reinterpret_cast<uintptr_t>(&pages);
  const absl::StatusOr<kevent::Event> synced = co_await WaitForEvent(event);
  co_return synced.status();
}

}  // namespace evring

#include "kevent/sigevent.h"

#include <errno.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>

#include "kevent/queue_table.h"

namespace evring::kevent {
namespace {

struct Target {
  uint64_t serial;
  int64_t number;
};

struct Targets {
  std::mutex mutex;
  uintptr_t next_key = 1;
  std::map<uintptr_t, Target> targets;

  template <class F>
  void EraseIf(F&& matches) {
    const std::lock_guard<std::mutex> lock(mutex);
    std::erase_if(targets, [&](const auto& item) { return matches(item.second); });
  }
};

Targets* All() {
  // Never destroyed: a notification may come while the process exits.
  static auto* all = new Targets;
  return all;
}

// On a thread of the C library's.
void Notify(sigval value) {
  Target target;
  {
    const std::lock_guard<std::mutex> lock(All()->mutex);
    const auto found = All()->targets.find(reinterpret_cast<uintptr_t>(value.sival_ptr));
    if (found == All()->targets.end()) return;
    target = found->second;
  }
  const HeldEntry entry(target.serial);
  // Without memory for its record a notification is lost, as one without memory for its thread is in the C library.
  if (entry) static_cast<void>(entry->queue->Notify(target.number));
}

}  // namespace

void FillSigevent(uint64_t serial, int64_t number, sigevent* sev) {
  std::memset(sev, 0, sizeof(*sev));
  sev->sigev_notify = SIGEV_THREAD;
  sev->sigev_notify_function = Notify;
  const std::lock_guard<std::mutex> lock(All()->mutex);
  const uintptr_t key = All()->next_key++;
  All()->targets.emplace(key, Target{serial, number});
  sev->sigev_value.sival_ptr = reinterpret_cast<void*>(key);
}

void ForgetSigevent(uint64_t serial, int64_t number) {
  All()->EraseIf([=](const Target& target) { return target.serial == serial && target.number == number; });
}

void ForgetSigevents(uint64_t serial) {
  All()->EraseIf([=](const Target& target) { return target.serial == serial; });
}

}  // namespace evring::kevent

#include "kevent/sigevent.h"

#include <pthread.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "kevent/check.h"
#include "kevent/queue_table.h"

namespace evring::kevent {
namespace {

// A registration: the serial number of its queue, and its own. Until it has one that is the key's, negative.
using Target = std::pair<uint64_t, int64_t>;

struct Targets {
  std::mutex mutex;
  uintptr_t next_key = 1;
  std::map<uintptr_t, Target> targets;
  std::map<Target, uintptr_t> keys;

  using Key = std::map<Target, uintptr_t>::iterator;
  Key Erase(Key key) {
    targets.erase(key->second);
    return keys.erase(key);
  }
};

Target Reserved(uint64_t serial, uintptr_t key) { return {serial, -static_cast<int64_t>(key)}; }

Targets* All() {
  // Never destroyed: a notification may come while the process exits.
  static Targets* const all = [] {
    // The lock is held over a fork, so that the child does not inherit it from a thread that it has not.
    const int error =
        pthread_atfork([] { All()->mutex.lock(); }, [] { All()->mutex.unlock(); }, [] { All()->mutex.unlock(); });
    EVRING_CHECK(error == 0, "no memory for the handlers of a fork");
    return new Targets;
  }();
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
  try {
    const HeldEntry entry(target.first);
    // Without memory for its record a notification is lost, as one without memory for its thread is in the C library.
    if (entry) static_cast<void>(entry->queue->Notify(target.second));
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace

uintptr_t ReserveSigevent(uint64_t serial) {
  const std::lock_guard<std::mutex> lock(All()->mutex);
  const uintptr_t key = All()->next_key++;
  const Target target = Reserved(serial, key);
  const auto at = All()->targets.emplace(key, target).first;
  try {
    All()->keys.emplace(target, key);
  } catch (const std::bad_alloc&) {
    All()->targets.erase(at);
    throw;
  }
  return key;
}

void ReleaseSigevent(uintptr_t key) {
  const std::lock_guard<std::mutex> lock(All()->mutex);
  All()->Erase(All()->keys.find(All()->targets.at(key)));
}

void FillSigevent(uintptr_t key, int64_t number, sigevent* sev) {
  std::memset(sev, 0, sizeof(*sev));
  sev->sigev_notify = SIGEV_THREAD;
  sev->sigev_notify_function = Notify;
  sev->sigev_value.sival_ptr = reinterpret_cast<void*>(key);
  const std::lock_guard<std::mutex> lock(All()->mutex);
  Target* const target = &All()->targets.at(key);
  auto node = All()->keys.extract(*target);  // changed in place: asks for no memory
  target->second = number;
  node.key() = *target;
  All()->keys.insert(std::move(node));
}

void ForgetSigevent(uint64_t serial, int64_t number) {
  const std::lock_guard<std::mutex> lock(All()->mutex);
  const auto key = All()->keys.find(Target(serial, number));
  if (key != All()->keys.end()) All()->Erase(key);
}

void ForgetSigevents(uint64_t serial) {
  const std::lock_guard<std::mutex> lock(All()->mutex);
  auto key = All()->keys.lower_bound(Target(serial, INT64_MIN));
  while (key != All()->keys.end() && key->first.first == serial) key = All()->Erase(key);
}

}  // namespace evring::kevent

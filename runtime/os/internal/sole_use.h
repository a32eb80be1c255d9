// sole_use.h: what one task at a time may do. That two do is a mistake of the program, and ends it.

#ifndef EVRING_RUNTIME_OS_INTERNAL_SOLE_USE_H_
#define EVRING_RUNTIME_OS_INTERNAL_SOLE_USE_H_

#include <atomic>

#include "kevent/check.h"

namespace evring::internal {

class SoleUse {
 public:
  SoleUse() = default;
  SoleUse(const SoleUse&) = delete;
  SoleUse& operator=(const SoleUse&) = delete;

  // While it lives its task is the one; `rule` is what it says if there is another already.
  class [[nodiscard]] Scope {
   public:
    Scope(SoleUse* use, const char* rule) : use_(use) {
      EVRING_CHECK(!use->in_use_.exchange(true, std::memory_order_relaxed), rule);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { use_->in_use_.store(false, std::memory_order_relaxed); }

   private:
    SoleUse* const use_;
  };

 private:
  std::atomic<bool> in_use_{false};  // relaxed: it finds a wrong use, and publishes nothing
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_OS_INTERNAL_SOLE_USE_H_

#include "runtime/sync/select.h"

#include <algorithm>
#include <functional>

namespace evring::internal {

std::span<SpinLock*> OrderLocks(std::span<SpinLock*> locks) {
  std::sort(locks.begin(), locks.end(), std::less<>());
  const auto end = std::unique(locks.begin(), locks.end());
  const auto first = std::find_if(locks.begin(), end, [](const SpinLock* lock) { return lock != nullptr; });
  return std::span(first, end);
}

}  // namespace evring::internal

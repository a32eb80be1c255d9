// local_binding.h: a value of a task-local key, as contexts hold it (task_local.h says what users see of it).
//
// A context points to the binding that was made last in its scope; that one points to the one before. So what a child
// inherits is one pointer. A binding never changes; it is counted by the contexts that point to it, by the bindings
// inside of it, and by the scope that made it.

#ifndef EVRING_RUNTIME_LOCAL_BINDING_H_
#define EVRING_RUNTIME_LOCAL_BINDING_H_

#include <atomic>
#include <cstdint>
#include <utility>

namespace evring::internal {

class LocalBinding {
 public:
  LocalBinding(const LocalBinding&) = delete;
  LocalBinding& operator=(const LocalBinding&) = delete;

  const void* key() const { return key_; }
  LocalBinding* outer() const { return outer_; }

  static LocalBinding* Share(LocalBinding* binding) {
    if (binding != nullptr) binding->references_.fetch_add(1, std::memory_order_relaxed);
    return binding;
  }
  // The last reference destroys the value, and lets go of the outer binding, without recursion. nullptr: nothing.
  static void Release(LocalBinding* binding) noexcept {
    // AcqRel: who destroys it sees what all others have done.
    while (binding != nullptr && binding->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      LocalBinding* outer = std::exchange(binding->outer_, nullptr);
      delete binding;
      binding = outer;
    }
  }

 protected:
  // Shares `outer`, which may be nullptr; the one reference to this is the maker's.
  LocalBinding(const void* key, LocalBinding* outer) : key_(key), outer_(Share(outer)) {}
  virtual ~LocalBinding() = default;

 private:
  const void* const key_;
  LocalBinding* outer_;
  std::atomic<uint32_t> references_{1};
};

}  // namespace evring::internal

#endif  // EVRING_RUNTIME_LOCAL_BINDING_H_

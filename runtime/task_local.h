// task_local.h: values that a task and all it starts can see, such as the id of the request they work for.
//
//   inline const TaskLocal<RequestId> request_id;                    a key, its type, one for the program
//
//   const auto scope = co_await request_id.Set(id);                  until the end of the block
//   const RequestId* id = co_await request_id.Get();                 in the same task, or one that it has started
//
// A task inherits what its parent sees at the moment it is started: by Spawn, a TaskGroup (there it is the one that
// spawns), WhenAll, WithTimeout and so on; SpawnDetached and Runtime::Spawn start from nothing. Inheriting copies one
// pointer, however many values there are. What a task sets is seen by itself and by what it starts from then on, not by
// its parent, nor by tasks that run already.
//
// A value is made once, never copied, and shared by all who see it, on any worker: it is const, and what it points to
// must take care of itself. It lives as long as its scope and as the tasks that have inherited it.

#ifndef EVRING_RUNTIME_TASK_LOCAL_H_
#define EVRING_RUNTIME_TASK_LOCAL_H_

#include <type_traits>
#include <utility>

#include "kevent/check.h"
#include "runtime/context.h"
#include "runtime/local_binding.h"
#include "runtime/spawn.h"

namespace evring {

// A key; its address is what tells it from others. It outlives all tasks that use it.
template <class T>
class TaskLocal {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>, "a value is an object; all who see it see it as const");

  class Binding final : public internal::LocalBinding {
   public:
    Binding(const TaskLocal* key, LocalBinding* outer, T value) : LocalBinding(key, outer), value_(std::move(value)) {}
    const T* value() const { return &value_; }

   private:
    ~Binding() override = default;

    const T value_;
  };

 public:
  constexpr TaskLocal() = default;
  TaskLocal(const TaskLocal&) = delete;
  TaskLocal& operator=(const TaskLocal&) = delete;

  // The value is set as long as this lives: a local variable of a coroutine. Scopes end in reverse order, and in the
  // task that began them (checked): none spans a co_yield.
  class [[nodiscard]] Scope {
   public:
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      EVRING_CHECK(context_->locals() == binding_, "scopes of task-local values end in reverse order");
      context_->SetLocals(binding_->outer());
      internal::LocalBinding::Release(binding_);
    }

   private:
    friend class TaskLocal;
    Scope(TaskContext* context, const TaskLocal* key, T value)
        : context_(context), binding_(new Binding(key, context->locals(), std::move(value))) {
      context_->SetLocals(binding_);
    }

    TaskContext* const context_;
    internal::LocalBinding* const binding_;
  };

  class [[nodiscard]] SetAwaiter : private internal::CurrentContextAwaiter {
   public:
    SetAwaiter(const TaskLocal* key, T value) : key_(key), value_(std::move(value)) {}
    SetAwaiter(const SetAwaiter&) = delete;
    SetAwaiter& operator=(const SetAwaiter&) = delete;
    using CurrentContextAwaiter::await_ready;
    using CurrentContextAwaiter::await_suspend;
    Scope await_resume() { return Scope(context_, key_, std::move(value_)); }

   private:
    const TaskLocal* const key_;
    T value_;
  };

  class [[nodiscard]] GetAwaiter : private internal::CurrentContextAwaiter {
   public:
    explicit GetAwaiter(const TaskLocal* key) : key_(key) {}
    using CurrentContextAwaiter::await_ready;
    using CurrentContextAwaiter::await_suspend;
    const T* await_resume() const noexcept {
      for (const internal::LocalBinding* binding = context_->locals(); binding != nullptr; binding = binding->outer()) {
        if (binding->key() == key_) return static_cast<const Binding*>(binding)->value();
      }
      return nullptr;
    }

   private:
    const TaskLocal* const key_;
  };

  // `const auto scope = co_await key.Set(value)`. Does not suspend; allocates the value. In a task.
  SetAwaiter Set(T value) const { return SetAwaiter(this, std::move(value)); }

  // `co_await key.Get()`: the value that was set last in the scopes around, or nullptr. It stays valid until the scope
  // ends, in the task that has set it; in one that has inherited it, until that task ends. Does not suspend; looks
  // through the values of the scopes around, one by one. In a task.
  GetAwaiter Get() const { return GetAwaiter(this); }
};

}  // namespace evring

#endif  // EVRING_RUNTIME_TASK_LOCAL_H_

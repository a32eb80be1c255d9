#include "tests/model/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

#include "kevent/check.h"

#ifdef EVRING_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EVRING_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__)
// Saves what the System V ABI lets a function keep, on the stack that is left, and takes it from the one that is entered.
// glibc's swapcontext does the same with a system call (the signal mask) on top: ten times slower, and a schedule is
// mostly switches. Other processors use that one.
extern "C" void evring_model_switch(void** save, void* load);
asm(R"(
.text
.globl evring_model_switch
.hidden evring_model_switch
.type evring_model_switch, @function
evring_model_switch:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size evring_model_switch, .-evring_model_switch
)");
#endif

namespace evring::model {
namespace {

// The first switch to a fiber has nothing to pass it but this.
Fiber* starting = nullptr;
[[maybe_unused]] Fiber* starting_from = nullptr;

}  // namespace

void Fiber::Start(Fiber* self) {
#ifdef EVRING_ASAN
  // A switch to the thread's own stack has to name its bounds, which are learned here, at the first switch from it.
  __sanitizer_finish_switch_fiber(nullptr, &starting_from->asan_bottom_, &starting_from->asan_size_);
#endif
  self->entry_();
  EVRING_CHECK(false, "a fiber's entry does not return");
}

Fiber::Fiber(std::function<void()> entry) : entry_(std::move(entry)) {
  void* memory =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EVRING_CHECK(memory != MAP_FAILED, "no memory for a fiber's stack");
  EVRING_CHECK(mprotect(memory, 4096, PROT_NONE) == 0, "the guard page of a fiber's stack");
  stack_ = static_cast<char*>(memory);
#if defined(__x86_64__)
  // As if evring_model_switch had been called by a function whose next instruction is the entry: six registers, the
  // return address, and a zero where that function would return to. The entry finds the stack as after a call.
  void** top = reinterpret_cast<void**>(stack_ + kStackBytes) - 8;
  for (int i = 0; i < 8; ++i) top[i] = nullptr;
  top[6] = reinterpret_cast<void*>(+[] { Start(starting); });
  stack_pointer_ = top;
#else
  EVRING_CHECK(getcontext(&context_) == 0, "getcontext");
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, +[] { Start(starting); }, 0);
#endif
#ifdef EVRING_ASAN
  asan_bottom_ = stack_;
  asan_size_ = kStackBytes;
#endif
#ifdef EVRING_TSAN
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  if (stack_ == nullptr) return;
#ifdef EVRING_TSAN
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  EVRING_CHECK(munmap(stack_, kStackBytes) == 0, "munmap of a fiber's stack");
}

void Fiber::SwitchFrom(Fiber* from) {
  starting = this;
  starting_from = from;
#ifdef EVRING_ASAN
  __sanitizer_start_switch_fiber(&from->fake_stack_, asan_bottom_, asan_size_);
#endif
#ifdef EVRING_TSAN
  if (from->tsan_fiber_ == nullptr) from->tsan_fiber_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif
#if defined(__x86_64__)
  evring_model_switch(&from->stack_pointer_, stack_pointer_);
#else
  EVRING_CHECK(swapcontext(&from->context_, &context_) == 0, "swapcontext");
#endif
#ifdef EVRING_ASAN
  __sanitizer_finish_switch_fiber(from->fake_stack_, nullptr, nullptr);
#endif
}

}  // namespace evring::model

#include "tests/model/fiber.h"

#include <sys/mman.h>

#include <cstddef>
#include <utility>

#include "kevent/check.h"
#include "kevent/sanitizer.h"

#ifdef EVRING_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EVRING_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__)
// Saves what the System V ABI lets a function keep, on the stack that is left, and takes it from the one that is
// entered. glibc's swapcontext does the same with a system call on top, for the signal mask, and schedules are mostly
// switches. Other processors use that one.
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
#else
#include <ucontext.h>
#endif

namespace evring::model {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kGuardBytes = 4096;

}  // namespace

struct Fiber::State {
  [[noreturn]] static void Start();

  std::function<void()> entry;
  char* stack = nullptr;  // nullptr: the thread's own
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
#ifdef EVRING_ASAN
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  size_t size = 0;
#endif
#ifdef EVRING_TSAN
  void* tsan_fiber = nullptr;
#endif

  // The first switch to a fiber has nothing to pass it but these.
  static State* starting;
  static State* starting_from;
};

Fiber::State* Fiber::State::starting = nullptr;
Fiber::State* Fiber::State::starting_from = nullptr;

void Fiber::State::Start() {
  State* self = starting;
#ifdef EVRING_ASAN
  // A switch to the thread's own stack has to name its bounds, which are learned here, at the first switch from it.
  __sanitizer_finish_switch_fiber(nullptr, &starting_from->bottom, &starting_from->size);
#endif
  self->entry();
  EVRING_CHECK(false, "a fiber's entry does not return");
  __builtin_unreachable();
}

Fiber::Fiber() : state_(new State) {
#ifdef EVRING_TSAN
  state_->tsan_fiber = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(std::function<void()> entry) : state_(new State) {
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EVRING_CHECK(memory != MAP_FAILED, "memory for a fiber's stack");
  EVRING_CHECK(mprotect(memory, kGuardBytes, PROT_NONE) == 0, "the guard page of a fiber's stack");
  state_->entry = std::move(entry);
  state_->stack = static_cast<char*>(memory);
#if defined(__x86_64__)
  // As if evring_model_switch had been called by a function whose next instruction is the entry: six registers, the
  // return address, and a zero where that function would return to. The entry finds the stack as after a call.
  void** top = reinterpret_cast<void**>(state_->stack + kStackBytes) - 8;
  for (int i = 0; i < 8; ++i) top[i] = nullptr;
  top[6] = reinterpret_cast<void*>(&State::Start);
  state_->stack_pointer = top;
#else
  EVRING_CHECK(getcontext(&state_->context) == 0, "getcontext");
  state_->context.uc_stack.ss_sp = state_->stack;
  state_->context.uc_stack.ss_size = kStackBytes;
  state_->context.uc_link = nullptr;
  makecontext(&state_->context, &State::Start, 0);
#endif
#ifdef EVRING_ASAN
  state_->bottom = state_->stack;
  state_->size = kStackBytes;
#endif
#ifdef EVRING_TSAN
  state_->tsan_fiber = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  if (state_->stack == nullptr) return;
#ifdef EVRING_TSAN
  __tsan_destroy_fiber(state_->tsan_fiber);
#endif
  EVRING_CHECK(munmap(state_->stack, kStackBytes) == 0, "munmap of a fiber's stack");
}

void Fiber::SwitchFrom(Fiber* from) {
  State* to = state_.get();
  State* left = from->state_.get();
  State::starting = to;
  State::starting_from = left;
#ifdef EVRING_ASAN
  __sanitizer_start_switch_fiber(&left->fake_stack, to->bottom, to->size);
#endif
#ifdef EVRING_TSAN
  __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
#if defined(__x86_64__)
  evring_model_switch(&left->stack_pointer, to->stack_pointer);
#else
  EVRING_CHECK(swapcontext(&left->context, &to->context) == 0, "swapcontext");
#endif
#ifdef EVRING_ASAN
  __sanitizer_finish_switch_fiber(left->fake_stack, nullptr, nullptr);
#endif
}

}  // namespace evring::model

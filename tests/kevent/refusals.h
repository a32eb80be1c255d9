// refusals.h: a system that refuses a system call, played by a seccomp filter on a thread of its own.

#ifndef EVRING_TESTS_KEVENT_REFUSALS_H_
#define EVRING_TESTS_KEVENT_REFUSALS_H_

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace evring::kevent {

// A system call that fails; with `index` >= 0 only if its argument with that index, from 0, has that value.
struct Refusal {
  int call;
  int error;
  int index = -1;
  uint32_t value = 0;
};

// Runs `body` on a thread on which the system calls of `refusals` fail. The filter ends with the thread.
inline void WithRefusals(const std::vector<Refusal>& refusals, const std::function<void()>& body) {
  bool installed = false;
  std::thread thread([&] {
    std::vector<sock_filter> program;
    for (const Refusal& refusal : refusals) {
      const auto call = static_cast<uint32_t>(refusal.call);
      const auto answer = SECCOMP_RET_ERRNO | static_cast<uint32_t>(refusal.error);
      program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
      if (refusal.index < 0) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
      } else {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3));
        program.push_back(
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                     static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * static_cast<size_t>(refusal.index))));
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal.value, 0, 1));
      }
      program.push_back(BPF_STMT(BPF_RET | BPF_K, answer));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) return;
    installed = true;
    body();
  });
  thread.join();
  ASSERT_TRUE(installed) << "the test needs seccomp filters";
}

}  // namespace evring::kevent

#endif  // EVRING_TESTS_KEVENT_REFUSALS_H_

// machine.h: a kernel, a ring on it and buffers, on which programs (program.h) run one after another; and what can be
// observed of each step.
//
// After each step the machine is left alone until nothing happens any more, so what is observed does not depend on how
// fast the kernel is: the results of all requests so far, and poll(2) of all sockets. One thread.

#ifndef EVRING_TESTS_SIM_MACHINE_H_
#define EVRING_TESTS_SIM_MACHINE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kevent/buffer_ring.h"
#include "kevent/kernel.h"
#include "kevent/ring.h"
#include "tests/sim/program.h"

namespace evring::sim {

// What a step has answered, a line each; and after the last one what cleaning up has.
using Trace = std::vector<std::string>;

struct MachineOptions {
  kevent::Kernel* kernel = nullptr;  // borrowed
  // What no socket of the kernel's takes whole.
  size_t flood_bytes = 0;
};

class Machine {
 public:
  static constexpr int kGroups = 2;  // of buffers; one more number is not known to the kernel
  static constexpr std::array<uint32_t, kGroups> kBuffers = {2, 8};
  static constexpr uint32_t kBufferBytes = 64;

  explicit Machine(const MachineOptions& options);
  ~Machine();

  // `number`: of this run; names of sockets are made of it, none is used twice. `quiet_ns`: how long nothing may
  // happen, on the kernel's clock, before it is quiet; 0: two enters in a row.
  Trace Run(const Program& program, uint64_t number, int64_t quiet_ns);

 private:
  class Request;
  struct Slot {
    int fd = -1;
    bool tcp = false;
    bool pipe = false;
    bool counter = false;  // an eventfd
    bool flooded = false;  // it has been sent more than fits: whether a little more does is the kernel's affair
    Request* receiving = nullptr;
    Request* sending = nullptr;
  };
  // The name of a slot's socket: what others connect to.
  struct Name {
    std::string bytes;
  };

  // Does the step; what its call answered, "" if it is a request.
  std::string Do(const Step& step);
  std::string DoRequest(const Step& step);
  // Of the request of that step; without one, a number that was never a request's.
  uint64_t NumberOf(int step) const;
  // A timeout is to come that has been asked for now; or the end of a write to a counter, which the real kernel gives
  // to a thread of its own.
  bool ExpectsEnd() const;
  // The name that a slot is to be bound to, and what is the case when it is.
  Name NameToBind(int slot, bool tcp) const;
  void NoteName(int slot);
  int BindSlot(int slot, bool tcp);
  Name NameOf(int slot, bool tcp) const;
  uint32_t* WordOf(int word);
  void Fill(int slot, int fd, bool tcp);
  void Settle();
  // What has completed since the last time, in order of requests, and what poll(2) says.
  std::string Observe();
  void Accepted(Request* request, int fd);
  void CleanUp(Trace* trace);
  io_uring_sqe* Entry();

  const MachineOptions options_;
  int64_t quiet_ns_ = 0;
  std::unique_ptr<kevent::Ring> ring_;
  std::array<std::unique_ptr<kevent::BufferRing>, kGroups> buffers_;
  std::array<std::vector<uint16_t>, kGroups> held_;

  // Of the program that runs.
  uint64_t run_ = 0;
  bool flooded_ = false;  // from here on, how many bytes go through is the kernel's affair
  std::array<Slot, kSlots> slots_;
  std::map<int, Name> names_;
  // The word after them is the middle of one: no address of a futex.
  std::array<uint32_t, kWords + 1> words_ = {};
  std::map<int, std::unique_ptr<Request>> requests_;  // by the number of the step
};

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_MACHINE_H_

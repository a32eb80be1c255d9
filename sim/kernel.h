// kernel.h: the simulated kernel: it serves the rings of a runtime from memory, and a seed decides everything.
//
// What the program sees is what io_uring shows it: submission entries taken in order, completions in any order that
// io_uring allows, multishots that end when the real ones do, buffers picked from a ring, overflow kept in order, work
// that is deferred until the owner enters. Time is virtual (world.h).
//
// Threads. The workers of the runtime are real threads, but only one of them runs at a time, and the seed says which:
//
//   1. Each worker stops in Begin(), until all of them are there and Start() is called, with the first task spawned.
//   2. From then on a worker runs until it calls the kernel. There, as the seed says, another may run; a worker that
//      waits runs again when its ring has something for it, or its deadline has come.
//   3. If every worker waits, the clock jumps to the next thing that is to happen. If nothing is, nothing will ever:
//   the
//      run has failed, a wake-up is lost.
//   4. Finish(), called by the first task as its last act, ends the turns and the faults. From then on the threads run
//      freely, to be shut down.
//
// So between Start() and Finish() a run is a function of the seed, as long as nothing outside takes part: no other
// thread, no real time, no unsimulated descriptor but regular files. (The rescue of busy workers is made of signals and
// real time, and stays off.)
//
// A run that cannot go on, or goes on for ever, prints why, its seed and the last lines of its log, and aborts.

#ifndef EVRING_SIM_KERNEL_H_
#define EVRING_SIM_KERNEL_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kevent/kernel.h"
#include "sim/faults.h"
#include "sim/file_requests.h"
#include "sim/files.h"
#include "sim/journal.h"
#include "sim/ring_memory.h"
#include "sim/socket.h"
#include "sim/world.h"

namespace evring::sim {

struct KernelOptions {
  KernelOptions() = default;
  uint64_t seed = 1;
  int workers = 1;
  FaultRules faults = FaultRules::None();
  FaultChoice choice;                 // which of them happen after all
  size_t socket_buffer_bytes = 4096;  // of each direction of a connection
  int descriptors_max = 1024;
  FileSystem* files = nullptr;      // the disk; borrowed; nullptr: an empty one
  uint64_t crash_at_call = 0;       // of the kernel: what the disk holds if power is lost then is kept
  uint64_t calls_max = 20'000'000;  // of the kernel: after so many a run counts as endless
  size_t log_lines = 200;           // kept, to be printed on failure
  Journal* journal = nullptr;       // told of faults and lines as they come; borrowed
};

// Numbers of simulated descriptors begin here, so that none is taken for a real one.
inline constexpr int kFirstDescriptor = 1'000'000;

class Kernel final : public kevent::Kernel {
 public:
  explicit Kernel(const KernelOptions& options);
  ~Kernel() override;

  // See Threads above. Start(): on the thread that made the runtime. Finish(): on a worker.
  void Start();
  void Finish();

  // What the run has been, after the runtime has been shut down; or on a worker.
  World* world() { return &world_; }
  Network* network() { return &network_; }
  uint64_t calls() const { return calls_; }
  int open_descriptors() const { return static_cast<int>(descriptors_.size()) + file_requests_.open_descriptors(); }
  // The receive buffers that each worker's ring has from its program and has not picked, by their numbers.
  std::vector<std::multiset<uint16_t>> BuffersHeld() const;
  // What the loss of power at options.crash_at_call left, or one now if that call has not come.
  std::unique_ptr<FileSystem> TakeAfterCrash();
  const KernelOptions& options() const { return options_; }

  // --- kevent::Kernel
  // ---------------------------------------------------------------------------------------------------

  absl::Status Setup(const kevent::RingOptions& options, io_uring* ring, kevent::Features* features) override;
  void Teardown(io_uring* ring) override;
  int Enter(io_uring* ring, kevent::Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const kevent::WaitArgs& wait) override;
  int Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) override;
  int Message(int target_fd, uint64_t user_data) override;
  int64_t NowNs() override;
  void Begin(io_uring* ring) override;
  void Yield() override;

  int Socket(int family, int type, int protocol) override;
  int SocketPair(int family, int type, int protocol, int fds[2]) override;
  int Close(int fd) override;
  int Remove(const char* path) override;
  int Bind(int fd, const sockaddr* address, socklen_t size) override;
  int Listen(int fd, int backlog) override;
  int Shutdown(int fd, int how) override;
  int GetSockName(int fd, sockaddr* address, socklen_t* size) override;
  int GetPeerName(int fd, sockaddr* address, socklen_t* size) override;
  int SetSockOpt(int fd, int level, int option, const void* value, socklen_t size) override;
  int GetSockOpt(int fd, int level, int option, void* value, socklen_t* size) override;
  int Undelivered(int fd) override;
  int PollNow(int fd, short events) override;

 private:
  struct Ring;
  struct Thread;

  // A request from its submission to its last completion.
  struct Request {
    Ring* ring = nullptr;
    uint64_t number = 0;  // in order of submission
    io_uring_sqe sqe = {};
    std::shared_ptr<sim::Socket> socket;
    std::vector<iovec> pieces;  // of a send
    size_t done = 0;            // bytes of it
    bool multishot = false;
    bool connecting = false;
    bool waits = false;           // for something about its socket to change
    bool queued = false;          // to be tried when its ring is entered
    bool cancelled = false;       // when it is tried next
    bool cancelled_late = false;  // when it has been tried once more
  };

  // What an attempt at a request has come to.
  struct Answer {
    bool complete = false;  // no more of it, but for `again`
    int32_t result = 0;
    uint32_t flags = 0;
    bool again = false;  // a multishot: it stays armed
    bool wait = false;   // and waits, before it is tried again
  };

  using Lock = std::unique_lock<std::mutex>;

  // Turns.
  void PassTurn(Lock* lock, Thread* self);
  Thread* PickNext();
  bool CanRun(const Thread& thread) const;
  void MaybeYield(Lock* lock, Thread* self);
  void Wait(Lock* lock, Thread* self, int64_t deadline);
  [[noreturn]] void Fail(const std::string& why);
  void Count();
  void CountRound();
  std::unique_ptr<FileSystem> AfterCrash() const;

  // Rings and requests.
  Ring* RingOf(const io_uring* ring);
  unsigned Submit(Ring* ring, unsigned n);
  void Issue(Ring* ring, const io_uring_sqe& sqe);
  void Queue(Request* request);
  void RunTasks(Ring* ring);
  void Try(Request* request);
  // It is tried again when something about its socket changes.
  void Await(Request* request);
  // The events of poll(2) that tell it.
  static short WaitedFor(const Request& request);
  Answer Attempt(Request* request);
  Answer AttemptReceive(Request* request);
  Answer AttemptSend(Request* request);
  Answer AttemptAccept(Request* request);
  Answer AttemptConnect(Request* request);
  Answer AttemptRead(Request* request);
  int Cancel(Ring* ring, const io_uring_sqe& sqe);
  void Post(Ring* ring, uint64_t user_data, int32_t result, uint32_t flags);
  void Watch(const std::shared_ptr<sim::Socket>& socket);

  // Descriptors.
  int Open(std::shared_ptr<sim::Socket> socket);
  std::shared_ptr<sim::Socket> Find(int fd) const;
  bool InUse(const sim::Socket* socket) const;
  // Closes what was to be closed when its last request has ended.
  void CloseUnused(const std::shared_ptr<sim::Socket>& socket);

  const KernelOptions options_;
  mutable std::mutex mutex_;  // guards all below
  World world_;
  Network network_;
  FileSystem own_files_;
  FileSystem* const files_;
  FileRequests file_requests_;
  std::unique_ptr<FileSystem> after_crash_;
  enum class Phase { kMaking, kTurns, kFree } phase_ = Phase::kMaking;
  uint64_t calls_ = 0;
  uint64_t rounds_ = 0;  // of waiting for something to happen
  uint64_t next_request_ = 0;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::map<int, std::unique_ptr<Ring>> rings_;  // by number
  std::map<int, std::shared_ptr<sim::Socket>> descriptors_;
  std::vector<std::shared_ptr<sim::Socket>> closing_;  // closed, but a request still refers to them
};

}  // namespace evring::sim

#endif  // EVRING_SIM_KERNEL_H_

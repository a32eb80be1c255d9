// kernel.h: the simulated kernel: it serves the rings of a runtime from memory, and a seed decides everything.
//
// What the program sees is what io_uring shows it: submission entries taken in order, completions in any order that
// io_uring allows, multishots that end when the real ones do, buffers picked from a ring, overflow kept in order, work
// that is deferred until the owner enters. Time is virtual (world.h).
//
// Threads. The workers of the runtime are real threads, but only one of them runs at a time, and the seed says which
// (turns.h). Each stops in Begin() until Start() is called, with the first task spawned. Finish(), called by that task
// as its last act, ends the turns and the faults: from then on the threads run freely, to be shut down. The
// clock does not jump before LetTimePass(), which comes when all that is left has been told to stop.
//
// So between Start() and Finish() a run is a function of the seed, as long as nothing outside takes part: no other
// thread, no real time, no unsimulated descriptor but regular files. (The rescue of busy workers is made of signals and
// real time, and stays off.)
//
// A run that cannot go on, or goes on for ever, prints why, its seed and the last lines of its log, and aborts.
//
// Where what is: kernel.cc, rings and the calls on them; kernel_requests.cc, a request from its submission to its last
// completion; kernel_attempts.cc, what each kind of request does; kernel_timeouts.cc, timeouts as requests, and time by
// hand; kernel_futexes.cc, words of memory; kernel_descriptors.cc, the calls on descriptors.

#ifndef EVRING_SIM_KERNEL_H_
#define EVRING_SIM_KERNEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kevent/kernel.h"
#include "sim/descriptor_table.h"
#include "sim/faults.h"
#include "sim/file_requests.h"
#include "sim/files.h"
#include "sim/futexes.h"
#include "sim/inotify.h"
#include "sim/journal.h"
#include "sim/request.h"
#include "sim/socket.h"
#include "sim/turns.h"
#include "sim/world.h"

namespace evring::sim {

// What ends a run before its time: the whole machine, with its page cache, or the process alone.
enum class Crash { kPower, kProcess };

struct KernelOptions {
  KernelOptions() = default;
  uint64_t seed = 1;
  FaultRules faults = FaultRules::None();
  FaultChoice choice;                 // which of them happen after all: to find the few that matter
  int workers = 1;                    // with more of them the seed decides their turns too
  size_t socket_buffer_bytes = 4096;  // of each direction of a connection: small, so that writers wait
  size_t pipe_bytes = 65'536;         // of whole pages of 4096
  int descriptors_max = 1024;
  InotifyLimits inotify;
  std::shared_ptr<FileSystem> files;  // the disk as it is at the start; nullptr: an empty one
  // Of the kernel: when so many calls have been made, the machine crashes, as `crash` says. The run goes on, for
  // nothing; what counts are the files as they are then (TakeAfterCrash()), with which a second run may start. 0:
  // never. Beyond the last call: at the end.
  uint64_t crash_at_call = 0;
  Crash crash = Crash::kPower;
  uint64_t calls_max = 20'000'000;  // of the kernel: a run that makes more counts as endless
  size_t log_lines = 200;           // kept, to be printed on failure
  Journal* journal = nullptr;       // told of faults and lines as they come (sim/explore.h); borrowed
};

class Kernel final : public kevent::Kernel {
 public:
  explicit Kernel(const KernelOptions& options);
  ~Kernel() override;

  // See Threads above. Start(): on the thread that made the runtime. Finish(): on a worker. LetTimePass(): any thread.
  void Start();
  void Finish();
  void LetTimePass();

  // What the run has been, after the runtime has been shut down; or on a worker.
  World* world() { return &world_; }
  Network* network() { return &network_; }
  uint64_t calls() const { return calls_; }
  int open_descriptors() const { return descriptors_.size() + file_requests_.open_descriptors(); }
  // The receive buffers that each worker's ring has from its program and has not picked, by their numbers.
  std::vector<std::multiset<uint16_t>> BuffersHeld() const;
  // What the crash at options.crash_at_call left, or one now if that call has not come.
  std::unique_ptr<FileSystem> TakeAfterCrash();
  const KernelOptions& options() const { return options_; }

  // --- kevent::Kernel
  absl::Status Setup(const kevent::RingOptions& options, io_uring* ring, kevent::Features* features) override;
  void Teardown(io_uring* ring) override;
  int Enter(io_uring* ring, kevent::Features features, unsigned to_submit, unsigned min_complete, unsigned flags,
            const kevent::WaitArgs& wait) override;
  int Register(io_uring* ring, unsigned opcode, void* arg, unsigned nr_args) override;
  int Message(int target_fd, uint64_t user_data) override;
  int64_t NowNs() override;
  int64_t ClockNs(int clock) override;
  void Begin(io_uring* ring) override;
  void Yield() override;

  int Socket(int family, int type, int protocol) override;
  int SocketPair(int family, int type, int protocol, int fds[2]) override;
  int Pipe2(int fds[2], int flags) override;
  int Dup(int fd) override;
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
  int Flock(int fd, int operation) override;
  int SetLock(int fd, const struct flock* lock) override;
  int EventFd(unsigned count, int flags) override;
  int InotifyInit1(int flags) override;
  int InotifyAddWatch(int fd, const char* path, uint32_t mask) override;
  int InotifyRmWatch(int fd, int watch) override;
  int FutexWake(const uint32_t* word, int count, bool is_private) override;

  // Sets CLOCK_REALTIME, as clock_settime(2): timeouts that are times of it come sooner or later. At the start it is
  // the same in each run.
  void SetClock(int64_t ns);

  // Time by hand: clock.h, where a task does it. On a worker. 0; -EPERM: the workers do not take turns, so that there
  // is no time to pause; or it is not paused.
  int PauseTime();
  int ResumeTime();

 private:
  [[noreturn]] void Fail(const std::string& why);
  // A call of the kernel.
  void Count();
  std::unique_ptr<FileSystem> AfterCrash() const;

  // Rings and requests.
  // The calling thread, on its own ring or on a shared one.
  void WaitOn(Lock* lock, Ring* ring, int64_t deadline_ns);
  static bool ServesOp(unsigned op);
  Ring* RingOf(const io_uring* ring);
  unsigned Submit(Ring* ring, unsigned n);
  void Issue(Ring* ring, const io_uring_sqe& sqe);
  // Fills what the request is about. 0, or the error that it ends with at once.
  int Prepare(Request* request);
  // It is tried the next time its ring is entered.
  void Queue(Request* request);
  // The same in `ns`, if it is still there then.
  void QueueAfter(const Request& request, int64_t ns);
  void RunTasks(Ring* ring);
  void Try(Request* request);
  // It is tried again when something about its file changes.
  void Await(Request* request);
  // The events of poll(2) that tell it.
  static short WaitedFor(const Request& request);
  Answer Attempt(Request* request);
  Answer AttemptReceive(Request* request);
  Answer AttemptSend(Request* request);
  Answer AttemptWrite(Request* request);
  Answer AttemptAccept(Request* request);
  Answer AttemptConnect(Request* request);
  Answer AttemptRead(Request* request);
  Answer AttemptPoll(Request* request);
  Answer AttemptName(Request* request);
  // The connection fails with one of the errors for its kind of socket, or just this attempt; the result of which that
  // is.
  int32_t FailWith(sim::Socket* socket, std::span<const int> of_tcp, std::span<const int> of_unix);
  int Cancel(Ring* ring, const io_uring_sqe& sqe);
  int CancelPoll(Ring* ring, const io_uring_sqe& sqe);
  void Cancel(Request* request);
  // Futexes (kernel_futexes.cc).
  static bool WaitsForFutex(const Request& request);
  int PrepareFutex(Request* request);
  Answer AttemptFutex(Request* request);
  // How many it has woken.
  int Wake(const Futexes::Word& word, int count, uint32_t mask);
  // By its word of that index.
  void WakeOne(Request* request, int index);
  // Timeouts as requests (kernel_timeouts.cc).
  int PrepareTimeout(Request* request);
  int CancelTimeout(Ring* ring, const io_uring_sqe& sqe);
  void ArmTimeout(Request* request);
  void MoveClock(int64_t by_ns);
  // Neither the clock nor completions end it any more.
  void StopTimeout(Request* request);
  void EndTimeout(Request* request, int32_t result);
  void CountCompletion(Ring* ring);
  int PrepareAdvance(Request* request);
  // The clock does not go on for it any more.
  void StopAdvance(Request* request);
  Request* FindRequest(int ring, uint64_t number);
  void Post(Ring* ring, const Completion& completion);
  // A completion that counts for the timeouts of the ring.
  void Complete(Ring* ring, uint64_t user_data, int32_t result);
  // A message that is late arrives, if it has not yet.
  void CompleteLate(uint64_t message);

  // Descriptors.
  int Open(std::shared_ptr<OpenFile> file);
  int OpenBoth(std::shared_ptr<OpenFile> a, std::shared_ptr<OpenFile> b, int fds[2]);
  std::shared_ptr<OpenFile> Find(int fd);
  // What `f` answers for the socket of that number; -EBADF: there is none; -ENOTSOCK: it is a pipe.
  template <class F>
  int WithSocket(int fd, F f);
  // Requests that wait on it are told of what changes.
  void Watch(OpenFile* file);
  bool InUse(const OpenFile* file) const;
  // Closes what was to be closed when its last request has ended.
  void CloseUnused(const std::shared_ptr<OpenFile>& file);

  const KernelOptions options_;
  mutable std::mutex mutex_;  // guards all below
  World world_;
  Network network_;
  const std::shared_ptr<FileSystem> files_;
  FileRequests file_requests_;
  Futexes futexes_;
  int64_t clock_offset_ns_;               // of CLOCK_REALTIME, from CLOCK_MONOTONIC
  std::vector<Request*> timed_by_clock_;  // timeouts that are times of CLOCK_REALTIME
  int64_t looked_at_ns_ = 0;              // the time that was seen when somebody last looked
  uint64_t looks_ = 0;                    // at that time
  std::unique_ptr<FileSystem> after_crash_;
  Turns turns_;
  uint64_t calls_ = 0;
  uint64_t next_request_ = 0;
  struct LateMessage {
    int ring;
    uint64_t user_data;
  };
  std::map<uint64_t, LateMessage> late_messages_;  // by number, in their order
  uint64_t next_message_ = 0;
  std::map<int, std::unique_ptr<Ring>> rings_;  // by number
  DescriptorTable<std::shared_ptr<OpenFile>> descriptors_{kFirstDescriptor};
  std::vector<std::shared_ptr<OpenFile>> closing_;  // closed, but a request still refers to them
};

}  // namespace evring::sim

#endif  // EVRING_SIM_KERNEL_H_

// queue_kinds_test.cc: what a kevent::Queue waits for besides streams of bytes, on the simulated kernel: counters,
// words of memory, locks of files, what happens to a file, names of sockets, times of the three clocks.
//
// Random programs of registrations and cancels run on the real kernel and on the simulated one, and the records of each
// step are compared. Where two requests wait for the same thing, who gets it is the kernel's affair: a program asks for
// one of them at a time. On the real kernel a helper thread waits for a lock (kevent/blocking_calls.h), which has to
// have come as far as there before the next step.

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"
#include "kevent/sanitizer.h"
#include "sim/kernel.h"
#include "sim/random.h"
#include "tests/sim/simulated_requests.h"
#include "tests/sim/traces.h"

namespace evring::sim {
namespace {

using kevent::Event;
using kevent::EventType;
using kevent::Queue;

constexpr uint64_t kPrograms = kevent::kSanitized ? 150 : 1'500;
constexpr int kSteps = 24;
constexpr size_t kCounters = 2;  // the second one a semaphore
constexpr size_t kWords = 3;
constexpr size_t kFiles = 3;  // descriptions of one file, the last for reading only
constexpr size_t kSockets = 4;
constexpr uint64_t kNames = 3;
constexpr size_t kBytes = 8;

// For the real kernel: how long a helper thread is given to begin, more and more if the answers differ; and for how
// long a record may keep one waiting.
constexpr int64_t kBeginNs[] = {200'000, 5'000'000, 50'000'000};
constexpr int64_t kPatienceNs = 500'000'000;

struct Step {
  enum class Kind {
    kCount,          // read counter `which`; how 1: again and again
    kAdd,            // `size` to it
    kPollCounter,    // how 1: level-triggered
    kFutex,          // word `which`, if it is `size`; how 1: shared
    kFutexMany,      // all words, if each is `size`
    kWake,           // up to `size` of word `which`; how as above
    kSetWord,        // to `size`
    kFlock,          // description `which`, the kinds of lock by `how`
    kLock,           // of it `size` bytes from `other` on, the kinds by `how`
    kLockOfProcess,  // the same
    kReopen,         // it
    kRead,           // of it; how 1: at its own position
    kWrite,          // likewise
    kSync,           // how 1: the data only
    kBind,           // socket `which` to name `other`
    kListen,
    kConnect,
    kAccept,
    kWatch,   // the file, for events by `how`; or, if that is 0, no more
    kTake,    // events of the file; how 1: again and again
    kTimer,   // of clock `which`, over if `how` is 0
    kCancel,  // of step `other`
  };
  static constexpr uint64_t kKinds = static_cast<uint64_t>(Kind::kCancel) + 1;

  Kind kind;
  size_t which;
  int how;
  size_t size;
  size_t other;

  std::string ToString() const {
    return absl::StrCat("kind ", static_cast<int>(kind), " which ", which, " how ", how, " size ", size, " other ",
                        other);
  }
};

using Program = std::vector<Step>;

Program RandomProgram(uint64_t seed) {
  Random random(seed, /*stream=*/12);
  Program program;
  for (int i = 0; i < kSteps; ++i) {
    Step step;
    step.kind = static_cast<Step::Kind>(random.Below(Step::kKinds));
    step.which = random.Below(12);
    step.how = static_cast<int>(random.Below(6));
    step.size = random.Below(4);
    step.other = random.Below(kSteps);
    program.push_back(step);
  }
  return program;
}

// A program on one kernel; a line for each step.
class ProgramRun {
 public:
  // `expected`: what the other kernel has answered, which this one is given time for; nullptr: it takes none.
  ProgramRun(kevent::Kernel* kernel, uint64_t number, const Trace* expected, int64_t begin_ns)
      : kernel_(kernel), number_(number), expected_(expected), begin_ns_(begin_ns) {
    kevent::Kernel::SetCurrent(kernel);
    auto ring = kevent::Ring::Create(kernel, kevent::RingOptions());
    EXPECT_TRUE(ring.ok()) << ring.status();
    ring_ = *std::move(ring);
    kevent::QueueOptions options;
    options.kernel = kernel;
    options.entries = 32;
    auto queue = Queue::Create(std::move(options));
    EXPECT_TRUE(queue.ok()) << queue.status();
    queue_ = *std::move(queue);
    path_ = absl::StrCat(testing::TempDir(), "queue_kinds_", getpid());
    for (size_t i = 0; i < kFiles; ++i) files_[i] = OpenFile(i);
    for (size_t i = 0; i < kCounters; ++i) {
      counters_[i] = kernel->EventFd(1, EFD_CLOEXEC | (i == 1 ? EFD_SEMAPHORE | EFD_NONBLOCK : 0));
    }
    inotify_ = kernel->InotifyInit1(IN_CLOEXEC);
    for (int& fd : sockets_) fd = kernel->Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  }
  ~ProgramRun() {
    queue_.reset();
    for (const int fd : files_) kernel_->Close(fd);
    for (const int fd : counters_) kernel_->Close(fd);
    for (const int fd : sockets_) kernel_->Close(fd);
    kernel_->Close(inotify_);
    EXPECT_EQ(kernel_->Remove(path_.c_str()), 0);
    ring_.reset();
    kevent::Kernel::SetCurrent(nullptr);
  }

  Trace Do(const Program& program) {
    for (size_t i = 0; i < program.size(); ++i) {
      const std::string answer = DoStep(program[i], i);
      Note(answer);
    }
    // One by one: the end of a request may let go of a descriptor, and with it of the lock that another waits for.
    for (const auto& [step, number] : std::map(numbers_)) {
      const int rc = queue_->Cancel(number);
      Note(absl::StrCat("cancelled ", rc));
    }
    return std::move(trace_);
  }

 private:
  int OpenFile(size_t i) {
    const int access = i == kFiles - 1 ? O_RDONLY : O_RDWR | O_CREAT;
    Asked open;
    io_uring_sqe* sqe = ring_->GetSqe();
    io_uring_prep_openat(sqe, AT_FDCWD, path_.c_str(), access | O_CLOEXEC, 0600);
    ring_->Start(&open, sqe);
    while (open.results.empty()) {
      ring_->Wait(ring_->state(), kevent::WaitArgs());
      ring_->Consume(8, [](kevent::Kevent* kevent, const Event& event) {
        static_cast<Asked*>(kevent)->results.push_back(event.result);
      });
    }
    EXPECT_GE(open.results[0], 0);
    return open.results[0];
  }

  static constexpr int kOperations[] = {LOCK_SH, LOCK_EX, LOCK_UN, LOCK_EX | LOCK_NB, LOCK_SH | LOCK_NB, LOCK_EX};
  static constexpr short kTypes[] = {F_RDLCK, F_WRLCK, F_UNLCK, F_WRLCK, F_UNLCK, 77};
  static constexpr int kFlockClaim = 10;
  static constexpr int kLockClaim = 11;

  // What a registration waits for, of which there is one at a time; 0: any number.
  static int Claim(const Step& step) {
    switch (step.kind) {
      case Step::Kind::kCount:
      case Step::Kind::kPollCounter:
        return 1 + static_cast<int>(step.which % kCounters);
      case Step::Kind::kFlock:
        return kOperations[step.how] == LOCK_UN ? 0 : kFlockClaim;
      case Step::Kind::kLock:
      case Step::Kind::kLockOfProcess:
        return kTypes[step.how] == F_UNLCK ? 0 : kLockClaim;
      case Step::Kind::kAccept:
        return 20 + static_cast<int>(step.which % kSockets);
      case Step::Kind::kTake:
        return 30;
      default:
        return 0;
    }
  }

  std::string DoStep(const Step& step, size_t i) {
    const size_t word = step.which % kWords;
    const size_t file = step.which % kFiles;
    Event event;
    event.cookie = i;
    kevent_io io = {};
    kevent_timer timer = {};
    struct flock lock = {};
    sockaddr_un address = {};
    uint64_t& memory = memory_[i];
    const auto argument = [&event](const void* at) { event.payload = reinterpret_cast<uintptr_t>(at); };
    if (const int claim = Claim(step); claim != 0) {
      if (std::ranges::any_of(claims_, [claim](const auto& held) { return held.second == claim; })) return "busy";
      claims_[i] = claim;
    }
    switch (step.kind) {
      case Step::Kind::kCount:
        event.type = EventType::kEventFd;
        event.descriptor = counters_[step.which % kCounters];
        if (step.how % 2 == 1) event.flags = KEVENT_MULTI;
        break;
      case Step::Kind::kPollCounter:
        event.type = EventType::kPoll;
        event.descriptor = counters_[step.which % kCounters];
        event.result = POLLIN;
        break;
      case Step::Kind::kAdd:
        event.type = EventType::kFileWrite;
        event.descriptor = counters_[step.which % kCounters];
        memory = step.size;
        io = {&memory, sizeof(memory), 0, 0};
        argument(&io);
        break;
      case Step::Kind::kFutex:
        event.type = EventType::kFutex;
        event.descriptor = step.how % 2 == 1 ? 0 : KEVENT_FUTEX_PRIVATE;
        event.result = static_cast<int32_t>(step.size % 2);
        argument(&words_[word]);
        break;
      case Step::Kind::kFutexMany:
        event.type = EventType::kFutexV;
        event.result = kWords;
        for (size_t k = 0; k < kWords; ++k) {
          futexes_[i][k] = {};
          futexes_[i][k].uaddr = reinterpret_cast<uintptr_t>(&words_[k]);
          futexes_[i][k].val = step.size % 2;
          futexes_[i][k].flags = 0x02 | (step.how % 2 == 1 ? 0 : FUTEX_PRIVATE_FLAG);
        }
        argument(futexes_[i].data());
        break;
      case Step::Kind::kWake:
        return absl::StrCat(kernel_->FutexWake(&words_[word], static_cast<int>(step.size + 1), step.how % 2 == 0));
      case Step::Kind::kSetWord:
        __atomic_store_n(&words_[word], static_cast<uint32_t>(step.size % 2), __ATOMIC_SEQ_CST);
        return "";
      case Step::Kind::kFlock:
        event.type = EventType::kFlock;
        event.descriptor = files_[file];
        event.result = kOperations[step.how];
        break;
      case Step::Kind::kLock:
      case Step::Kind::kLockOfProcess:
        event.type = EventType::kLock;
        event.descriptor = files_[file];
        event.result = step.kind == Step::Kind::kLock ? F_OFD_SETLKW : F_SETLKW;
        lock.l_type = kTypes[step.how];
        lock.l_whence = static_cast<short>(step.other % 8 == 7 ? SEEK_END : step.other % 8 == 6 ? SEEK_CUR : SEEK_SET);
        lock.l_start = static_cast<off_t>(step.other % 5);
        lock.l_len = static_cast<off_t>(step.size) - (step.other % 4 == 3 ? 3 : 0);
        argument(&lock);
        break;
      case Step::Kind::kReopen:
        kernel_->Close(files_[file]);
        files_[file] = OpenFile(file);
        return "";
      case Step::Kind::kRead:
      case Step::Kind::kWrite:
        event.type = step.kind == Step::Kind::kRead ? EventType::kFileRead : EventType::kFileWrite;
        event.descriptor = files_[file];
        memory = 0x1111111111111111 * i;
        io = {&memory, kBytes, step.how % 2 == 1 ? -1 : static_cast<int64_t>(step.size * 4), 0};
        argument(&io);
        break;
      case Step::Kind::kSync:
        event.type = step.how % 2 == 1 ? EventType::kDataSync : EventType::kSync;
        event.descriptor = step.how == 5 ? counters_[0] : files_[file];
        break;
      case Step::Kind::kBind:
      case Step::Kind::kConnect: {
        event.type = step.kind == Step::Kind::kBind ? EventType::kBind : EventType::kConnect;
        event.descriptor = step.how == 5 ? counters_[0] : sockets_[step.which % kSockets];
        address.sun_family = AF_UNIX;
        const std::string name = absl::StrCat("queue-kinds-", getpid(), "-", number_, "-", step.other % kNames);
        std::memcpy(address.sun_path + 1, name.data(), name.size());
        names_[i] = address;
        event.result = static_cast<int32_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
        argument(&names_[i]);
        break;
      }
      case Step::Kind::kListen:
        event.type = EventType::kListen;
        event.descriptor = step.how == 5 ? -1 : sockets_[step.which % kSockets];
        event.result = 8;
        break;
      case Step::Kind::kAccept:
        event.type = EventType::kAccept;
        event.descriptor = sockets_[step.which % kSockets];
        break;
      case Step::Kind::kWatch: {
        // One event for each step at most: how many of them one read finds is the kernel's affair.
        static constexpr uint32_t kMasks[] = {IN_MODIFY, IN_MODIFY, IN_ACCESS, IN_MODIFY | IN_ACCESS, IN_OPEN};
        if (step.how == 0) return absl::StrCat(kernel_->InotifyRmWatch(inotify_, std::exchange(watch_, -1)));
        watch_ = kernel_->InotifyAddWatch(inotify_, path_.c_str(), kMasks[step.how - 1]);
        return absl::StrCat(watch_);
      }
      case Step::Kind::kTake:
        event.type = EventType::kInotify;
        event.descriptor = step.how == 5 ? sockets_[0] : inotify_;
        if (step.how % 2 == 1) event.flags = KEVENT_MULTI;
        io = {taken_.data(), step.how == 4 ? 8 : taken_.size(), 0, 0};
        argument(&io);
        break;
      case Step::Kind::kTimer: {
        static constexpr int kClocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID};
        event.type = EventType::kTimer;
        timer.clock = kClocks[step.which % 4];
        timer.absolute = step.how % 2;
        if (step.how >= 2) timer.first.tv_sec = timer.absolute != 0 ? 4'000'000'000 : 3'600;
        argument(&timer);
        break;
      }
      case Step::Kind::kCancel: {
        const auto found = numbers_.find(step.other);
        return absl::StrCat(queue_->Cancel(found == numbers_.end() ? int64_t{0x7777} : found->second));
      }
    }
    const int64_t number = queue_->Submit(event);
    if (number > 0) numbers_[i] = number;
    if (number < 0) claims_.erase(i);
    return absl::StrCat(std::min<int64_t>(number, 0));
  }

  // What has come in this step, into the trace.
  void Note(const std::string& answer) {
    const bool told = expected_ != nullptr && trace_.size() < expected_->size();
    const std::string expected = told ? (*expected_)[trace_.size()] : "";
    const int64_t deadline_ns = kernel_->NowNs() + kPatienceNs;
    std::map<size_t, std::string> records;
    for (;;) {
      std::string line = absl::StrCat(answer, ":");
      for (const auto& [step, text] : records) absl::StrAppend(&line, " ", step, "=", text);
      Event record;
      if (queue_->TryNext(&record)) {
        Tell(record, &records[static_cast<size_t>(record.cookie)]);
        continue;
      }
      if (!told || line == expected || kernel_->NowNs() > deadline_ns) {
        size_t n = 0;
        kevent::WaitArgs wait;
        // The simulated one has all the time; the real one answers what it can at once, and threads begin.
        wait.deadline_ns = kernel_->NowNs() + (expected_ == nullptr ? kSecondNs : HelperBegins() ? begin_ns_ : 0);
        if (queue_->Next(std::span<Event>(&record, 1), &n, wait) == Queue::Waited::kRecords) {
          Tell(record, &records[static_cast<size_t>(record.cookie)]);
          continue;
        }
        trace_.push_back(std::move(line));
        return;
      }
      size_t n = 0;
      kevent::WaitArgs wait;
      wait.deadline_ns = deadline_ns;
      if (queue_->Next(std::span<Event>(&record, 1), &n, wait) == Queue::Waited::kRecords) {
        Tell(record, &records[static_cast<size_t>(record.cookie)]);
      }
    }
  }

  bool HelperBegins() const {
    return std::ranges::any_of(
        claims_, [](const auto& held) { return held.second == kFlockClaim || held.second == kLockClaim; });
  }

  void Tell(const Event& record, std::string* text) {
    const auto step = static_cast<size_t>(record.cookie);
    if (record.last()) {
      numbers_.erase(step);
      claims_.erase(step);
    }
    if (record.type == EventType::kAccept && record.result >= 0) {
      kernel_->Close(record.result);
      absl::StrAppend(text, "accepted;");
      return;
    }
    absl::StrAppend(text, record.result, "/", record.flags);
    if (record.type == EventType::kEventFd && record.result >= 0) absl::StrAppend(text, " count ", record.payload);
    for (int at = 0; record.type == EventType::kInotify && at < record.result; at += sizeof(inotify_event)) {
      inotify_event taken;
      std::memcpy(&taken, taken_.data() + at, sizeof(taken));
      absl::StrAppend(text, " ", taken.wd, "/", absl::Hex(taken.mask), "/", taken.cookie, "/", taken.len);
    }
    if (record.type == EventType::kFileRead && record.result >= 0) absl::StrAppend(text, " ", memory_[step]);
    absl::StrAppend(text, ";");
  }

  kevent::Kernel* const kernel_;
  const uint64_t number_;
  const Trace* const expected_;
  const int64_t begin_ns_;
  std::unique_ptr<kevent::Ring> ring_;
  std::unique_ptr<Queue> queue_;
  std::string path_;
  std::array<int, kFiles> files_ = {};
  std::array<int, kCounters> counters_ = {};
  std::array<int, kSockets> sockets_ = {};
  int inotify_ = -1;
  int watch_ = -1;
  std::array<std::byte, 1024> taken_;
  std::array<uint32_t, kWords> words_ = {};
  // By the number of the step.
  std::array<uint64_t, kSteps> memory_ = {};
  std::array<std::array<futex_waitv, kWords>, kSteps> futexes_ = {};
  std::array<sockaddr_un, kSteps> names_ = {};
  std::map<size_t, int64_t> numbers_;  // registrations that have not ended
  std::map<size_t, int> claims_;       // what they wait for
  Trace trace_;
};

Trace OnSimulated(const Program& program, uint64_t number) {
  Kernel kernel((KernelOptions()));
  Trace trace = ProgramRun(&kernel, number, /*expected=*/nullptr, 0).Do(program);
  EXPECT_EQ(kernel.open_descriptors(), 0);
  return trace;
}

TEST(QueueKindsDifferential, RandomProgramsHaveTheSameRecords) {
  int differ = 0;
  uint64_t runs = 0;
  for (uint64_t seed = 1; seed <= kPrograms && differ < 3; ++seed) {
    const Program program = RandomProgram(seed);
    const Trace simulated = OnSimulated(program, ++runs);
    const Trace real = WithPatience(kBeginNs, simulated, [&](int64_t begin_ns) {
      return ProgramRun(kevent::SystemKernel(), ++runs, &simulated, begin_ns).Do(program);
    });
    if (real == simulated) continue;
    ++differ;
    ADD_FAILURE() << "program " << seed << ":\n" << Difference(program, real, simulated);
  }
}

}  // namespace
}  // namespace evring::sim

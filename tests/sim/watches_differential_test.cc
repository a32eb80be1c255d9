// watches_differential_test.cc: inotify of the simulated kernel answers as the real one does: random programs of
// watches and of operations on files run on both, the real one in a directory of its own, and what each step has
// answered is compared: results, the events that were read, poll(2) of the instances.
//
// What the real kernel decides freely, or the simulated file system cannot tell, is left out:
// - who gets what, where two requests wait for the same instance: one waits at a time;
// - how many events of one operation a read finds that has waited for the first: those that are left are read at once;
// - how often a multishot poll tells of one change;
// - the numbers of cookies: only which are the same;
// - directories that are missing, which are there in the simulation if a path says that they are directories;
// - directories that are made, renamed and removed; links; chmod: there are none in the simulation.
// A file is let go by a thread of the kernel's own after a request, at times, and then its end comes later than that
// of its close. So a difference counts if it is still there when the real kernel is given time before each step.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kevent/check.h"
#include "kevent/event.h"
#include "kevent/handle.h"
#include "kevent/kernel.h"
#include "kevent/ring.h"
#include "kevent/sanitizer.h"
#include "sim/kernel.h"
#include "sim/random.h"
#include "tests/sim/traces.h"

namespace evring::sim {
namespace {

constexpr uint64_t kPrograms = kevent::kSanitized ? 150 : 1'000;
constexpr int kSteps = 60;
constexpr size_t kInstances = 2;  // the second does not block
constexpr size_t kFiles = 3;      // descriptors
constexpr size_t kDirectories = 2;
constexpr int64_t kSecondNs = 1'000'000'000;
// For the real kernel: before each step, more and more if the answers differ; and until an answer is what is expected.
constexpr int64_t kPauseNs[] = {0, 1'000'000, 20'000'000};
constexpr int64_t kPatienceNs = 500'000'000;

// Names of files: a record has room for 15 characters, or for 31, or …
const std::string kNames[] = {"a", "fifteen-letters", "sixteen--letters", std::string(255, 'n')};

struct Step {
  enum class Kind {
    kInit,       // instance `which` again; how 0: by flags that there are not
    kAdd,        // a watch of path `path` with `mask` to instance `which`; `how`: how the path is spelled
    kAddOften,   // the same
    kRemove,     // watch `how` of instance `which`
    kOpen,       // path `path` as file `which`, the flags by `how`
    kOpenOften,  // the same
    kClose,      // file `which`
    kRead,       // of file `which`, `size` bytes
    kWrite,
    kWriteOften,
    kSync,
    kRename,  // path `path` to path `other`
    kUnlink,  // path `path`
    kUnlinkByCall,
    kTake,  // events of instance `which` into `size` bytes
    kTakeOften,
    kTakeAll,
    kPoll,    // of instance `which`, for what by `how`; size 0: again and again
    kCancel,  // the request of step `other`
    kMisuse,  // of instance `which`: what it is not for, by `how`
  };
  static constexpr uint64_t kKinds = static_cast<uint64_t>(Kind::kMisuse) + 1;

  Kind kind;
  size_t which;
  size_t path;
  size_t other;
  int how;
  size_t size;
  uint32_t mask;

  std::string ToString() const {
    return absl::StrCat("kind ", static_cast<int>(kind), " which ", which, " path ", path, " other ", other, " how ",
                        how, " size ", size, " mask ", absl::Hex(mask));
  }
};

using Program = std::vector<Step>;

uint32_t RandomMask(Random* random) {
  static constexpr uint32_t kEvents[] = {IN_ACCESS, IN_MODIFY,     IN_ATTRIB,      IN_CLOSE_WRITE, IN_CLOSE_NOWRITE,
                                         IN_OPEN,   IN_MOVED_FROM, IN_MOVED_TO,    IN_CREATE,      IN_DELETE,
                                         IN_MOVE,   IN_MOVE_SELF,  IN_DELETE_SELF, IN_CLOSE,       IN_ALL_EVENTS};
  static constexpr uint32_t kFlags[] = {IN_ONESHOT, IN_MASK_ADD,    IN_MASK_CREATE, IN_EXCL_UNLINK,
                                        IN_ONLYDIR, IN_DONT_FOLLOW, IN_ISDIR,       IN_UNMOUNT};
  if (random->OneIn(40)) return random->OneIn(2) ? 0 : 0x0010'0000 | IN_MODIFY;
  uint32_t mask = random->OneIn(2) ? IN_ALL_EVENTS : 0;
  for (uint64_t n = random->Below(4); n > 0; --n) mask |= kEvents[random->Below(std::size(kEvents))];
  for (uint64_t n = random->Below(3); n > 0; --n) mask |= kFlags[random->Below(std::size(kFlags))];
  return mask;
}

Program RandomProgram(uint64_t seed) {
  static constexpr size_t kSizes[] = {0, 8, 15, 16, 31, 32, 47, 48, 64, 100, 287, 288, 300, 4096};
  Random random(seed, /*stream=*/13);
  Program program;
  for (int i = 0; i < kSteps; ++i) {
    Step step;
    step.kind = static_cast<Step::Kind>(random.Below(Step::kKinds));
    if (i < 6) step.kind = i % 2 == 0 ? Step::Kind::kOpen : Step::Kind::kAdd;  // so that something can happen
    step.which = random.Below(6);
    // The same few mostly: things are to happen to what is watched.
    const size_t paths = kDirectories * std::size(kNames) + kDirectories;
    step.path = random.OneIn(3) ? random.Below(paths) : random.OneIn(2) ? 0 : paths - 2;
    if (random.OneIn(3)) step.path = 1 - step.path % 2 + step.path / 2 * 2;  // in the other directory
    step.other = random.Below(kSteps);
    step.how = static_cast<int>(random.Below(32));
    step.size = kSizes[random.Below(std::size(kSizes))];
    step.mask = RandomMask(&random);
    program.push_back(step);
  }
  return program;
}

std::string Text(int result) { return result < 0 ? strerrorname_np(-result) : absl::StrCat(result); }

// A program on one kernel; a line for each step.
class ProgramRun {
 public:
  // `directory`: an empty one. `expected`: what the other kernel has answered, which this one is given time for;
  // nullptr: it takes none.
  ProgramRun(kevent::Kernel* kernel, std::string directory, const Trace* expected, int64_t pause_ns)
      : kernel_(kernel), directory_(std::move(directory)), expected_(expected), pause_ns_(pause_ns) {
    auto ring = kevent::Ring::Create(kernel, kevent::RingOptions());
    EVRING_CHECK(ring.ok(), "the test needs a ring");
    ring_ = *std::move(ring);
    // So that the directories are there in the simulation.
    for (size_t i = 0; i < kDirectories; ++i) {
      const std::string path = absl::StrCat(Directory(i), "/.keep");
      kernel_->Close(File([&](io_uring_sqe* sqe) { PrepareOpen(sqe, path.c_str(), O_RDWR | O_CREAT); }));
    }
    for (size_t i = 0; i < kInstances; ++i) Init(i);
    files_.fill(-1);
  }
  ~ProgramRun() {
    EVRING_CHECK(ring_->in_flight() == 0, "all requests have been cancelled");
    for (const int fd : files_) {
      if (fd >= 0) kernel_->Close(fd);
    }
    for (const int fd : instances_) kernel_->Close(fd);
    for (const std::string& path : present_) EXPECT_EQ(kernel_->Remove(path.c_str()), 0) << path;
    for (size_t i = 0; i < kDirectories; ++i) {
      EXPECT_EQ(kernel_->Remove(absl::StrCat(Directory(i), "/.keep").c_str()), 0);
    }
  }

  Trace Do(const Program& program) {
    for (size_t i = 0; i < program.size(); ++i) {
      if (pause_ns_ != 0) usleep(static_cast<useconds_t>(pause_ns_ / 1'000));
      Note(DoStep(program[i], i));
    }
    std::string answers;
    for (size_t i = 0; i < program.size(); ++i) {
      if (asked_.contains(i)) absl::StrAppend(&answers, Cancel(i), " ");
    }
    Note(answers);
    // What nobody has read.
    for (size_t i = 0; i < kInstances; ++i) Note(Poll(i) == POLLIN ? Take(i, 64 * 1024, 1'000 + i) : "nothing");
    return std::move(trace_);
  }

 private:
  struct Asked final : kevent::Kevent {
    explicit Asked(size_t instance) : Kevent(kevent::EventType::kNop, -1, 0, nullptr), instance(instance) {}
    size_t instance;  // kInstances: one that has been closed
    std::vector<std::byte> memory;
    bool waits = false;
    std::string observed;
    int result = 0;
    bool over = false;
  };

  std::string Directory(size_t i) const { return absl::StrCat(directory_, "/", i % kDirectories); }
  bool IsDirectory(size_t path) const { return path >= kDirectories * std::size(kNames); }
  std::string Path(size_t path) const {
    if (IsDirectory(path)) return Directory(path);
    return absl::StrCat(Directory(path), "/", kNames[path / kDirectories]);
  }
  static void PrepareOpen(io_uring_sqe* sqe, const char* path, int flags) {
    io_uring_prep_openat(sqe, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
  }

  int Init(size_t i) {
    const int fd = kernel_->InotifyInit1(IN_CLOEXEC | (i == 1 ? IN_NONBLOCK : 0));
    EVRING_CHECK(fd >= 0, "the test needs an instance");
    instances_[i] = fd;
    return 0;
  }

  // The result of a request about a file, which is waited for.
  template <class F>
  int File(F prepare) {
    Asked asked(0);
    io_uring_sqe* sqe = ring_->GetSqe();
    prepare(sqe);
    ring_->Start(&asked, sqe);
    while (!asked.over) {
      ring_->Wait(ring_->state(), kevent::WaitArgs());
      Consume();
    }
    return asked.result;
  }

  size_t Consume() {
    return ring_->Consume(64, [this](kevent::Kevent* kevent, const kevent::Event& event) {
      auto* const asked = static_cast<Asked*>(kevent);
      asked->result = event.result;
      asked->over = event.last();
      std::string text = absl::StrCat(" ", Text(event.result), event.last() ? "." : " more;");
      if (event.result > 0 && !asked->memory.empty()) {
        if (asked->waits) text = " some.";
        // What one has left that is closed nobody can read.
        if (asked->instance != kInstances) {
          absl::StrAppend(&text, Events(asked->memory, event.result));
          if (asked->waits) rest_.push_back(asked);
        }
      }
      if (event.last() || !absl::EndsWith(asked->observed, text)) absl::StrAppend(&asked->observed, text);
    });
  }

  // Of operations of which a read has seen the first event.
  void TakeRests() {
    for (Asked* waited : std::exchange(rest_, {})) {
      while (Poll(waited->instance) == POLLIN) {
        std::vector<std::byte> memory(4096);
        const int n = File([&](io_uring_sqe* sqe) {
          io_uring_prep_read(sqe, instances_[waited->instance], memory.data(), static_cast<unsigned>(memory.size()), 0);
        });
        absl::StrAppend(&waited->observed, n > 0 ? Events(memory, n) : Text(n));
      }
    }
  }

  std::string Events(const std::vector<std::byte>& memory, int size) {
    std::string text;
    for (size_t at = 0; at < static_cast<size_t>(size);) {
      inotify_event event;
      EVRING_CHECK(at + sizeof(event) <= static_cast<size_t>(size), "a whole event");
      std::memcpy(&event, memory.data() + at, sizeof(event));
      const auto* name = reinterpret_cast<const char*>(memory.data() + at + sizeof(event));
      at += sizeof(event) + event.len;
      EVRING_CHECK(at <= static_cast<size_t>(size), "a whole name");
      const size_t cookie =
          event.cookie == 0 ? 0 : cookies_.try_emplace(event.cookie, cookies_.size() + 1).first->second;
      // All of what fills up the name, which is to be NULs.
      const std::string filled(name, event.len);
      const size_t end = std::min(filled.find('\0'), filled.size());
      EXPECT_EQ(filled.find_first_not_of('\0', end), std::string::npos) << "behind a name";
      absl::StrAppend(&text, " [", event.wd, " ", absl::Hex(event.mask), " c", cookie, " ", filled.substr(0, end), "+",
                      filled.size() - end, "]");
    }
    return text;
  }

  short Poll(size_t i) { return static_cast<short>(kernel_->PollNow(instances_[i], POLLIN | POLLOUT)); }

  // A request to an instance, unless one waits there already.
  std::string Start(size_t instance, size_t number, size_t bytes, const auto& prepare, bool ends_at_once) {
    for (const auto& [other, asked] : asked_) {
      if (asked->instance == instance && (asked->waits || !ends_at_once)) return "busy";
    }
    auto asked = std::make_unique<Asked>(instance);
    asked->memory.resize(bytes);
    asked->waits = !ends_at_once;
    io_uring_sqe* sqe = ring_->GetSqe();
    prepare(sqe, asked.get());
    ring_->Start(asked.get(), sqe);
    asked_[number] = std::move(asked);
    return "";
  }

  std::string Take(size_t i, size_t size, size_t number) {
    const int fd = instances_[i];
    const auto prepare = [fd, size](io_uring_sqe* sqe, Asked* asked) {
      io_uring_prep_read(sqe, fd, asked->memory.data(), static_cast<unsigned>(size), 0);
    };
    // Not by the compiler's leave to make an empty vector's data a nullptr, which is an address as well.
    return Start(i, number, std::max<size_t>(size, 1), prepare, Poll(i) == POLLIN);
  }

  std::string Cancel(size_t step) {
    const auto found = asked_.find(step);
    const uint64_t number = found == asked_.end() ? uint64_t{0x10} : found->second->number();
    return Text(File([number](io_uring_sqe* sqe) { io_uring_prep_cancel64(sqe, number, 0); }));
  }

  std::string DoStep(const Step& step, size_t number) {
    const size_t instance = step.which % kInstances;
    const size_t file = step.which % kFiles;
    const int fd = files_[file];
    const std::string path = Path(step.path);
    std::byte bytes[300] = {};
    const auto size = static_cast<unsigned>(std::min<size_t>(step.size, 300));
    switch (step.kind) {
      case Step::Kind::kInit:
        if (step.how == 0) return Text(kernel_->InotifyInit1(1));
        if (step.how > 4) return "";
        // A request that waits keeps the old one.
        kernel_->Close(instances_[instance]);
        for (auto& [other, asked] : asked_) {
          if (asked->instance == instance) asked->instance = kInstances;
        }
        return Text(Init(instance));
      case Step::Kind::kAdd:
      case Step::Kind::kAddOften:
        return Text(AddWatch(step, instance, path));
      case Step::Kind::kRemove:
        return Text(kernel_->InotifyRmWatch(instances_[instance], step.how / 6));
      case Step::Kind::kOpen:
      case Step::Kind::kOpenOften:
        return Text(Open(step, file));
      case Step::Kind::kClose:
        if (fd < 0) return "closed";
        files_[file] = -1;
        return Text(kernel_->Close(fd));
      case Step::Kind::kRead:
        return Text(File([&](io_uring_sqe* sqe) { io_uring_prep_read(sqe, fd, bytes, size, 0); }));
      case Step::Kind::kWrite:
      case Step::Kind::kWriteOften:
        return Text(File([&](io_uring_sqe* sqe) { io_uring_prep_write(sqe, fd, bytes, size, 0); }));
      case Step::Kind::kSync:
        return Text(File([&](io_uring_sqe* sqe) { io_uring_prep_fsync(sqe, fd, 0); }));
      case Step::Kind::kRename: {
        if (IsDirectory(step.path)) return "";
        const std::string to = Path(step.other % (kDirectories * std::size(kNames)));
        const int rc = File(
            [&](io_uring_sqe* sqe) { io_uring_prep_renameat(sqe, AT_FDCWD, path.c_str(), AT_FDCWD, to.c_str(), 0); });
        if (rc == 0) {
          present_.erase(path);
          present_.insert(to);
        }
        return Text(rc);
      }
      case Step::Kind::kUnlink:
      case Step::Kind::kUnlinkByCall: {
        if (IsDirectory(step.path)) return "";
        const int rc = step.kind == Step::Kind::kUnlinkByCall
                           ? kernel_->Remove(path.c_str())
                           : File([&](io_uring_sqe* sqe) { io_uring_prep_unlinkat(sqe, AT_FDCWD, path.c_str(), 0); });
        if (rc == 0) present_.erase(path);
        return Text(rc);
      }
      case Step::Kind::kTake:
      case Step::Kind::kTakeOften:
        return Take(instance, step.size, number);
      case Step::Kind::kTakeAll:
        return Take(instance, 4096, number);
      case Step::Kind::kPoll: {
        static constexpr unsigned kEvents[] = {POLLIN, POLLIN, POLLIN | POLLOUT, POLLOUT};
        const unsigned events = kEvents[step.how % 4];
        const auto prepare = [&](io_uring_sqe* sqe, Asked*) {
          if (step.size == 0) {
            io_uring_prep_poll_multishot(sqe, instances_[instance], events);
          } else {
            io_uring_prep_poll_add(sqe, instances_[instance], events);
          }
        };
        return Start(instance, number, 0, prepare, /*ends_at_once=*/false);
      }
      case Step::Kind::kCancel:
        return Cancel(step.other);
      case Step::Kind::kMisuse:
        return Misuse(step, instances_[instance]);
    }
    return "";
  }

  int AddWatch(const Step& step, size_t instance, std::string path) {
    const bool there = IsDirectory(step.path) || present_.contains(path);
    uint32_t mask = step.mask;
    if (!there) mask &= ~static_cast<uint32_t>(IN_ONLYDIR);
    switch (step.how) {
      case 0:
        path = "";
        break;
      case 1:
        absl::StrAppend(&path, there ? "/" : "");
        break;
      case 2:
        absl::StrAppend(&path, there ? "/." : "");
        break;
      case 3:
        path = absl::StrCat(Directory(0), "/../1/./", kNames[0]);
        break;
      case 4:
        mask &= ~static_cast<uint32_t>(IN_ONLYDIR);
        absl::StrAppend(&path, "/missing");
        break;
      case 5:
        mask &= ~static_cast<uint32_t>(IN_ONLYDIR);
        absl::StrAppend(&path, "/", std::string(256, 'x'));
        break;
      case 6:
        mask &= ~static_cast<uint32_t>(IN_ONLYDIR);
        path = absl::StrCat("/", std::string(4096, 'x'));
        break;
      default:
        break;
    }
    if (step.how == 3 && !present_.contains(Path(1))) mask &= ~static_cast<uint32_t>(IN_ONLYDIR);
    return kernel_->InotifyAddWatch(instances_[instance], path.c_str(), mask);
  }

  int Open(const Step& step, size_t file) {
    static constexpr int kFlags[] = {O_RDONLY,
                                     O_RDWR | O_CREAT,
                                     O_RDWR | O_CREAT,
                                     O_RDONLY | O_CREAT,
                                     O_WRONLY | O_CREAT | O_TRUNC,
                                     O_RDWR | O_TRUNC,
                                     O_WRONLY | O_CREAT | O_EXCL,
                                     O_RDWR | O_CREAT | O_APPEND};
    if (files_[file] >= 0) return kernel_->Close(std::exchange(files_[file], -1));
    const std::string path = Path(step.path);
    const bool there = IsDirectory(step.path) || present_.contains(path);
    int flags = kFlags[step.how % 8];
    if (IsDirectory(step.path) || (step.how == 31 && there)) flags = O_RDONLY | O_DIRECTORY;
    const int fd = File([&](io_uring_sqe* sqe) { PrepareOpen(sqe, path.c_str(), flags); });
    if (fd < 0) return fd;
    files_[file] = fd;
    if (!IsDirectory(step.path)) present_.insert(path);
    return 0;
  }

  std::string Misuse(const Step& step, int fd) {
    const std::string path = Directory(0);
    switch (step.how % 8) {
      case 0:
        return Text(File([fd](io_uring_sqe* sqe) { io_uring_prep_write(sqe, fd, "12345678", 8, 0); }));
      case 1:
        return Text(File([fd](io_uring_sqe* sqe) { io_uring_prep_fsync(sqe, fd, 0); }));
      case 2:
        return Text(File([fd](io_uring_sqe* sqe) { io_uring_prep_recv(sqe, fd, nullptr, 0, 0); }));
      case 3:
        return Text(kernel_->InotifyAddWatch(-1, path.c_str(), step.mask));
      case 4:
        return Text(kernel_->InotifyRmWatch(-1, 1));
      default: {
        // What is none.
        const int counter = kernel_->EventFd(0, 0);
        const int watch = kernel_->InotifyAddWatch(counter, step.how < 24 ? path.c_str() : "", step.mask);
        const int ended = kernel_->InotifyRmWatch(counter, 1);
        kernel_->Close(counter);
        return absl::StrCat(Text(watch), " ", Text(ended));
      }
    }
  }

  std::string Line(const std::string& answer) {
    std::string line = absl::StrCat(answer, ":");
    for (const auto& [step, asked] : asked_) {
      if (!asked->observed.empty()) absl::StrAppend(&line, " r", step, asked->observed);
    }
    for (size_t i = 0; i < kInstances; ++i) absl::StrAppend(&line, " p", Poll(i));
    return line;
  }

  // What has come in this step, into the trace.
  void Note(const std::string& answer) {
    const bool told = expected_ != nullptr && trace_.size() < expected_->size();
    const std::string expected = told ? (*expected_)[trace_.size()] : "";
    const int64_t deadline_ns = kernel_->NowNs() + (told ? kPatienceNs : kSecondNs);
    ring_->Enter();
    Consume();
    TakeRests();
    std::string line = Line(answer);
    while (!told || line != expected) {
      kevent::WaitArgs wait;
      wait.deadline_ns = deadline_ns;
      const bool over = ring_->Wait(ring_->state(), wait) == kevent::WaitResult::kDeadline;
      Consume();
      TakeRests();
      line = Line(answer);
      if (over) break;
    }
    trace_.push_back(std::move(line));
    for (auto& [step, asked] : asked_) asked->observed.clear();
    std::erase_if(asked_, [](const auto& entry) { return entry.second->over; });
  }

  kevent::Kernel* const kernel_;
  const std::string directory_;
  const Trace* const expected_;
  const int64_t pause_ns_;
  std::unique_ptr<kevent::Ring> ring_;
  std::array<int, kInstances> instances_ = {};
  std::array<int, kFiles> files_ = {};
  std::set<std::string> present_;                   // files
  std::map<size_t, std::unique_ptr<Asked>> asked_;  // that have not ended, by the number of the step
  std::map<uint32_t, size_t> cookies_;
  std::vector<Asked*> rest_;  // that have waited, and ended in this step
  Trace trace_;
};

class Directory {
 public:
  Directory() {
    path_ = testing::TempDir() + "/watches.XXXXXX";
    EVRING_CHECK(mkdtemp(path_.data()) != nullptr, "the test needs a directory");
    for (size_t i = 0; i < kDirectories; ++i) EXPECT_EQ(mkdir(absl::StrCat(path_, "/", i).c_str(), 0700), 0);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { EXPECT_EQ(std::system(("rm -rf '" + path_ + "'").c_str()), 0); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Trace OnSimulated(const Program& program, const std::string& directory) {
  Kernel kernel((KernelOptions()));
  Trace trace = ProgramRun(&kernel, directory, /*expected=*/nullptr, 0).Do(program);
  EXPECT_EQ(kernel.open_descriptors(), 0);
  return trace;
}

TEST(WatchesDifferential, RandomProgramsSeeTheSameEvents) {
  const Directory directory;
  int differ = 0;
  uint64_t events = 0;
  uint64_t again = 0;
  const char* one = std::getenv("EVRING_PROGRAM_SEED");
  const uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  for (uint64_t seed = first; seed <= (one != nullptr ? first : kPrograms) && differ < 3; ++seed) {
    const Program program = RandomProgram(seed);
    const Trace simulated = OnSimulated(program, directory.path());
    const Trace real = WithPatience(kPauseNs, simulated, [&](int64_t pause_ns) {
      if (pause_ns != kPauseNs[0]) ++again;
      return ProgramRun(kevent::SystemKernel(), directory.path(), &simulated, pause_ns).Do(program);
    });
    for (const std::string& line : simulated) events += static_cast<uint64_t>(std::ranges::count(line, '['));
    if (real == simulated && one == nullptr) continue;
    const std::string text = Difference(program, real, simulated);
    if (real == simulated) {
      std::printf("%s", text.c_str());
      continue;
    }
    ++differ;
    ADD_FAILURE() << "program " << seed << ":\n" << text << "again: EVRING_PROGRAM_SEED=" << seed;
  }
  if (one == nullptr) {
    EXPECT_GT(events, kPrograms) << "the programs see something";
    std::printf("%llu events; %llu times the real kernel was given more time\n",
                static_cast<unsigned long long>(events), static_cast<unsigned long long>(again));
  }
}

}  // namespace
}  // namespace evring::sim

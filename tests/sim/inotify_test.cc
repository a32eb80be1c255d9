// inotify_test.cc: what random programs (watches_differential_test.cc) do not come to: the limits of instances, watches
// and events; which paths are those of directories; events that are lost, or come one by one.

#include "sim/inotify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "kevent/kevent.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/file.h"
#include "runtime/os/file_watch.h"
#include "runtime/task.h"
#include "sim/co_assert.h"
#include "sim/simulation.h"
#include "tests/sim/simulated_requests.h"

namespace evring::sim {
namespace {

KernelOptions Limits(size_t instances, size_t watches, size_t events) {
  KernelOptions options;
  options.inotify.instances = instances;
  options.inotify.watches = watches;
  options.inotify.events = events;
  return options;
}

class SimulatedWatches : public SimulatedRequests {
 protected:
  explicit SimulatedWatches(const KernelOptions& options = KernelOptions()) : SimulatedRequests(options) {}

  int Init() { return kernel_.InotifyInit1(IN_CLOEXEC); }
  int Add(int fd, const std::string& path, uint32_t mask = IN_ALL_EVENTS) {
    return kernel_.InotifyAddWatch(fd, path.c_str(), mask);
  }
  int Open(const std::string& path, int flags) {
    return Do([&](io_uring_sqe* sqe) { io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), flags, 0600); });
  }
  void Make(const std::string& path) { EXPECT_EQ(kernel_.Close(Open(path, O_RDWR | O_CREAT)), 0); }
  // The masks of the events that one read takes.
  std::vector<uint32_t> Take(int fd, size_t size = 4096) {
    std::vector<std::byte> memory(size);
    const int n = Do([&](io_uring_sqe* sqe) {
      io_uring_prep_read(sqe, fd, memory.data(), static_cast<unsigned>(memory.size()), 0);
    });
    std::vector<uint32_t> masks;
    for (size_t at = 0; at < static_cast<size_t>(std::max(n, 0));) {
      inotify_event event;
      std::memcpy(&event, memory.data() + at, sizeof(event));
      if (event.mask == IN_Q_OVERFLOW) {
        EXPECT_EQ(event.wd, -1);
      }
      masks.push_back(event.mask);
      at += sizeof(event) + event.len;
    }
    return masks;
  }
};

using Masks = std::vector<uint32_t>;

class FewEvents : public SimulatedWatches {
 protected:
  FewEvents() : SimulatedWatches(Limits(2, 3, 3)) {}
};

TEST_F(FewEvents, AFullQueueSaysSoOnceAndGoesOn) {
  const int fd = Init();
  const int file = Open("/w/a", O_RDWR | O_CREAT);
  ASSERT_EQ(Add(fd, "/w/a"), 1);
  for (int i = 0; i < 3; ++i) {
    Write(file, 1);
    Read(file, 1);
  }
  EXPECT_EQ(kernel_.PollNow(fd, POLLIN), POLLIN);
  // One that would be the same as the newest is one too many as well; so is the end of a watch.
  EXPECT_EQ(kernel_.InotifyRmWatch(fd, 1), 0);
  EXPECT_EQ(Take(fd, sizeof(inotify_event)), (Masks{IN_MODIFY}));
  ASSERT_EQ(Add(fd, "/w/a"), 2);
  Write(file, 1);
  EXPECT_EQ(Take(fd), (Masks{IN_ACCESS, IN_MODIFY, IN_Q_OVERFLOW})) << "that one is still in the queue, which is full";
  for (int i = 0; i < 3; ++i) {
    Write(file, 1);
    Read(file, 1);
  }
  EXPECT_EQ(Take(fd), (Masks{IN_MODIFY, IN_ACCESS, IN_MODIFY, IN_Q_OVERFLOW})) << "and again";
  kernel_.Close(file);
  kernel_.Close(fd);
}

TEST_F(FewEvents, InstancesAndWatchesAreLimited) {
  const int one = Init();
  const int two = Init();
  EXPECT_EQ(Init(), -EMFILE);
  kernel_.Close(two);
  const int three = Init();
  EXPECT_GE(three, 0) << "one is free";
  for (const char* path : {"/w/a", "/w/b", "/w/c"}) Make(path);
  EXPECT_EQ(Add(one, "/w/a"), 1);
  EXPECT_EQ(Add(one, "/w/b"), 2);
  EXPECT_EQ(Add(three, "/w/a"), 1);
  EXPECT_EQ(Add(three, "/w/b"), -ENOSPC) << "of both together";
  EXPECT_EQ(Add(one, "/w/b", IN_OPEN), 2) << "a change is none more";
  EXPECT_EQ(kernel_.Remove("/w/a"), 0);
  EXPECT_EQ(Add(one, "/w/c"), 3) << "what is gone does not count";
  kernel_.Close(one);
  EXPECT_EQ(Add(three, "/w/b"), 3) << "a number is not given again, not even that of a refused one";
  kernel_.Close(three);
  EXPECT_EQ(kernel_.open_descriptors(), 0);
}

class ManyDescriptors : public SimulatedWatches {
 protected:
  static KernelOptions Few() {
    KernelOptions options;
    options.descriptors_max = 1;
    return options;
  }
  ManyDescriptors() : SimulatedWatches(Few()) {}
};

TEST_F(ManyDescriptors, AnInstanceNeedsOne) {
  const int fd = Init();
  EXPECT_GE(fd, 0);
  EXPECT_EQ(Init(), -EMFILE);
  Make("/w/a");
  EXPECT_EQ(Add(fd, "/w", IN_CREATE), 1);
  Make("/w/b");
  EXPECT_EQ(Take(fd), (Masks{IN_CREATE})) << "nothing is told to one that was refused";
  kernel_.Close(fd);
}

TEST_F(SimulatedWatches, ADirectoryIsThereByWhatIsInItOrByWhoSaysSo) {
  const int fd = Init();
  EXPECT_EQ(Add(fd, "/w"), -ENOENT);
  EXPECT_EQ(Add(fd, "/w/"), 1);
  EXPECT_EQ(Add(fd, "/x", IN_CREATE | IN_ONLYDIR), 2);
  EXPECT_EQ(Add(fd, "/", IN_CREATE), 3);
  Make("/y/z/a");
  EXPECT_EQ(Add(fd, "/y"), 4);
  EXPECT_EQ(Add(fd, "/y/z"), 5);
  EXPECT_EQ(kernel_.Remove("/y/z/a"), 0);
  Take(fd);
  EXPECT_EQ(Add(fd, "/y/z"), 5) << "the last file does not take it along";
  const int opened = Open("/v", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(Add(fd, "/v"), 6);
  kernel_.Close(opened);
  EXPECT_EQ(Take(fd), (Masks{IN_CLOSE_NOWRITE | IN_ISDIR}));
  // In each of them, by whatever path; /y is not told of what is in /y/z.
  Make("//w/./q/../a");
  EXPECT_EQ(Take(fd), (Masks{IN_CREATE, IN_OPEN, IN_CLOSE_WRITE}));
  Make("/y/z/b");
  EXPECT_EQ(Take(fd), (Masks{IN_CREATE, IN_OPEN, IN_CLOSE_WRITE}));
  Make("/b");
  EXPECT_EQ(Take(fd), (Masks{IN_CREATE}));
  EXPECT_EQ(Add(fd, "/w/a/"), -ENOTDIR);
  EXPECT_EQ(Add(fd, "w"), -EINVAL) << "the simulated process is in no directory";
  kernel_.Close(fd);
}

class AfterARestart : public SimulatedWatches {
 protected:
  static KernelOptions WithFiles() {
    KernelOptions options;
    FileSystem before(1 << 20);
    FileSystem::Handle file;
    EXPECT_EQ(before.Open("/w/a", O_CREAT, &file), 0);
    EXPECT_EQ(before.SyncDirectory(), 0);
    Random random(1);
    options.files = before.AfterCrash(&random);
    return options;
  }
  AfterARestart() : SimulatedWatches(WithFiles()) {}
};

TEST_F(AfterARestart, WhatIsOnTheDiskIsWatched) {
  const int fd = Init();
  EXPECT_EQ(Add(fd, "/w"), 1);
  EXPECT_EQ(Add(fd, "/w/a", IN_DELETE_SELF), 2);
  kernel_.Close(Open("/w/a", O_RDONLY));
  EXPECT_EQ(Take(fd), (Masks{IN_OPEN, IN_CLOSE_NOWRITE}));
  EXPECT_EQ(kernel_.Remove("/w/a"), 0);
  EXPECT_EQ(Take(fd), (Masks{IN_DELETE_SELF, IN_IGNORED, IN_DELETE}));
  kernel_.Close(fd);
  const int later = Init();
  EXPECT_EQ(Add(later, "/w"), 1) << "it has been a directory";
  kernel_.Close(later);
}

// --- Faults

Task<File> Persist(std::string path) {
  for (;;) {
    absl::StatusOr<File> file = co_await File::Open(path, O_RDWR | O_CREAT);
    if (file.ok()) co_return *std::move(file);
  }
}

Task<> LoseAll() {
  CO_ASSERT_OK_AND_ASSIGN(FileWatch watch, FileWatch::Create());
  CO_ASSERT_OK(co_await watch.Add("/w/", IN_CREATE | IN_ONESHOT));
  for (const char* name : {"/w/a", "/w/b"}) {
    const File file = co_await Persist(name);
    CO_ASSERT_OK_AND_ASSIGN(const FileEvent event, co_await watch.Next());
    EXPECT_TRUE(event.overflow()) << "and the watch, which has told nothing, has not ended";
  }
}

TEST(Inotify, AnEventWithoutMemoryIsAnOverflow) {
  SimulationOptions options;
  options.faults[Fault::kEventLost].ppm = 1'000'000;
  Simulation simulation(options);
  simulation.Run(LoseAll());
  EXPECT_GE(simulation.report().injected.size(), 2u);
}

// The names of the events in `memory`, which are to be `first` and the numbers after it; how many.
int Count(const std::vector<std::byte>& memory, int size, int first) {
  int count = 0;
  for (int at = 0; at < size; ++count) {
    inotify_event event;
    std::memcpy(&event, memory.data() + at, sizeof(event));
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(memory.data()) + at + sizeof(event)),
              absl::StrCat(first + count));
    at += static_cast<int>(sizeof(event) + event.len);
  }
  return count;
}

Task<> ReadInParts(int* parts) {
  auto* const kernel = kevent::Kernel::Current();
  const int fd = kernel->InotifyInit1(IN_NONBLOCK);
  EXPECT_EQ(kernel->InotifyAddWatch(fd, "/w/", IN_CREATE), 1);
  constexpr int kCreated = 20;
  for (int i = 0; i < kCreated; ++i) const File file = co_await Persist(absl::StrCat("/w/", i));
  for (int seen = 0; seen < kCreated; ++*parts) {
    std::vector<std::byte> memory(4096);
    kevent_io io = {memory.data(), memory.size(), 0, 0};
    kevent::Event take;
    take.type = kevent::EventType::kInotify;
    take.descriptor = fd;
    take.payload = reinterpret_cast<uintptr_t>(&io);
    const absl::StatusOr<kevent::Event> taken = co_await WaitForEvent(take);
    CO_ASSERT_OK(taken.status());
    seen += Count(memory, taken->result, seen);
  }
  kernel->Close(fd);
}

TEST(Inotify, ReadsTakeFewerEventsThanAreThere) {
  for (const bool fault : {false, true}) {
    SimulationOptions options;
    if (fault) options.faults[Fault::kShortFile].ppm = 500'000;
    Simulation simulation(options);
    int parts = 0;
    simulation.Run(ReadInParts(&parts));
    EXPECT_TRUE(fault ? parts > 1 : parts == 1) << parts;
    EXPECT_EQ(simulation.report().open_descriptors, 0);
  }
}

}  // namespace
}  // namespace evring::sim

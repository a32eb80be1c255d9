// system_kernel_test.cc: what a system that refuses io_uring, or part of it, is answered with, and what is used where a
// feature is missing. A seccomp filter on a thread of its own plays that system.

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "kevent/features.h"
#include "kevent/kernel.h"
#include "kevent/ring.h"
#include "tests/kevent/refusals.h"
#include "tests/kevent/test_ring.h"

namespace evring::kevent {
namespace {

absl::Status SetupStatus(const RingOptions& options = RingOptions()) {
  return Ring::Create(SystemKernel(), options).status();
}

// --- Setup that fails
// ----------------------------------------------------------------------------------------------------

TEST(SystemKernelSetup, OptionsThatNoKernelTakes) {
  for (const auto& [sq, cq] : {std::pair{0u, 16u}, {16u, 0u}, {16u, 15u}, {16u, 8u}, {0u, 0u}}) {
    const absl::Status status = SetupStatus(Sizes(sq, cq));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << sq << " " << cq << ": " << status;
    EXPECT_NE(status.message().find("1 <= sq_entries <= cq_entries"), absl::string_view::npos);
  }
  EXPECT_TRUE(SetupStatus(Sizes(1, 1)).ok());
  EXPECT_TRUE(SetupStatus(Sizes(3, 3)).ok());
  EXPECT_TRUE(SetupStatus(Sizes(33'000, 33'000)).ok());
}

TEST(SystemKernelSetup, EachRefusalOfTheSystem) {
  const struct {
    int error;
    absl::StatusCode code;
    const char* says;
  } refusals[] = {
      {ENOSYS, absl::StatusCode::kUnimplemented, "ENOSYS: this kernel has no io_uring; evring needs Linux 6.1"},
      {EINVAL, absl::StatusCode::kUnimplemented, "does not know SINGLE_ISSUER | DEFER_TASKRUN; evring needs Linux 6.1"},
      {EPERM, absl::StatusCode::kPermissionDenied, "EPERM: io_uring is switched off here"},
      {EACCES, absl::StatusCode::kPermissionDenied, "EACCES: io_uring is switched off here"},
      {ENOMEM, absl::StatusCode::kResourceExhausted,
       "RLIMIT_MEMLOCK, `ulimit -l`, too small for the rings of this user?): ENOMEM"},
      {ENFILE, absl::StatusCode::kResourceExhausted, "io_uring_setup: ENFILE"},
  };
  for (const auto& [error, code, says] : refusals) {
    absl::Status status;
    WithRefusals({{__NR_io_uring_setup, error}}, [&] { status = SetupStatus(); });
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(status.message().find(says), absl::string_view::npos) << status;
    EXPECT_EQ(StatusErrno(status), error) << status;
  }
}

TEST(SystemKernelSetup, NoDescriptorLeft) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status status = SetupStatus();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "io_uring_setup: EMFILE (Too many open files)");
  EXPECT_EQ(StatusErrno(status), EMFILE);
}

// The descriptor that the next open would get: the same before and after means that nothing stays open.
int NextDescriptor() {
  const int next = dup(STDERR_FILENO);
  close(next);
  return next;
}

TEST(SystemKernelSetup, NoMemoryToMapTheRing) {
  absl::Status status;
  const int before = NextDescriptor();
  // What the rings are mapped with; memory for everything else can still be had.
  WithRefusals({{__NR_mmap, ENOMEM, 3, MAP_SHARED | MAP_POPULATE}}, [&] {
    io_uring ring;
    Features features;
    status = SystemKernel()->Setup(Sizes(4, 8), &ring, &features);
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(StatusErrno(status), ENOMEM);
  EXPECT_EQ(NextDescriptor(), before);
}

// --- Features
// ------------------------------------------------------------------------------------------------------------

TEST(SystemKernelFeatures, AMaskTakesThemAway) {
  const Features found = MakeRing()->features();
  for (const Feature feature :
       {Feature::kRegisteredRing, Feature::kAbsoluteTimer, Feature::kSyncMessage, Feature::kNoIowait}) {
    RingOptions options;
    options.allowed = Features::All().Without(feature);
    EXPECT_EQ(MakeRing(options)->features(), found.Without(feature));
    options.allowed = Features().With(feature);
    EXPECT_EQ(MakeRing(options)->features(), found & Features().With(feature));
  }
}

TEST(SystemKernelFeatures, FollowTheVersionOfTheKernel) {
  int major = 0, minor = 0;
  utsname name;
  ASSERT_EQ(uname(&name), 0);
  ASSERT_EQ(sscanf(name.release, "%d.%d", &major, &minor), 2);
  const auto at_least = [&](int a, int b) { return major > a || (major == a && minor >= b); };
  const Features found = MakeRing()->features();
  EXPECT_TRUE(found.has(Feature::kRegisteredRing));
  EXPECT_EQ(found.has(Feature::kAbsoluteTimer), at_least(6, 12)) << name.release;
  EXPECT_EQ(found.has(Feature::kSyncMessage), at_least(6, 13)) << name.release;
  EXPECT_EQ(found.has(Feature::kNoIowait), at_least(6, 15)) << name.release;
}

// Kernels from 6.1 to 6.12 answer the number of a call that they lack with EINVAL, the first of them the descriptor -1
// with EBADF. On both a ring works, by the eventfd.
TEST(SystemKernelFeatures, AKernelWithoutMessagesIsRecognized) {
  constexpr uint32_t kRegisterSendMsgRing = 31;
  for (const int error : {EINVAL, EBADF}) {
    WithRefusals({{__NR_io_uring_register, error, 1, kRegisterSendMsgRing}}, [] {
      const auto ring = MakeRing();
      EXPECT_FALSE(ring->features().has(Feature::kSyncMessage));
      ring->Wake();
      EXPECT_EQ(ring->Wait(ring->state(), Patiently()), WaitResult::kEvents);
      ConsumeAll(ring.get());
      EXPECT_EQ(ring->counters().wakes_received, 1u);
    });
  }
}

TEST(SystemKernelFeatures, WithoutMessagesAndWithoutAnEventFdThereIsNoRing) {
  absl::Status status;
  const int before = NextDescriptor();
  WithRefusals({{__NR_eventfd2, EMFILE}}, [&] {
    RingOptions options;
    options.allowed = Features::All().Without(Feature::kSyncMessage);
    status = SetupStatus(options);
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "eventfd: EMFILE (Too many open files)");
  EXPECT_EQ(NextDescriptor(), before) << "the ring that was made is closed";
}

// A thread has 16 registered rings; those beyond are entered by descriptor.
TEST(SystemKernelFeatures, MoreRingsThanAThreadCanRegister) {
  std::thread([] {
    std::vector<std::unique_ptr<Ring>> rings;
    int registered = 0;
    for (int i = 0; i < 20; ++i) {
      rings.push_back(MakeRing(Sizes(4, 8)));
      registered += rings.back()->features().has(Feature::kRegisteredRing) ? 1 : 0;
    }
    EXPECT_EQ(registered, 16);
    EXPECT_FALSE(rings.back()->features().has(Feature::kRegisteredRing));
    for (const auto& ring : rings) {
      TestKevent nop;
      nop.StartNop(ring.get());
      Drain(ring.get());
      EXPECT_EQ(nop.result(), 0);
    }
    // A ring that is closed gives its place back.
    rings.front().reset();
    EXPECT_TRUE(MakeRing(Sizes(4, 8))->features().has(Feature::kRegisteredRing));
  }).join();
}

// --- The other calls
// -----------------------------------------------------------------------------------------------------

TEST(SystemKernel, IsOneForTheProcess) { EXPECT_EQ(SystemKernel(), SystemKernel()); }

TEST(SystemKernel, TellsMonotonicTime) {
  timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  const int64_t now = SystemKernel()->NowNs();
  clock_gettime(CLOCK_MONOTONIC, &after);
  EXPECT_GE(now, int64_t{before.tv_sec} * 1'000'000'000 + before.tv_nsec);
  EXPECT_LE(now, int64_t{after.tv_sec} * 1'000'000'000 + after.tv_nsec);
}

TEST(SystemKernel, AnswersErrorsAsNegativeNumbers) {
  io_uring ring;
  Features features;
  ASSERT_TRUE(SystemKernel()->Setup(RingOptions(), &ring, &features).ok());
  EXPECT_EQ(SystemKernel()->Register(&ring, 200, nullptr, 0), -EINVAL);
  // A bad pointer as a signal mask.
  WaitArgs wait;
  wait.sigmask = reinterpret_cast<const sigset_t*>(8);
  EXPECT_EQ(SystemKernel()->Enter(&ring, features, 0, 1, IORING_ENTER_GETEVENTS, wait), -EFAULT);
  if (features.has(Feature::kSyncMessage)) {
    EXPECT_EQ(SystemKernel()->Message(-1, 2), -EBADF);
    EXPECT_EQ(SystemKernel()->Message(0, 2), -EBADFD) << "not a ring";
    EXPECT_EQ(SystemKernel()->Message(ring.ring_fd, 2), 0);
  }
  SystemKernel()->Teardown(&ring);
}

}  // namespace
}  // namespace evring::kevent

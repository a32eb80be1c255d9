// kernel_timeouts.cc: IORING_OP_TIMEOUT: a request that ends when the clock has come somewhere, or when so many
// completions have come since it was submitted, timeouts that end by themselves not counted; and the time by hand that
// a test asks for (clock.h).
// Source: io_uring_prep_timeout(3), io_uring/timeout.c of Linux.

#include <errno.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sim/kernel.h"

namespace evring::sim {

namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kLongestNs = kNever / 4;  // what is longer counts as this

// -1: not a time.
int64_t Nanoseconds(const __kernel_timespec& time) {
  if (time.tv_sec < 0 || time.tv_nsec < 0) return -1;
  if (time.tv_sec >= kLongestNs / kSecondNs || time.tv_nsec >= kLongestNs) return kLongestNs;
  return time.tv_sec * kSecondNs + time.tv_nsec;
}

}  // namespace

int Kernel::PrepareTimeout(Request* request) {
  const io_uring_sqe& sqe = request->sqe;
  if (sqe.len != 1 || sqe.buf_index != 0 || sqe.splice_fd_in != 0) return -EINVAL;
  // CLOCK_BOOTTIME is CLOCK_MONOTONIC on a machine that does not sleep.
  constexpr unsigned kClocks = IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME;
  if ((sqe.timeout_flags & ~(IORING_TIMEOUT_ABS | kClocks | IORING_TIMEOUT_ETIME_SUCCESS)) != 0) return -EINVAL;
  if ((sqe.timeout_flags & kClocks) == kClocks) return -EINVAL;
  const int64_t ns = Nanoseconds(*reinterpret_cast<const __kernel_timespec*>(static_cast<uintptr_t>(sqe.addr)));
  if (ns < 0) return -EINVAL;
  const bool absolute = (sqe.timeout_flags & IORING_TIMEOUT_ABS) != 0;
  request->expires_ns = absolute ? ns : world_.now() + ns;
  if (absolute && (sqe.timeout_flags & IORING_TIMEOUT_REALTIME) != 0) timed_by_clock_.push_back(request);
  ArmTimeout(request);
  request->completions_left = sqe.off;
  if (sqe.off != 0) request->ring->counting.push_back(request);
  return 0;
}

void Kernel::ArmTimeout(Request* request) {
  const bool by_clock = std::ranges::find(timed_by_clock_, request) != timed_by_clock_.end();
  const int64_t at = request->expires_ns - (by_clock ? clock_offset_ns_ : 0);
  request->expiry = world_.At(at, [this, fd = request->ring->number, number = request->number] {
    Request* still = FindRequest(fd, number);
    if (still == nullptr) return;  // its ring is gone
    still->expiry.reset();
    EndTimeout(still, -ETIME);
  });
}

void Kernel::MoveClock(int64_t by_ns) {
  clock_offset_ns_ += by_ns;
  world_.Say(absl::StrCat("CLOCK_REALTIME is set, by ", by_ns, " ns"));
  for (Request* request : timed_by_clock_) {
    if (request->expiry.has_value()) world_.Forget(*request->expiry);
    ArmTimeout(request);
  }
}

void Kernel::StopTimeout(Request* request) {
  if (request->expiry.has_value()) world_.Forget(*request->expiry);
  request->expiry.reset();
  std::erase(timed_by_clock_, request);
  std::erase(request->ring->counting, request);
  request->hidden = true;
}

void Kernel::EndTimeout(Request* request, int32_t result) {
  StopTimeout(request);
  request->timed = result;
  Queue(request);
}

void Kernel::CountCompletion(Ring* ring) {
  std::vector<Request*> over;
  for (Request* request : ring->counting) {
    if (--request->completions_left == 0) over.push_back(request);
  }
  for (Request* request : over) EndTimeout(request, 0);
}

int Kernel::CancelTimeout(Ring* ring, const io_uring_sqe& sqe) {
  // To change a timeout (IORING_TIMEOUT_UPDATE) is not served.
  if (sqe.timeout_flags != 0 || sqe.len != 0 || sqe.buf_index != 0) return -EINVAL;
  for (const auto& [number, request] : ring->requests) {
    if (request->sqe.opcode != IORING_OP_TIMEOUT || request->sqe.user_data != sqe.addr || request->hidden) continue;
    Cancel(request.get());
    return 0;
  }
  return -ENOENT;
}

int Kernel::PauseTime() {
  Lock lock(mutex_);
  if (!turns_.taken()) return -EPERM;
  world_.Pause();
  world_.Say("time is paused");
  // That a worker is told late is no time that a test could wait for: it is how the others come to run.
  while (!late_messages_.empty()) CompleteLate(late_messages_.begin()->first);
  return 0;
}

int Kernel::ResumeTime() {
  Lock lock(mutex_);
  if (!world_.paused()) return -EPERM;
  world_.Unpause();
  world_.Say("time is resumed");
  return 0;
}

int Kernel::PrepareAdvance(Request* request) {
  if (!world_.paused()) return -EPERM;
  const auto ns = static_cast<int64_t>(request->sqe.off);
  if (ns < 0 || ns > kLongestNs - world_.now()) return -EINVAL;
  request->asked = world_.Ask(world_.now() + ns, [this, fd = request->ring->number, number = request->number] {
    Request* still = FindRequest(fd, number);
    if (still == nullptr) return;  // its ring is gone
    still->asked.reset();
    still->timed = 0;
    Queue(still);
  });
  return 0;
}

void Kernel::StopAdvance(Request* request) {
  if (request->asked.has_value()) world_.Unask(*request->asked);
  request->asked.reset();
}

}  // namespace evring::sim

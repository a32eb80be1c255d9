// futexes_test.cc: words of memory that requests to the simulated kernel wait for: where the comparison with the real
// one (differential_test.cc) cannot look, which are the races that only a seed, or a batch, decides.

#include <errno.h>
#include <liburing.h>
#include <linux/futex.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/opcodes.h"
#include "sim/kernel.h"
#include "tests/sim/simulated_requests.h"

namespace evring::sim {
namespace {

constexpr int kPrivate = kevent::kFutexSize32 | kevent::kFutexPrivate;

class SimulatedFutexes : public SimulatedRequests {
 protected:
  explicit SimulatedFutexes(const KernelOptions& options = KernelOptions()) : SimulatedRequests(options) {
    kernel_.world()->faults.Start();
  }

  static void PrepareWait(io_uring_sqe* sqe, unsigned op, const uint32_t* word, uint64_t value, uint32_t mask,
                          int flags) {
    io_uring_prep_rw(static_cast<int>(op), sqe, flags, word, 0, value);
    sqe->addr3 = mask;
  }
  void StartWait(Asked* request, const uint32_t* word, uint32_t mask = FUTEX_BITSET_MATCH_ANY) {
    io_uring_sqe* sqe = Sqe();
    PrepareWait(sqe, kevent::kOpFutexWait, word, *word, mask, kPrivate);
    Start(request, sqe);
  }
  // For any of `words`.
  void StartWaitMany(Asked* request) {
    for (size_t i = 0; i < kMany; ++i) {
      futexes_[i] = {};
      futexes_[i].uaddr = reinterpret_cast<uintptr_t>(&words_[i]);
      futexes_[i].val = words_[i];
      futexes_[i].flags = kPrivate;
    }
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_rw(static_cast<int>(kevent::kOpFutexWaitV), sqe, 0, futexes_, kMany, 0);
    Start(request, sqe);
  }
  void StartWake(Asked* request, const uint32_t* word, uint32_t count) {
    io_uring_sqe* sqe = Sqe();
    PrepareWait(sqe, kevent::kOpFutexWake, word, count, FUTEX_BITSET_MATCH_ANY, kPrivate);
    Start(request, sqe);
  }
  void StartCancel(Asked* request, const Asked& target) {
    io_uring_sqe* sqe = Sqe();
    io_uring_prep_cancel64(sqe, target.number(), 0);
    Start(request, sqe);
  }
  int Wake(int count) { return kernel_.FutexWake(&word_, count, /*is_private=*/true); }

  static constexpr unsigned kMany = 3;
  uint32_t word_ = 7;
  uint32_t words_[kMany] = {1, 2, 3};
  futex_waitv futexes_[kMany];
};

TEST_F(SimulatedFutexes, AreWokenInTheirOrderBesidesWhomTheMaskDoesNotMean) {
  Asked first;
  Asked other;
  Asked second;
  StartWait(&first, &word_, 1);
  StartWait(&other, &word_, 2);
  StartWait(&second, &word_, 1);
  Run(kQuietNs);
  const auto wake = [this](uint32_t count, uint32_t mask) {
    return Do([&](io_uring_sqe* sqe) { PrepareWait(sqe, kevent::kOpFutexWake, &word_, count, mask, kPrivate); });
  };
  EXPECT_EQ(wake(1, 1), 1);
  EXPECT_EQ(first.results, Results{0});
  EXPECT_TRUE(second.in_flight());
  EXPECT_EQ(wake(10, 1), 1);
  EXPECT_EQ(second.results, Results{0});
  EXPECT_TRUE(other.in_flight());
  EXPECT_EQ(kernel_.FutexWake(&word_, 1, /*is_private=*/false), 0) << "it has said that it is private";
  EXPECT_EQ(Wake(1), 1);
  Run(kQuietNs);
  EXPECT_EQ(other.results, Results{0});
  EXPECT_EQ(kernel_.FutexWake(reinterpret_cast<uint32_t*>(reinterpret_cast<uintptr_t>(&word_) + 1), 1, true), -EINVAL);
}

TEST_F(SimulatedFutexes, ACancelAfterAWakeUpFindsNothingAndAWakeUpAfterACancelWakesTheNext) {
  Asked woken;
  Asked next;
  StartWait(&woken, &word_);
  StartWait(&next, &word_);
  Run(kQuietNs);
  Asked wake;
  Asked cancel;
  StartWake(&wake, &word_, 1);  // one batch: the completion of what it wakes has to wait
  StartCancel(&cancel, woken);
  Run(kQuietNs);
  EXPECT_EQ(wake.results, Results{1});
  EXPECT_EQ(cancel.results, Results{-ENOENT});
  EXPECT_EQ(woken.results, Results{0});
  Asked third;
  StartWait(&third, &word_);
  Run(kQuietNs);
  Asked cancel_next;
  Asked wake_again;
  StartCancel(&cancel_next, next);
  StartWake(&wake_again, &word_, 1);
  Run(kQuietNs);
  EXPECT_EQ(cancel_next.results, Results{1}) << "how many were found";
  EXPECT_EQ(next.results, Results{-ECANCELED});
  EXPECT_EQ(wake_again.results, Results{1});
  EXPECT_EQ(third.results, Results{0});
}

TEST_F(SimulatedFutexes, OfSeveralWordsTheLastThatWasWokenIsToldAndEachCounts) {
  Asked wait;
  Asked first;
  Asked last;
  StartWaitMany(&wait);
  Run(kQuietNs);
  StartWake(&last, &words_[2], 1);
  StartWake(&first, &words_[0], 1);
  Run(kQuietNs);
  EXPECT_EQ(first.results, Results{1});
  EXPECT_EQ(last.results, Results{1});
  EXPECT_EQ(wait.results, Results{2});
  for (const uint32_t& word : words_) EXPECT_EQ(kernel_.FutexWake(&word, 1, true), 0) << "it has left every line";
}

TEST_F(SimulatedFutexes, AWakeUpBeatsACancelOfAWaitForSeveralThatHasNotEnded) {
  Asked wait;
  Asked cancel;
  Asked again;
  Asked wake;
  StartWaitMany(&wait);
  Run(kQuietNs);
  StartCancel(&cancel, wait);
  StartCancel(&again, wait);
  StartWake(&wake, &words_[1], 1);
  Run(kQuietNs);
  EXPECT_EQ(cancel.results, Results{1});
  EXPECT_EQ(again.results, Results{-ENOENT});
  EXPECT_EQ(wake.results, Results{1});
  EXPECT_EQ(wait.results, Results{1});
}

TEST_F(SimulatedFutexes, AWaitForSeveralOfWhichOneIsAnotherStandsInNoLine) {
  Asked wait;
  StartWaitMany(&wait);
  words_[2] = 99;  // before it is submitted
  Run(kQuietNs);
  EXPECT_EQ(wait.results, Results{-EAGAIN});
  for (const uint32_t& word : words_) EXPECT_EQ(kernel_.FutexWake(&word, 1, true), 0);
}

TEST_F(SimulatedFutexes, AllThatAreCancelledTogetherCountAsOne) {
  Asked waits[3];
  for (Asked& wait : waits) StartWait(&wait, &word_);
  Run(kQuietNs);
  EXPECT_EQ(
      Do([](io_uring_sqe* sqe) { io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL); }),
      1);
  for (const Asked& wait : waits) EXPECT_EQ(wait.results, Results{-ECANCELED});
}

TEST_F(SimulatedFutexes, ARingThatGoesLeavesTheLines) {
  Kernel kernel((KernelOptions()));
  auto ring = kevent::Ring::Create(&kernel, kevent::RingOptions());
  ASSERT_TRUE(ring.ok()) << ring.status();
  io_uring_sqe* sqe = (*ring)->GetSqe();
  PrepareWait(sqe, kevent::kOpFutexWait, &word_, word_, ~0u, kPrivate);
  sqe->user_data = kevent::kUserDataIgnore;
  EXPECT_EQ((*ring)->Enter(), 0);
  ring->reset();
  EXPECT_EQ(kernel.FutexWake(&word_, 1, /*is_private=*/true), 0);
}

// --- Under faults

KernelOptions Always(Fault fault) {
  KernelOptions options;
  options.faults[fault].ppm = 1'000'000;
  return options;
}

class DeferredFutexes : public SimulatedFutexes {
 protected:
  DeferredFutexes() : SimulatedFutexes(Always(Fault::kDeferred)) {}
};

TEST_F(DeferredFutexes, AreComparedWhenTheyAreSubmitted) {
  Asked wait;
  Asked nop;
  StartWait(&wait, &word_);
  EXPECT_EQ(ring_->Enter(), 0);
  word_ = 8;
  Run(kSecondNs);
  EXPECT_TRUE(wait.in_flight());
  EXPECT_EQ(Wake(1), 1);
  Run(kQuietNs);
  EXPECT_EQ(wait.results, Results{0});
}

class LateFutexes : public SimulatedFutexes {
 protected:
  LateFutexes() : SimulatedFutexes(Always(Fault::kLateWake)) {}
};

TEST_F(LateFutexes, AreWokenForGoodThoughTheyAreToldLater) {
  Asked wait;
  StartWait(&wait, &word_);
  EXPECT_EQ(ring_->Enter(), 0);
  EXPECT_EQ(Wake(1), 1);
  EXPECT_EQ(Wake(1), 0);
  EXPECT_EQ(ring_->Enter(), 0);
  EXPECT_EQ(wait.results, Results{}) << "not yet";
  EXPECT_EQ(Cancel(wait), -ENOENT);
  Run(kSecondNs);
  EXPECT_EQ(wait.results, Results{0});
}

class SpuriousFutexes : public SimulatedFutexes {
 protected:
  SpuriousFutexes() : SimulatedFutexes(Always(Fault::kSpuriousWake)) {}
};

TEST_F(SpuriousFutexes, EndWithoutAWakeUpAndAreInNoLineThen) {
  Asked wait;
  Asked many;
  StartWait(&wait, &word_);
  StartWaitMany(&many);
  Run(kSecondNs);
  EXPECT_EQ(wait.results, Results{0});
  ASSERT_EQ(many.results.size(), 1u);
  EXPECT_GE(many.results[0], 0);
  EXPECT_LT(many.results[0], static_cast<int>(kMany));
  EXPECT_EQ(Wake(1), 0);
  for (const uint32_t& word : words_) EXPECT_EQ(kernel_.FutexWake(&word, 1, true), 0);
  // A cancel before that ends it.
  Asked cancelled;
  StartWait(&cancelled, &word_);
  EXPECT_EQ(ring_->Enter(), 0);
  EXPECT_EQ(Cancel(cancelled), 1);
  Run(kSecondNs);
  EXPECT_EQ(cancelled.results, Results{-ECANCELED});
}

class FailingFutexes : public SimulatedFutexes {
 protected:
  FailingFutexes() : SimulatedFutexes(Always(Fault::kFutexError)) {}
};

TEST_F(FailingFutexes, HaveNoMemoryAndWakeUpsNeedNone) {
  Asked wait;
  StartWait(&wait, &word_);
  Run(kQuietNs);
  EXPECT_EQ(wait.results, Results{-ENOMEM});
  Asked wake;
  StartWake(&wake, &word_, 1);
  Run(kQuietNs);
  EXPECT_EQ(wake.results, Results{0});
}

}  // namespace
}  // namespace evring::sim

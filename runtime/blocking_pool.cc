#include "runtime/blocking_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace evring {

BlockingPool::BlockingPool(int threads_max, absl::Duration idle)
    : threads_max_(std::max(threads_max, 1)), idle_time_(std::clamp(idle, absl::ZeroDuration(), absl::Hours(24))) {}

BlockingPool::~BlockingPool() {
  std::unique_lock lock(mutex_);
  ending_ = true;
  work_.notify_all();
  thread_ended_.wait(lock, [this] { return threads_.empty(); });
  std::vector<std::thread> ended = std::move(ended_);
  lock.unlock();
  for (std::thread& thread : ended) thread.join();
}

bool BlockingPool::Submit(BlockingJob* job) {
  std::unique_lock lock(mutex_);
  if (queued_ >= idle_ && static_cast<int>(threads_.size()) < threads_max_) {
    // Threads start with every signal blocked: handlers belong to the application's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    auto self = threads_.end();
    try {
      self = threads_.emplace(threads_.end());
      *self = std::thread([this, self] { ThreadMain(self); });  // does not get beyond the mutex before we return
    } catch (const std::exception&) {
      // No memory, or no thread. Those there are will come to it; without any there is nobody.
      if (self != threads_.end()) threads_.erase(self);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (threads_.empty()) return false;
  }
  job->queued_ = true;
  job->previous_ = last_;
  job->next_ = nullptr;
  (last_ == nullptr ? first_ : last_->next_) = job;
  last_ = job;
  ++queued_;
  work_.notify_one();
  return true;
}

bool BlockingPool::Revoke(BlockingJob* job) {
  std::lock_guard lock(mutex_);
  if (!job->queued_) return false;
  Unlink(job);
  return true;
}

int BlockingPool::threads() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(threads_.size());
}

void BlockingPool::Unlink(BlockingJob* job) {
  (job->previous_ == nullptr ? first_ : job->previous_->next_) = job->next_;
  (job->next_ == nullptr ? last_ : job->next_->previous_) = job->previous_;
  job->queued_ = false;
  --queued_;
}

void BlockingPool::ThreadMain(std::list<std::thread>::iterator self) {
  pthread_setname_np(pthread_self(), "evring-blocking");
  std::unique_lock lock(mutex_);
  for (;;) {
    if (first_ != nullptr) {
      BlockingJob* job = first_;
      Unlink(job);
      lock.unlock();
      job->RunJob();
      lock.lock();
      continue;
    }
    if (ending_) break;
    ++idle_;
    const bool timed_out = work_.wait_for(lock, absl::ToChronoNanoseconds(idle_time_)) == std::cv_status::timeout;
    --idle_;
    if (timed_out && first_ == nullptr) break;
  }
  std::vector<std::thread> ended = std::exchange(ended_, {});
  ended_.push_back(std::move(*self));
  threads_.erase(self);
  // Under the lock: the destructor may free the pool as soon as it is released.
  thread_ended_.notify_all();
  lock.unlock();
  for (std::thread& thread : ended) thread.join();  // they have nothing more to do
}

}  // namespace evring

// blocking_pool.h: threads for calls that have no asynchronous form. What users await is in blocking.h.
//
// Threads are made when a job finds none idle, up to a maximum, and end after a time without work. Jobs beyond the
// maximum queue in order.

#ifndef EVRING_RUNTIME_BLOCKING_POOL_H_
#define EVRING_RUNTIME_BLOCKING_POOL_H_

#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace evring {

// Lives in whoever waits for it, and is borrowed by the pool from Submit() until it is run or revoked; or nobody waits
// for it, and it is its own: RunJob() frees it.
class BlockingJob {
 public:
  BlockingJob(const BlockingJob&) = delete;
  BlockingJob& operator=(const BlockingJob&) = delete;

 protected:
  BlockingJob() = default;
  ~BlockingJob() = default;

 private:
  friend class BlockingPool;
  // On a thread of the pool. The job may be gone when this returns. Must not throw.
  virtual void RunJob() noexcept = 0;

  BlockingJob* next_ = nullptr;
  BlockingJob* previous_ = nullptr;
  bool queued_ = false;
};

class BlockingPool {
 public:
  BlockingPool(int threads_max, absl::Duration idle);
  // Waits until all jobs have run, also those that are queued, and joins the threads.
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Queues `job`. False: no thread runs and none could be made (EAGAIN, or no memory): the job was not taken. Any
  // thread.
  [[nodiscard]] bool Submit(BlockingJob* job);

  // True: `job` had not started, and will not. False: it runs, or has run. Any thread.
  bool Revoke(BlockingJob* job);

  int threads() const;

 private:
  void ThreadMain(std::list<std::thread>::iterator self);
  void Unlink(BlockingJob* job);

  const int threads_max_;
  const absl::Duration idle_time_;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable thread_ended_;
  BlockingJob* first_ = nullptr;  // these under mutex_
  BlockingJob* last_ = nullptr;
  int queued_ = 0;
  std::list<std::thread> threads_;
  std::vector<std::thread> ended_;  // to be joined by the next that ends, or the destructor
  int idle_ = 0;
  bool ending_ = false;
};

}  // namespace evring

#endif  // EVRING_RUNTIME_BLOCKING_POOL_H_

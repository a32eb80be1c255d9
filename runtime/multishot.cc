#include "runtime/multishot.h"

#include <errno.h>
#include <poll.h>

#include <mutex>
#include <utility>

#include "kevent/canary.h"
#include "kevent/check.h"
#include "kevent/kernel.h"
#include "runtime/scheduler.h"

namespace evring::internal {

Multishot::~Multishot() {
  EVRING_CHECK(kevent::Kernel::Current()->Close(descriptor()) != -EBADF,
               "the descriptor of a multishot is its own to close");
}

void Multishot::Unref() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;  // the last one sees all that was done
}

void Multishot::MarkArmed(Worker* worker) {
  armed_ = true;
  pausing_ = false;
  worker_ = worker;
  references_.fetch_add(1, std::memory_order_relaxed);
}

void Multishot::Arm(Worker* worker) {
  io_uring_sqe* sqe = worker->PrepareSqe();
  Prepare(sqe, worker);
  worker->StartRequest(this, sqe);
}

void Multishot::Close() {
  absl::InlinedVector<Record, 2> untaken;
  {
    std::unique_lock lock(lock_);
    EVRING_CHECK(waiter_ == nullptr && !closed_, "closed once, with nobody waiting");
    closed_ = true;
    untaken.swap(queue_);
    if (armed_) CancelArmed(std::move(lock));
  }
  for (const Record& record : untaken) Discard(record);
  Unref();
}

void Multishot::End(int32_t result) {
  TakeWait* taker;
  {
    std::unique_lock lock(lock_);
    EVRING_CHECK(!closed_ && result < 0, "ended by its owner, with an error");
    if (ended_ != 0) return;
    ended_ = result;
    taker = std::exchange(waiter_, nullptr);
    if (taker != nullptr) taker->Fill(Record{result, 0, nullptr});
    if (armed_) CancelArmed(std::move(lock));
  }
  if (taker != nullptr) taker->context_->Complete(taker);
}

void Multishot::CancelArmed(std::unique_lock<SpinLock> lock) {
  Worker* const worker = worker_;
  if (worker == Worker::Current()) {
    lock.unlock();
    worker->CancelRequest(number());
  } else if (!std::exchange(posted_, true)) {
    references_.fetch_add(1, std::memory_order_relaxed);  // the request's, as its worker cannot give it back before
    lock.unlock();
    worker->Post(this);
  }
}

void Multishot::OnCancelRequest(RemoteRequest* request, Worker* worker) {
  auto* self = static_cast<Multishot*>(request);
  {
    std::unique_lock lock(self->lock_);
    self->posted_ = false;
    // Armed again by now on another worker: there it sees what it was to see, unless it is closed. Workers that drain
    // cancel all that they have.
    const bool cancel = self->armed_ && (self->closed_ || self->worker_ == worker);
    if (cancel && !worker->scheduler()->draining()) self->CancelArmed(std::move(lock));
  }
  self->Unref();
}

bool Multishot::HasEnded() const {
  return kevent::Kernel::Current()->PollNow(fd(), POLLRDHUP) !=
         0;  // a failure counts as an end, which the request then reports
}

void Multishot::OnCompletion(Kevent* kevent, const kevent::Event& event) {
  auto* self = static_cast<Multishot*>(kevent);
  Worker* here = Worker::Current();
  TakeWait* taker = nullptr;
  bool discard = false;
  bool arm = false;
  bool pause = false;
  Record record{event.result, event.flags, nullptr};
  {
    std::lock_guard lock(self->lock_);
    record.from = self->worker_;
    self->armed_ = !event.last() || (EVRING_CANARY(kMultishotNotRearmed) && event.result > 0);
    if ((event.flags & kevent::Event::kSocketNonEmpty) != 0) {
      ++self->burst_;
    } else if (std::exchange(self->burst_, 0) >= kBurst) {
      self->doubted_ = true;
    }
    if (self->closed_) {
      discard = true;
    } else if (event.last() && (event.result == -ECANCELED || self->IsPause(event.result, here))) {
      if (self->waiter_ != nullptr) {
        arm = true;
        self->MarkArmed(here);
      }
    } else if (self->waiter_ != nullptr) {
      taker = std::exchange(self->waiter_, nullptr);
      taker->Fill(record);
    } else {
      self->queue_.push_back(record);
      if (self->queue_.size() >= kQueuedMax && self->armed_ && !self->pausing_ && here == self->worker_) {
        self->pausing_ = true;
        pause = true;
      }
    }
  }
  if (pause) here->CancelRequest(self->number());
  if (discard) self->Discard(record);
  if (arm) self->Arm(here);
  if (event.last()) self->Unref();  // the reference of what was armed
  if (taker != nullptr) {
    TaskContext* context = taker->context_;
    if (context->FinishWait(taker)) here->PushReaped(context);
  }
}

bool Multishot::EndsNext() {
  std::lock_guard lock(lock_);
  return !queue_.empty() && queue_.front().result <= 0;
}

bool Multishot::PopLocked(TakeWait* take) {
  if (queue_.empty()) return false;
  take->Fill(queue_.front());
  queue_.erase(queue_.begin());
  return true;
}

void Multishot::TakeWait::Fill(const Record& record) {
  result_ = record.result;
  flags_ = record.flags;
  from_ = record.from;
}

bool Multishot::TakeWait::TakeNow() {
  if (!Worker::Current()->ConsumeBudget()) return false;
  std::lock_guard lock(source_->lock_);
  return source_->PopLocked(this);
}

bool Multishot::TakeWait::Suspend(TaskContext* context, std::coroutine_handle<> handle) {
  context_ = context;
  Worker* worker = Worker::Current();
  context->site().SetSubject(source_->type(), source_->fd());
  if (!context->BeginWait(this, handle)) {
    result_ = -ECANCELED;
    return false;
  }
  Multishot* source = source_;
  bool linked = false;
  bool arm = false;
  {
    std::unique_lock lock(source->lock_);
    EVRING_CHECK(source->waiter_ == nullptr, "one task at a time takes events");
    if (!source->PopLocked(this)) {
      if (stopped_) {
        result_ = -ECANCELED;
      } else if (source->ended_ != 0) {
        result_ = source->ended_;
      } else {
        linked = true;
        source->waiter_ = this;
        arm = !source->armed_;
        if (arm) source->MarkArmed(worker);
        if (std::exchange(source->doubted_, false) && !arm && source->HasEnded()) {
          source->CancelArmed(std::move(lock));
        }
      }
    }
  }
  if (!linked) {
    // An event was there, but the budget is used up; or the stop or the end came in between. Behind the others.
    if (context->FinishWait(this)) worker->PushBack(context);
  } else if (arm) {
    source->Arm(worker);  // the task may be gone by now; the source is kept by what is being armed
  }
  return true;
}

void Multishot::TakeWait::OnStop() noexcept {
  {
    std::lock_guard lock(source_->lock_);
    if (source_->waiter_ != this) {
      stopped_ = true;  // not linked yet, or its event is on the way
      return;
    }
    source_->waiter_ = nullptr;
    result_ = -ECANCELED;
  }
  context_->Complete(this);
}

}  // namespace evring::internal

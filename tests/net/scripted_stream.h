// scripted_stream.h: a stream in memory that does what its script says: chunks of any size, errors, waits, the end.
//
// ScriptedStream answers by an awaiter of its own, at once or after a real suspension; TaskStream answers the same by
// Tasks, and AwaitableStream by a type with a free operator co_await. On a worker.

#ifndef EVRING_TESTS_NET_SCRIPTED_STREAM_H_
#define EVRING_TESTS_NET_SCRIPTED_STREAM_H_

#include <string.h>
#include <sys/uio.h>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "runtime/sleep.h"
#include "runtime/task.h"

namespace evring::net {

class ScriptedStream {
 public:
  // How an await ends that the script lets succeed: without a suspension, or after one.
  enum class Pace { kAtOnce, kLater };

  explicit ScriptedStream(Pace pace = Pace::kAtOnce) : pace_(pace) {}
  ScriptedStream(const ScriptedStream&) = delete;
  ScriptedStream& operator=(const ScriptedStream&) = delete;

  // --- The script
  // -----------------------------------------------------------------------------------------------------

  // One read gives this much of it as fits; the rest is left for the next.
  ScriptedStream& Chunk(absl::string_view bytes) {
    reads_.push_back(Step{std::string(bytes), absl::OkStatus()});
    return *this;
  }
  ScriptedStream& Chunks(const std::vector<std::string>& chunks) {
    for (const std::string& chunk : chunks) Chunk(chunk);
    return *this;
  }
  ScriptedStream& End() { return Chunk(""); }
  ScriptedStream& Error(absl::Status status) {
    reads_.push_back(Step{"", std::move(status)});
    return *this;
  }
  // The write with this number, from 0, fails.
  ScriptedStream& FailWrite(size_t number, absl::Status status) {
    failing_write_ = number;
    write_error_ = std::move(status);
    return *this;
  }

  // --- What happened
  // --------------------------------------------------------------------------------------------------

  const std::string& written() const { return written_; }
  // The sizes of the pieces of each write.
  const std::vector<std::vector<size_t>>& writes() const { return writes_; }
  // The room that each read was given.
  const std::vector<size_t>& rooms() const { return rooms_; }
  bool script_done() const { return reads_.empty(); }

  // --- What the awaits do
  // ---------------------------------------------------------------------------------------------

  absl::StatusOr<size_t> TakeRead(std::span<std::byte> buffer) {
    EXPECT_FALSE(buffer.empty()) << "a read into no memory cannot be told from the end";
    EXPECT_FALSE(reads_.empty()) << "a read that the script does not have";
    rooms_.push_back(buffer.size());
    if (reads_.empty()) return absl::InternalError("a read that the script does not have");
    Step& step = reads_.front();
    if (!step.status.ok()) {
      const absl::Status status = step.status;
      reads_.pop_front();
      return status;
    }
    const size_t n = std::min(buffer.size(), step.bytes.size());
    if (n != 0) memcpy(buffer.data(), step.bytes.data(), n);
    step.bytes.erase(0, n);
    if (step.bytes.empty()) reads_.pop_front();
    return n;
  }

  absl::Status TakeWrite(std::span<const iovec> pieces) {
    std::vector<size_t>& sizes = writes_.emplace_back();
    for (const iovec& piece : pieces) sizes.push_back(piece.iov_len);
    if (writes_.size() - 1 == failing_write_) return write_error_;
    for (const iovec& piece : pieces) written_.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    return absl::OkStatus();
  }

  // --- The stream
  // -----------------------------------------------------------------------------------------------------

  template <class Result, class Take>
  class [[nodiscard]] Awaiter {
   public:
    Awaiter(Pace pace, Take take) : pace_(pace), take_(std::move(take)) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;

    bool await_ready() const { return pace_ == Pace::kAtOnce; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> waiting) {
      evring::internal::YieldAwaiter().await_suspend(waiting);
    }
    Result await_resume() { return take_(); }

   private:
    const Pace pace_;
    Take take_;
  };

  auto Read(std::span<std::byte> buffer) {
    auto take = [this, buffer] { return TakeRead(buffer); };
    return Awaiter<absl::StatusOr<size_t>, decltype(take)>(pace_, take);
  }
  auto WriteV(std::span<const iovec> pieces) {
    auto take = [this, pieces] { return TakeWrite(pieces); };
    return Awaiter<absl::Status, decltype(take)>(pace_, take);
  }
  auto Write(std::span<const std::byte> data) {
    auto take = [this, data] {
      const iovec piece{const_cast<std::byte*>(data.data()), data.size()};
      return TakeWrite(std::span(&piece, 1));
    };
    return Awaiter<absl::Status, decltype(take)>(pace_, take);
  }

 private:
  struct Step {
    std::string bytes;
    absl::Status status;
  };

  const Pace pace_;
  std::deque<Step> reads_;
  std::vector<size_t> rooms_;
  std::string written_;
  std::vector<std::vector<size_t>> writes_;
  size_t failing_write_ = SIZE_MAX;
  absl::Status write_error_;
};

// The same by Tasks. Where the script has an error of kCancelled, waits until the task is asked to stop.
class TaskStream {
 public:
  explicit TaskStream(ScriptedStream* script) : script_(script) {}

  Task<absl::StatusOr<size_t>> Read(std::span<std::byte> buffer) {
    co_await Yield();
    absl::StatusOr<size_t> n = script_->TakeRead(buffer);
    if (absl::IsCancelled(n.status())) co_return co_await Sleep(absl::InfiniteDuration());
    co_return n;
  }
  Task<absl::Status> Write(std::span<const std::byte> data) {
    const iovec piece{const_cast<std::byte*>(data.data()), data.size()};
    co_return co_await WriteV(std::span(&piece, 1));
  }
  Task<absl::Status> WriteV(std::span<const iovec> pieces) {
    co_await Yield();
    absl::Status status = script_->TakeWrite(pieces);
    if (absl::IsCancelled(status)) co_return co_await Sleep(absl::InfiniteDuration());
    co_return status;
  }

 private:
  ScriptedStream* const script_;
};

// The same by awaitables that co_await finds an operator for.
template <class Make>
struct FreeAwaitable {
  Make make;
};
template <class Make>
auto operator co_await(FreeAwaitable<Make>&& awaitable) {
  return awaitable.make();
}

class AwaitableStream {
 public:
  explicit AwaitableStream(ScriptedStream* script) : script_(script) {}

  auto Read(std::span<std::byte> buffer) {
    auto make = [script = script_, buffer] { return script->Read(buffer); };
    return FreeAwaitable<decltype(make)>{make};
  }
  auto Write(std::span<const std::byte> data) {
    auto make = [script = script_, data] { return script->Write(data); };
    return FreeAwaitable<decltype(make)>{make};
  }
  auto WriteV(std::span<const iovec> pieces) {
    auto make = [script = script_, pieces] { return script->WriteV(pieces); };
    return FreeAwaitable<decltype(make)>{make};
  }

 private:
  ScriptedStream* const script_;
};

}  // namespace evring::net

#endif  // EVRING_TESTS_NET_SCRIPTED_STREAM_H_

// queue_source.cc: kevent::Queue.

#include <poll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "bench/events/sources.h"
#include "kevent/check.h"
#include "kevent/kevent.h"
#include "kevent/queue.h"

namespace evring::bench {
namespace {

using kevent::Event;
using kevent::Queue;

std::unique_ptr<Queue> MakeQueue(uint32_t entries) {
  kevent::QueueOptions options;
  options.entries = entries;
  auto queue = Queue::Create(std::move(options));
  EVRING_CHECK(queue.ok(), "a queue");
  return *std::move(queue);
}

class QueueSource final : public ReadinessSource {
 public:
  explicit QueueSource(uint32_t entries) : queue_(MakeQueue(entries)) {}

  void Watch(int fd) override {
    Event event;
    event.type = kevent::EventType::kPoll;
    event.descriptor = fd;
    event.result = POLLIN;
    event.flags = KEVENT_LEVEL;
    EVRING_CHECK(queue_->Submit(event) > 0, "registered");
  }

  size_t Wait(std::span<int> ready) override {
    std::array<Event, 64> records;
    size_t n = 0;
    const auto room = std::span<Event>(records).first(std::min(ready.size(), records.size()));
    EVRING_CHECK(queue_->Next(room, &n, kevent::WaitArgs()) == Queue::Waited::kRecords, "records");
    for (size_t i = 0; i < n; ++i) ready[i] = records[i].descriptor;
    return n;
  }

 private:
  const std::unique_ptr<Queue> queue_;
};

class SharedQueue final : public SharedSource {
 public:
  void Post() override {
    Event event;
    event.type = kevent::EventType::kUser;
    EVRING_CHECK(queue_->Post(event) == 0, "posted");
  }

  bool WaitAndTake() override {
    Event record;
    size_t n = 0;
    return queue_->Next(std::span<Event>(&record, 1), &n, kevent::WaitArgs()) == Queue::Waited::kRecords;
  }

  void Stop() override { queue_->Close(); }

 private:
  const std::unique_ptr<Queue> queue_ = MakeQueue(256);
};

}  // namespace

std::unique_ptr<ReadinessSource> MakeQueueSource(uint32_t entries) { return std::make_unique<QueueSource>(entries); }
std::unique_ptr<SharedSource> MakeSharedQueue() { return std::make_unique<SharedQueue>(); }

}  // namespace evring::bench

// sources.h: the ways to wait for many descriptors that bench/events compares, behind one small interface.
//
// Each watches descriptors for reading, level-triggered: a descriptor is reported again as long as there is something
// to read. All of them are driven by the same code with the same load (compare.cc).

#ifndef EVRING_BENCH_EVENTS_SOURCES_H_
#define EVRING_BENCH_EVENTS_SOURCES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace evring::bench {

// For one thread.
class ReadinessSource {
 public:
  virtual ~ReadinessSource() = default;
  virtual void Watch(int fd) = 0;
  // Waits until at least one is ready; puts descriptors into `ready` and returns how many.
  virtual size_t Wait(std::span<int> ready) = 0;
};

std::unique_ptr<ReadinessSource> MakeQueueSource(uint32_t entries);
std::unique_ptr<ReadinessSource> MakeUringSource(uint32_t entries);
std::unique_ptr<ReadinessSource> MakeEpollSource();
std::unique_ptr<ReadinessSource> MakeLibeventSource();

// For one producer and many threads that wait: each posted event is to be handled by one of them.
class SharedSource {
 public:
  virtual ~SharedSource() = default;
  // By the producer.
  virtual void Post() = 0;
  // Waits for an event and takes it. False: woken for nothing, or to end.
  virtual bool WaitAndTake() = 0;
  // Lets all threads go; each Wait returns false from here on.
  virtual void Stop() = 0;
};

std::unique_ptr<SharedSource> MakeSharedQueue();
// All threads in io_uring_enter(2) on one ring.
std::unique_ptr<SharedSource> MakeSharedUring();
// All threads in epoll_wait(2) on one epoll of an eventfd.
std::unique_ptr<SharedSource> MakeSharedEpoll();

}  // namespace evring::bench

#endif  // EVRING_BENCH_EVENTS_SOURCES_H_

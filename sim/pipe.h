// pipe.h: a simulated pipe: a bounded number of pages between a writer and a reader.
//
// As in Linux, a write fills pages of its own, but for what fits behind the bytes of the last one; so a pipe may be
// full with fewer bytes than its pages hold, and a write of a page or less (PIPE_BUF) goes in whole or not at all. A
// page is free again when all of it has been read.
//
// Source: pipe(7), pipe_read() and pipe_write() of Linux, tests/sim/differential_test.cc.

#ifndef EVRING_SIM_PIPE_H_
#define EVRING_SIM_PIPE_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "sim/open_file.h"
#include "sim/world.h"

namespace evring::sim {

class PipeEnd;

// What both ends share.
struct Pipe {
  static constexpr size_t kPage = 4096;

  struct Page {
    std::vector<std::byte> bytes;
    size_t read = 0;  // of them
  };

  bool full() const { return pages.size() >= pages_max; }

  size_t pages_max = 0;
  std::deque<Page> pages;
  PipeEnd* reader = nullptr;  // nullptr: closed
  PipeEnd* writer = nullptr;
};

class PipeEnd final : public OpenFile {
 public:
  // The end for reading and the one for writing.
  static std::pair<std::shared_ptr<PipeEnd>, std::shared_ptr<PipeEnd>> Make(World* world, size_t pages_max);

  // -EBADF: it is the other end. There are no signals: a write that nobody will read answers EPIPE.
  int Read(std::byte* data, size_t size) override;
  int Write(const std::byte* data, size_t size) override;
  short Poll() const override;
  void Close() override;

 private:
  PipeEnd(World* world, std::shared_ptr<Pipe> pipe, bool reads)
      : world_(world), pipe_(std::move(pipe)), reads_(reads) {}

  World* const world_;
  const std::shared_ptr<Pipe> pipe_;
  const bool reads_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_PIPE_H_

#include "sim/pipe.h"

#include <errno.h>
#include <poll.h>

#include <algorithm>

namespace evring::sim {
namespace {

// What Linux wakes the waiters of a pipe with.
constexpr short kReadable = POLLIN | POLLRDNORM;
constexpr short kWritable = POLLOUT | POLLWRNORM;

}  // namespace

std::pair<std::shared_ptr<PipeEnd>, std::shared_ptr<PipeEnd>> PipeEnd::Make(World* world, size_t pages_max) {
  auto pipe = std::make_shared<Pipe>();
  pipe->pages_max = pages_max;
  std::shared_ptr<PipeEnd> reader(new PipeEnd(world, pipe, /*reads=*/true));
  std::shared_ptr<PipeEnd> writer(new PipeEnd(world, pipe, /*reads=*/false));
  pipe->reader = reader.get();
  pipe->writer = writer.get();
  return {std::move(reader), std::move(writer)};
}

int PipeEnd::Read(std::byte* data, size_t size) {
  if (!reads_) return -EBADF;
  if (size == 0) return 0;
  std::deque<Pipe::Page>& pages = pipe_->pages;
  if (pages.empty()) return pipe_->writer == nullptr ? 0 : -EAGAIN;
  if (size > 1 && world_->Happens(Fault::kShortReceive)) size = 1 + world_->faults.Below(size - 1);
  const bool full = pipe_->full();
  size_t done = 0;
  bool freed = false;
  while (done < size && !pages.empty()) {
    Pipe::Page& page = pages.front();
    const size_t n = std::min(size - done, page.bytes.size() - page.read);
    std::copy_n(page.bytes.begin() + static_cast<std::ptrdiff_t>(page.read), n, data + done);
    page.read += n;
    done += n;
    if (page.read != page.bytes.size()) break;
    pages.pop_front();
    freed = true;
  }
  if (full && freed && pipe_->writer != nullptr) pipe_->writer->notify(kWritable);
  return static_cast<int>(done);
}

int PipeEnd::Write(const std::byte* data, size_t size) {
  if (reads_) return -EBADF;
  if (size == 0) return 0;
  if (pipe_->reader == nullptr) return -EPIPE;
  std::deque<Pipe::Page>& pages = pipe_->pages;
  size_t done = 0;
  // The part that is no whole page goes behind the last bytes, if there is room.
  const size_t part = size % Pipe::kPage;
  if (part != 0 && !pages.empty() && pages.back().bytes.size() + part <= Pipe::kPage) {
    pages.back().bytes.insert(pages.back().bytes.end(), data, data + part);
    done = part;
  }
  size_t free = pipe_->pages_max - pages.size();
  if (size > Pipe::kPage && free > 1 && world_->Happens(Fault::kShortSend)) free = 1 + world_->faults.Below(free - 1);
  for (; done < size && free != 0; --free) {
    const size_t n = std::min(size - done, Pipe::kPage);
    pages.push_back({std::vector<std::byte>(data + done, data + done + n)});
    done += n;
  }
  pipe_->reader->notify(kReadable);  // as Linux tells who polls, whether there is more to read or not
  return done != 0 ? static_cast<int>(done) : -EAGAIN;
}

// As pipe_poll() of Linux puts it together.
short PipeEnd::Poll() const {
  short events = 0;
  if (reads_) {
    if (!pipe_->pages.empty()) events |= kReadable;
    if (pipe_->writer == nullptr) events |= POLLHUP;
  } else {
    if (!pipe_->full()) events |= kWritable;
    if (pipe_->reader == nullptr) events |= POLLERR;
  }
  return events;
}

void PipeEnd::Close() {
  (reads_ ? pipe_->reader : pipe_->writer) = nullptr;
  if (PipeEnd* other = reads_ ? pipe_->writer : pipe_->reader; other != nullptr) other->notify(0);
}

}  // namespace evring::sim

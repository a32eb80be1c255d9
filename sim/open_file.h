// open_file.h: what a simulated descriptor stands for: something that a request can wait on.

#ifndef EVRING_SIM_OPEN_FILE_H_
#define EVRING_SIM_OPEN_FILE_H_

#include <errno.h>

#include <cstddef>
#include <functional>

namespace evring::sim {

class OpenFile {
 public:
  virtual ~OpenFile() = default;

  // read(2) and write(2) of what has no place in a file, with a negative errno; -EAGAIN: not now, wait to be told.
  virtual int Read(std::byte* /*data*/, size_t /*size*/) { return -EINVAL; }
  virtual int Write(const std::byte* /*data*/, size_t /*size*/) { return -EINVAL; }
  // The events of poll(2) that are there.
  virtual short Poll() const = 0;
  // The last descriptor has been closed, and the last request that referred to it has ended.
  virtual void Close() = 0;

  // Is told whenever anything about it changes: the events of poll(2) that Linux wakes with, or 0, the state: whoever
  // waits is to look.
  std::function<void(short events)> notify = [](short) {};
};

}  // namespace evring::sim

#endif  // EVRING_SIM_OPEN_FILE_H_

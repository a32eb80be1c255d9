// open_file.h: what a simulated descriptor of a socket or a pipe stands for: something that a request can wait on.

#ifndef EVRING_SIM_OPEN_FILE_H_
#define EVRING_SIM_OPEN_FILE_H_

#include <functional>

namespace evring::sim {

class OpenFile {
 public:
  virtual ~OpenFile() = default;

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

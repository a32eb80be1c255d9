// log.h: what happened in a run, line by line, with its virtual time: the same bytes for the same seed.

#ifndef EVRING_SIM_LOG_H_
#define EVRING_SIM_LOG_H_

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace evring::sim {

// Keeps the newest lines and a digest of all. Nothing that goes in may depend on the process: no addresses, no real
// time. For one thread at a time.
class Log {
 public:
  explicit Log(size_t keep) : keep_(keep) {}

  // The line as it was added, with its time and end.
  std::string Add(int64_t now_ns, std::string_view line);

  uint64_t lines() const { return lines_; }
  uint64_t digest() const { return digest_; }  // FNV-1a of all lines
  // The newest lines, oldest first, each with its end.
  std::string Newest() const;

 private:
  const size_t keep_;
  std::deque<std::string> kept_;
  uint64_t lines_ = 0;
  uint64_t digest_ = 0xcbf29ce484222325u;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_LOG_H_

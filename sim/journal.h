// journal.h: what a run has been so far, in memory that outlives the process that it runs in: the faults that were
// injected, the newest lines of the log, the digest, the states it went through. A run that aborts, or is killed, has
// told all of it.
//
// No pointers in it: made by one process in shared memory, written by another. It is read when that one has ended, so
// nothing of it is atomic.

#ifndef EVRING_SIM_JOURNAL_H_
#define EVRING_SIM_JOURNAL_H_

#include <algorithm>
#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "sim/faults.h"

namespace evring::sim {

class Journal {
 public:
  static constexpr size_t kInjections = 16384;  // those that come later are counted only
  static constexpr size_t kLogBytes = 256 * 1024;
  static constexpr size_t kStates = size_t{1} << 18;
  using States = std::bitset<kStates>;

  void Clear() {
    injected_ = 0;
    written_ = 0;
    digest_ = 0;
    states_.reset();
    kinds_ = {};
  }

  // --- The run
  void AddInjection(const Injection& injection) {
    if (injected_ < kInjections) injections_[injected_] = injection;
    ++injected_;
  }
  // `line` with its end; `digest` of the log up to it.
  void AddLine(std::string_view line, uint64_t digest) {
    for (std::string_view rest = line.substr(0, kLogBytes); !rest.empty();) {
      const size_t at = written_ % kLogBytes;
      const std::string_view part = rest.substr(0, kLogBytes - at);
      std::memcpy(&log_[at], part.data(), part.size());
      written_ += part.size();
      rest.remove_prefix(part.size());
    }
    digest_ = digest;
    AddState(line);
  }

  // --- Who looks at it afterwards
  uint64_t injected() const { return injected_; }
  uint64_t digest() const { return digest_; }
  // A state is three lines in a row, without their times and numbers: "a receive answers, a fault, a cancel". By
  // hashes, so two may count as one.
  const States& states() const { return states_; }
  std::vector<Injection> injections() const {
    return {injections_.begin(), injections_.begin() + static_cast<std::ptrdiff_t>(std::min(injected_, kInjections))};
  }
  // The newest lines, whole ones.
  std::string log() const {
    if (written_ <= kLogBytes) return std::string(log_.data(), written_);
    const size_t at = written_ % kLogBytes;
    std::string text(log_.data() + at, kLogBytes - at);
    text.append(log_.data(), at);
    return text.substr(text.find('\n') + 1);
  }

 private:
  void AddState(std::string_view line) {
    uint64_t kind = kHashStart;
    for (const char c : line.substr(std::min(line.find(' '), line.size()))) {  // behind the time
      if (c < '0' || c > '9') kind = (kind ^ static_cast<unsigned char>(c)) * kHashFactor;
    }
    kinds_ = {kinds_[1], kinds_[2], kind};
    uint64_t state = kHashStart;
    for (const uint64_t each : kinds_) state = (state ^ each) * kHashFactor;
    states_.set((state >> 32) % kStates);
  }
  static constexpr uint64_t kHashStart = 14695981039346656037u;  // of FNV-1a
  static constexpr uint64_t kHashFactor = 1099511628211u;

  size_t injected_ = 0;
  size_t written_ = 0;  // bytes of all lines
  uint64_t digest_ = 0;
  std::array<uint64_t, 3> kinds_ = {};  // of the newest lines
  States states_;
  std::array<Injection, kInjections> injections_;
  std::array<char, kLogBytes> log_;
};
static_assert(std::is_trivially_copyable_v<Journal>, "it lies in memory that two processes share");

}  // namespace evring::sim

#endif  // EVRING_SIM_JOURNAL_H_

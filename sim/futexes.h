// futexes.h: who waits for which word of memory, in the simulated kernel.
//
// A word is known by its address in the program, and by whether it was said to be private: as in Linux, who waits for a
// private word is not woken by somebody who says that it is shared. (A page that is mapped twice is two words here.)
// Those of one word stand in line, first in, first out; a wake-up passes over whom its mask does not mean.
//
// A request that waits for several words stands in several lines; it leaves them when it ends, not when it is woken:
// until then more of its words may be woken, and count. Source: futex(2), kernel/futex/waitwake.c of Linux.

#ifndef EVRING_SIM_FUTEXES_H_
#define EVRING_SIM_FUTEXES_H_

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

namespace evring::sim {

struct Request;

class Futexes {
 public:
  struct Word {
    uint64_t address = 0;
    bool is_private = false;

    auto operator<=>(const Word&) const = default;
  };

  // `index`: which of the words of the request it is.
  void Add(Request* request, int index, const Word& word, uint32_t mask);
  // The request leaves all lines, or the one for that word of its own.
  void Remove(const Request* request, std::optional<int> index = std::nullopt);
  // The next of those in line whom `mask` means, taken from there, and which of its words it was; nullptr: nobody.
  Request* Take(const Word& word, uint32_t mask, int* index);

 private:
  struct Waiter {
    Request* request;
    int index;
    uint32_t mask;
  };

  std::map<Word, std::deque<Waiter>> lines_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_FUTEXES_H_

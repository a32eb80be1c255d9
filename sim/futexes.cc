#include "sim/futexes.h"

#include <algorithm>
#include <iterator>

namespace evring::sim {

void Futexes::Add(Request* request, int index, const Word& word, uint32_t mask) {
  lines_[word].push_back({request, index, mask});
}

void Futexes::Remove(const Request* request, std::optional<int> index) {
  for (auto line = lines_.begin(); line != lines_.end();) {
    std::erase_if(line->second, [&](const Waiter& waiter) {
      return waiter.request == request && waiter.index == index.value_or(waiter.index);
    });
    line = line->second.empty() ? lines_.erase(line) : std::next(line);
  }
}

Request* Futexes::Take(const Word& word, uint32_t mask, int* index) {
  const auto line = lines_.find(word);
  if (line == lines_.end()) return nullptr;
  std::deque<Waiter>& waiters = line->second;
  const auto meant =
      std::find_if(waiters.begin(), waiters.end(), [mask](const Waiter& waiter) { return (waiter.mask & mask) != 0; });
  if (meant == waiters.end()) return nullptr;
  Request* const request = meant->request;
  *index = meant->index;
  waiters.erase(meant);
  if (waiters.empty()) lines_.erase(line);
  return request;
}

}  // namespace evring::sim

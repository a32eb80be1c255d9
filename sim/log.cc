#include "sim/log.h"

#include <cstdio>

namespace evring::sim {

std::string Log::Add(int64_t now_ns, std::string_view line) {
  char time[32];
  std::snprintf(time, sizeof(time), "%lld.%09lld ", static_cast<long long>(now_ns / 1'000'000'000),
                static_cast<long long>(now_ns % 1'000'000'000));
  std::string text(time);
  text += line;
  text += '\n';
  for (const char c : text) digest_ = (digest_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  ++lines_;
  if (keep_ == 0) return text;
  if (kept_.size() == keep_) kept_.pop_front();
  kept_.push_back(text);
  return text;
}

std::string Log::Newest() const {
  std::string text;
  for (const std::string& line : kept_) text += line;
  return text;
}

}  // namespace evring::sim

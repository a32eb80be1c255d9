#include "kevent/features.h"

#include <string>

namespace evring::kevent {

std::string Features::ToString() const {
  static constexpr struct {
    Feature feature;
    const char* name;
  } kNames[] = {
      {Feature::kRegisteredRing, "registered-ring"},     {Feature::kAbsoluteTimer, "absolute-timer"},
      {Feature::kSyncMessage, "sync-message"},           {Feature::kNoIowait, "no-iowait"},
      {Feature::kMultishotReceive, "multishot-receive"},
  };
  std::string text;
  for (const auto& [feature, name] : kNames) {
    if (!has(feature)) continue;
    if (!text.empty()) text += ' ';
    text += name;
  }
  return text.empty() ? "none" : text;
}

}  // namespace evring::kevent

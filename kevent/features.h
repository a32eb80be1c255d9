// features.h: what the running kernel can do, beyond the Linux 6.1 that evring asks for at least.
//
// Everything in the list has a fallback, named beside it. A test masks features to walk the fallbacks on a new kernel.

#ifndef EVRING_KEVENT_FEATURES_H_
#define EVRING_KEVENT_FEATURES_H_

#include <cstdint>
#include <string>

namespace evring::kevent {

enum class Feature : uint32_t {
  kRegisteredRing = 1u << 0,    // 5.18  enter by registered index       | by descriptor
  kAbsoluteTimer = 1u << 1,     // 6.12  absolute deadline in the wait    | the distance, computed at the call
  kSyncMessage = 1u << 2,       // 6.13  message to a ring without a ring | eventfd with a read armed in the target
  kNoIowait = 1u << 3,          // 6.15  idle waits not shown as iowait   | shown as iowait
  kMultishotReceive = 1u << 4,  // found by trial (multishot_probe.h)   | a request for each receive
};

class Features {
 public:
  constexpr Features() = default;
  constexpr explicit Features(uint32_t bits) : bits_(bits) {}
  static constexpr Features All() { return Features(0x1f); }

  constexpr bool has(Feature f) const { return (bits_ & static_cast<uint32_t>(f)) != 0; }
  constexpr Features With(Feature f) const { return Features(bits_ | static_cast<uint32_t>(f)); }
  constexpr Features Without(Feature f) const { return Features(bits_ & ~static_cast<uint32_t>(f)); }
  constexpr Features operator&(Features other) const { return Features(bits_ & other.bits_); }
  constexpr bool operator==(const Features&) const = default;

  // "registered-ring absolute-timer …", for logs and the status page.
  std::string ToString() const;

 private:
  uint32_t bits_ = 0;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_FEATURES_H_

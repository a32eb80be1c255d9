// etag.h: entity tags of files, and the request fields that compare them (RFC 9110 sections 8.8.3 and 13.1).

#ifndef EVRING_NET_HTTP_ETAG_H_
#define EVRING_NET_HTTP_ETAG_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace evring::net::http {

// A strong tag that changes with the size and the time of the last change, quotes included: "\"2a-17f3c5...\"". As good
// as the file system's time stamps: two changes within one tick that leave the size the same have the same tag.
std::string FileEtag(uint64_t size, int64_t modified_ns);

enum class EtagComparison : uint8_t { kStrong, kWeak };

// True if `list`, the value of If-Match or If-None-Match, is "*" or has a tag equal to `etag`. If-Match asks for the
// strong comparison, If-None-Match for the weak one. What follows the first malformed element is not looked at.
bool EtagListMatches(std::string_view list, std::string_view etag, EtagComparison comparison);

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_ETAG_H_

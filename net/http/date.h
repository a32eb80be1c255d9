// date.h: the timestamps of HTTP (RFC 9110 section 5.6.7), as seconds since 1970 UTC. No locale, no time zone data.

#ifndef EVRING_NET_HTTP_DATE_H_
#define EVRING_NET_HTTP_DATE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace evring::net::http {

inline constexpr size_t kHttpDateBytes = sizeof("Sun, 06 Nov 1994 08:49:37 GMT") - 1;

// Writes kHttpDateBytes characters in the IMF-fixdate form, no NUL. Times outside the years 0 to 9999 are moved to the
// nearest one inside: the form has four digits for the year.
void FormatHttpDate(int64_t unix_seconds, char* out);

// Reads any of the three forms that a recipient must accept. Nothing for all else; the name of the day must be one, but
// need not be right. `now` (seconds) settles the century of a two-digit year: at most 50 years ahead.
std::optional<int64_t> ParseHttpDate(std::string_view text, int64_t now);

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_DATE_H_

// concat.h: joins std::string_views. Debian builds Abseil for C++14, where absl::string_view is another type than the
// standard's and absl::StrCat takes none of ours.

#ifndef EVRING_NET_HTTP_INTERNAL_CONCAT_H_
#define EVRING_NET_HTTP_INTERNAL_CONCAT_H_

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

namespace evring::net::http::internal {

inline std::string Concat(std::initializer_list<std::string_view> parts) {
  size_t size = 0;
  for (std::string_view part : parts) size += part.size();
  std::string all;
  all.reserve(size);
  for (std::string_view part : parts) all.append(part);
  return all;
}

}  // namespace evring::net::http::internal

#endif  // EVRING_NET_HTTP_INTERNAL_CONCAT_H_

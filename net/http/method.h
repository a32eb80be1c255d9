// method.h: the request methods that the parser knows. Any other is answered 501 before a handler runs.

#ifndef EVRING_NET_HTTP_METHOD_H_
#define EVRING_NET_HTTP_METHOD_H_

#include <cstdint>
#include <string_view>

namespace evring::net::http {

// The numbers are llhttp's, so that the parser need not translate (parser.cc asserts it).
enum class Method : uint8_t {
  kDelete = 0,
  kGet = 1,
  kHead = 2,
  kPost = 3,
  kPut = 4,
  kConnect = 5,  // never reaches a handler: answered 501
  kOptions = 6,
  kTrace = 7,
  kCopy = 8,
  kLock = 9,
  kMkcol = 10,
  kMove = 11,
  kPropfind = 12,
  kProppatch = 13,
  kSearch = 14,
  kUnlock = 15,
  kBind = 16,
  kRebind = 17,
  kUnbind = 18,
  kAcl = 19,
  kReport = 20,
  kMkactivity = 21,
  kCheckout = 22,
  kMerge = 23,
  kMSearch = 24,
  kNotify = 25,
  kSubscribe = 26,
  kUnsubscribe = 27,
  kPatch = 28,
  kPurge = 29,
  kMkcalendar = 30,
  kLink = 31,
  kUnlink = 32,
};

inline constexpr int kMethodCount = 33;

// As it stands in a request line: "GET".
std::string_view MethodName(Method method);

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_METHOD_H_

#include "net/http/method.h"

#include <array>

namespace evring::net::http {
namespace {

constexpr std::array<std::string_view, kMethodCount> kNames = {
    "DELETE",      "GET",   "HEAD",   "POST",       "PUT",       "CONNECT", "OPTIONS",  "TRACE",  "COPY",
    "LOCK",        "MKCOL", "MOVE",   "PROPFIND",   "PROPPATCH", "SEARCH",  "UNLOCK",   "BIND",   "REBIND",
    "UNBIND",      "ACL",   "REPORT", "MKACTIVITY", "CHECKOUT",  "MERGE",   "M-SEARCH", "NOTIFY", "SUBSCRIBE",
    "UNSUBSCRIBE", "PATCH", "PURGE",  "MKCALENDAR", "LINK",      "UNLINK"};

}  // namespace

std::string_view MethodName(Method method) { return kNames[static_cast<uint8_t>(method)]; }

}  // namespace evring::net::http

// mime.h: the Content-Type of a file, by the extension of its name.

#ifndef EVRING_NET_HTTP_MIME_H_
#define EVRING_NET_HTTP_MIME_H_

#include <string_view>

namespace evring::net::http {

// "text/css; charset=utf-8" for "a/style.CSS"; "application/octet-stream" for an extension that is not known or a name
// without one. A name that only begins with a dot (".profile") has none. Static storage.
std::string_view ContentTypeOf(std::string_view file_path);

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_MIME_H_

#include "net/http/router.h"

#include <algorithm>

#include "absl/status/status.h"
#include "kevent/check.h"

namespace evring::net::http {
namespace {

Task<absl::Status> NotFound(ServerResponse* response) {
  response->set_status(StatusCode::kNotFound);
  response->Send("text/plain; charset=utf-8", "Not Found\n");
  co_return absl::OkStatus();
}

Task<absl::Status> MethodNotAllowed(ServerResponse* response, std::string allow) {
  response->set_status(StatusCode::kMethodNotAllowed);
  if (absl::Status status = response->AddHeader("Allow", allow); !status.ok()) co_return status;
  response->Send("text/plain; charset=utf-8", "Method Not Allowed\n");
  co_return absl::OkStatus();
}

}  // namespace

void Router::Handle(Method method, std::string path, Handler handler) {
  EVRING_CHECK(path.starts_with('/'), "a path begins with '/'");
  const bool prefix = path.ends_with("/*");
  if (prefix) path.pop_back();
  Methods& methods = prefix ? prefixes_[std::move(path)] : exact_[std::move(path)];
  for (const auto& [other, unused] : methods) {
    EVRING_CHECK(other != method, "one handler for each path and method");
  }
  methods.emplace_back(method, std::move(handler));
}

const Router::Methods* Router::Find(std::string_view path) const {
  if (const auto it = exact_.find(path); it != exact_.end()) return &it->second;
  // The longest prefix that ends in '/': shorten the path by a segment until one is found.
  for (size_t end = path.rfind('/'); end != std::string_view::npos;
       end = end == 0 ? end - 1 : path.rfind('/', end - 1)) {
    if (const auto it = prefixes_.find(path.substr(0, end + 1)); it != prefixes_.end()) return &it->second;
    if (end == 0) break;
  }
  return nullptr;
}

// Hands on the handler's own task: routing makes no coroutine of its own.
Task<absl::Status> Router::Route(ServerRequest* request, ServerResponse* response) const {
  const Methods* methods = Find(request->head().raw_path());
  if (methods == nullptr) return NotFound(response);
  const Method asked = request->method();
  for (const Method wanted : {asked, asked == Method::kHead ? Method::kGet : asked}) {
    for (const auto& [method, handler] : *methods) {
      if (method == wanted) return handler(request, response);
    }
  }
  std::string allow;
  for (const auto& [method, unused] : *methods) {
    if (!allow.empty()) allow += ", ";
    allow += MethodName(method);
    if (method == Method::kGet) allow += ", HEAD";
  }
  return MethodNotAllowed(response, std::move(allow));
}

}  // namespace evring::net::http

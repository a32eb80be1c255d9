// router.h: which handler answers which request: by the path, and by the method.
//
// Routes are added before the server starts; then the router is read only and any worker may use it.

#ifndef EVRING_NET_HTTP_ROUTER_H_
#define EVRING_NET_HTTP_ROUTER_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "net/http/method.h"
#include "net/http/server.h"
#include "runtime/task.h"

namespace evring::net::http {

class Router {
 public:
  // `path` as it comes in a request, "/a/b", escapes not resolved. "/a/*" stands for "/a/" and all paths below it; the
  // longest such prefix counts, and an exact path before any prefix. A handler for GET answers HEAD as well (its body
  // is left out). One handler for each path and method; that is checked.
  void Handle(Method method, std::string path, Handler handler);

  // Finds and runs the handler. Without one: 404, or, if the path has handlers for other methods, 405 with Allow.
  // For ServerOptions: `[&router](auto* request, auto* response) { return router.Route(request, response); }`
  Task<absl::Status> Route(ServerRequest* request, ServerResponse* response) const;

 private:
  using Methods = std::vector<std::pair<Method, Handler>>;

  const Methods* Find(std::string_view path) const;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view path) const { return std::hash<std::string_view>()(path); }
  };

  std::unordered_map<std::string, Methods, Hash, std::equal_to<>> exact_;
  std::map<std::string, Methods, std::less<>> prefixes_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_ROUTER_H_

// server.h: an HTTP/1.1 server: accepts connections, parses requests, hands each to a handler, answers.
//
//   http::Server server(options, [](http::ServerRequest* request, http::ServerResponse* response) -> Task<absl::Status>
//   {
//     response->Send("text/plain", "Hello\n");
//     co_return absl::OkStatus();
//   });
//   absl::Status status = co_await server.Serve(&listener);   // until the calling task is asked to stop, or Drain()
//
// Each connection is a task, and its requests are handled one after the other; their answers leave in order, those of
// pipelined requests in one send. Keep-alive, chunked bodies both ways, HEAD, Expect: 100-continue and HTTP/1.0 are
// seen to. What a client may send and how long it may take is limited (ServerOptions); a request that is refused is
// answered (400, 408, 413, 414, 417, 431, 501, 505) and the connection closed.
//
// Ending. Drain(): no more connections are accepted, idle ones are closed, and each request that has been received is
// answered in full, the last of a connection with `Connection: close` where it is known to be the last; after
// drain_timeout the rest is cut off. A stop of the serving task: everything ends at once.
//
// Threads: Serve() runs on the workers of one runtime; Drain() and stats() may be called from any thread.

#ifndef EVRING_NET_HTTP_SERVER_H_
#define EVRING_NET_HTTP_SERVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "net/address.h"
#include "net/http/limits.h"
#include "net/http/server_request.h"
#include "net/http/server_response.h"
#include "net/http/server_stamp.h"
#include "net/listener.h"
#include "runtime/sync/event.h"
#include "runtime/task.h"
#include "runtime/task_group.h"

namespace evring::net::http {

class ServerConnection;

// Answers one request. Called on a worker; may await anything. The request and the response live until it has ended.
// An error that it ends with before it has begun to answer becomes the answer (StatusForError); after that, the
// connection is closed, so that the client sees that the answer is not whole. An exception counts as kInternal.
using Handler = std::function<Task<absl::Status>(ServerRequest* request, ServerResponse* response)>;

// Something that went wrong, for ServerOptions::on_error.
struct ServerError {
  enum class Source : uint8_t {
    kHandler,     // a handler has ended with this error or an exception, or has not answered in full
    kConnection,  // the connection ends by it: a request was refused, it took too long, the socket failed
  };
  ServerError() = default;
  Source source = Source::kConnection;
  absl::Status status;  // never OK
  SocketAddress peer;   // unspecified if the kernel does not know it any more
  // "GET /path HTTP/1.1", as the client wrote the target: any printable ASCII. Empty if no request was being handled.
  std::string request_line;
};

struct ServerOptions {
  ServerOptions() = default;
  Limits limits;
  // From one answer to the first byte of the next request: then the connection is closed.
  absl::Duration idle_timeout = absl::Seconds(75);
  // From the first byte of a head to its last: then 408.
  absl::Duration head_timeout = absl::Seconds(15);
  // From one piece of a body to the next: then 408.
  absl::Duration body_timeout = absl::Seconds(30);
  // How long a send may make no progress in full: then the connection is closed.
  absl::Duration write_timeout = absl::Seconds(30);
  // How long Drain() waits for requests under way.
  absl::Duration drain_timeout = absl::Seconds(20);
  // At once; beyond, connections wait in the kernel's queue.
  int64_t connections_max = 100'000;
  // The value of the Server field; empty: none.
  std::string server_name = "evring";
  // Told of what goes wrong, for logs and counters: each handler that fails, also where the failure became an answer,
  // and each connection that ends by an error, once. Not of clients that leave, politely or by a reset, nor of what
  // follows from that; not of idle connections that are closed, of a stop, or of what a drain cuts off. Called on the
  // worker of the connection, several at a time for different ones. It must not block, and not throw: that ends the
  // process. Empty: nobody is told.
  std::function<void(const ServerError& error)> on_error;
};

struct ServerStats {
  uint64_t connections_accepted = 0;
  uint64_t connections_open = 0;
  uint64_t requests = 0;          // handed to the handler
  uint64_t requests_refused = 0;  // malformed, too large or too slow
  uint64_t handler_errors = 0;
  uint64_t accept_errors = 0;  // out of descriptors or memory: the server waits a moment each time
};

class Server {
 public:
  Server(ServerOptions options, Handler handler);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves `listener`, which is borrowed, until drained (OK; it listens no more then), stopped (kCancelled), or
  // accepting fails for good. Returns when every connection is closed. Once.
  Task<absl::Status> Serve(Listener* listener);

  // Any thread, any number of times.
  void Drain();

  ServerStats stats() const;

 private:
  friend class ServerConnection;

  Task<absl::Status> Accept(Listener* listener, TaskGroup* connections);
  Task<> RunConnection(Stream stream, int worker);
  Task<absl::Status> AllClosed();
  int64_t open_connections() const;

  const ServerOptions options_;
  const Handler handler_;

  std::vector<ServerStamp> stamps_;  // one for each worker
  std::atomic<bool> draining_{false};
  mutable std::mutex mutex_;
  Listener* listener_ = nullptr;                  // these under mutex_; while it accepts
  ServerConnection* first_connection_ = nullptr;  // linked both ways
  int64_t open_ = 0;                              // from accepted to closed
  Event all_closed_;                              // none is left, and none will come

  std::atomic<uint64_t> accepted_{0}, requests_{0}, refused_{0}, handler_errors_{0}, accept_errors_{0};
};

// The answer for an error that a handler ends with: kNotFound 404, kInvalidArgument 400, kPermissionDenied 403, …; 500
// for what has no HTTP counterpart.
StatusCode StatusForError(const absl::Status& error);

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_SERVER_H_

// connection.h: one connection of an HTTP server: bytes in, requests to the handler one by one, answers out in order.
//
// A task of its own runs it. The input is one received buffer at a time; it is given back before the connection waits
// for the client, so an idle connection holds none; nor does its parser keep the memory of a large head. A head that
// lies whole in the buffer is not copied.
//
//   read -> parse -> (head) -> handler -> rest of the body skipped -> parse the next of the same buffer …
//        \-> buffer used up: send all answers gathered, give the buffer back, read again
//
// Deadlines. The whole runs under one movable deadline (a store to move it): idle between messages, head while one is
// incomplete, body between pieces, write while sending; none while the handler computes. When it passes, everything
// inside ends as if cancelled, and the outer part answers 408 if a request was being received.
//
// Closing. After a refused request the client may still be sending; a close with unread data would reset the connection
// take the answer along. So the sending side is shut first, and what still comes is read and dropped for a while.
//
// Errors (ServerOptions::on_error) are told where they are found: Handle() those of handlers, Run() what is late,
// Refuse() what is malformed, Broken() those of the socket.

#ifndef EVRING_NET_HTTP_CONNECTION_H_
#define EVRING_NET_HTTP_CONNECTION_H_

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "net/http/parser.h"
#include "net/http/server.h"
#include "net/http/server_request.h"
#include "net/http/server_response.h"
#include "net/http/server_stamp.h"
#include "net/stream.h"
#include "runtime/multishot_socket.h"
#include "runtime/task.h"
#include "runtime/timeout.h"

namespace evring::net::http {

class ServerConnection {
 public:
  ServerConnection(Server* server, Stream stream);
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  // Serves until the connection ends, in whatever way.
  Task<> Run();

  // Any thread, while draining: no further request is received; what has arrived is still answered.
  void ShutReceiving();

  ServerConnection* next = nullptr;  // the server's list
  ServerConnection* previous = nullptr;

 private:
  friend class ServerRequest;
  friend class ServerResponse;

  // How Serve() left the connection.
  enum class End : uint8_t {
    kClose,   // everything was said: close
    kLinger,  // the client may still be sending: give it time to read the answer
    kBroken,  // nothing can be sent any more
  };

  Task<End> Serve();
  Task<bool> Receive();
  Task<bool> Handle();
  Task<bool> SkipRestOfBody();
  Task<absl::Status> SendGathered();
  Task<> Linger();
  // Until the client's system has all that was sent.
  Task<> AwaitDelivered();
  void Refuse(StatusCode status, std::string_view reason);
  // The socket has failed.
  void Broken(const absl::Status& status);
  // Tells the server's hook, if it has one; of an error of the connection once.
  void Report(ServerError::Source source, absl::Status status) noexcept;
  Exchange ExchangeNow() const;
  const ServerStamp& Stamp();
  bool Draining() const;
  // After which everything gathered is sent before more is added.
  static constexpr size_t kGatherMax = 64 << 10;
  // A body that the handler did not want is read to its end up to this size; beyond, the connection is closed.
  static constexpr uint64_t kSkipMax = 256 << 10;
  // Parser memory that a connection keeps while it waits for a request: one that asks again at once, with a head of
  // ordinary size, need not allocate it again.
  static constexpr size_t kParserIdleBytesMax = 512;

  Server* const server_;
  Stream stream_;
  Deadline deadline_;
  RequestParser parser_;
  ServerRequest request_;
  ServerResponse response_;
  ReceivedBuffer buffer_;
  std::string_view input_;  // what of the buffer is not parsed yet
  std::string output_;      // answers gathered
  bool keep_alive_ = true;
  bool head_deadline_set_ = false;
  bool message_complete_ = false;  // of the request that is handled
  bool continue_said_ = false;     // to that request's client
  bool refused_ = false;
  bool sending_ = false;  // or a send has failed: nothing more can be said
  bool end_of_stream_ = false;
  bool handling_ = false;  // the parser's request is with its handler, or was the last
  bool broken_ = false;    // the client has gone, or the socket has failed: what the handler says follows from it
  bool reported_ = false;  // an error of the connection

  std::mutex shut_mutex_;
  bool receiving_body_ = false;  // these under shut_mutex_
  bool shut_ = false;
  bool lingering_ = false;  // what is received is dropped: it may end by itself
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_CONNECTION_H_

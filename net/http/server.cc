#include "net/http/server.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

#include "kevent/check.h"
#include "net/http/chars.h"
#include "net/http/connection.h"
#include "runtime/placement.h"
#include "runtime/sleep.h"
#include "runtime/timeout.h"

namespace evring::net::http {

StatusCode StatusForError(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return StatusCode::kBadRequest;
    case absl::StatusCode::kUnauthenticated:
      return StatusCode::kUnauthorized;
    case absl::StatusCode::kPermissionDenied:
      return StatusCode::kForbidden;
    case absl::StatusCode::kNotFound:
      return StatusCode::kNotFound;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return StatusCode::kConflict;
    case absl::StatusCode::kFailedPrecondition:
      return StatusCode::kPreconditionFailed;
    case absl::StatusCode::kResourceExhausted:
      return StatusCode::kContentTooLarge;
    case absl::StatusCode::kUnimplemented:
      return StatusCode::kNotImplemented;
    case absl::StatusCode::kUnavailable:
      return StatusCode::kServiceUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return StatusCode::kGatewayTimeout;
    default:
      return StatusCode::kInternalServerError;
  }
}

Server::Server(ServerOptions options, Handler handler) : options_(std::move(options)), handler_(std::move(handler)) {
  EVRING_CHECK(handler_ != nullptr, "a server has a handler");
  EVRING_CHECK(IsFieldValue(options_.server_name), "server_name is the value of a header field");
}

Server::~Server() { EVRING_CHECK(open_ == 0, "a server outlives its connections"); }

Task<absl::Status> Server::Serve(Listener* listener) {
  {
    std::lock_guard lock(mutex_);
    if (draining_.load(std::memory_order_relaxed)) co_return absl::OkStatus();
    listener_ = listener;
  }
  stamps_.assign(static_cast<size_t>(WorkerCount()), ServerStamp(options_.server_name));
  TaskGroup connections(TaskGroup::OnError::kGoOn);
  absl::Status status = co_await Accept(listener, &connections);
  bool drained = false;
  {
    std::lock_guard lock(mutex_);
    listener_ = nullptr;
    if (open_ == 0) all_closed_.Set();
    drained = draining_.load(std::memory_order_relaxed);
  }
  if (drained && !absl::IsCancelled(status)) {
    status = absl::OkStatus();
    // What has not ended by then is cut off. A stop of this task does so at once.
    static_cast<void>((co_await WithTimeout(options_.drain_timeout, AllClosed())).ok());
  }
  connections.RequestStop();
  static_cast<void>((co_await connections.Join()).ok());  // a connection ends without a status
  co_return status;
}

// Returns when there will be no more connections: drained, stopped, or broken.
Task<absl::Status> Server::Accept(Listener* listener, TaskGroup* connections) {
  absl::Duration pause = absl::Milliseconds(5);
  int next_worker = 0;
  for (;;) {
    const bool full = open_connections() >= options_.connections_max;
    if (full && !draining_.load(std::memory_order_acquire)) {
      if (absl::Status status = co_await Sleep(absl::Milliseconds(5)); !status.ok()) co_return status;
      continue;
    }
    absl::StatusOr<Stream> stream = co_await listener->Accept();
    if (stream.ok()) {
      // Draining: one that came while there was no room. It is closed, so that its client does not wait.
      if (full) continue;
      pause = absl::Milliseconds(5);
      {
        std::lock_guard lock(mutex_);
        ++open_;
      }
      accepted_.fetch_add(1, std::memory_order_relaxed);
      co_await connections->Spawn(RunConnection(*std::move(stream), next_worker));
      next_worker = (next_worker + 1) % WorkerCount();
      continue;
    }
    if (draining_.load(std::memory_order_acquire)) co_return absl::OkStatus();
    if (absl::IsUnavailable(stream.status())) continue;  // that one connection broke before it was ours
    if (!absl::IsResourceExhausted(stream.status())) co_return stream.status();
    // Out of descriptors or memory: those who are connected are served on; the others wait in the kernel's queue.
    accept_errors_.fetch_add(1, std::memory_order_relaxed);
    if (absl::Status status = co_await Sleep(pause); !status.ok()) co_return status;
    pause = std::min(pause * 2, absl::Milliseconds(100));
  }
}

Task<> Server::RunConnection(Stream stream, int worker) {
  // The receive stays in the ring of the worker where it is armed first: they take turns.
  co_await ResumeOn(worker);
  stream.SetNoDelay(true).IgnoreError();  // a Unix socket has none
  auto connection = std::make_unique<ServerConnection>(this, std::move(stream));
  bool shut;
  {
    std::lock_guard lock(mutex_);
    connection->next = first_connection_;
    if (first_connection_ != nullptr) first_connection_->previous = connection.get();
    first_connection_ = connection.get();
    shut = draining_.load(std::memory_order_relaxed);
  }
  if (shut) connection->ShutReceiving();
  co_await connection->Run();
  {
    std::lock_guard lock(mutex_);
    (connection->previous == nullptr ? first_connection_ : connection->previous->next) = connection->next;
    if (connection->next != nullptr) connection->next->previous = connection->previous;
    connection.reset();  // closed before it is no longer counted
    if (--open_ == 0 && listener_ == nullptr) all_closed_.Set();
  }
}

Task<absl::Status> Server::AllClosed() { co_return co_await all_closed_.Wait(); }

void Server::Drain() {
  std::lock_guard lock(mutex_);
  if (draining_.exchange(true, std::memory_order_acq_rel)) return;
  if (listener_ != nullptr) listener_->Shutdown();
  for (ServerConnection* c = first_connection_; c != nullptr; c = c->next) c->ShutReceiving();
}

int64_t Server::open_connections() const {
  std::lock_guard lock(mutex_);
  return open_;
}

ServerStats Server::stats() const {
  ServerStats stats;
  stats.connections_accepted = accepted_.load(std::memory_order_relaxed);
  stats.connections_open = static_cast<uint64_t>(open_connections());
  stats.requests = requests_.load(std::memory_order_relaxed);
  stats.requests_refused = refused_.load(std::memory_order_relaxed);
  stats.handler_errors = handler_errors_.load(std::memory_order_relaxed);
  stats.accept_errors = accept_errors_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace evring::net::http

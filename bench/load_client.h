// load_client.h: puts load on one server over many connections, at the least CPU per request that we know.
//
// Used by the `load` program and by the driver `compare`, on one thread pinned to a core that the server does not use.
//
// The client never sleeps while it runs: it spins on the flag that the kernel sets in shared memory when a completion
// is due (IORING_SETUP_TASKRUN_FLAG). So the server never pays to wake the client, whichever server it is, and a pace
// is kept to the microsecond. Replies are received by one multishot receive per connection; sends complete in the
// submission and post a completion only if they fail.
//
// Two ways to load:
//   closed  every connection has a request (or `depth` pipelined ones) outstanding all the time: the server saturates
//   paced   requests fall due at random times (a Poisson process) at a given rate, whatever the server does; each takes
//           the connection that has been idle longest. Latency counts from when a request was due, so a slow server
//           cannot hide its queue.
//
// Every reply is checked: an echo to the byte, an HTTP reply by its length (learnt from one whole parse) and its first
// bytes. Anything wrong, and any connection that ends, is an error that names the connection: a benchmark with errors
// is no benchmark.

#ifndef EVRING_BENCH_LOAD_CLIENT_H_
#define EVRING_BENCH_LOAD_CLIENT_H_

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/latency_histogram.h"
#include "bench/raw_ring.h"

namespace evring::bench {

enum class Protocol { kEcho, kHttp };

// What each connection says.
struct LoadShape {
  Protocol protocol = Protocol::kEcho;
  int connections = 64;
  int depth = 1;  // requests in one send, before their replies are waited for
};

// What one Advance saw.
struct LoadResult {
  double seconds = 0;
  uint64_t requests = 0;     // answered
  uint64_t overdue = 0;      // paced: due, but every connection was busy up to the end
  LatencyHistogram latency;  // one value per send, that is per `depth` requests
};

class LoadClient {
 public:
  // Opens the connections. kInvalidArgument: a bad shape. kUnavailable: no connection, or no reply that makes sense.
  static absl::StatusOr<std::unique_ptr<LoadClient>> Connect(const LoadShape& shape, const std::string& address,
                                                             uint16_t port);
  ~LoadClient();
  LoadClient(const LoadClient&) = delete;
  LoadClient& operator=(const LoadClient&) = delete;

  // Starts traffic at `requests_per_second`, or closed if that is 0. It moves only within Advance and Drain.
  void Start(double requests_per_second, uint64_t seed);
  // Runs the traffic for `duration`. Any error ends the client's use: kDataLoss for a wrong reply, kUnavailable for a
  // connection that ended.
  absl::StatusOr<LoadResult> Advance(absl::Duration duration);
  // Stops sending and waits for the replies still due. kDeadlineExceeded: they did not come within two seconds.
  absl::Status Drain();

 private:
  struct Connection {
    int fd = -1;
    size_t reply_bytes_due = 0;  // 0: idle
    uint64_t due_ns = 0;         // when the request fell due
    std::string request;         // echo: this connection's own bytes
  };

  LoadClient(const LoadShape& shape, size_t reply_bytes);
  absl::Status Open(const std::string& address, uint16_t port);
  void ArmReceive(size_t index);
  void Send(size_t index, uint64_t due_ns);
  void SendDue(uint64_t now_ns);
  void Reap();
  void OnReceived(size_t index, int result, uint32_t flags);
  void OnReplied(size_t index);
  bool ReplyIsRight(const Connection& connection, const char* data, size_t size) const;
  void Fail(absl::Status status);
  // Submits what is to be sent and takes what has come; does not wait.
  void Turn();

  const LoadShape shape_;
  const size_t reply_bytes_;   // of one reply
  const std::string request_;  // HTTP: `depth` requests
  io_uring ring_ = {};
  BufferRing buffers_;
  std::vector<Connection> connections_;
  std::deque<size_t> idle_;  // longest idle first
  std::deque<uint64_t> overdue_;
  absl::Status status_;
  bool sending_ = false;
  double gap_mean_ns_ = 0;  // 0: closed
  double next_due_ns_ = 0;
  std::mt19937_64 random_;
  LoadResult result_;
};

}  // namespace evring::bench

#endif  // EVRING_BENCH_LOAD_CLIENT_H_

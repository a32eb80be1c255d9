// socket.h: a simulated stream socket: TCP over links with latency, Unix without.
//
// Two flows connect two sockets, one in each direction: bytes that are under way, bytes that have arrived, and how the
// flow ends: by a FIN behind the last byte, or by a reset in front of all. A flow holds a bounded number of bytes, so a
// writer waits for its reader.
//
//   kNew -> kBound -> kListening              connections wait in `backlog` until they are accepted
//   kNew -> kConnecting -> kConnected         a TCP handshake takes a round trip and needs a place in the backlog
//
// A connection that is over stays kConnected and is `broken_`: for TCP after a reset, or when both ends have arrived;
// for Unix after a reset that was injected. A Unix socket knows at once what its peer does: a peer that shuts one
// direction, or closes, shuts the other here.
//
// Source: tcp(7), unix(7), and what the real kernel is seen to do (tests/sim/differential_test.cc).

#ifndef EVRING_SIM_SOCKET_H_
#define EVRING_SIM_SOCKET_H_

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "sim/address.h"
#include "sim/network.h"
#include "sim/open_file.h"
#include "sim/world.h"

namespace evring::sim {

// One direction of a connection.
struct Flow {
  struct Segment {
    enum class Kind { kData, kEnd, kReset };
    int64_t at;  // when it arrives
    Kind kind;
    std::vector<std::byte> bytes;
  };

  std::deque<std::byte> arrived;
  std::deque<Segment> segments;  // under way, in order
  size_t under_way = 0;          // bytes in them
  size_t capacity = 0;
  int64_t last_arrival = 0;
  bool ending = false;  // the writer's end is under way behind its bytes
  bool ended = false;   // and has arrived
  bool unread = false;  // the reader has closed

  size_t room() const {
    const size_t used = arrived.size() + under_way;
    return used < capacity ? capacity - used : 0;
  }
};

class Socket final : public OpenFile, public std::enable_shared_from_this<Socket> {
 public:
  enum class State { kNew, kBound, kListening, kConnecting, kConnected };

  Socket(Network* network, int family) : network_(network), family_(family) {}

  int family() const { return family_; }
  State state() const { return state_; }
  bool is_tcp() const { return family_ != AF_UNIX; }

  // Each answers as the system call does, with a negative errno; -EAGAIN: not now, wait to be told.
  int Bind(const Address& address);
  int Listen(int backlog);
  // Begins a connection; it is made, or has failed, when state() is no longer kConnecting.
  int Connect(const Address& address);
  // What a connection attempt has come to. -EAGAIN while it lasts.
  int ConnectResult();
  // Takes the first connection of the backlog.
  std::shared_ptr<Socket> Accept();
  int Receive(std::byte* data, size_t size);
  int Send(const std::byte* data, size_t size, bool may_be_short);
  int Shutdown(int how);
  void Close() override;
  // The connection fails, here and at the other end.
  void Break(int error);
  short Poll() const override;
  // SO_ERROR: what went wrong since it was asked last.
  int TakeError() { return std::exchange(error_, 0); }

  bool can_accept() const { return !backlog_.empty(); }
  // No connection can be accepted any more, or never could.
  bool accepts_nothing() const { return state_ != State::kListening || (read_shut_ && backlog_.empty()); }
  bool has_more() const;  // bytes, or for TCP an end, that a receive would find
  // Bytes that have not come to the other end.
  size_t undelivered() const { return is_tcp() && out_ != nullptr && !broken_ ? out_->under_way : 0; }
  // TCP with SO_REUSEADDR.
  bool reuses_address() const;
  const Address& local() const { return local_; }
  const Address& peer() const { return peer_address_; }
  void set_resets_on_close(bool on) { resets_on_close_ = on; }
  std::map<std::pair<int, int>, int>& options() { return options_; }

  static void Join(const std::shared_ptr<Socket>& a, const std::shared_ptr<Socket>& b, size_t capacity);

 private:
  friend class Network;

  void HaveName(const Address& name);
  int ConnectUnix(const Address& address);
  // The peer's side of a handshake, at the time the request arrives there.
  void Arrive(const Address& to, int tries);
  void Fail(int error);
  void Reset(int error);
  // A reset has come from the network.
  void ArriveReset();
  void SendEnd();
  // The peer's end has come.
  void ArriveEnd();
  // The connection is over.
  void End();
  // Of a Unix peer: what it does shuts these directions here.
  void ShutByPeer(bool read, bool write);
  // The connections that wait to be accepted will not be.
  void RefuseBacklog();
  // Puts a segment on the link, behind those sent before.
  void Transmit(Flow::Segment::Kind kind, std::vector<std::byte> bytes);
  // What has come to the end of the link by now.
  void Deliver(const std::shared_ptr<Socket>& peer);

  Network* const network_;
  const int family_;
  State state_ = State::kNew;
  bool read_shut_ = false;   // by this end, or because there is nothing more to read
  bool write_shut_ = false;  // likewise
  bool broken_ = false;      // the connection is over
  bool closed_ = false;
  bool resets_on_close_ = false;  // TCP
  bool refused_ = false;          // was never accepted, and will not be
  bool failed_ = false;           // the connection attempt; the next one reports it
  int error_ = 0;
  size_t backlog_max_ = 0;
  Address local_;
  Address peer_address_;
  std::weak_ptr<Socket> peer_;
  std::shared_ptr<Flow> in_;
  std::shared_ptr<Flow> out_;
  std::deque<std::shared_ptr<Socket>> backlog_;
  std::map<std::pair<int, int>, int> options_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_SOCKET_H_

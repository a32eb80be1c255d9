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
// Who waits on a socket is told by `notify` whenever anything about it changes: which events of poll(2) it is, or 0,
// the state: whoever waits is to look. Source: tcp(7), unix(7), and what the real kernel is seen to do
// (tests/sim/differential_test.cc).

#ifndef EVRING_SIM_SOCKET_H_
#define EVRING_SIM_SOCKET_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/world.h"

namespace evring::sim {

class Socket;
class Network;

// A socket address as the kernel holds it, to be compared and printed.
class Address {
 public:
  Address() = default;
  Address(const sockaddr* address, socklen_t size);

  int family() const { return empty() ? AF_UNSPEC : reinterpret_cast<const sockaddr*>(bytes_.data())->sa_family; }
  bool empty() const { return bytes_.size() < sizeof(sa_family_t); }
  const std::string& bytes() const { return bytes_; }
  std::string ToString() const;

  // Of AF_INET and AF_INET6.
  uint16_t port() const;
  void set_port(uint16_t port);
  // The address without the port: a host.
  std::string host() const;
  bool any_host() const;
  Address WithHostOf(const Address& other) const;

  auto operator<=>(const Address&) const = default;

 private:
  std::string bytes_;
};

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

class Socket : public std::enable_shared_from_this<Socket> {
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
  int Receive(std::byte* data, size_t size, bool may_be_short);
  int Send(const std::byte* data, size_t size, bool may_be_short);
  int Shutdown(int how);
  // The last descriptor has been closed.
  void Close();
  // The connection fails, here and at the other end.
  void Break(int error);
  short Poll() const;
  // SO_ERROR: what went wrong since it was asked last.
  int TakeError() { return std::exchange(error_, 0); }

  bool can_accept() const { return !backlog_.empty(); }
  // No connection can be accepted any more, or never could.
  bool accepts_nothing() const { return state_ != State::kListening || (read_shut_ && backlog_.empty()); }
  bool has_more() const;  // bytes, or for TCP an end, that a receive would find
  // Bytes that have not come to the other end.
  size_t undelivered() const { return is_tcp() && out_ != nullptr && !broken_ ? out_->under_way : 0; }
  const Address& local() const { return local_; }
  const Address& peer() const { return peer_address_; }
  void set_resets_on_close(bool on) { resets_on_close_ = on; }
  std::map<std::pair<int, int>, int>& options() { return options_; }

  std::function<void(short events)> notify = [](short) {};

  static void Join(const std::shared_ptr<Socket>& a, const std::shared_ptr<Socket>& b, size_t capacity);

 private:
  friend class Network;

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

// The hosts' addresses and the links between them.
class Network {
 public:
  struct Link {
    int64_t latency_min_ns = 20'000;
    int64_t latency_max_ns = 200'000;
    bool cut = false;  // nothing arrives; what is sent is kept until the link is whole again
  };

  Network(World* world, size_t buffer_bytes) : world_(world), buffer_bytes_(buffer_bytes) {}

  World* world() const { return world_; }
  size_t buffer_bytes() const { return buffer_bytes_; }

  // The link between two hosts, in both directions; hosts by their addresses, "10.0.0.1" and "fd00::2". In a task of
  // the simulation. A socket is of the host whose address it is bound to; one that is not bound, of the host it speaks
  // to.
  void SetLink(const std::string& a, const std::string& b, const Link& link);

  // When something sent now from one host arrives at the other; after what was sent before.
  int64_t ArrivalTime(const Address& from, const Address& to, int64_t not_before);

 private:
  friend class Socket;

  Link LinkBetween(const std::string& a, const std::string& b) const;
  bool Holds(const Address& from, const Address& to) const;
  std::shared_ptr<Socket> FindListener(const Address& address) const;
  bool Taken(const Address& address, const Socket* by) const;
  uint16_t FreePort(const Address& address);

  World* const world_;
  const size_t buffer_bytes_;
  uint16_t next_port_ = 32768;
  std::map<std::pair<std::string, std::string>, Link> links_;  // by Address::host() of both
  std::map<Address, std::weak_ptr<Socket>> bound_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_SOCKET_H_

// network.h: what lies between simulated sockets: the names that they are bound to, the links between hosts.

#ifndef EVRING_SIM_NETWORK_H_
#define EVRING_SIM_NETWORK_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "sim/address.h"
#include "sim/world.h"

namespace evring::sim {

class Socket;

inline constexpr int64_t kGiveUpNs = 924'600'000'000;  // after 15 retransmissions, as tcp_retries2 has it
inline constexpr int64_t kRetransmitNs = 200'000'000;  // the first of data that is lost
inline constexpr int64_t kRetransmitMaxNs = 120'000'000'000;
inline constexpr int64_t kHandshakeNs = 1'000'000'000;  // the first of a request to connect, and of its answer

// The hosts' addresses and the links between them.
class Network {
 public:
  struct Link {
    int64_t latency_min_ns = 20'000;
    int64_t latency_max_ns = 200'000;
    bool cut = false;       // nothing arrives; what is sent is kept until the link is whole again
    uint32_t loss_ppm = 0;  // of the segments, in millionths: sent again, they come later, and what is behind them too
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
  // Whether a segment that is sent now is lost.
  bool Loses(const Address& from, const Address& to);
  // How much later a segment arrives because it is lost and sent again, after `first_ns`, then after twice the time
  // each; kGiveUpNs: it is given up.
  int64_t DelayByLoss(const Address& from, const Address& to, int64_t first_ns);

 private:
  friend class Socket;

  Link LinkBetween(const std::string& a, const std::string& b) const;
  bool Holds(const Address& from, const Address& to) const;
  std::shared_ptr<Socket> FindListener(const Address& address) const;
  // Whether a socket other than `by` has the address. `reuse`: SO_REUSEADDR; then those that have it too and do not
  // listen are not in the way.
  bool Taken(const Address& address, const Socket* by, bool reuse) const;
  uint16_t FreePort(const Address& address);

  World* const world_;
  const size_t buffer_bytes_;
  uint16_t next_port_ = 32768;
  std::map<std::pair<std::string, std::string>, Link> links_;  // by Address::host() of both
  std::multimap<Address, std::weak_ptr<Socket>> bound_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_NETWORK_H_

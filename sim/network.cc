#include "sim/network.h"

#include <arpa/inet.h>

#include <algorithm>

#include "kevent/check.h"
#include "sim/socket.h"

namespace evring::sim {
namespace {

// As Address::host() has it.
std::string HostBytes(const std::string& text) {
  char bytes[16];
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) return std::string(bytes, 4);
  EVRING_CHECK(inet_pton(AF_INET6, text.c_str(), bytes) == 1, "a host is named by its address");
  return std::string(bytes, 16);
}

}  // namespace

void Network::SetLink(const std::string& a, const std::string& b, const Link& link) {
  links_[std::minmax(HostBytes(a), HostBytes(b))] = link;
  world_->Say("the link between " + a + " and " + b + (link.cut ? " is cut" : " is there"));
}

Network::Link Network::LinkBetween(const std::string& a, const std::string& b) const {
  const auto found = links_.find(std::minmax(a, b));
  return found == links_.end() ? Link() : found->second;
}

bool Network::Holds(const Address& from, const Address& to) const { return LinkBetween(from.host(), to.host()).cut; }

int64_t Network::ArrivalTime(const Address& from, const Address& to, int64_t not_before) {
  const Link link = LinkBetween(from.host(), to.host());
  int64_t latency = world_->network.Between(link.latency_min_ns, link.latency_max_ns);
  if (world_->Happens(Fault::kSlow)) latency += world_->network.Between(1'000'000, 200'000'000);
  return std::max(world_->now() + latency, not_before);
}

bool Network::Loses(const Address& from, const Address& to) {
  const uint32_t loss_ppm = LinkBetween(from.host(), to.host()).loss_ppm;
  if (loss_ppm == 0 || !world_->network.Chance(loss_ppm)) return false;
  world_->Say("a segment is lost");
  return true;
}

int64_t Network::DelayByLoss(const Address& from, const Address& to, int64_t first_ns) {
  int64_t delay = 0;
  for (int64_t next = first_ns; delay < kGiveUpNs && Loses(from, to); next = std::min(2 * next, kRetransmitMaxNs)) {
    delay += next;
  }
  return std::min(delay, kGiveUpNs);
}

std::shared_ptr<Socket> Network::FindListener(const Address& address) const {
  const auto listening = [](const std::shared_ptr<Socket>& s) {
    return s != nullptr && s->state_ == Socket::State::kListening && !s->closed_ && !s->read_shut_;
  };
  const auto [first, last] = bound_.equal_range(address);
  for (auto bound = first; bound != last; ++bound) {
    if (std::shared_ptr<Socket> socket = bound->second.lock(); listening(socket)) return socket;
  }
  if (address.family() == AF_UNIX) return nullptr;
  for (const auto& [bound, weak] : bound_) {
    if (bound.family() != address.family() || bound.port() != address.port() || !bound.any_host()) continue;
    if (std::shared_ptr<Socket> socket = weak.lock(); listening(socket)) return socket;
  }
  return nullptr;
}

bool Network::Taken(const Address& address, const Socket* by, bool reuse) const {
  for (const auto& [bound, weak] : bound_) {
    const std::shared_ptr<Socket> socket = weak.lock();
    if (socket == nullptr || socket.get() == by || socket->closed_) continue;
    if (reuse && socket->reuses_address() && socket->state() != Socket::State::kListening) continue;
    if (bound == address) return true;
    if (address.family() != AF_UNIX && bound.family() == address.family() && bound.port() == address.port() &&
        (bound.any_host() || address.any_host())) {
      return true;
    }
  }
  return false;
}

uint16_t Network::FreePort(const Address& address) {
  for (int i = 0; i < 28232; ++i) {
    Address candidate = address;
    candidate.set_port(next_port_);
    next_port_ = next_port_ == 60999 ? 32768 : static_cast<uint16_t>(next_port_ + 1);
    if (!Taken(candidate, nullptr, /*reuse=*/false)) return candidate.port();
  }
  return 0;
}

}  // namespace evring::sim

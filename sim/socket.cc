#include "sim/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

#include <algorithm>
#include <vector>

namespace evring::sim {
namespace {

constexpr size_t kInet6SizeMin = 24;  // of an address without its scope, RFC 2133

// What Linux wakes the waiters of a socket with (sock_def_readable(), sock_def_write_space()).
constexpr short kReadable = POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND;
constexpr short kWritable = POLLOUT | POLLWRNORM | POLLWRBAND;

// The errors of connect(2), and what tcp(7) and ip(7) add. Left out: what the arguments or the state of the socket
// decide (EAFNOSUPPORT, EALREADY, EBADF, EFAULT, EISCONN, ENOTSOCK, EPROTOTYPE), and EAGAIN, EINPROGRESS and EINTR, for
// which a ring waits instead.
constexpr int kConnectErrors[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH,
                                  EACCES,       EPERM,     EADDRINUSE,   EADDRNOTAVAIL};
constexpr int kUnixConnectErrors[] = {ECONNREFUSED, EACCES, EPERM};

// Whether this machine says so itself, before anything is sent.
bool IsLocal(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
    case EADDRINUSE:
    case EADDRNOTAVAIL:
      return true;
    default:
      return false;
  }
}

}  // namespace

// --- Making connections

int Socket::Bind(const Address& address) {
  // As inet_bind_sk(), inet6_bind_sk() and unix_bind() of Linux look at it.
  const size_t size = address.bytes().size();
  if (family_ == AF_INET && size < sizeof(sockaddr_in)) return -EINVAL;
  if (family_ == AF_INET6 && size < kInet6SizeMin) return -EINVAL;
  if (family_ == AF_UNIX && (size <= sizeof(sa_family_t) || size > sizeof(sockaddr_un))) return -EINVAL;
  if (address.family() != family_) return family_ == AF_UNIX ? -EINVAL : -EAFNOSUPPORT;
  if ((is_tcp() && state_ != State::kNew) || !local_.empty()) return -EINVAL;
  Address name = address;
  if (is_tcp() && name.port() == 0) {
    name.set_port(network_->FreePort(name));
    if (name.port() == 0) return -EADDRINUSE;
  }
  if (network_->Taken(name, this, reuses_address())) return -EADDRINUSE;
  if (state_ == State::kNew) state_ = State::kBound;
  HaveName(name);
  if (const std::shared_ptr<Socket> peer = peer_.lock(); peer != nullptr) peer->peer_address_ = name;
  return 0;
}

void Socket::HaveName(const Address& name) {
  local_ = name;
  network_->bound_.emplace(name, weak_from_this());
}

bool Socket::reuses_address() const {
  const auto found = options_.find({SOL_SOCKET, SO_REUSEADDR});
  return is_tcp() && found != options_.end() && found->second != 0;
}

int Socket::Listen(int backlog) {
  if (state_ == State::kConnecting || state_ == State::kConnected) return -EINVAL;
  if (state_ == State::kNew && !is_tcp()) return -EINVAL;
  if (is_tcp() && local_.empty()) {
    Address any = Address::Any(family_);
    any.set_port(network_->FreePort(any));
    if (any.port() == 0) return -EADDRINUSE;
    HaveName(any);
  } else if (is_tcp() && state_ != State::kListening && network_->Taken(local_, this, reuses_address())) {
    return -EADDRINUSE;  // of those that share the address one listens
  }
  backlog_max_ = static_cast<size_t>(std::max(backlog, 0)) + 1;  // as Linux counts
  state_ = State::kListening;
  return 0;
}

int Socket::Connect(const Address& address) {
  if (!is_tcp()) return ConnectUnix(address);
  if (state_ == State::kConnected || state_ == State::kListening) return -EISCONN;
  if (state_ == State::kConnecting) return -EALREADY;
  if (std::exchange(failed_, false)) {
    // Only now it is as if it had never tried.
    read_shut_ = false;
    write_shut_ = false;
    return error_ != 0 ? -TakeError() : -ECONNABORTED;
  }
  if (address.family() != family_) return -EAFNOSUPPORT;
  World* world = network_->world();
  if (world->Happens(Fault::kConnectError)) {
    const int error = world->faults.OneOf(kConnectErrors);
    if (IsLocal(error)) return -error;
    state_ = State::kConnecting;
    world->After(error == ETIMEDOUT ? 127'000'000'000 : 1'000'000, [self = shared_from_this(), error] {
      if (!self->closed_ && self->state_ == State::kConnecting) self->Fail(error);
    });
    return 0;
  }
  if (local_.empty()) {
    // A host that nobody has named speaks from the address that it speaks to, as over the loopback.
    Address name = address;
    name.set_port(network_->FreePort(name));
    HaveName(name);
  }
  state_ = State::kConnecting;
  peer_address_ = address;
  Arrive(address, /*tries=*/0);
  return 0;
}

int Socket::ConnectUnix(const Address& address) {
  if (address.family() != family_) return -EINVAL;
  const std::shared_ptr<Socket> listener = network_->FindListener(address);
  if (listener == nullptr) return -ECONNREFUSED;
  if (state_ == State::kConnected) return -EISCONN;
  if (state_ == State::kListening) return -EINVAL;
  World* world = network_->world();
  if (world->Happens(Fault::kConnectError)) return -world->faults.OneOf(kUnixConnectErrors);
  if (listener->backlog_.size() >= listener->backlog_max_) return -EAGAIN;
  auto other = std::make_shared<Socket>(network_, family_);
  peer_address_ = listener->local_;
  other->local_ = listener->local_;
  other->peer_address_ = local_;
  Join(shared_from_this(), other, network_->buffer_bytes());
  listener->backlog_.push_back(std::move(other));
  listener->notify(kReadable);
  return 0;
}

void Socket::Arrive(const Address& to, int tries) {
  World* world = network_->world();
  world->At(network_->ArrivalTime(local_, to, 0), [self = shared_from_this(), to, tries, world] {
    if (self->closed_ || self->state_ != State::kConnecting) return;
    Network* network = self->network_;
    const bool held = network->Holds(self->local_, to) || network->Loses(self->local_, to);
    const std::shared_ptr<Socket> listener = held ? nullptr : network->FindListener(to);
    const bool lost = held || (listener != nullptr && listener->backlog_.size() >= listener->backlog_max_);
    if (lost) {
      // The request is sent again after one second, two, four, … as TCP does; after six times it is given up.
      world->After(kHandshakeNs << tries, [self, to, tries] {
        if (self->closed_ || self->state_ != State::kConnecting) return;
        if (tries == 6) {
          self->Fail(ETIMEDOUT);
        } else {
          self->Arrive(to, tries + 1);
        }
      });
      return;
    }
    const int64_t back =
        network->ArrivalTime(to, self->local_, 0) + network->DelayByLoss(to, self->local_, kHandshakeNs);
    if (listener == nullptr) {
      world->At(back, [self] {
        if (!self->closed_ && self->state_ == State::kConnecting) self->Fail(ECONNREFUSED);
      });
      return;
    }
    auto other = std::make_shared<Socket>(network, self->family_);
    other->local_ = to;
    other->peer_address_ = self->local_;
    other->resets_on_close_ = listener->resets_on_close_;  // options are inherited
    other->options_ = listener->options_;
    Join(self, other, network->buffer_bytes());
    self->state_ = State::kConnecting;   // until the answer has come back
    self->in_->last_arrival = back + 1;  // before all that follows it
    listener->backlog_.push_back(other);
    listener->notify(kReadable);
    world->At(back, [self] {
      if (self->closed_ || self->state_ != State::kConnecting) return;
      self->state_ = State::kConnected;
      self->notify(0);
    });
  });
}

void Socket::Fail(int error) {
  error_ = error;
  state_ = State::kNew;
  failed_ = true;
  read_shut_ = true;
  write_shut_ = true;
  notify(0);
}

int Socket::ConnectResult() {
  if (error_ != 0) return -TakeError();
  return state_ == State::kConnected ? 0 : -EAGAIN;
}

void Socket::Join(const std::shared_ptr<Socket>& a, const std::shared_ptr<Socket>& b, size_t capacity) {
  a->in_ = std::make_shared<Flow>();
  b->in_ = std::make_shared<Flow>();
  a->out_ = b->in_;
  b->out_ = a->in_;
  a->in_->capacity = capacity;
  b->in_->capacity = capacity;
  a->peer_ = b;
  b->peer_ = a;
  a->state_ = State::kConnected;
  b->state_ = State::kConnected;
}

std::shared_ptr<Socket> Socket::Accept() {
  if (backlog_.empty()) return nullptr;
  std::shared_ptr<Socket> first = std::move(backlog_.front());
  backlog_.pop_front();
  return first;
}

// --- Data

bool Socket::has_more() const {
  if (in_ == nullptr) return false;
  return !in_->arrived.empty() || (is_tcp() && in_->ended);
}

int Socket::Receive(std::byte* data, size_t size) {
  if (!is_tcp() && state_ != State::kConnected) return -EINVAL;
  if (state_ == State::kListening) return -ENOTCONN;
  if (in_ != nullptr && !in_->arrived.empty()) {
    size_t n = std::min(size, in_->arrived.size());
    World* world = network_->world();
    if (n > 1 && world->Happens(Fault::kShortReceive)) n = 1 + world->faults.Below(n - 1);
    const bool full = in_->room() == 0;
    const auto end = in_->arrived.begin() + static_cast<std::ptrdiff_t>(n);
    std::copy(in_->arrived.begin(), end, data);
    in_->arrived.erase(in_->arrived.begin(), end);
    // There is room again. TCP tells only who has found none.
    const std::shared_ptr<Socket> peer = peer_.lock();
    if (peer != nullptr && (full || !is_tcp())) peer->notify(kWritable);
    return static_cast<int>(n);
  }
  if (is_tcp() && in_ != nullptr && in_->ended) return 0;  // an end that has arrived stays, whatever comes after it
  if (error_ != 0) return -TakeError();
  if (read_shut_) return 0;
  if (state_ == State::kConnecting) return -EAGAIN;
  return state_ == State::kConnected && !broken_ ? -EAGAIN : -ENOTCONN;
}

int Socket::Send(const std::byte* data, size_t size, bool may_be_short) {
  const std::shared_ptr<Socket> peer = peer_.lock();
  if (!is_tcp()) {
    if (state_ != State::kConnected) return -ENOTCONN;
    if (write_shut_) return -EPIPE;
    if (size == 0) return 0;
    if (error_ != 0) return -TakeError();
    if (peer == nullptr || peer->closed_ || peer->read_shut_) return -EPIPE;
  } else {
    if (error_ != 0) return -TakeError();
    if (state_ == State::kConnecting) return -EAGAIN;
    if (state_ != State::kConnected || broken_ || write_shut_) return -EPIPE;
    if (size == 0) return 0;
  }
  World* world = network_->world();
  size_t n = std::min(size, out_->room());
  if (n == 0) return -EAGAIN;
  if (n > 1 && may_be_short && world->Happens(Fault::kShortSend)) n = 1 + world->faults.Below(n - 1);
  if (!is_tcp()) {
    out_->arrived.insert(out_->arrived.end(), data, data + n);
    peer->notify(kReadable);
    return static_cast<int>(n);
  }
  if (peer != nullptr && world->Happens(Fault::kReset)) {
    Transmit(Flow::Segment::Kind::kReset, {});
    Reset(ECONNRESET);
    return static_cast<int>(n);
  }
  Transmit(Flow::Segment::Kind::kData, std::vector<std::byte>(data, data + n));
  return static_cast<int>(n);
}

void Socket::SendEnd() {
  if (out_->ending) return;
  out_->ending = true;
  Transmit(Flow::Segment::Kind::kEnd, {});
}

void Socket::ArriveEnd() {
  if (broken_) return;
  in_->ended = true;
  read_shut_ = true;
  notify(0);
}

void Socket::End() {
  if (broken_) return;
  broken_ = true;
  read_shut_ = true;
  write_shut_ = true;
  notify(0);
}

void Socket::ShutByPeer(bool read, bool write) {
  read_shut_ = read_shut_ || read;
  write_shut_ = write_shut_ || write;
  notify(0);
}

void Socket::Transmit(Flow::Segment::Kind kind, std::vector<std::byte> bytes) {
  out_->under_way += bytes.size();
  const int64_t delay = network_->DelayByLoss(local_, peer_address_, kRetransmitNs);
  if (delay == kGiveUpNs) {
    network_->world()->After(kGiveUpNs, [self = shared_from_this()] { self->Reset(ETIMEDOUT); });
    out_->last_arrival = kNever;  // of what follows too
  }
  const int64_t arrival = network_->ArrivalTime(local_, peer_address_, 0) + delay;
  out_->last_arrival = std::max(arrival, out_->last_arrival);
  out_->segments.push_back({out_->last_arrival, kind, std::move(bytes)});
  if (out_->last_arrival == kNever) return;
  network_->world()->At(out_->last_arrival, [self = shared_from_this(), peer = peer_.lock()] { self->Deliver(peer); });
}

void Socket::Deliver(const std::shared_ptr<Socket>& peer) {
  World* world = network_->world();
  if (network_->Holds(local_, peer_address_)) {
    if (out_->segments.empty()) return;
    // Sent again, until it comes through, or is given up.
    if (world->now() - out_->segments.front().at > kGiveUpNs) {
      out_->segments.clear();
      out_->under_way = 0;
      Reset(ETIMEDOUT);
    } else {
      world->After(kRetransmitNs, [self = shared_from_this(), peer] { self->Deliver(peer); });
    }
    return;
  }
  while (!out_->segments.empty() && out_->segments.front().at <= world->now()) {
    const Flow::Segment segment = std::move(out_->segments.front());
    out_->segments.pop_front();
    out_->under_way -= segment.bytes.size();
    if (segment.kind == Flow::Segment::Kind::kReset) {
      if (peer != nullptr) peer->ArriveReset();
    } else if (segment.kind == Flow::Segment::Kind::kEnd) {
      out_->ended = true;
      if (peer != nullptr) peer->ArriveEnd();
      if (in_->ended) {
        End();
        if (peer != nullptr) peer->End();
      }
    } else if (peer == nullptr || out_->unread || peer->broken_ || (peer->read_shut_ && peer->out_->ending)) {
      // Nobody will read it: that end says so, and if it is still there, being shut in both directions, it ends so too.
      if (peer != nullptr && !peer->closed_) peer->Reset(ECONNRESET);
      world->At(network_->ArrivalTime(peer_address_, local_, 0), [self = shared_from_this()] { self->ArriveReset(); });
    } else {
      out_->arrived.insert(out_->arrived.end(), segment.bytes.begin(), segment.bytes.end());
      peer->notify(kReadable);
    }
  }
}

void Socket::ArriveReset() { Reset(in_->ended && !out_->ending ? EPIPE : ECONNRESET); }

void Socket::Reset(int error) {
  if (broken_ || closed_) return;
  error_ = error;
  End();
}

void Socket::Break(int error) {
  if (broken_ || in_ == nullptr) return;
  if (is_tcp()) {
    Transmit(Flow::Segment::Kind::kReset, {});
  } else if (const std::shared_ptr<Socket> peer = peer_.lock(); peer != nullptr) {
    peer->Reset(ECONNRESET);
  }
  Reset(error);
}

// --- Ends

int Socket::Shutdown(int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return -EINVAL;
  const bool read = how != SHUT_WR;
  const bool write = how != SHUT_RD;
  if (!is_tcp()) {
    ShutByPeer(read, write);
    if (const std::shared_ptr<Socket> peer = peer_.lock(); peer != nullptr) peer->ShutByPeer(write, read);
    return 0;
  }
  if (state_ == State::kListening) {
    if (!read) return 0;
    state_ = State::kBound;
    RefuseBacklog();
    notify(POLLERR);  // as tcp_disconnect() of Linux wakes, error or not
    notify(0);
    return 0;
  }
  if (state_ == State::kConnecting) return -ENOTCONN;
  // What is not connected is marked all the same.
  read_shut_ = read_shut_ || read;
  write_shut_ = write_shut_ || write;
  const bool connected = state_ == State::kConnected && !broken_;
  if (connected && write) SendEnd();
  notify(0);
  return connected ? 0 : -ENOTCONN;
}

void Socket::RefuseBacklog() {
  for (const std::shared_ptr<Socket>& waiting : std::exchange(backlog_, {})) {
    waiting->refused_ = true;
    waiting->Close();
  }
}

void Socket::Close() {
  if (closed_) return;
  closed_ = true;
  if (!local_.empty()) {
    std::erase_if(network_->bound_,
                  [this](const auto& bound) { return bound.first == local_ && bound.second.lock().get() == this; });
  }
  RefuseBacklog();
  if (in_ == nullptr) return;
  in_->unread = true;
  const bool reset = !in_->arrived.empty() || refused_ || (is_tcp() && resets_on_close_);
  const std::shared_ptr<Socket> peer = peer_.lock();
  if (!is_tcp()) {
    if (peer == nullptr) return;
    if (reset) peer->error_ = ECONNRESET;
    peer->ShutByPeer(true, true);
    return;
  }
  read_shut_ = true;
  write_shut_ = true;
  if (broken_) return;
  if (reset) {
    broken_ = true;
    Transmit(Flow::Segment::Kind::kReset, {});
  } else {
    SendEnd();
  }
}

// As unix_poll() and tcp_poll() of Linux put it together.
short Socket::Poll() const {
  short events = 0;
  const bool listening = state_ == State::kListening;
  if (listening && is_tcp()) return backlog_.empty() ? 0 : POLLIN | POLLRDNORM;
  if (error_ != 0) events |= POLLERR;
  const bool over = broken_ || state_ == State::kNew || state_ == State::kBound;
  if (over || (read_shut_ && write_shut_)) events |= POLLHUP;
  if (read_shut_) events |= POLLIN | POLLRDNORM | POLLRDHUP;
  if (!backlog_.empty() || (in_ != nullptr && !in_->arrived.empty())) events |= POLLIN | POLLRDNORM;
  const bool room = out_ == nullptr || out_->room() != 0 || (is_tcp() && (write_shut_ || broken_));
  if (room && !listening && state_ != State::kConnecting) events |= POLLOUT | POLLWRNORM;
  return events;
}

}  // namespace evring::sim

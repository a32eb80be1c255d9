#include "bench/raw_ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace evring::bench {

void Die(const char* what, int error) {
  std::fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, std::strerror(error));
  std::exit(1);
}

void OpenRing(io_uring* ring, unsigned sq_entries, unsigned cq_entries, unsigned extra_flags) {
  io_uring_params params = {};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE | extra_flags;
  params.cq_entries = cq_entries;
  const int made = io_uring_queue_init_params(sq_entries, ring, &params);
  if (made < 0) {
    Die("io_uring_setup (SINGLE_ISSUER and DEFER_TASKRUN need Linux 6.1)", -made);
  }
  const int registered = io_uring_register_ring_fd(ring);
  if (registered < 0) {
    Die("io_uring_register_ring_fd", -registered);
  }
}

void BufferRing::Open(io_uring* ring, unsigned count, unsigned bytes_each) {
  stride_ = bytes_each + kSkew;
  bytes_each_ = bytes_each;
  mask_ = io_uring_buf_ring_mask(count);
  const size_t ring_bytes = count * sizeof(io_uring_buf);  // stands first: it must be page-aligned
  const size_t bytes = ring_bytes + count * stride_;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    Die("mmap of the receive buffers", errno);
  }
  ring_ = static_cast<io_uring_buf_ring*>(memory);
  memory_ = static_cast<char*>(memory) + ring_bytes;
  io_uring_buf_ring_init(ring_);
  io_uring_buf_reg registration = {};
  registration.ring_addr = reinterpret_cast<uint64_t>(ring_);
  registration.ring_entries = count;
  registration.bgid = kGroup;
  const int registered = io_uring_register_buf_ring(ring, &registration, 0);
  if (registered < 0) {
    Die("io_uring_register_buf_ring", -registered);
  }
  for (unsigned id = 0; id < count; ++id) {
    Release(static_cast<uint16_t>(id));
  }
}

int ListenAndAnnounce(const std::string& address, uint16_t port) {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  if (inet_pton(AF_INET, address.c_str(), &name.sin_addr) != 1) {
    Die("--address is not an IPv4 address", EINVAL);
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) {
    Die("socket", errno);
  }
  const int on = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) {
    Die("setsockopt SO_REUSEADDR", errno);
  }
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
    Die("setsockopt TCP_NODELAY", errno);
  }
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)) < 0) {
    Die("bind", errno);
  }
  if (listen(fd, SOMAXCONN) < 0) {
    Die("listen", errno);
  }
  socklen_t size = sizeof(name);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) < 0) {
    Die("getsockname", errno);
  }
  std::printf("listening on %s:%d\n", address.c_str(), ntohs(name.sin_port));
  std::fflush(stdout);
  return fd;
}

int OpenStopSignal() {
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
    Die("signal SIGPIPE", errno);
  }
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  if (sigprocmask(SIG_BLOCK, &stop, nullptr) < 0) {
    Die("sigprocmask", errno);
  }
  const int fd = signalfd(-1, &stop, SFD_CLOEXEC);
  if (fd < 0) {
    Die("signalfd", errno);
  }
  return fd;
}

}  // namespace evring::bench

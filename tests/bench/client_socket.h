// client_socket.h: a blocking TCP client for tests of servers that run as processes of their own.
//
// Every wait is bounded by kPatience: a server that does not answer makes a test fail, never hang. Used by one thread.

#ifndef EVRING_TESTS_BENCH_CLIENT_SOCKET_H_
#define EVRING_TESTS_BENCH_CLIENT_SOCKET_H_

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace evring::bench {

class ClientSocket {
 public:
  static constexpr int kPatienceMs = 10'000;

  // Connects to 127.0.0.1; `receive_bytes` > 0 makes the receive buffer as small as that, so that a server's sends to a
  // client that does not read soon find no room.
  explicit ClientSocket(uint16_t port, int receive_bytes = 0) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    EXPECT_GE(fd_, 0) << std::strerror(errno);
    if (receive_bytes > 0) {
      EXPECT_EQ(setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes)), 0);
    }
    const int on = 1;
    EXPECT_EQ(setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0) << std::strerror(errno);
  }
  ~ClientSocket() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  ClientSocket(ClientSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ClientSocket& operator=(ClientSocket&&) = delete;

  // Sends as much of `data` as goes without waiting longer than `patience_ms` for room; returns how much.
  size_t SendSome(const std::string& data, int patience_ms) {
    size_t sent = 0;
    while (sent < data.size() && Await(POLLOUT, patience_ms)) {
      const ssize_t n = send(fd_, data.data() + sent, data.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) {
        break;
      }
      sent += n > 0 ? static_cast<size_t>(n) : 0;
    }
    return sent;
  }
  void Send(const std::string& data) { EXPECT_EQ(SendSome(data, kPatienceMs), data.size()) << std::strerror(errno); }

  // Up to `size` bytes: fewer only if the stream ended, was reset, or nothing came for kPatience.
  std::string Receive(size_t size) {
    std::string data(size, '\0');
    size_t got = 0;
    while (got < size && Await(POLLIN, kPatienceMs)) {
      const ssize_t n = recv(fd_, data.data() + got, size - got, 0);
      if (n <= 0) {
        break;
      }
      got += static_cast<size_t>(n);
    }
    data.resize(got);
    return data;
  }

  // True if the server ends the stream (or resets it) before it sends another byte, within kPatience.
  bool AtEnd() {
    char byte;
    return Await(POLLIN, kPatienceMs) && recv(fd_, &byte, 1, 0) <= 0;
  }

  void HalfClose() { EXPECT_EQ(shutdown(fd_, SHUT_WR), 0) << std::strerror(errno); }

  // Closes with a reset instead of an orderly end.
  void Reset() {
    const linger now = {1, 0};
    EXPECT_EQ(setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(std::exchange(fd_, -1));
  }

 private:
  bool Await(short events, int patience_ms) {
    pollfd wanted = {fd_, events, 0};
    return poll(&wanted, 1, patience_ms) == 1;
  }

  int fd_;
};

}  // namespace evring::bench

#endif  // EVRING_TESTS_BENCH_CLIENT_SOCKET_H_

// test_client.h: a client of TCP servers over a plain blocking socket, which knows enough HTTP/1.1 to read answers.
// Shares no code with net/. Used by one thread; every wait is bounded by kPatienceSeconds, after which the test fails.

#ifndef EVRING_TESTS_SUPPORT_TEST_CLIENT_H_
#define EVRING_TESTS_SUPPORT_TEST_CLIENT_H_

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"

namespace evring::testing {

inline constexpr int kPatienceSeconds = 30;

struct TestResponse {
  int status = 0;
  std::string head;                            // as received, with the empty line
  std::map<std::string, std::string> headers;  // names in small letters; of repeated ones the last
  std::string body;

  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
  }
};

class TestClient {
 public:
  // Connects to 127.0.0.1. `receive_buffer_bytes` bounds what the kernel takes in for a client that does not read.
  explicit TestClient(uint16_t port, int receive_buffer_bytes = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_GE(fd_, 0) << strerror(errno);
    if (receive_buffer_bytes > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
    }
    const timeval patience = {kPatienceSeconds, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;
  ~TestClient() { Close(); }

  bool connected() const { return connected_; }
  int fd() const { return fd_; }

  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  // Closes so that the server's end sees a reset.
  void Reset() {
    const linger now = {1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    Close();
  }
  void HalfClose() { shutdown(fd_, SHUT_WR); }

  // False: the server has closed; not a failure by itself.
  bool Send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        EXPECT_TRUE(errno == EPIPE || errno == ECONNRESET) << "send: " << strerror(errno);
        return false;
      }
      data.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  bool SendBytewise(std::string_view data) {
    for (const char c : data) {
      if (!Send({&c, 1})) return false;
    }
    return true;
  }

  // Receives until `size` bytes are there. False: the connection ended before.
  bool ReadAtLeast(size_t size) {
    while (received_.size() < size) {
      char buffer[64 << 10];
      const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        ADD_FAILURE() << "the server is silent for " << kPatienceSeconds << " s; so far: " << received_.substr(0, 300);
        return false;
      }
      if (n <= 0) {
        reset_ = n < 0;
        return false;
      }
      received_.append(buffer, static_cast<size_t>(n));
    }
    return true;
  }
  // All that comes until the server closes, less what was taken before.
  std::string ReadToEnd() {
    ReadAtLeast(SIZE_MAX);
    return std::exchange(received_, {});
  }
  // The server closes without saying anything more.
  bool AtEnd() { return !ReadAtLeast(1); }
  // The end was a reset.
  bool reset() const { return reset_; }
  // Bytes that were received and not taken.
  size_t pending() const { return received_.size(); }
  std::string Take(size_t size) {
    std::string taken = received_.substr(0, size);
    received_.erase(0, size);
    return taken;
  }

  // The next answer; 1xx count as answers of their own. nullopt: the connection ended before it was whole, or it is
  // none.
  std::optional<TestResponse> ReadResponse(bool to_head = false) {
    size_t end;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!ReadAtLeast(received_.size() + 1)) return std::nullopt;
    }
    TestResponse response;
    response.head = Take(end + 4);
    if (response.head.compare(0, 9, "HTTP/1.1 ") != 0) {
      ADD_FAILURE() << "no answer: " << response.head;
      return std::nullopt;
    }
    response.status = std::atoi(response.head.c_str() + 9);
    for (size_t line = response.head.find("\r\n") + 2; line < response.head.size() - 2;) {
      const size_t line_end = response.head.find("\r\n", line);
      const size_t colon = response.head.find(':', line);
      if (colon > line_end) {
        ADD_FAILURE() << "a field line without a colon: " << response.head;
        return std::nullopt;
      }
      std::string name = response.head.substr(line, colon - line);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      const size_t value = response.head.find_first_not_of(' ', colon + 1);
      response.headers[name] = value < line_end ? response.head.substr(value, line_end - value) : "";
      line = line_end + 2;
    }
    if (to_head || response.status / 100 == 1 || response.status == 204 || response.status == 304) return response;
    if (response.header("transfer-encoding") == "chunked") {
      if (!ReadChunks(&response.body)) return std::nullopt;
    } else if (response.headers.count("content-length") != 0) {
      const size_t length = std::strtoull(response.header("content-length").c_str(), nullptr, 10);
      if (!ReadAtLeast(length)) return std::nullopt;
      response.body = Take(length);
    } else {
      response.body = ReadToEnd();
    }
    return response;
  }

  std::optional<TestResponse> Ask(std::string_view request, bool to_head = false) {
    Send(request);
    return ReadResponse(to_head);
  }

 private:
  bool ReadChunks(std::string* body) {
    for (;;) {
      size_t line;
      while ((line = received_.find("\r\n")) == std::string::npos) {
        if (!ReadAtLeast(received_.size() + 1)) return false;
      }
      const size_t size = std::strtoull(Take(line + 2).c_str(), nullptr, 16);
      if (!ReadAtLeast(size + 2)) return false;
      body->append(Take(size));
      if (Take(2) != "\r\n") {
        ADD_FAILURE() << "a chunk without its end";
        return false;
      }
      if (size == 0) return true;
    }
  }

  int fd_ = -1;
  bool connected_ = false;
  bool reset_ = false;
  std::string received_;
};

}  // namespace evring::testing

#endif  // EVRING_TESTS_SUPPORT_TEST_CLIENT_H_

#include "bench/load_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace evring::bench {
namespace {

constexpr size_t kEchoBytes = 64;
constexpr absl::string_view kHttpRequest = "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
constexpr absl::string_view kHttpReplyStart = "HTTP/1.1 200";
constexpr unsigned kSubmissions = 1024;
constexpr unsigned kCompletions = 8192;
constexpr unsigned kBuffers = 1024;
constexpr unsigned kBufferBytes = 4096;
constexpr absl::Duration kPatience = absl::Seconds(2);

// user_data: a connection's index and which of its operations.
constexpr uint64_t kSendBit = 1;

uint64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

absl::Status Unavailable(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error)));
}

// A connected blocking socket without Nagle's delay.
absl::StatusOr<int> ConnectTo(const std::string& address, uint16_t port) {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  if (inet_pton(AF_INET, address.c_str(), &name.sin_addr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("not an IPv4 address: ", address));
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) {
    return Unavailable("socket", errno);
  }
  const int on = 1;
  const timeval patience = absl::ToTimeval(kPatience);
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
      connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)) < 0) {
    absl::Status status = Unavailable(absl::StrCat("connect ", address, ":", port), errno);
    close(fd);
    return status;
  }
  return fd;
}

// How many bytes an HTTP reply in `text` takes, if its head is complete and its body length is given.
std::optional<size_t> ReplyBytes(absl::string_view text) {
  const size_t head_end = text.find("\r\n\r\n");
  if (head_end == text.npos) {
    return std::nullopt;
  }
  for (const absl::string_view line : absl::StrSplit(text.substr(0, head_end), "\r\n")) {
    constexpr absl::string_view kName = "content-length:";
    size_t body_bytes;
    if (absl::StartsWithIgnoreCase(line, kName) && absl::SimpleAtoi(line.substr(kName.size()), &body_bytes)) {
      return head_end + 4 + body_bytes;
    }
  }
  return std::nullopt;
}

// Asks once on a connection of its own and measures the reply: all replies of a run must have this length.
absl::StatusOr<size_t> LearnReplyBytes(const std::string& address, uint16_t port) {
  const absl::StatusOr<int> fd = ConnectTo(address, port);
  if (!fd.ok()) {
    return fd.status();
  }
  std::string text;
  ssize_t got = send(*fd, kHttpRequest.data(), kHttpRequest.size(), MSG_NOSIGNAL);
  while (got > 0 && text.size() < ReplyBytes(text).value_or(kBufferBytes)) {
    char piece[kBufferBytes];
    do {  // EINTR comes without a signal, too: where this thread has had other rings, their end interrupts it
      got = recv(*fd, piece, sizeof(piece), 0);
    } while (got < 0 && errno == EINTR);
    text.append(piece, std::max<ssize_t>(got, 0));
  }
  close(*fd);
  const std::optional<size_t> bytes = ReplyBytes(text);
  if (!absl::StartsWith(text, kHttpReplyStart) || bytes != text.size()) {
    return absl::UnavailableError(absl::StrCat("no 200 with a Content-Length for /plaintext, but ", text.size(),
                                               " bytes: ", text.substr(0, 200)));
  }
  return *bytes;
}

std::string Repeated(absl::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) {
    absl::StrAppend(&all, text);
  }
  return all;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoadClient>> LoadClient::Connect(const LoadShape& shape, const std::string& address,
                                                                uint16_t port) {
  if (shape.connections < 1 || shape.connections > 30000 || shape.depth < 1 || shape.depth > 64) {
    return absl::InvalidArgumentError("connections must be 1 to 30000, depth 1 to 64");
  }
  size_t reply_bytes = kEchoBytes;
  if (shape.protocol == Protocol::kHttp) {
    const absl::StatusOr<size_t> learnt = LearnReplyBytes(address, port);
    if (!learnt.ok()) {
      return learnt.status();
    }
    reply_bytes = *learnt;
  }
  std::unique_ptr<LoadClient> client(new LoadClient(shape, reply_bytes));
  absl::Status opened = client->Open(address, port);
  if (!opened.ok()) {
    return opened;
  }
  return client;
}

LoadClient::LoadClient(const LoadShape& shape, size_t reply_bytes)
    : shape_(shape),
      reply_bytes_(reply_bytes),
      request_(shape.protocol == Protocol::kHttp ? Repeated(kHttpRequest, shape.depth) : "") {
  OpenRing(&ring_, kSubmissions, kCompletions, IORING_SETUP_TASKRUN_FLAG);
  buffers_.Open(&ring_, kBuffers, kBufferBytes);
}

LoadClient::~LoadClient() {
  for (const Connection& connection : connections_) {
    close(connection.fd);
  }
  io_uring_queue_exit(&ring_);
}

absl::Status LoadClient::Open(const std::string& address, uint16_t port) {
  for (int i = 0; i < shape_.connections; ++i) {
    const absl::StatusOr<int> fd = ConnectTo(address, port);
    if (!fd.ok()) {
      return fd.status();
    }
    Connection connection;
    connection.fd = *fd;
    if (shape_.protocol == Protocol::kEcho) {
      connection.request.resize(kEchoBytes * shape_.depth);
      for (char& byte : connection.request) {
        byte = static_cast<char>(random_());
      }
    }
    connections_.push_back(std::move(connection));
    idle_.push_back(i);
    ArmReceive(i);
  }
  io_uring_submit(&ring_);
  return absl::OkStatus();
}

void LoadClient::ArmReceive(size_t index) {
  io_uring_sqe* sqe = NextSqe(&ring_);
  io_uring_prep_recv_multishot(sqe, connections_[index].fd, nullptr, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = BufferRing::kGroup;
  io_uring_sqe_set_data64(sqe, index << 1);
}

void LoadClient::Send(size_t index, uint64_t due_ns) {
  Connection& connection = connections_[index];
  if (shape_.protocol == Protocol::kEcho) {
    ++connection.request[0];  // so that no echo passes for the one before
  }
  const std::string& request = shape_.protocol == Protocol::kEcho ? connection.request : request_;
  io_uring_sqe* sqe = NextSqe(&ring_);
  // MSG_WAITALL makes a short send go on in the kernel, so that only a failure is left to be reported.
  io_uring_prep_send(sqe, connection.fd, request.data(), request.size(), MSG_NOSIGNAL | MSG_WAITALL);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  io_uring_sqe_set_data64(sqe, index << 1 | kSendBit);
  connection.reply_bytes_due = reply_bytes_ * shape_.depth;
  connection.due_ns = due_ns;
}

void LoadClient::Start(double requests_per_second, uint64_t seed) {
  random_.seed(seed);
  sending_ = true;
  gap_mean_ns_ = requests_per_second > 0 ? 1e9 * shape_.depth / requests_per_second : 0;
  next_due_ns_ = static_cast<double>(NowNs());
  if (gap_mean_ns_ == 0) {
    const uint64_t now = NowNs();
    for (const size_t index : std::exchange(idle_, {})) {
      Send(index, now);
    }
  }
}

void LoadClient::SendDue(uint64_t now_ns) {
  while (next_due_ns_ <= static_cast<double>(now_ns)) {
    overdue_.push_back(static_cast<uint64_t>(next_due_ns_));
    const double uniform = (static_cast<double>(random_() >> 11) + 1) * 0x1p-53;  // in (0, 1]
    next_due_ns_ -= gap_mean_ns_ * std::log(uniform);
  }
  while (!overdue_.empty() && !idle_.empty()) {
    Send(idle_.front(), overdue_.front());
    idle_.pop_front();
    overdue_.pop_front();
  }
}

bool LoadClient::ReplyIsRight(const Connection& connection, const char* data, size_t size) const {
  const size_t offset = reply_bytes_ * shape_.depth - connection.reply_bytes_due;
  if (shape_.protocol == Protocol::kEcho) {
    return std::memcmp(data, connection.request.data() + offset, size) == 0;
  }
  // The beginning of each reply that begins in `data`.
  for (size_t at = (reply_bytes_ - offset % reply_bytes_) % reply_bytes_; at < size; at += reply_bytes_) {
    if (std::memcmp(data + at, kHttpReplyStart.data(), std::min(size - at, kHttpReplyStart.size())) != 0) {
      return false;
    }
  }
  return true;
}

void LoadClient::Fail(absl::Status status) {
  status_.Update(status);
  sending_ = false;
}

void LoadClient::OnReceived(size_t index, int result, uint32_t flags) {
  Connection& connection = connections_[index];
  if (result > 0) {
    const uint16_t buffer = BufferRing::IdOf(flags);
    const size_t size = static_cast<size_t>(result);
    if (size > connection.reply_bytes_due || !ReplyIsRight(connection, buffers_.Data(buffer), size)) {
      return Fail(absl::DataLossError(absl::StrCat("connection ", index, ": a wrong reply; ", size, " bytes came, ",
                                                   connection.reply_bytes_due, " were due")));
    }
    buffers_.Release(buffer);
    connection.reply_bytes_due -= size;
    if (connection.reply_bytes_due == 0) {
      OnReplied(index);
    }
  } else if (result != -ENOBUFS) {
    return Fail(absl::UnavailableError(
        absl::StrCat("connection ", index, ": ", result == 0 ? "closed by the server" : std::strerror(-result))));
  }
  if ((flags & IORING_CQE_F_MORE) == 0) {
    ArmReceive(index);
  }
}

void LoadClient::OnReplied(size_t index) {
  const uint64_t now = NowNs();
  const uint64_t due = connections_[index].due_ns;
  result_.latency.Add(now > due ? now - due : 0);
  result_.requests += shape_.depth;
  if (sending_ && gap_mean_ns_ == 0) {
    Send(index, now);
  } else {
    idle_.push_back(index);
  }
}

void LoadClient::Reap() {
  unsigned head;
  unsigned reaped = 0;
  io_uring_cqe* cqe;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    const size_t index = cqe->user_data >> 1;
    if ((cqe->user_data & kSendBit) == 0) {
      OnReceived(index, cqe->res, cqe->flags);
    } else if (cqe->res < 0) {
      Fail(Unavailable(absl::StrCat("connection ", index, ": send"), -cqe->res));
    }
    ++reaped;
  }
  io_uring_cq_advance(&ring_, reaped);
}

void LoadClient::Turn() {
  if (sending_ && gap_mean_ns_ > 0) {
    SendDue(NowNs());
  }
  const bool completions_due =
      (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  if (!completions_due && io_uring_sq_ready(&ring_) == 0 && io_uring_cq_ready(&ring_) == 0) {
    return;
  }
  const int entered = io_uring_submit_and_get_events(&ring_);
  if (entered < 0 && entered != -EINTR && entered != -EAGAIN && entered != -EBUSY) {
    Fail(Unavailable("io_uring_enter", -entered));
  }
  Reap();
}

absl::StatusOr<LoadResult> LoadClient::Advance(absl::Duration duration) {
  result_ = LoadResult();
  const uint64_t begin = NowNs();
  const uint64_t end = begin + static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
  uint64_t now = begin;
  for (; now < end && status_.ok(); now = NowNs()) {
    Turn();
  }
  if (!status_.ok()) {
    return status_;
  }
  result_.seconds = static_cast<double>(now - begin) * 1e-9;
  result_.overdue = overdue_.size();
  return result_;
}

absl::Status LoadClient::Drain() {
  sending_ = false;
  overdue_.clear();
  const uint64_t give_up = NowNs() + static_cast<uint64_t>(absl::ToInt64Nanoseconds(kPatience));
  while (status_.ok() && idle_.size() < connections_.size()) {
    Turn();
    if (NowNs() > give_up) {
      return absl::DeadlineExceededError(
          absl::StrCat(connections_.size() - idle_.size(), " connections wait for a reply that does not come"));
    }
  }
  return status_;
}

}  // namespace evring::bench

// raw_http: answers GET /plaintext as one liburing loop, the limit that //examples:http_server is compared with.
//
// It finds the requests' ends honestly: each begins with the request line that it knows and ends at the first empty
// line, wherever the reads were cut. Nothing else of HTTP is here: any other request line ends the connection, header
// fields are not looked at, bodies are not known. Replies to pipelined requests leave in one send: a block holds the
// reply many times over, so that any number of them is a prefix of it and nothing is copied per request.

#include <time.h>

#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "bench/raw_main.h"
#include "bench/raw_server.h"

namespace evring::bench {
namespace {

constexpr std::string_view kRequestLine = "GET /plaintext HTTP/1.1\r\n";
constexpr size_t kRequestBytesMax = 4096;

// The whole requests at the front of some data.
struct Scan {
  bool bad = false;  // a request that is not ours
  size_t requests = 0;
  size_t bytes = 0;  // that they take; what follows is the beginning of the next
};

Scan FindRequests(const char* data, size_t size) {
  Scan scan;
  while (scan.bytes < size) {
    const char* request = data + scan.bytes;
    const size_t left = size - scan.bytes;
    if (std::memcmp(request, kRequestLine.data(), std::min(left, kRequestLine.size())) != 0) {
      scan.bad = true;
      return scan;
    }
    // The end of each line in turn, from the request line's own on: an empty line follows where it reads \n\r\n.
    const char* const end = data + size;
    const char* line_end = left < kRequestLine.size() ? end : request + kRequestLine.size() - 1;
    while (end - line_end >= 3 && !(line_end[1] == '\r' && line_end[2] == '\n')) {
      const void* next = std::memchr(line_end + 1, '\n', end - line_end - 1);
      line_end = next == nullptr ? end : static_cast<const char*>(next);
    }
    if (end - line_end < 3) {
      return scan;
    }
    ++scan.requests;
    scan.bytes = line_end + 3 - data;
  }
  return scan;
}

// One reply, kReplies times over, all with the Date of one second.
struct ReplyBlock {
  static constexpr size_t kReplies = 64;
  std::string bytes;
  size_t readers = 0;  // sends in flight that take from it
};

struct alignas(64) HttpConnection : RawConnection {
  size_t owed = 0;              // replies not yet given to a send
  ReplyBlock* block = nullptr;  // what the send in flight takes from
  size_t partial = 0;           // bytes of an unfinished request at the front of `request`
  std::array<char, kRequestBytesMax> request;
};

class HttpServer : public RawServer<HttpServer, HttpConnection> {
 public:
  explicit HttpServer(ReceiveMode mode) : RawServer(mode) { OnTurn(); }

 private:
  friend class RawServer<HttpServer, HttpConnection>;

  // Keeps the Date: at a new second the replies move to a block that no send reads from.
  void OnTurn() {
    timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != block_second_) [[unlikely]] {
      block_second_ = now.tv_sec;
      FillBlock();
    }
  }

  void FillBlock() {
    current_ = nullptr;
    for (const std::unique_ptr<ReplyBlock>& block : blocks_) {
      if (block->readers == 0) {
        current_ = block.get();
      }
    }
    if (current_ == nullptr) {
      current_ = blocks_.emplace_back(std::make_unique<ReplyBlock>()).get();
    }
    tm utc;
    gmtime_r(&block_second_, &utc);
    char date[64];
    std::strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);  // IMF-fixdate, RFC 9110 section 5.6.7
    const std::string reply = absl::StrCat("HTTP/1.1 200 OK\r\nServer: evring\r\nDate: ", date,
                                           "\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                           "Content-Length: 13\r\n\r\nHello, World!");
    reply_bytes_ = reply.size();
    current_->bytes.clear();
    for (size_t i = 0; i < ReplyBlock::kReplies; ++i) {
      current_->bytes += reply;
    }
  }

  size_t ReceiveSpace(HttpConnection* conn, char** space) {
    *space = conn->request.data() + conn->partial;
    return conn->request.size() - conn->partial;
  }

  void OnData(HttpConnection* conn, char* data, size_t size, uint16_t buffer) {
    if (!multishot()) {
      TakeRequests(conn, conn->request.data(), conn->partial + size);
    } else {
      if (conn->partial == 0) [[likely]] {
        TakeRequests(conn, data, size);
      } else {
        JoinPartial(conn, data, size);
      }
      ReleaseBuffer(buffer);
    }
    if (conn->owed > 0 && !conn->sending) [[likely]] {
      SendOwed(conn);
    } else if (!multishot() && !conn->ended) {
      ArmReceive(conn);
    }
  }

  // Counts the requests in `data` and keeps the unfinished rest. `data` may be the connection's own request bytes.
  void TakeRequests(HttpConnection* conn, const char* data, size_t size) {
    const Scan scan = FindRequests(data, size);
    conn->owed += scan.requests;
    conn->partial = size - scan.bytes;
    if (scan.bad || conn->partial >= conn->request.size()) [[unlikely]] {
      conn->partial = 0;
      EndReceive(conn);
    } else if (conn->partial > 0) [[unlikely]] {
      std::memmove(conn->request.data(), data + scan.bytes, conn->partial);
    }
  }

  // Multishot: appends a buffer to the unfinished request, in as many steps as the space asks for.
  void JoinPartial(HttpConnection* conn, const char* data, size_t size) {
    while (size > 0 && !conn->ended) {
      char* space;
      const size_t step = std::min(size, ReceiveSpace(conn, &space));
      std::memcpy(space, data, step);
      data += step;
      size -= step;
      TakeRequests(conn, conn->request.data(), conn->partial + step);
    }
  }

  void SendOwed(HttpConnection* conn) {
    const size_t replies = std::min(conn->owed, ReplyBlock::kReplies);
    conn->owed -= replies;
    conn->block = current_;
    ++current_->readers;
    StartSend(conn, current_->bytes.data(), replies * reply_bytes_);
  }

  void OnSent(HttpConnection* conn) {
    --conn->block->readers;
    if (conn->owed > 0) [[unlikely]] {
      SendOwed(conn);
    } else if (!multishot() && !conn->ended) {
      ArmReceive(conn);
    }
  }

  void OnSendFailed(HttpConnection* conn) {
    --conn->block->readers;
    conn->owed = 0;
  }

  time_t block_second_ = 0;
  size_t reply_bytes_ = 0;
  ReplyBlock* current_ = nullptr;
  std::vector<std::unique_ptr<ReplyBlock>> blocks_;
};

}  // namespace
}  // namespace evring::bench

int main(int argc, char** argv) {
  evring::bench::RunRawServer<evring::bench::HttpServer>(argc, argv,
                                                         "Answers GET /plaintext as one liburing loop, no coroutines.");
}

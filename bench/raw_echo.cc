// raw_echo: a TCP echo server as one liburing loop, the limit that //examples:tcp_echo is compared with.
//
// One-shot: receive into the connection's buffer, send from it, receive again. Multishot: send straight from the
// provided buffer and give it back when the send has completed; what arrives meanwhile waits in the connection's queue.
// A peer that sends without reading is paused at kQueuedMax buffers. Nine such peers may hold all buffers there are,
// and then everybody waits for one of them to read. A server for strangers would close them; this one is for measuring.

#include <array>

#include "bench/raw_main.h"
#include "bench/raw_server.h"

namespace evring::bench {
namespace {

struct alignas(64) EchoConnection : RawConnection {
  struct Queued {
    uint16_t buffer;
    uint16_t size;
  };

  uint16_t sending_buffer = 0;  // multishot: whose bytes the send in flight takes
  std::vector<Queued> queue;    // multishot: what came during that send, oldest first
  std::array<char, 4096> data;  // one-shot
};

class EchoServer : public RawServer<EchoServer, EchoConnection> {
 public:
  explicit EchoServer(ReceiveMode mode) : RawServer(mode) {}

 private:
  friend class RawServer<EchoServer, EchoConnection>;
  static constexpr size_t kQueuedMax = 128;

  void OnTurn() {}

  size_t ReceiveSpace(EchoConnection* conn, char** space) {
    *space = conn->data.data();
    return conn->data.size();
  }

  void OnData(EchoConnection* conn, char* data, size_t size, uint16_t buffer) {
    if (!multishot()) {
      StartSend(conn, conn->data.data(), size);
    } else if (!conn->sending) [[likely]] {
      conn->sending_buffer = buffer;
      StartSend(conn, data, size);
    } else {
      conn->queue.push_back({buffer, static_cast<uint16_t>(size)});
      if (!conn->paused && conn->queue.size() >= kQueuedMax) {
        PauseReceive(conn);
      }
    }
  }

  void OnSent(EchoConnection* conn) {
    if (!multishot()) {
      if (!conn->ended) {
        ArmReceive(conn);
      }
      return;
    }
    ReleaseBuffer(conn->sending_buffer);
    if (!conn->queue.empty()) [[unlikely]] {
      SendQueued(conn);
    }
  }

  void OnSendFailed(EchoConnection* conn) {
    if (multishot()) {
      ReleaseBuffer(conn->sending_buffer);
      for (const EchoConnection::Queued& queued : conn->queue) {
        ReleaseBuffer(queued.buffer);
      }
      conn->queue.clear();
    }
  }

  void SendQueued(EchoConnection* conn) {
    const EchoConnection::Queued next = conn->queue.front();
    conn->queue.erase(conn->queue.begin());  // short: the peer is paused at kQueuedMax
    conn->sending_buffer = next.buffer;
    StartSend(conn, BufferData(next.buffer), next.size);
    if (conn->paused && conn->queue.size() <= kQueuedMax / 2) {
      ResumeReceive(conn);
    }
  }
};

}  // namespace
}  // namespace evring::bench

int main(int argc, char** argv) {
  evring::bench::RunRawServer<evring::bench::EchoServer>(argc, argv, "TCP echo as one liburing loop, no coroutines.");
}

// raw_server.h: the loop that the raw servers share: accept, receive, send and close, one thread, one ring, no
// coroutines.
//
// A server derives from RawServer<Server, Conn>, its connections from RawConnection, and it says what to do with data:
//   void OnTurn()                                           once per turn of the loop, before the completions
//   void OnData(Conn*, char* data, size_t size, uint16_t buffer)   bytes came; under multishot receive `buffer` is the
//                                                           server's until ReleaseBuffer, under one-shot it is unused
//   void OnSent(Conn*)                                      all that StartSend was given is in the kernel
//   void OnSendFailed(Conn*)                                the peer is gone; give back what waits to be sent
//   size_t ReceiveSpace(Conn*, char** space)                where the next one-shot receive may write
//
// The rules that make it lean:
//   L1  one io_uring_enter per turn: it submits all that the turn before prepared and waits for one completion.
//   L2  a one-shot receive is armed only after its reply's send completed. A receive in the batch of the send always
//       finds the socket empty, and pays for a poll that the next request must wake.
//   L3  at most one send per connection is in flight, so bytes stay in order whatever the kernel does with a full
//   socket.
// The rules that make it survive:
//   S1  a connection is freed when its receive and its send have both completed for the last time, never before.
//   S2  a multishot that ended (no F_MORE) is armed again; after ENOBUFS once a buffer is free.
//   S3  accept out of descriptors or memory: the listener rests for kAcceptRest and is armed again.
//   S4  SIGTERM and SIGINT arrive as a completion (signalfd), so that waiting needs no signal mask. The process then
//       leaves at once: the kernel ends what is in flight before it takes the memory away.
// Checked by: tests/bench/raw_server_test.cc.

#ifndef EVRING_BENCH_RAW_SERVER_H_
#define EVRING_BENCH_RAW_SERVER_H_

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "bench/raw_ring.h"

namespace evring::bench {

enum class ReceiveMode { kMultishot, kOneshot };

struct RawConnection {
  int fd = -1;
  bool receiving = false;        // a receive is with the kernel
  bool sending = false;          // a send is with the kernel
  bool ended = false;            // nothing more will be taken from the peer
  bool paused = false;           // under multishot: the server does not want data now
  const char* unsent = nullptr;  // what the send in flight has still to take
  size_t unsent_size = 0;
};

template <typename Server, typename Conn>
class RawServer {
 public:
  // Serves on `listener` until `stop_signal` is readable.
  void Run(int listener, int stop_signal) {
    listener_ = listener;
    ArmAccept();
    io_uring_sqe* sqe = NextSqe(&ring_);
    io_uring_prep_poll_add(sqe, stop_signal, POLLIN);
    io_uring_sqe_set_data64(sqe, kStop);
    while (!stop_) {
      const int result = io_uring_submit_and_wait(&ring_, 1);  // L1
      if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
        Die("io_uring_enter", -result);
      }
      self()->OnTurn();
      unsigned head;
      unsigned reaped = 0;
      io_uring_cqe* cqe;
      io_uring_for_each_cqe(&ring_, head, cqe) {
        OnCompletion(cqe->user_data, cqe->res, cqe->flags);
        ++reaped;
      }
      io_uring_cq_advance(&ring_, reaped);
      if (!starved_.empty() && buffers_held_ < kBuffers) [[unlikely]] {
        RearmStarved();
      }
    }
  }

 protected:
  explicit RawServer(ReceiveMode mode) : mode_(mode) {
    OpenRing(&ring_, kSubmissions, kCompletions, 0);
    if (mode_ == ReceiveMode::kMultishot) {
      buffers_.Open(&ring_, kBuffers, kBufferBytes);
    }
  }

  bool multishot() const { return mode_ == ReceiveMode::kMultishot; }

  void ArmReceive(Conn* conn) {
    io_uring_sqe* sqe = NextSqe(&ring_);
    if (multishot()) {
      io_uring_prep_recv_multishot(sqe, conn->fd, nullptr, 0, 0);
      sqe->flags |= IOSQE_BUFFER_SELECT;
      sqe->buf_group = BufferRing::kGroup;
    } else {
      char* space;
      const size_t size = self()->ReceiveSpace(conn, &space);
      io_uring_prep_recv(sqe, conn->fd, space, size, 0);
    }
    io_uring_sqe_set_data64(sqe, Tagged(conn, kReceive));
    conn->receiving = true;
  }

  // Sends all of `data`, which stays untouched until OnSent or OnSendFailed. No send may be in flight (L3).
  void StartSend(Conn* conn, const char* data, size_t size) {
    io_uring_sqe* sqe = NextSqe(&ring_);
    io_uring_prep_send(sqe, conn->fd, data, size, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, Tagged(conn, kSend));
    conn->sending = true;
    conn->unsent = data;
    conn->unsent_size = size;
  }

  void ReleaseBuffer(uint16_t buffer) {
    buffers_.Release(buffer);
    --buffers_held_;
  }
  char* BufferData(uint16_t buffer) const { return buffers_.Data(buffer); }

  // Stops a multishot receive; what has arrived by then is still handed to OnData.
  void PauseReceive(Conn* conn) {
    conn->paused = true;
    io_uring_sqe* sqe = NextSqe(&ring_);
    io_uring_prep_cancel64(sqe, Tagged(conn, kReceive), 0);
    io_uring_sqe_set_data64(sqe, kIgnored);
  }
  void ResumeReceive(Conn* conn) {
    conn->paused = false;
    if (!conn->receiving && !conn->ended) {
      ArmReceive(conn);
    }
  }

  // Takes nothing more from the peer; the connection closes when what it has to send is sent.
  void EndReceive(Conn* conn) {
    conn->ended = true;
    if (conn->receiving) {
      shutdown(conn->fd, SHUT_RD);  // completes the receive with 0; fails only if the peer has ended it already
    }
  }

 private:
  static constexpr unsigned kSubmissions = 4096;
  static constexpr unsigned kCompletions = 16384;
  static constexpr unsigned kBuffers = 1024;
  static constexpr unsigned kBufferBytes = 2048;
  static constexpr __kernel_timespec kAcceptRest = {0, 20'000'000};

  // The low bits of user_data; above them stands the connection, or nothing.
  enum Tag : uint64_t { kIgnored, kAccept, kAcceptRested, kReceive, kSend, kStop };
  static constexpr uint64_t kTagMask = 7;
  static_assert(alignof(Conn) > kTagMask, "the tag lives in the low bits of the connection's address");

  Server* self() { return static_cast<Server*>(this); }
  static uint64_t Tagged(Conn* conn, Tag tag) { return reinterpret_cast<uint64_t>(conn) | tag; }

  void OnCompletion(uint64_t user_data, int result, uint32_t flags) {
    Conn* conn = reinterpret_cast<Conn*>(user_data & ~kTagMask);
    switch (user_data & kTagMask) {
      case kReceive:
        return OnReceived(conn, result, flags);
      case kSend:
        return OnSendDone(conn, result);
      case kAccept:
        return OnAccepted(result, flags);
      case kAcceptRested:
        return ArmAccept();
      case kStop:
        stop_ = true;
        return;
      default:
        return;  // kIgnored: a cancel, whose receive reports for itself
    }
  }

  void OnReceived(Conn* conn, int result, uint32_t flags) {
    conn->receiving = (flags & IORING_CQE_F_MORE) != 0;
    if (result > 0) [[likely]] {
      if (multishot()) {
        const uint16_t buffer = BufferRing::IdOf(flags);
        ++buffers_held_;
        if (conn->ended) {
          ReleaseBuffer(buffer);
        } else {
          self()->OnData(conn, buffers_.Data(buffer), result, buffer);
          if (!conn->receiving && !conn->paused && !conn->ended) [[unlikely]] {
            ArmReceive(conn);  // S2
          }
        }
      } else if (!conn->ended) {
        self()->OnData(conn, nullptr, result, 0);
      }
    } else if (result == -ENOBUFS) {
      if (!conn->paused && !conn->ended) {  // ResumeReceive arms a paused one
        starved_.push_back(conn);           // S2
      }
    } else if (result == -ECANCELED) {
      if (!conn->paused && !conn->ended) {
        ArmReceive(conn);  // resumed before the cancel took effect
      }
    } else {
      conn->ended = true;  // end of stream, or the connection was reset
    }
    CloseIfDone(conn);
  }

  void OnSendDone(Conn* conn, int result) {
    conn->sending = false;
    if (result < 0) [[unlikely]] {
      conn->ended = true;
      self()->OnSendFailed(conn);
      if (conn->receiving) {
        shutdown(conn->fd, SHUT_RDWR);  // completes the receive; fails only if the connection is gone already
      }
    } else if (static_cast<size_t>(result) < conn->unsent_size) [[unlikely]] {
      StartSend(conn, conn->unsent + result, conn->unsent_size - result);
    } else {
      self()->OnSent(conn);
    }
    CloseIfDone(conn);
  }

  void OnAccepted(int result, uint32_t flags) {
    if (result >= 0) {
      Conn* conn = new Conn;
      conn->fd = result;
      ArmReceive(conn);
    }
    if ((flags & IORING_CQE_F_MORE) != 0) {
      return;
    }
    switch (result) {
      case -EMFILE:
      case -ENFILE:
      case -ENOBUFS:
      case -ENOMEM:  // S3
        RestBeforeAccept();
        return;
      case -EBADF:
      case -EINVAL:
      case -ENOTSOCK:
      case -EOPNOTSUPP:
        Die("accept", -result);
      default:  // a connection, or one that was gone before it was accepted (accept(2), "Error handling")
        ArmAccept();
    }
  }

  void ArmAccept() {
    io_uring_sqe* sqe = NextSqe(&ring_);
    io_uring_prep_multishot_accept(sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, kAccept);
  }
  void RestBeforeAccept() {
    io_uring_sqe* sqe = NextSqe(&ring_);
    io_uring_prep_timeout(sqe, const_cast<__kernel_timespec*>(&kAcceptRest), 0, 0);
    io_uring_sqe_set_data64(sqe, kAcceptRested);
  }

  // As many starved connections as there are free buffers try again, those that wait longest first.
  void RearmStarved() {
    const size_t count = std::min<size_t>(starved_.size(), kBuffers - buffers_held_);
    for (size_t i = 0; i < count; ++i) {
      ArmReceive(starved_[i]);
    }
    starved_.erase(starved_.begin(), starved_.begin() + static_cast<std::ptrdiff_t>(count));
  }

  void CloseIfDone(Conn* conn) {
    if (!conn->ended || conn->receiving || conn->sending) [[likely]] {
      return;
    }
    std::erase(starved_, conn);
    close(conn->fd);  // its error has no taker: the descriptor is gone either way (close(2))
    delete conn;      // S1
  }

  io_uring ring_ = {};
  BufferRing buffers_;
  const ReceiveMode mode_;
  int listener_ = -1;
  bool stop_ = false;
  unsigned buffers_held_ = 0;   // named by a completion and not yet released
  std::vector<Conn*> starved_;  // wait for a buffer, longest first
};

}  // namespace evring::bench

#endif  // EVRING_BENCH_RAW_SERVER_H_

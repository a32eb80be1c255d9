#include "kevent/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace evring::kevent {
namespace {

int Answer(int rc) { return rc < 0 ? -errno : rc; }

}  // namespace

int Descriptors::Socket(int family, int type, int protocol) { return Answer(socket(family, type, protocol)); }

int Descriptors::SocketPair(int family, int type, int protocol, int fds[2]) {
  return Answer(socketpair(family, type, protocol, fds));
}

int Descriptors::Pipe2(int fds[2], int flags) { return Answer(pipe2(fds, flags)); }

int Descriptors::Dup(int fd) { return Answer(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

int Descriptors::Close(int fd) { return Answer(close(fd)); }

int Descriptors::Remove(const char* path) { return Answer(unlink(path)); }

int Descriptors::Bind(int fd, const sockaddr* address, socklen_t size) { return Answer(bind(fd, address, size)); }

int Descriptors::Listen(int fd, int backlog) { return Answer(listen(fd, backlog)); }

int Descriptors::Shutdown(int fd, int how) { return Answer(shutdown(fd, how)); }

int Descriptors::GetSockName(int fd, sockaddr* address, socklen_t* size) {
  return Answer(getsockname(fd, address, size));
}

int Descriptors::GetPeerName(int fd, sockaddr* address, socklen_t* size) {
  return Answer(getpeername(fd, address, size));
}

int Descriptors::SetSockOpt(int fd, int level, int option, const void* value, socklen_t size) {
  return Answer(setsockopt(fd, level, option, value, size));
}

int Descriptors::GetSockOpt(int fd, int level, int option, void* value, socklen_t* size) {
  return Answer(getsockopt(fd, level, option, value, size));
}

int Descriptors::Undelivered(int fd) {
  int domain = 0;
  socklen_t size = sizeof(domain);
  if (const int rc = GetSockOpt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size); rc < 0) return rc;
  if (domain != AF_INET && domain != AF_INET6) return 0;
  int bytes = 0;
  const int rc = Answer(ioctl(fd, SIOCOUTQ, &bytes));
  return rc < 0 ? rc : bytes;
}

int Descriptors::PollNow(int fd, short events) {
  pollfd state = {.fd = fd, .events = events, .revents = 0};
  const int rc = Answer(poll(&state, 1, 0));
  return rc <= 0 ? rc : state.revents;
}

int Descriptors::Flock(int fd, int operation) { return Answer(flock(fd, operation | LOCK_NB)); }

int Descriptors::SetLock(int fd, const struct flock* lock) {
  const int rc = Answer(fcntl(fd, F_OFD_SETLK, lock));
  return rc == -EACCES ? -EAGAIN : rc;
}

int Descriptors::EventFd(unsigned count, int flags) { return Answer(eventfd(count, flags)); }

int Descriptors::InotifyInit1(int flags) { return Answer(inotify_init1(flags)); }

int Descriptors::InotifyAddWatch(int fd, const char* path, uint32_t mask) {
  return Answer(inotify_add_watch(fd, path, mask));
}

int Descriptors::InotifyRmWatch(int fd, int watch) { return Answer(inotify_rm_watch(fd, watch)); }

int Descriptors::FutexWake(const uint32_t* word, int count, bool is_private) {
  const int op = FUTEX_WAKE | (is_private ? FUTEX_PRIVATE_FLAG : 0);
  return Answer(static_cast<int>(syscall(SYS_futex, word, op, count, nullptr, nullptr, 0)));
}

}  // namespace evring::kevent

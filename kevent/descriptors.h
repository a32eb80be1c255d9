// descriptors.h: the system calls that are no requests to a ring: making a socket, naming it, closing it; watching a
// file; and waking those that wait for a futex.
//
// None of them blocks, but what looks up a path may wait for a disk. They go through the kernel that serves the
// thread's ring (Kernel::Current()), so that a simulator sees all that happens to a descriptor, and whom a word of
// memory wakes. The default of each is the system's call.

#ifndef EVRING_KEVENT_DESCRIPTORS_H_
#define EVRING_KEVENT_DESCRIPTORS_H_

#include <fcntl.h>
#include <sys/socket.h>

#include <cstdint>

namespace evring::kevent {

// Each answers what the call of its name does, with a negative errno for an error.
class Descriptors {
 public:
  virtual ~Descriptors() = default;

  virtual int Socket(int family, int type, int protocol);
  virtual int SocketPair(int family, int type, int protocol, int fds[2]);
  virtual int Pipe2(int fds[2], int flags);
  virtual int Dup(int fd);  // F_DUPFD_CLOEXEC of fcntl(2): another descriptor of the same opening
  virtual int Close(int fd);
  virtual int Remove(const char* path);  // unlink(2)
  virtual int Bind(int fd, const sockaddr* address, socklen_t size);
  virtual int Listen(int fd, int backlog);
  virtual int Shutdown(int fd, int how);
  virtual int GetSockName(int fd, sockaddr* address, socklen_t* size);
  virtual int GetPeerName(int fd, sockaddr* address, socklen_t* size);
  virtual int SetSockOpt(int fd, int level, int option, const void* value, socklen_t size);
  virtual int GetSockOpt(int fd, int level, int option, void* value, socklen_t* size);
  // Bytes that were sent over TCP and that the peer's system has not confirmed yet; 0 for other sockets. (SIOCOUTQ)
  virtual int Undelivered(int fd);
  // poll(2) of one descriptor without waiting: the events that are there, of `events` and those always reported.
  virtual int PollNow(int fd, short events);

  // Locks that are had at once or not at all: -EAGAIN where others have one that conflicts. flock(2), LOCK_NB or not;
  // and F_OFD_SETLK of fcntl_locking(2), where EACCES of old is EAGAIN too.
  virtual int Flock(int fd, int operation);
  virtual int SetLock(int fd, const struct flock* lock);

  // eventfd(2): the descriptor of a counter, which requests read and write.
  virtual int EventFd(unsigned count, int flags);

  // inotify(7): the descriptor of an instance, which requests read; a watch of it, by its number.
  virtual int InotifyInit1(int flags);
  virtual int InotifyAddWatch(int fd, const char* path, uint32_t mask);
  virtual int InotifyRmWatch(int fd, int watch);

  // Wakes up to `count` of those that wait for `word`, as FUTEX_WAKE of futex(2): how many they were. `is_private`: as
  // they have said. The program has changed the word before.
  virtual int FutexWake(const uint32_t* word, int count, bool is_private);
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_DESCRIPTORS_H_

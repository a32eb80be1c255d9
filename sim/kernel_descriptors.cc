#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sim/event_fd.h"
#include "sim/inotify.h"
#include "sim/kernel.h"
#include "sim/pipe.h"

namespace evring::sim {

int Kernel::Open(std::shared_ptr<OpenFile> file) {
  if (descriptors_.size() >= options_.descriptors_max) return -EMFILE;
  Watch(file.get());
  return descriptors_.Add(std::move(file));
}

int Kernel::OpenBoth(std::shared_ptr<OpenFile> a, std::shared_ptr<OpenFile> b, int fds[2]) {
  if (descriptors_.size() + 2 > options_.descriptors_max) return -EMFILE;
  fds[0] = Open(std::move(a));
  fds[1] = Open(std::move(b));
  return 0;
}

std::shared_ptr<OpenFile> Kernel::Find(int fd) {
  if (fd >= kFirstFile) return file_requests_.Find(fd);
  const std::shared_ptr<OpenFile>* found = descriptors_.Find(fd);
  return found == nullptr ? nullptr : *found;
}

template <class F>
int Kernel::WithSocket(int fd, F f) {
  Lock lock(mutex_);
  const std::shared_ptr<OpenFile> file = Find(fd);
  if (file == nullptr) return -EBADF;
  auto* socket = dynamic_cast<sim::Socket*>(file.get());
  return socket == nullptr ? -ENOTSOCK : f(socket);
}

void Kernel::Watch(OpenFile* file) {
  file->notify = [this, file](short events) {
    for (const auto& [number, ring] : rings_) {
      const auto found = ring->waiting.find(file);
      if (found == ring->waiting.end()) continue;
      for (Request* request : found->second) {
        if (events != 0 && (events & WaitedFor(*request)) == 0) continue;
        // A second wake-up makes it look for itself, but for a poll that has had its one.
        if (!request->queued) {
          request->woken_by = events;
        } else if (request->multishot) {
          request->woken_by = 0;
        }
        Queue(request);
      }
    }
  };
}

int Kernel::Socket(int family, int type, int) {
  Lock lock(mutex_);
  if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) return -EAFNOSUPPORT;
  if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM) return -ESOCKTNOSUPPORT;
  return Open(std::make_shared<sim::Socket>(&network_, family));
}

int Kernel::SocketPair(int family, int type, int, int fds[2]) {
  Lock lock(mutex_);
  if (family != AF_UNIX) return -EOPNOTSUPP;
  if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM) return -ESOCKTNOSUPPORT;
  auto a = std::make_shared<sim::Socket>(&network_, family);
  auto b = std::make_shared<sim::Socket>(&network_, family);
  sim::Socket::Join(a, b, options_.socket_buffer_bytes);
  return OpenBoth(a, b, fds);
}

int Kernel::Pipe2(int fds[2], int flags) {
  Lock lock(mutex_);
  // Packets (O_DIRECT) are not simulated. A request to a pipe waits, O_NONBLOCK or not.
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) != 0) return -EINVAL;
  const size_t pages = std::max<size_t>(options_.pipe_bytes / Pipe::kPage, 1);
  auto [reader, writer] = PipeEnd::Make(&world_, pages);
  return OpenBoth(std::move(reader), std::move(writer), fds);
}

int Kernel::EventFd(unsigned count, int flags) {
  Lock lock(mutex_);
  if ((flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) != 0) return -EINVAL;
  return Open(std::make_shared<sim::EventFd>(count, (flags & EFD_SEMAPHORE) != 0));
}

int Kernel::InotifyInit1(int flags) {
  Lock lock(mutex_);
  if ((flags & ~(IN_CLOEXEC | IN_NONBLOCK)) != 0) return -EINVAL;
  std::shared_ptr<Inotify> made;
  if (const int rc = file_requests_.MakeInotify((flags & IN_NONBLOCK) == 0, &made); rc < 0) return rc;
  const int fd = Open(made);
  if (fd >= 0) file_requests_.events()->Add(made.get());
  return fd;
}

// The order of the checks is that of Linux.
int Kernel::InotifyAddWatch(int fd, const char* path, uint32_t mask) {
  Lock lock(mutex_);
  if ((mask & ~kWatchMask) != 0 || mask == 0) return -EINVAL;
  const std::shared_ptr<OpenFile> file = Find(fd);
  if (file == nullptr) return -EBADF;
  auto* const inotify = dynamic_cast<Inotify*>(file.get());
  if (inotify == nullptr || ((mask & IN_MASK_ADD) != 0 && (mask & IN_MASK_CREATE) != 0)) return -EINVAL;
  const int watch = file_requests_.AddWatch(inotify, path, mask);
  world_.Say(absl::StrCat("fd ", fd, " watches: ", watch));
  return watch;
}

int Kernel::InotifyRmWatch(int fd, int watch) {
  Lock lock(mutex_);
  const std::shared_ptr<OpenFile> file = Find(fd);
  if (file == nullptr) return -EBADF;
  auto* const inotify = dynamic_cast<Inotify*>(file.get());
  return inotify == nullptr ? -EINVAL : inotify->Remove(watch);
}

int Kernel::Dup(int fd) {
  if (fd < kFirstDescriptor) return Descriptors::Dup(fd);
  Lock lock(mutex_);
  if (fd >= kFirstFile) return file_requests_.Dup(fd);
  const std::shared_ptr<OpenFile> file = Find(fd);
  if (file == nullptr) return -EBADF;
  return descriptors_.size() >= options_.descriptors_max ? -EMFILE : descriptors_.Add(file);
}

int Kernel::Close(int fd) {
  if (fd < kFirstDescriptor) return Descriptors::Close(fd);
  Lock lock(mutex_);
  const std::shared_ptr<OpenFile> file = Find(fd);
  if (file == nullptr) return -EBADF;
  bool has_number;  // another one
  if (fd >= kFirstFile) {
    file_requests_.Remove(fd);
    has_number = static_cast<const FileDescription&>(*file).numbers != 0;
  } else {
    descriptors_.Remove(fd);
    has_number = descriptors_.Has(file);
  }
  world_.Say(absl::StrCat("fd ", fd, " is closed"));
  if (has_number) return 0;
  // A request that is in flight keeps the file open, as in the kernel.
  if (InUse(file.get())) {
    closing_.push_back(file);
  } else {
    file->Close();
  }
  return 0;
}

void Kernel::CloseUnused(const std::shared_ptr<OpenFile>& file) {
  const auto closing = std::find(closing_.begin(), closing_.end(), file);
  if (closing == closing_.end() || InUse(file.get())) return;
  closing_.erase(closing);
  file->Close();
}

bool Kernel::InUse(const OpenFile* file) const {
  for (const auto& [number, ring] : rings_) {
    for (const auto& [id, request] : ring->requests) {
      if (request->file.get() == file) return true;
    }
  }
  return false;
}

int Kernel::Flock(int fd, int operation) {
  if (fd < kFirstDescriptor) return Descriptors::Flock(fd, operation);
  Lock lock(mutex_);
  return file_requests_.FlockNow(fd, operation);
}

int Kernel::SetLock(int fd, const struct flock* asked) {
  if (fd < kFirstDescriptor) return Descriptors::SetLock(fd, asked);
  Lock lock(mutex_);
  return file_requests_.LockNow(fd, *asked);
}

int Kernel::Remove(const char* path) {
  Lock lock(mutex_);
  return file_requests_.Remove(path);
}

int Kernel::Bind(int fd, const sockaddr* address, socklen_t size) {
  return WithSocket(fd, [&](sim::Socket* socket) { return socket->Bind(Address(address, size)); });
}

int Kernel::Listen(int fd, int backlog) {
  return WithSocket(fd, [&](sim::Socket* socket) { return socket->Listen(backlog); });
}

int Kernel::Shutdown(int fd, int how) {
  return WithSocket(fd, [&](sim::Socket* socket) { return socket->Shutdown(how); });
}

namespace {

int CopyAddress(const Address& from, int family, sockaddr* to, socklen_t* size) {
  sockaddr unnamed = {};
  unnamed.sa_family = static_cast<sa_family_t>(family);
  const std::string bytes =
      from.empty() ? std::string(reinterpret_cast<const char*>(&unnamed), sizeof(sa_family_t)) : from.bytes();
  std::memcpy(to, bytes.data(), std::min<size_t>(*size, bytes.size()));
  *size = static_cast<socklen_t>(bytes.size());
  return 0;
}

}  // namespace

int Kernel::GetSockName(int fd, sockaddr* address, socklen_t* size) {
  return WithSocket(fd,
                    [&](sim::Socket* socket) { return CopyAddress(socket->local(), socket->family(), address, size); });
}

int Kernel::GetPeerName(int fd, sockaddr* address, socklen_t* size) {
  return WithSocket(fd, [&](sim::Socket* socket) {
    if (socket->state() != sim::Socket::State::kConnected) return -ENOTCONN;
    return CopyAddress(socket->peer(), socket->family(), address, size);
  });
}

int Kernel::SetSockOpt(int fd, int level, int option, const void* value, socklen_t size) {
  return WithSocket(fd, [&](sim::Socket* socket) {
    if (level == SOL_SOCKET && option == SO_LINGER) {
      if (size < sizeof(linger)) return -EINVAL;
      const auto* how = static_cast<const linger*>(value);
      socket->set_resets_on_close(how->l_onoff != 0 && how->l_linger == 0);
      return 0;
    }
    if (size < sizeof(int)) return -EINVAL;
    std::memcpy(&socket->options()[{level, option}], value, sizeof(int));
    return 0;
  });
}

int Kernel::GetSockOpt(int fd, int level, int option, void* value, socklen_t* size) {
  return WithSocket(fd, [&](sim::Socket* socket) {
    if (*size < sizeof(int)) return -EINVAL;
    const int answer =
        level == SOL_SOCKET && option == SO_ERROR ? socket->TakeError() : socket->options()[{level, option}];
    std::memcpy(value, &answer, sizeof(answer));
    *size = sizeof(answer);
    return 0;
  });
}

int Kernel::Undelivered(int fd) {
  return WithSocket(fd, [](sim::Socket* socket) { return static_cast<int>(socket->undelivered()); });
}

int Kernel::PollNow(int fd, short events) {
  Lock lock(mutex_);
  const std::shared_ptr<OpenFile> file = Find(fd);
  return file == nullptr ? -EBADF : file->Poll() & (events | POLLERR | POLLHUP);
}

}  // namespace evring::sim

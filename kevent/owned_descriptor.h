// owned_descriptor.h: a descriptor with one owner, which closes it.
//
// It is closed through the kernel of the thread that lets it go (Kernel::Current()), as it was made through it: what a
// simulated kernel handed out goes back there. One thread at a time; never blocks but as close(2) itself does.

#ifndef EVRING_KEVENT_OWNED_DESCRIPTOR_H_
#define EVRING_KEVENT_OWNED_DESCRIPTOR_H_

#include <utility>

namespace evring::kevent {

class OwnedDescriptor {
 public:
  OwnedDescriptor() = default;
  // Takes it over; a negative one is none.
  explicit OwnedDescriptor(int fd) : fd_(fd) {}
  OwnedDescriptor(OwnedDescriptor&& other) noexcept : fd_(other.Release()) {}
  OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = other.Release();
    }
    return *this;
  }
  ~OwnedDescriptor() { Close(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // It is the caller's to close now.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  // Closes now, if there is one. Whoever needs to know that data has arrived asks before: an error of close(2) is
  // dropped, but for EBADF, a failed check: somebody else has closed what is ours.
  void Close();

 private:
  int fd_ = -1;
};

}  // namespace evring::kevent

#endif  // EVRING_KEVENT_OWNED_DESCRIPTOR_H_

// errors_test.cc: the errors that a simulated kernel makes up are those of the manual pages, all of them and no others,
// and what evring's own calls make of each. One fault at a time, often enough that each errno comes.

#include "kevent/errors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "kevent/event.h"
#include "kevent/kernel.h"
#include "kevent/kevent.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/os/event_wait.h"
#include "runtime/os/file.h"
#include "runtime/task.h"
#include "sim/faults.h"
#include "sim/simulation.h"

namespace evring::sim {
namespace {

using Names = std::set<std::string>;

constexpr int kTries = 400;
constexpr char kTcp[] = "10.0.0.1:80";

// On one worker, where `fault` happens on every second occasion.
Names Met(Fault fault, Task<Names> task) {
  SimulationOptions options;
  options.faults[fault].ppm = 500'000;
  Simulation simulation(options);
  return simulation.Run(std::move(task));
}

void Note(const absl::Status& status, Names* names) {
  if (!status.ok()) names->insert(strerrorname_np(kevent::StatusErrno(status)));
}

net::SocketAddress Unix() { return *net::SocketAddress::Unix("@errors"); }
net::SocketAddress Tcp() { return *net::SocketAddress::Parse(kTcp); }

// --- Connections

Task<Names> AcceptOften(net::SocketAddress address) {
  Names names;
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(address);
  EXPECT_TRUE(listener.ok()) << listener.status();
  for (int i = 0; i < kTries; ++i) {
    const absl::StatusOr<net::Stream> client = co_await net::Stream::Connect(address);
    absl::Status status;
    do {
      status = (co_await listener->Accept()).status();
      Note(status, &names);
      EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) << status;
    } while (absl::IsResourceExhausted(status));  // the connection waits on; else it is lost
    // It was reset where the answer was still under way.
    EXPECT_TRUE(client.ok() || !status.ok()) << client.status();
  }
  co_return names;
}

TEST(Errors, AcceptMeetsThoseOfItsPageAndEachPasses) {
  EXPECT_EQ(Met(Fault::kAcceptError, AcceptOften(Tcp())),
            (Names{"ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH", "EMFILE", "ENETDOWN", "ENETUNREACH", "ENFILE",
                   "ENOBUFS", "ENOMEM", "ENONET", "ENOSR", "ENOPROTOOPT", "EOPNOTSUPP", "EPERM", "EPROTO", "ETIMEDOUT",
                   "EPROTONOSUPPORT", "ESOCKTNOSUPPORT"}));
  EXPECT_EQ(Met(Fault::kAcceptError, AcceptOften(Unix())), (Names{"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"}));
}

Task<Names> ConnectOften(net::SocketAddress address) {
  Names names;
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(address);
  EXPECT_TRUE(listener.ok()) << listener.status();
  for (int i = 0; i < kTries; ++i) Note((co_await net::Stream::Connect(address)).status(), &names);
  co_return names;
}

TEST(Errors, ConnectMeetsThoseOfItsPage) {
  EXPECT_EQ(Met(Fault::kConnectError, ConnectOften(Tcp())),
            (Names{"EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EPERM",
                   "ETIMEDOUT"}));
  EXPECT_EQ(Met(Fault::kConnectError, ConnectOften(Unix())), (Names{"EACCES", "ECONNREFUSED", "EPERM"}));
}

// One byte from a client to a server; the errors of either.
Task<Names> SendOften(net::SocketAddress address) {
  Names names;
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(address);
  EXPECT_TRUE(listener.ok()) << listener.status();
  for (int i = 0; i < kTries; ++i) {
    absl::StatusOr<net::Stream> client = co_await net::Stream::Connect(address);
    EXPECT_TRUE(client.ok()) << client.status();
    absl::StatusOr<net::Stream> server = co_await listener->Accept();
    EXPECT_TRUE(server.ok()) << server.status();
    std::array<std::byte, 1> byte = {};
    const absl::Status sent = co_await client->Write(byte);
    Note(sent, &names);
    if (!sent.ok()) continue;
    const absl::StatusOr<size_t> n = co_await server->Read(byte);
    Note(n.status(), &names);
  }
  co_return names;
}

TEST(Errors, SendMeetsThoseOfItsPage) {
  EXPECT_EQ(Met(Fault::kSendError, SendOften(Tcp())),
            (Names{"ECONNRESET", "EHOSTUNREACH", "ENETUNREACH", "ENOBUFS", "ENOMEM", "EPIPE", "ETIMEDOUT"}));
  EXPECT_EQ(Met(Fault::kSendError, SendOften(Unix())), (Names{"ECONNRESET", "ENOBUFS", "ENOMEM", "EPIPE"}));
}

TEST(Errors, ReceiveMeetsThoseOfItsPage) {
  EXPECT_EQ(Met(Fault::kReceiveError, SendOften(Tcp())),
            (Names{"ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENETUNREACH", "ENOMEM", "ETIMEDOUT"}));
  EXPECT_EQ(Met(Fault::kReceiveError, SendOften(Unix())), (Names{"ECONNRESET", "ENOMEM"}));
}

// --- Files

Task<absl::StatusOr<File>> OpenWhatIsThere(int flags, Names* names) {
  for (;;) {
    absl::StatusOr<File> file = co_await File::Open("/data/file", flags);
    Note(file.status(), names);
    if (file.ok()) co_return file;
  }
}

enum class Call { kCreate, kOpen, kOpenToWrite, kRead, kWrite, kSync, kRename, kUnlink };

Task<Names> CallOften(Call call) {
  Names names;
  Names others;  // of calls on the way
  std::array<std::byte, 1> byte = {};
  for (int i = 0; i < kTries; ++i) {
    const absl::StatusOr<File> file =
        co_await OpenWhatIsThere(O_RDWR | O_CREAT, call == Call::kCreate ? &names : &others);
    switch (call) {
      case Call::kCreate:
        break;
      case Call::kOpen:
        static_cast<void>((co_await OpenWhatIsThere(O_RDONLY, &names)).ok());
        break;
      case Call::kOpenToWrite:
        static_cast<void>((co_await OpenWhatIsThere(O_WRONLY, &names)).ok());
        break;
      case Call::kRead:
        Note((co_await file->ReadAt(byte, 0)).status(), &names);
        break;
      case Call::kWrite:
        Note(co_await file->WriteAt(byte, 0), &names);
        break;
      case Call::kSync:
        Note(co_await file->SyncToDisk(), &names);
        break;
      case Call::kRename:
        Note(co_await Rename("/data/file", "/data/file"), &names);
        break;
      case Call::kUnlink:
        break;
    }
    absl::Status removed;
    do {
      removed = co_await Unlink("/data/file");
      Note(removed, call == Call::kUnlink ? &names : &others);
    } while (!removed.ok());
  }
  co_return names;
}

// --- Events of other kinds

Task<Names> AskOften(kevent::Event event, bool of_file) {
  Names names;
  Names others;
  for (int i = 0; i < kTries; ++i) {
    absl::StatusOr<File> file = absl::NotFoundError("none");
    if (of_file) {
      file = co_await OpenWhatIsThere(O_RDWR | O_CREAT, &others);
      event.descriptor = file->fd();
    }
    Note((co_await WaitForEvent(event)).status(), &names);
  }
  co_return names;
}

// Of a new socket each time; what it listens with has its name from a call, which meets none of them.
Task<Names> NameOften(net::SocketAddress address, bool listens) {
  Names names;
  auto* const kernel = kevent::Kernel::Current();
  for (int i = 0; i < kTries; ++i) {
    const int fd = kernel->Socket(address.data()->sa_family, SOCK_STREAM, 0);
    EXPECT_GE(fd, 0);
    if (listens) {
      EXPECT_EQ(kernel->Bind(fd, address.data(), address.size()), 0);
    }
    kevent::Event event;
    event.type = listens ? kevent::EventType::kListen : kevent::EventType::kBind;
    event.descriptor = fd;
    event.result = listens ? 8 : static_cast<int32_t>(address.size());
    event.payload = reinterpret_cast<uintptr_t>(address.data());
    Note((co_await WaitForEvent(event)).status(), &names);
    kernel->Close(fd);
  }
  co_return names;
}

TEST(Errors, RequestsForNamesMeetThoseOfTheirPages) {
  const auto met = [](net::SocketAddress address, bool listens) {
    return Met(Fault::kBindError, NameOften(std::move(address), listens));
  };
  const net::SocketAddress path = *net::SocketAddress::Unix("/tmp/errors");
  EXPECT_EQ(met(Tcp(), false), (Names{"EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"}));
  EXPECT_EQ(met(path, false), (Names{"EACCES", "EADDRINUSE", "ENOMEM", "EROFS"}));
  EXPECT_EQ(met(Unix(), false), (Names{"EADDRINUSE", "ENOMEM"}));
  EXPECT_EQ(met(Tcp(), true), (Names{"EADDRINUSE"}));
  EXPECT_EQ(met(Unix(), true), (Names{}));
}

TEST(Errors, LocksAndFutexesMeetThoseOfTheirPages) {
  kevent::Event event;
  event.type = kevent::EventType::kFlock;
  event.result = LOCK_EX;
  EXPECT_EQ(Met(Fault::kFileError, AskOften(event, /*of_file=*/true)), (Names{"ENOLCK"}));
  event.result = LOCK_UN;
  EXPECT_EQ(Met(Fault::kFileError, AskOften(event, /*of_file=*/true)), (Names{}));
  struct flock lock = {};
  lock.l_type = F_RDLCK;
  event.type = kevent::EventType::kLock;
  event.result = F_OFD_SETLKW;
  event.payload = reinterpret_cast<uintptr_t>(&lock);
  EXPECT_EQ(Met(Fault::kFileError, AskOften(event, /*of_file=*/true)), (Names{"ENOLCK"}));
  const uint32_t word = 1;
  event.type = kevent::EventType::kFutex;
  event.descriptor = KEVENT_FUTEX_PRIVATE;
  event.result = 2;  // it would answer at once
  event.payload = reinterpret_cast<uintptr_t>(&word);
  EXPECT_EQ(Met(Fault::kFutexError, AskOften(event, /*of_file=*/false)), (Names{"EAGAIN", "ENOMEM"}));
}

enum class InotifyCall { kInit, kAdd, kChange };

Task<Names> WatchOften(InotifyCall call) {
  Names names;
  Names others;
  auto* const kernel = kevent::Kernel::Current();
  const auto note = [](int answer, Names* to) {
    if (answer < 0) to->insert(strerrorname_np(-answer));
  };
  for (int i = 0; i < kTries; ++i) {
    int fd = -1;
    while (fd < 0) note(fd = kernel->InotifyInit1(IN_CLOEXEC), call == InotifyCall::kInit ? &names : &others);
    int watch = -1;
    while (watch < 0) {
      watch = kernel->InotifyAddWatch(fd, "/watched/", IN_OPEN);
      note(watch, call == InotifyCall::kAdd ? &names : &others);
    }
    const int changed = kernel->InotifyAddWatch(fd, "/watched/", IN_CREATE);
    note(changed, call == InotifyCall::kChange ? &names : &others);
    EXPECT_EQ(kernel->InotifyRmWatch(fd, watch), 0);
    kernel->Close(fd);
  }
  co_return names;
}

TEST(Errors, WatchesMeetThoseOfTheirPages) {
  const auto met = [](InotifyCall call) { return Met(Fault::kFileError, WatchOften(call)); };
  EXPECT_EQ(met(InotifyCall::kInit), (Names{"EMFILE", "ENFILE", "ENOMEM"}));
  EXPECT_EQ(met(InotifyCall::kAdd), (Names{"EACCES", "ENOMEM", "ENOSPC"}));
  EXPECT_EQ(met(InotifyCall::kChange), (Names{"EACCES"}));
}

TEST(Errors, CallsOnFilesMeetThoseOfTheirPages) {
  const auto met = [](Call call) { return Met(Fault::kFileError, CallOften(call)); };
  EXPECT_EQ(met(Call::kCreate), (Names{"EACCES", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EPERM", "EROFS"}));
  EXPECT_EQ(met(Call::kOpen), (Names{"EACCES", "EMFILE", "ENFILE", "ENOMEM", "EPERM"}));
  EXPECT_EQ(met(Call::kOpenToWrite), (Names{"EACCES", "EMFILE", "ENFILE", "ENOMEM", "EPERM", "EROFS", "ETXTBSY"}));
  EXPECT_EQ(met(Call::kRead), (Names{"EIO"}));
  EXPECT_EQ(met(Call::kWrite), (Names{"EDQUOT", "EFBIG", "EIO", "ENOSPC"}));
  EXPECT_EQ(met(Call::kSync), (Names{"EDQUOT", "EIO", "ENOSPC"}));
  EXPECT_EQ(met(Call::kRename), (Names{"EACCES", "EDQUOT", "ENOMEM", "ENOSPC", "EPERM", "EROFS"}));
  EXPECT_EQ(met(Call::kUnlink), (Names{"EACCES", "EBUSY", "EIO", "ENOMEM", "EPERM", "EROFS"}));
}

}  // namespace
}  // namespace evring::sim

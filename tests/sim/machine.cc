#include "tests/sim/machine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "tests/sim/machine_request.h"

namespace evring::sim {
namespace {

using kevent::Event;
using kevent::EventType;

constexpr int64_t kExpectedNs = 1'000'000;

std::string Result(int result) { return result < 0 ? strerrorname_np(-result) : absl::StrCat(result); }

std::string PollText(int events) {
  if (events < 0) return Result(events);
  static constexpr std::pair<int, const char*> kBits[] = {
      {POLLIN, "in"},   {POLLOUT, "out"},       {POLLRDHUP, "rdhup"},   {POLLHUP, "hup"},
      {POLLERR, "err"}, {POLLRDNORM, "rdnorm"}, {POLLWRNORM, "wrnorm"}, {POLLNVAL, "nval"},
  };
  std::string text;
  for (const auto& [bit, name] : kBits) {
    if ((events & bit) != 0) absl::StrAppend(&text, text.empty() ? "" : "|", name);
  }
  return text;
}

uint32_t Fnv(const std::byte* data, size_t n) {
  uint32_t hash = 0x811c9dc5u;
  for (size_t i = 0; i < n; ++i) hash = (hash ^ static_cast<uint32_t>(data[i])) * 0x01000193u;
  return hash;
}

}  // namespace

Machine::Machine(const MachineOptions& options) : options_(options) {
  kevent::RingOptions ring_options;
  ring_options.sq_entries = 64;
  ring_options.cq_entries = 1024;
  auto ring = kevent::Ring::Create(options.kernel, ring_options);
  EVRING_CHECK(ring.ok(), "the test needs a ring");
  ring_ = *std::move(ring);
  for (int group = 0; group < kGroups; ++group) {
    kevent::BufferRingOptions buffer_options;
    buffer_options.group = static_cast<uint16_t>(group);
    buffer_options.buffer_bytes = kBufferBytes;
    buffer_options.initial = kBuffers[static_cast<size_t>(group)];
    buffer_options.max = kBuffers[static_cast<size_t>(group)];
    auto buffers = kevent::BufferRing::Create(ring_.get(), buffer_options);
    EVRING_CHECK(buffers.ok(), "the test needs buffers");
    buffers_[static_cast<size_t>(group)] = *std::move(buffers);
  }
}

Machine::~Machine() = default;

Trace Machine::Run(const Program& program, uint64_t number, int64_t quiet_ns) {
  run_ = number;
  quiet_ns_ = quiet_ns;
  Trace trace;
  for (const Step& step : program) {
    std::string line = Do(step);
    if (step.submit) {
      Settle();
      absl::StrAppend(&line, Observe());
    }
    trace.push_back(std::move(line));
  }
  CleanUp(&trace);
  return trace;
}

io_uring_sqe* Machine::Entry() {
  io_uring_sqe* sqe = ring_->GetSqe();
  EVRING_CHECK(sqe != nullptr, "a program fits into the ring");
  return sqe;
}

void Machine::Settle() {
  const auto consume = [this] {
    return ring_->Consume(ring_->cq_entries(), [this](kevent::Kevent* kevent, const Event& event) {
      auto* request = static_cast<Request*>(kevent);
      std::string& text = request->observed;
      if (request->type() == EventType::kAccept && event.result >= 0) {
        Accepted(request, event.result);
      } else if (flooded_ && request->type() != EventType::kNop && event.result > 0) {
        absl::StrAppend(&text, " some");
      } else if (flooded_ && request->type() == EventType::kNop && (event.result >= 0 || event.result == -EALREADY)) {
        // How many were found: the real kernel may have given a send that waits to a thread (EALREADY).
        absl::StrAppend(&text, " ended");
      } else if (flooded_ && request->tcp && (event.result == -EPIPE || event.result == -ECONNRESET)) {
        // How far the end has come through by now is the kernel's affair too.
        absl::StrAppend(&text, " over");
      } else if (flooded_ && event.result == -EINTR) {
        // The same: a cancel interrupts the thread.
        absl::StrAppend(&text, " ", Result(-ECANCELED));
      } else if (request->step.kind == Step::Kind::kBindRequest && event.result == 0) {
        NoteName(request->step.slot);
        absl::StrAppend(&text, " 0");
      } else if (request->type() == EventType::kPoll && event.result > 0) {
        // Who else waits may take the error first; and how often a multishot tells of one change is the kernel's
        // affair.
        const std::string told = absl::StrCat(" ", PollText(event.result & ~POLLERR));
        if (!event.last() && absl::EndsWith(text, absl::StrCat(told, " more;"))) return;
        absl::StrAppend(&text, told);
      } else {
        absl::StrAppend(&text, " ", Result(event.result));
      }
      const bool receives = request->type() == EventType::kReceive || request->type() == EventType::kFileRead;
      if (receives && event.result > 0 && !flooded_) {
        const auto n = static_cast<size_t>(event.result);
        const std::byte* data = request->memory.data();
        if (event.has_buffer())
          data = buffers_[static_cast<size_t>(request->step.group)]->Take(event.buffer_id(), n).data();
        absl::StrAppend(&text, "#", absl::Hex(Fnv(data, n)));
      }
      if (event.has_buffer()) {
        held_[static_cast<size_t>(request->step.group)].push_back(event.buffer_id());
        absl::StrAppend(&text, " buffer");
      }
      if ((event.flags & Event::kSocketNonEmpty) != 0 && !flooded_) absl::StrAppend(&text, " nonempty");
      if (!event.last()) {
        absl::StrAppend(&text, " more;");
        return;
      }
      absl::StrAppend(&text, ".");
      if (request->slot == nullptr) return;
      if (request->slot->receiving == request) request->slot->receiving = nullptr;
      if (request->slot->sending == request) request->slot->sending = nullptr;
    });
  };
  int quiet = 0;
  while (quiet < 2 || ExpectsEnd()) {
    EVRING_CHECK(ring_->Enter() == 0, "an enter is taken");
    quiet = consume() == 0 ? quiet + 1 : 0;
    const int64_t wait_ns = ExpectsEnd() ? kExpectedNs : quiet == 1 ? quiet_ns_ : 0;
    if (wait_ns == 0) continue;
    kevent::WaitArgs wait;
    wait.deadline_ns = options_.kernel->NowNs() + wait_ns;
    ring_->Wait(ring_->state(), wait);
    if (consume() != 0) quiet = 0;
  }
}

bool Machine::ExpectsEnd() const {
  return std::any_of(requests_.begin(), requests_.end(), [](const auto& entry) {
    const Request& request = *entry.second;
    const bool now = request.step.time == Step::Time::kNow || request.step.time == Step::Time::kNowOfClock;
    const bool counts = request.type() == EventType::kFileWrite && request.slot != nullptr && request.slot->counter;
    return ((request.type() == EventType::kTimeout && now) || counts) && request.in_flight();
  });
}

std::string Machine::Observe() {
  std::string text;
  for (auto& [number, request] : requests_) {
    if (request->observed.empty()) continue;
    absl::StrAppend(&text, " r", number, ":", std::exchange(request->observed, ""));
  }
  absl::StrAppend(&text, " |");
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    // With full buffers, how far an end comes through is the kernel's affair; so is how full counts as full.
    if (slot.fd < 0 || (flooded_ && slot.tcp)) continue;
    int events = options_.kernel->PollNow(slot.fd, POLLIN | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM);
    if (flooded_ && events >= 0) events &= ~(POLLOUT | POLLWRNORM);
    absl::StrAppend(&text, " s", i, "=", PollText(events));
  }
  return text;
}

void Machine::Fill(int number, int fd, bool tcp) {
  Slot& slot = slots_[static_cast<size_t>(number)];
  if (slot.fd >= 0) options_.kernel->Close(slot.fd);
  slot = Slot();
  slot.fd = fd;
  slot.tcp = tcp;
}

void Machine::Accepted(Request* request, int fd) {
  const int to = request->step.other + request->accepted++;
  if (request->accepted > kAcceptedSlots || to >= kSlots || slots_[static_cast<size_t>(to)].fd >= 0) {
    options_.kernel->Close(fd);
    absl::StrAppend(&request->observed, " one too many");
    return;
  }
  Fill(to, fd, request->tcp);
  absl::StrAppend(&request->observed, " s", to);
}

// --- Steps

Machine::Name Machine::NameOf(int slot, bool tcp) const {
  if (const auto found = names_.find(slot); found != names_.end()) {
    const auto family = reinterpret_cast<const sockaddr*>(found->second.bytes.data())->sa_family;
    if ((family == AF_INET) == tcp) return found->second;
  }
  if (tcp) {
    // An address of the loopback for each run: ports that an earlier one has left in TIME_WAIT are not in the way.
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(0x7f010000u + static_cast<uint32_t>(run_ % 0xfe0000u) + 2);
    address.sin_port = htons(1);  // nobody listens there
    return {std::string(reinterpret_cast<const char*>(&address), sizeof(address))};
  }
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string name = absl::StrCat("evring-program-", getpid(), "-", run_, "-", slot);
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return {std::string(reinterpret_cast<const char*>(&address), offsetof(sockaddr_un, sun_path) + 1 + name.size())};
}

Machine::Name Machine::NameToBind(int slot, bool tcp) const {
  Name name = NameOf(slot, tcp);
  if (tcp) reinterpret_cast<sockaddr_in*>(name.bytes.data())->sin_port = 0;
  return name;
}

void Machine::NoteName(int slot) {
  const int fd = slots_[static_cast<size_t>(slot)].fd;
  if (fd < 0) return;  // closed meanwhile
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  const int named = options_.kernel->GetSockName(fd, reinterpret_cast<sockaddr*>(&address), &size);
  EVRING_CHECK(named == 0 && size > sizeof(sa_family_t), "a socket has the name that it was given");
  names_[slot] = {std::string(reinterpret_cast<const char*>(&address), size)};
}

int Machine::BindSlot(int slot, bool tcp) {
  const int fd = slots_[static_cast<size_t>(slot)].fd;
  const Name name = NameToBind(slot, tcp);
  const int rc = options_.kernel->Bind(fd, reinterpret_cast<const sockaddr*>(name.bytes.data()),
                                       static_cast<socklen_t>(name.bytes.size()));
  if (rc == 0) NoteName(slot);
  return rc;
}

uint32_t* Machine::WordOf(int word) {
  if (word < kWords) return &words_[static_cast<size_t>(word)];
  return reinterpret_cast<uint32_t*>(reinterpret_cast<uintptr_t>(words_.data()) + 2);
}

std::string Machine::Do(const Step& step) {
  kevent::Kernel* kernel = options_.kernel;
  const int fd = step.slot < 0 ? -1 : slots_[static_cast<size_t>(step.slot)].fd;
  const auto answer = [](int rc) { return absl::StrCat(" ", Result(rc)); };
  switch (step.kind) {
    case Step::Kind::kPair: {
      int fds[2] = {-1, -1};
      const int rc = kernel->SocketPair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
      Fill(step.slot, fds[0], false);
      Fill(step.other, fds[1], false);
      return answer(rc);
    }
    case Step::Kind::kPipe: {
      int fds[2] = {-1, -1};
      const int rc = kernel->Pipe2(fds, O_CLOEXEC | (step.how != 0 ? O_NONBLOCK : 0));
      Fill(step.slot, fds[0], false);
      Fill(step.other, fds[1], false);
      for (const int slot : {step.slot, step.other}) slots_[static_cast<size_t>(slot)].pipe = true;
      return answer(rc);
    }
    case Step::Kind::kSocket:
    case Step::Kind::kListener: {
      const int made = kernel->Socket(step.tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      Fill(step.slot, made, step.tcp);
      if (step.tcp) {
        // Else a few bytes may wait for the acknowledgement of those before, 40 ms. What is accepted inherits it.
        const int on = 1;
        kernel->SetSockOpt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      }
      if (step.kind == Step::Kind::kSocket) return answer(std::min(made, 0));
      const int bound = BindSlot(step.slot, step.tcp);
      return absl::StrCat(answer(bound), answer(kernel->Listen(made, kBacklog)));
    }
    case Step::Kind::kEventFd: {
      const int flags =
          EFD_CLOEXEC | ((step.how & 1) != 0 ? EFD_SEMAPHORE : 0) | ((step.how & 2) != 0 ? EFD_NONBLOCK : 0);
      const int made = kernel->EventFd(static_cast<unsigned>(step.size), flags);
      Fill(step.slot, made, false);
      slots_[static_cast<size_t>(step.slot)].counter = true;
      return answer(std::min(made, 0));
    }
    case Step::Kind::kSetWord:
      // The real kernel's threads look at it too.
      __atomic_store_n(WordOf(step.other), static_cast<uint32_t>(step.size), __ATOMIC_SEQ_CST);
      return "";
    case Step::Kind::kWakeWord:
      return answer(kernel->FutexWake(WordOf(step.other), step.size, (step.how & 0x80) != 0));
    case Step::Kind::kBind:
      return answer(BindSlot(step.slot, step.tcp));
    case Step::Kind::kListen:
      return answer(kernel->Listen(fd, kBacklog));
    case Step::Kind::kLinger: {
      const linger none = {.l_onoff = 1, .l_linger = 0};
      return answer(kernel->SetSockOpt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)));
    }
    case Step::Kind::kShutdown: {
      const int rc = kernel->Shutdown(fd, step.how);
      // With full buffers, whether the connection is over by now is the kernel's affair.
      return flooded_ && fd >= 0 && slots_[static_cast<size_t>(step.slot)].tcp ? "" : answer(rc);
    }
    case Step::Kind::kClose: {
      if (fd < 0) return " closed already";
      slots_[static_cast<size_t>(step.slot)].fd = -1;
      return answer(kernel->Close(fd));
    }
    case Step::Kind::kTakeError: {
      int error = 0;
      socklen_t size = sizeof(error);
      const int rc = kernel->GetSockOpt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      return absl::StrCat(answer(rc), answer(-error));
    }
    case Step::Kind::kReturnBuffers:
      for (size_t group = 0; group < kGroups; ++group) {
        for (const uint16_t id : std::exchange(held_[group], {})) buffers_[group]->Return(id);
      }
      return "";
    default:
      return DoRequest(step);
  }
}

// --- The end of a program

void Machine::CleanUp(Trace* trace) {
  int number = 1'000;
  const auto request = [&](Step step) {
    step.number = number++;
    std::string line = Do(step);
    Settle();
    absl::StrAppend(&line, Observe());
    trace->push_back(absl::StrCat(step.ToString(), " ->", line));
  };
  Step step;
  step.kind = Step::Kind::kCancelAll;
  request(step);
  step.kind = Step::Kind::kReturnBuffers;
  request(step);
  for (int i = 0; i < kSlots; ++i) {
    const Slot& slot = slots_[static_cast<size_t>(i)];
    if (slot.fd < 0 || flooded_) continue;
    // What is left in it, and what comes after.
    step.kind = slot.pipe || slot.counter ? Step::Kind::kRead : Step::Kind::kReceive;
    step.slot = i;
    step.size = slot.pipe ? 70'000 : slot.counter ? 8 : 16'384;
    request(step);
    request(step);
  }
  step.kind = Step::Kind::kCancelAll;
  step.slot = -1;
  request(step);
  for (Slot& slot : slots_) {
    if (slot.fd < 0) continue;
    if (slot.tcp) {
      const linger none = {.l_onoff = 1, .l_linger = 0};
      options_.kernel->SetSockOpt(slot.fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    }
    options_.kernel->Close(slot.fd);
  }
  Settle();
  // What the real kernel has given to a thread of its own takes its time, cancelled or not.
  quiet_ns_ = 10'000'000;
  for (int tries = 0; ring_->in_flight() != 0 && tries < 1'000; ++tries) Settle();
  EVRING_CHECK(ring_->in_flight() == 0, "every request has ended when all are cancelled");
  slots_.fill(Slot());
  names_.clear();
  requests_.clear();
  words_.fill(0);
  flooded_ = false;
}

}  // namespace evring::sim

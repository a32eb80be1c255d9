#include "tests/sim/program.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "sim/random.h"

namespace evring::sim {
namespace {

constexpr const char* kNames[] = {"pair",
                                  "pipe",
                                  "socket",
                                  "bind",
                                  "listen",
                                  "listener",
                                  "eventfd",
                                  "linger",
                                  "connect",
                                  "accept",
                                  "accept-multishot",
                                  "receive",
                                  "receive-buffer",
                                  "receive-multishot",
                                  "poll",
                                  "poll-multishot",
                                  "poll-remove",
                                  "timeout",
                                  "timeout-remove",
                                  "read",
                                  "send",
                                  "write",
                                  "send-pieces",
                                  "flood",
                                  "bind-request",
                                  "listen-request",
                                  "futex-wait",
                                  "futex-wait-many",
                                  "futex-wake",
                                  "cancel",
                                  "cancel-slot",
                                  "cancel-all",
                                  "shutdown",
                                  "close",
                                  "take-error",
                                  "return-buffers",
                                  "set-word",
                                  "wake-word"};
static_assert(std::size(kNames) == static_cast<size_t>(Step::Kind::kWakeWord) + 1);

constexpr const char* kTimes[] = {"now", "later", "now-of-clock", "later-of-clock", "negative"};
constexpr int kEvents[] = {POLLIN, POLLIN, POLLOUT, POLLIN | POLLOUT, POLLRDHUP, POLLIN | POLLRDHUP, 0};

constexpr int kSizes[] = {0, 1, 10, 63, 64, 65, 100, 200, 300};
// Of pipes: around the page, which goes in whole, and the 65536 that fit.
// Of eventfds: of a counter mostly.
constexpr int kCounterSizes[] = {8, 8, 8, 8, 8, 0, 4, 16};
// Of futexes: what a word is mostly, and what it is not; how many are woken; flags, most of them good.
constexpr int kValues[] = {0, 0, 0, 1};
constexpr int kWakes[] = {0, 1, 1, 1, 2, 100, -1};
constexpr int kFutexFlags[] = {0x82, 0x82, 0x82, 0x82, 0x02, 0x02, 0x80, 0x01, 0x10'02};
constexpr uint32_t kMasks[] = {~0u, ~0u, ~0u, 1, 2, 3, 0};
constexpr int kPipeSizes[] = {0, 1, 100, 3000, 4095, 4096, 4097, 5000, 20'000, 61'440, 65'536, 70'000};

class Generator {
 public:
  Generator(uint64_t seed, bool multishot_receive)
      : random_(seed, /*stream=*/11), multishot_receive_(multishot_receive) {}

  Program Generate() {
    const size_t size = 5 + random_.Below(26);
    batches_ = random_.OneIn(4);
    floods_ = random_.OneIn(16);
    futexes_ = random_.OneIn(8);
    AddConnection();
    while (program_.size() < size) AddAny();
    // Of TCP, what is sent in one batch may arrive in it or later: that depends on the network. And when a timeout
    // comes within a batch, when completions of it count for one, and who of several that were woken comes first, is
    // the kernel's affair.
    const bool alone = std::any_of(program_.begin(), program_.end(), [this](const Step& step) {
      return step.kind == Kind::kPollMultishot || (step.kind == Kind::kTimeout && step.size != 0) ||
             SharesBuffers(step);
    });
    for (size_t i = 1; i < program_.size(); ++i) {
      if (IsTcp(program_[i]) || alone || program_[i].kind == Kind::kTimeout)
        program_[i].submit = program_[i - 1].submit = true;
    }
    return std::move(program_);
  }

 private:
  using Kind = Step::Kind;

  Step& Add(Kind kind, int slot = -1, int other = -1) {
    Step step;
    step.kind = kind;
    step.number = static_cast<int>(program_.size());
    step.slot = slot;
    step.other = other;
    program_.push_back(step);
    return program_.back();
  }

  int NewSlot() {
    if (next_slot_ + kAcceptedSlots >= kSlots) return static_cast<int>(random_.Below(kSlots));
    return next_slot_++;
  }
  // One of `slots`, mostly; now and then any, so that calls reach sockets in states that they are not for.
  int OneOf(const std::vector<int>& slots) {
    if (slots.empty() || random_.OneIn(25))
      return static_cast<int>(random_.Below(static_cast<uint64_t>(next_slot_) + 1));
    // The same few again and again: things are to happen to one socket.
    const uint64_t few = slots.size() < 4 ? slots.size() : 4;
    return slots[slots.size() - 1 - random_.Below(random_.OneIn(5) ? slots.size() : few)];
  }
  int Size() { return kSizes[random_.Below(std::size(kSizes))]; }

  void AddConnection() {
    const uint64_t what = random_.Below(3);
    if (what == 0) {
      const int a = NewSlot();
      const int b = NewSlot();
      Add(Kind::kPair, a, b);
      streams_.insert(streams_.end(), {a, b});
      return;
    }
    const bool tcp = what == 1;
    int& listener = tcp ? tcp_listener_ : unix_listener_;
    if (listener < 0 || random_.OneIn(8)) {
      listener = NewSlot();
      Add(Kind::kListener, listener).tcp = tcp;
      listeners_.push_back(listener);
      is_tcp_[listener] = tcp;
      if (random_.OneIn(4)) AddAccept(listener);
    }
    const int client = NewSlot();
    Add(Kind::kSocket, client).tcp = tcp;
    is_tcp_[client] = tcp;
    const bool accept_first = random_.OneIn(3);
    const bool accept = !random_.OneIn(8);
    int server = -1;
    if (accept && accept_first) server = AddAccept(listener);
    Add(Kind::kConnect, client, listener).tcp = tcp;
    streams_.push_back(client);
    if (accept && !accept_first) server = AddAccept(listener);
    if (server >= 0) streams_.push_back(server);
  }

  int AddAccept(int listener) {
    const int to = NewSlot();
    is_tcp_[to] = is_tcp_[listener];
    if (random_.OneIn(3)) {
      Add(Kind::kAcceptMultishot, listener, to);
      for (int i = 1; i < kAcceptedSlots; ++i) {
        streams_.push_back(NewSlot());
        is_tcp_[streams_.back()] = is_tcp_[listener];
      }
    } else {
      Add(Kind::kAccept, listener, to);
    }
    return to;
  }

  void AddAny() {
    // Else no more than one waits for a word, mostly.
    const uint64_t what = futexes_ && !random_.OneIn(4) ? 150 + random_.Below(16) : random_.Below(166);
    if (what >= 150) {
      AddFutex(what);
    } else if (what >= 136) {
      AddEventFd(what);
    } else if (what >= 118) {
      AddPipe(what);
    } else if (what >= 100) {
      AddWait(what);
    } else if (what < 8) {
      AddConnection();
    } else if (what < 11) {
      AddStranger();
    } else if (what < 25) {
      Add(Kind::kReceive, OneOf(streams_)).size = Size();
    } else if (what < 30) {
      Step& step = Add(Kind::kReceiveBuffer, OneOf(streams_));
      step.size = Size();
      step.group = Group();
    } else if (what < 42) {
      if (!multishot_receive_) return;
      Step& step = Add(Kind::kReceiveMultishot, OneOf(streams_));
      step.group = Group();
    } else if (what < 62) {
      Step& step = Add(random_.OneIn(4) ? Kind::kSendPieces : Kind::kSend, OneOf(streams_));
      step.size = Size();
      step.wait_all = random_.OneIn(3);
    } else if (what < 65) {
      if (!floods_) return;
      Step& step = Add(Kind::kFlood, OneOf(streams_));
      step.wait_all = random_.OneIn(2);
    } else if (what < 70) {
      const int target = static_cast<int>(random_.Below(program_.size() + 1));
      Add(Kind::kCancel, -1, target);
    } else if (what < 72) {
      Add(Kind::kCancelSlot, OneOf(streams_));
    } else if (what < 74) {
      Add(Kind::kCancelAll);
    } else if (what < 83) {
      Add(Kind::kShutdown, OneOf(random_.OneIn(10) ? listeners_ : streams_)).how = static_cast<int>(random_.Below(3));
    } else if (what < 92) {
      const int slot = OneOf(random_.OneIn(8) ? listeners_ : streams_);
      if (random_.OneIn(4)) Add(Kind::kLinger, slot);
      Add(Kind::kClose, slot);
    } else if (what < 95) {
      Add(Kind::kTakeError, OneOf(streams_));
    } else if (what < 98) {
      Add(Kind::kReturnBuffers);
    } else {
      AddAccept(OneOf(listeners_));
    }
    if (batches_) program_.back().submit = !random_.OneIn(3);
  }

  // A socket that is not connected, and calls that make no sense, or might.
  void AddStranger() {
    const bool tcp = random_.OneIn(2);
    const int slot = NewSlot();
    Add(Kind::kSocket, slot).tcp = tcp;
    is_tcp_[slot] = tcp;
    if (random_.OneIn(2)) {
      Add(random_.OneIn(2) ? Kind::kBind : Kind::kBindRequest, slot).tcp = tcp;
      program_.back().how = random_.OneIn(4) ? static_cast<int>(1 + random_.Below(2)) : 0;
    }
    if (random_.OneIn(4)) Add(random_.OneIn(2) ? Kind::kListen : Kind::kListenRequest, slot);
    if (random_.OneIn(2)) {
      const int to = OneOf(listeners_);
      Add(Kind::kConnect, slot, to == slot ? kSlots - 1 : to).tcp = random_.OneIn(8) ? !tcp : tcp;
    }
    (random_.OneIn(3) ? listeners_ : streams_).push_back(slot);
  }

  void AddWait(uint64_t what) {
    const auto target = static_cast<int>(random_.Below(program_.size() + 1));
    // With full buffers, how far an end comes through is the kernel's affair.
    if (what < 110 && floods_) return;
    if (what < 104) {
      Add(Kind::kPoll, OneOf(random_.OneIn(4) ? listeners_ : streams_)).events = Events();
    } else if (what < 108) {
      Add(Kind::kPollMultishot, OneOf(random_.OneIn(4) ? listeners_ : streams_)).events = Events();
    } else if (what < 110) {
      Add(Kind::kPollRemove, -1, target);
    } else if (what < 116) {
      Step& step = Add(Kind::kTimeout);
      step.time = static_cast<Step::Time>(random_.Below(std::size(kTimes)));
      step.size = random_.OneIn(2) ? 0 : static_cast<int>(1 + random_.Below(4));
    } else {
      Add(Kind::kTimeoutRemove, -1, target);
    }
  }

  void AddPipe(uint64_t what) {
    if (what < 121 || readers_.empty()) {
      const int reader = NewSlot();
      const int writer = NewSlot();
      Add(Kind::kPipe, reader, writer).how = random_.OneIn(6) ? 1 : 0;
      readers_.push_back(reader);
      writers_.push_back(writer);
    } else if (what < 125) {
      Step& step = Add(Kind::kRead, OneOf(random_.OneIn(10) ? writers_ : readers_));
      step.size = PipeSize();
    } else if (what < 132) {
      Step& step = Add(Kind::kWrite, OneOf(random_.OneIn(10) ? readers_ : writers_));
      step.size = PipeSize();
    } else if (what < 134) {
      const int slot = OneOf(random_.OneIn(2) ? readers_ : writers_);
      Add(random_.OneIn(2) ? Kind::kPoll : Kind::kPollMultishot, slot).events = Events();
    } else if (what < 135) {
      Add(random_.OneIn(2) ? Kind::kRead : Kind::kWrite, OneOf(streams_)).size = Size();
    } else {
      Add(Kind::kClose, OneOf(random_.OneIn(2) ? readers_ : writers_));
    }
  }

  void AddEventFd(uint64_t what) {
    if (what < 139 || counters_.empty()) {
      const int slot = NewSlot();
      Step& step = Add(Kind::kEventFd, slot);
      step.size = random_.OneIn(2) ? 0 : 3;
      step.how = static_cast<int>(random_.Below(4));
      counters_.push_back(slot);
    } else if (what < 143) {
      Add(Kind::kRead, OneOf(counters_)).size = CounterSize();
    } else if (what < 147) {
      Step& step = Add(Kind::kWrite, OneOf(counters_));
      step.size = CounterSize();
      step.group = random_.OneIn(8) ? 1 : 0;
    } else if (what < 149) {
      Add(random_.OneIn(2) ? Kind::kPoll : Kind::kPollMultishot, OneOf(counters_)).events = Events();
    } else {
      const int slot = OneOf(random_.OneIn(2) ? counters_ : streams_);
      Add(random_.OneIn(2) ? Kind::kClose : Kind::kBindRequest, slot);
    }
  }

  void AddFutex(uint64_t what) {
    Kind kind = Kind::kFutexWake;
    if (what < 156) {
      kind = random_.OneIn(3) ? Kind::kFutexWaitMany : Kind::kFutexWait;
    } else if (what >= 162) {
      kind = random_.OneIn(2) ? Kind::kWakeWord : Kind::kSetWord;
    }
    const auto word = static_cast<int>(random_.Below(random_.OneIn(16) ? kWords + 1 : kWords));
    Step& step = Add(kind, -1, word);
    const bool wakes = kind == Kind::kFutexWake || kind == Kind::kWakeWord;
    step.size = wakes ? kWakes[random_.Below(std::size(kWakes))] : kValues[random_.Below(std::size(kValues))];
    step.how = kFutexFlags[random_.Below(std::size(kFutexFlags))];
    step.mask = kMasks[random_.Below(std::size(kMasks))];
    step.group = static_cast<int>(random_.Below(kWords + 1));
    if (kind == Kind::kSetWord || kind == Kind::kWakeWord) step.other = static_cast<int>(random_.Below(kWords));
  }

  // Another step may want the same buffers.
  bool SharesBuffers(const Step& step) const {
    const auto takes = [](const Step& some) {
      return some.kind == Kind::kReceiveBuffer || some.kind == Kind::kReceiveMultishot;
    };
    return takes(step) && std::any_of(program_.begin(), program_.end(), [&](const Step& other) {
             return &other != &step && takes(other) && other.group == step.group;
           });
  }

  int CounterSize() { return kCounterSizes[random_.Below(std::size(kCounterSizes))]; }
  int PipeSize() { return kPipeSizes[random_.Below(std::size(kPipeSizes))]; }
  int Events() { return kEvents[random_.Below(std::size(kEvents))]; }
  bool IsTcp(const Step& step) const { return step.slot >= 0 && is_tcp_[step.slot]; }
  int Group() { return random_.OneIn(16) ? 2 : static_cast<int>(random_.Below(2)); }

  Random random_;
  const bool multishot_receive_;
  bool batches_ = false;
  bool floods_ = false;
  bool futexes_ = false;  // much of it is about them
  Program program_;
  int next_slot_ = 0;
  int tcp_listener_ = -1;
  int unix_listener_ = -1;
  bool is_tcp_[kSlots] = {};
  std::vector<int> streams_;
  std::vector<int> listeners_;
  std::vector<int> readers_;  // of pipes
  std::vector<int> writers_;
  std::vector<int> counters_;  // eventfds
};

}  // namespace

std::string Step::ToString() const {
  std::string text = absl::StrCat(number, " ", kNames[static_cast<int>(kind)]);
  if (slot >= 0) absl::StrAppend(&text, " s", slot);
  switch (kind) {
    case Kind::kPair:
      absl::StrAppend(&text, " s", other);
      break;
    case Kind::kPipe:
      absl::StrAppend(&text, " s", other, how != 0 ? " nonblocking" : "");
      break;
    case Kind::kSocket:
    case Kind::kBind:
    case Kind::kBindRequest:
    case Kind::kListener:
      absl::StrAppend(&text, tcp ? " tcp" : " unix");
      break;
    case Kind::kConnect:
      absl::StrAppend(&text, tcp ? " tcp" : " unix", " to s", other);
      break;
    case Kind::kAccept:
    case Kind::kAcceptMultishot:
      absl::StrAppend(&text, " into s", other);
      break;
    case Kind::kReceive:
    case Kind::kRead:
    case Kind::kSend:
    case Kind::kWrite:
    case Kind::kSendPieces:
      absl::StrAppend(&text, " ", size, " bytes");
      break;
    case Kind::kReceiveBuffer:
    case Kind::kReceiveMultishot:
      absl::StrAppend(&text, " ", size, " bytes, group ", group);
      break;
    case Kind::kPoll:
    case Kind::kPollMultishot:
      absl::StrAppend(&text, " for ", absl::Hex(events));
      break;
    case Kind::kTimeout:
      absl::StrAppend(&text, " ", kTimes[static_cast<int>(time)]);
      if (size != 0) absl::StrAppend(&text, ", ", size, " completions");
      break;
    case Kind::kEventFd:
      absl::StrAppend(&text, " count ", size, (how & 1) != 0 ? " semaphore" : "", (how & 2) != 0 ? " nonblocking" : "");
      break;
    case Kind::kFutexWait:
    case Kind::kFutexWaitMany:
    case Kind::kFutexWake:
    case Kind::kSetWord:
    case Kind::kWakeWord:
      absl::StrAppend(&text, " w", other, " ", size, " flags ", absl::Hex(how), " mask ", absl::Hex(mask));
      if (kind == Kind::kFutexWaitMany) absl::StrAppend(&text, " of ", group);
      break;
    case Kind::kPollRemove:
    case Kind::kTimeoutRemove:
    case Kind::kCancel:
      absl::StrAppend(&text, " r", other);
      break;
    case Kind::kShutdown:
      absl::StrAppend(&text, how == SHUT_RD ? " RD" : how == SHUT_WR ? " WR" : " RDWR");
      break;
    default:
      break;
  }
  if (wait_all) absl::StrAppend(&text, " WAITALL");
  if (!submit) absl::StrAppend(&text, " (with the next)");
  return text;
}

Program RandomProgram(uint64_t seed, bool multishot_receive) { return Generator(seed, multishot_receive).Generate(); }

}  // namespace evring::sim

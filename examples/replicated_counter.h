// replicated_counter.h: a counter on three hosts: a small service, written as one writes it first, with a bug that a
// test on a quiet network does not find. replicated_counter.cc looks for it on a simulated one.
//
// Clients send "add CLIENT NUMBER AMOUNT" to the primary, a line each, and try again until they are told "ok". The
// primary adds and tells the backups, "copy CLIENT NUMBER AMOUNT", also until they say "ok", before it answers.

#ifndef EVRING_EXAMPLES_REPLICATED_COUNTER_H_
#define EVRING_EXAMPLES_REPLICATED_COUNTER_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "net/address.h"
#include "net/buffered_reader.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/sleep.h"
#include "runtime/task.h"
#include "runtime/task_group.h"

namespace counter {

using evring::Task;

// Sends one line and waits for "ok". Errors: whatever the connection ends with.
inline Task<absl::Status> Ask(evring::net::SocketAddress to, std::string line) {
  absl::StatusOr<evring::net::Stream> stream = co_await evring::net::Stream::Connect(to);
  if (!stream.ok()) co_return stream.status();
  absl::StrAppend(&line, "\n");
  absl::Status status = co_await stream->Write(std::as_bytes(std::span(line)));
  if (!status.ok()) co_return status;
  evring::net::BufferedReader reader(&*stream);
  const auto answer = co_await reader.ReadLine(100);
  if (!answer.ok()) co_return answer.status();
  if (*answer != "ok") co_return absl::InternalError(absl::StrCat("answered ", *answer));
  co_return absl::OkStatus();
}

// The same, until it has worked. Fails only when it is stopped.
inline Task<absl::Status> AskUntilDone(evring::net::SocketAddress to, std::string line) {
  for (;;) {
    absl::Status status = co_await Ask(to, line);
    if (status.ok() || absl::IsCancelled(status)) co_return status;
    status = co_await evring::Sleep(absl::Milliseconds(10));
    if (!status.ok()) co_return status;
  }
}

class Replica {
 public:
  // `remembers`: a line that has come before is answered, but not counted again.
  Replica(std::vector<evring::net::SocketAddress> backups, bool remembers)
      : backups_(std::move(backups)), remembers_(remembers) {}

  int64_t total() const { return total_; }

  // Serves connections until `listener` is shut down.
  Task<absl::Status> Serve(evring::net::Listener* listener) {
    evring::TaskGroup connections(evring::TaskGroup::OnError::kGoOn);
    for (;;) {
      absl::StatusOr<evring::net::Stream> stream = co_await listener->Accept();
      if (stream.ok()) {
        co_await connections.Spawn(Converse(*std::move(stream)));
        continue;
      }
      if (absl::IsInvalidArgument(stream.status()) || absl::IsCancelled(stream.status())) break;
      static_cast<void>(co_await evring::Sleep(absl::Milliseconds(1)));  // out of descriptors, say
    }
    connections.RequestStop();
    static_cast<void>(co_await connections.Join());
    co_return absl::OkStatus();
  }

 private:
  Task<> Converse(evring::net::Stream stream) {
    evring::net::BufferedReader reader(&stream);
    for (;;) {
      const auto line = co_await reader.ReadLine(100);
      if (!line.ok()) co_return;
      const std::string command(line->data(), line->size());
      const absl::Status done = co_await Do(command);
      const std::string answer = done.ok() ? "ok\n" : absl::StrCat("error ", done.ToString(), "\n");
      const absl::Status sent = co_await stream.Write(std::as_bytes(std::span(answer)));
      if (!sent.ok()) co_return;
    }
  }

  Task<absl::Status> Do(std::string command) {
    const std::vector<std::string> words = absl::StrSplit(command, ' ');
    int64_t number = 0, amount = 0;
    if (words.size() != 4 || !absl::SimpleAtoi(words[2], &number) || !absl::SimpleAtoi(words[3], &amount)) {
      co_return absl::InvalidArgumentError("not a command");
    }
    int64_t& newest = newest_[words[1]];
    if (!remembers_ || number > newest) total_ += amount;
    newest = std::max(newest, number);
    if (words[0] == "add") {
      const std::string copy = absl::StrCat("copy ", words[1], " ", words[2], " ", words[3]);
      for (const evring::net::SocketAddress& backup : backups_) {
        const absl::Status copied = co_await AskUntilDone(backup, copy);
        if (!copied.ok()) co_return copied;
      }
    }
    co_return absl::OkStatus();
  }

  const std::vector<evring::net::SocketAddress> backups_;
  const bool remembers_;
  int64_t total_ = 0;
  std::map<std::string, int64_t> newest_;  // by client: the newest of its numbers
};

}  // namespace counter

#endif  // EVRING_EXAMPLES_REPLICATED_COUNTER_H_

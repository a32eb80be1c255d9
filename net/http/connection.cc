#include "net/http/connection.h"

#include <errno.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kevent/check.h"
#include "kevent/errors.h"
#include "net/http/chunk.h"
#include "net/http/response.h"
#include "runtime/cancellation.h"
#include "runtime/sleep.h"
#include "runtime/worker.h"

namespace evring::net::http {
namespace {

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

absl::Duration Nearest(const ServerOptions& options) {
  return std::min({options.idle_timeout, options.head_timeout, options.body_timeout, options.write_timeout});
}

// Errors of a socket that say no more than that the peer is not there any more.
bool IsPeerGone(const absl::Status& status) {
  switch (kevent::StatusErrno(status)) {
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case ETIMEDOUT:  // what was sent is not acknowledged
      return true;
    default:
      return false;
  }
}

// A refusal as the hook is told of it.
absl::Status RefusalError(StatusCode status, std::string_view reason) {
  const std::string message = absl::StrCat("refused with ", static_cast<int>(status), ": ", std::string(reason));
  switch (status) {
    case StatusCode::kRequestTimeout:
      return absl::DeadlineExceededError(message);
    case StatusCode::kContentTooLarge:
    case StatusCode::kUriTooLong:
    case StatusCode::kRequestHeaderFieldsTooLarge:
      return absl::ResourceExhaustedError(message);
    case StatusCode::kNotImplemented:
    case StatusCode::kHttpVersionNotSupported:
      return absl::UnimplementedError(message);
    default:
      return absl::InvalidArgumentError(message);
  }
}

// How long a client is given to take what it was sent last.
constexpr absl::Duration kLingerTime = absl::Seconds(2);

}  // namespace

ServerConnection::ServerConnection(Server* server, Stream stream)
    : server_(server),
      stream_(std::move(stream)),
      deadline_(server->options_.head_timeout, Nearest(server->options_)),
      parser_(&server->options_.limits),
      request_(this),
      response_(this) {}

Task<> ServerConnection::Run() {
  const absl::StatusOr<End> end = co_await WithDeadline(&deadline_, Serve());
  // What the client sends now resets the connection as soon as it is closed, and a reset overtakes the answers.
  if (Draining()) static_cast<void>((co_await WithTimeout(kLingerTime, AwaitDelivered())).ok());
  if (end.ok() && *end != End::kLinger) co_return;
  if (!end.ok()) {
    // Out of time. A request that was being received is told so; an idle or unreadable client is not.
    const bool receiving = parser_.in_head() || (!parser_.between_messages() && !response_.begun());
    if (!deadline_.expired()) co_return;
    if (sending_) {
      if (!broken_) Report(ServerError::Source::kConnection, absl::DeadlineExceededError("the client does not read"));
      co_return;
    }
    if (!receiving) {
      if (!parser_.between_messages()) {
        Report(ServerError::Source::kConnection, absl::DeadlineExceededError("the request took too long"));
      }
      co_return;
    }
    output_.clear();
    Refuse(StatusCode::kRequestTimeout, "the request took too long");
    if (!(co_await WithTimeout(absl::Seconds(1), SendGathered())).ok()) co_return;
  }
  // A client that goes on sending is given this long, and no more, to read the answer.
  static_cast<void>((co_await WithTimeout(kLingerTime, Linger())).ok());
}

void ServerConnection::ShutReceiving() {
  std::lock_guard lock(shut_mutex_);
  shut_ = true;
  if (receiving_body_ || lingering_) return;
  stream_.Shutdown(Stream::Direction::kReceive).IgnoreError();  // ENOTCONN: it has gone
}

bool ServerConnection::Draining() const { return server_->draining_.load(std::memory_order_acquire); }

const ServerStamp& ServerConnection::Stamp() {
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  ServerStamp& stamp = server_->stamps_[static_cast<size_t>(Worker::Current()->index())];
  stamp.SetTime(now.tv_sec);
  return stamp;
}

Exchange ServerConnection::ExchangeNow() const {
  Exchange exchange(parser_.request());
  // While draining, the last request of those received says that it is the last, if that is known: an empty input alone
  // does not prove it, the next may be in the socket. Where it is not known, the connection is closed behind the
  // answer.
  const bool last = input_.empty() && Draining() && stream_.AtEnd();
  exchange.keep_alive = exchange.keep_alive && keep_alive_ && !last;
  return exchange;
}

// The connection's loop. It ends when the client has gone or an answer said that it was the last.
Task<ServerConnection::End> ServerConnection::Serve() {
  for (;;) {
    if (input_.empty()) {
      if (!output_.empty() && !(co_await SendGathered()).ok()) co_return End::kBroken;
      if (!keep_alive_) co_return end_of_stream_ ? End::kClose : End::kLinger;
      if (!co_await Receive()) co_return End::kClose;
    } else if (output_.size() >= kGatherMax) {
      if (!(co_await SendGathered()).ok()) co_return End::kBroken;
    }
    const ParseResult result = parser_.Feed(input_);
    input_.remove_prefix(result.consumed);
    switch (result.event) {
      case ParseEvent::kHead:
        head_deadline_set_ = false;
        handling_ = true;
        if (co_await Handle()) {
          handling_ = false;
        } else {
          keep_alive_ = false;
          input_ = {};
        }
        break;
      case ParseEvent::kError:
        Refuse(parser_.error().status, parser_.error().reason);
        break;
      case ParseEvent::kNeedMore:
      case ParseEvent::kMessage:  // of a request whose body has been dealt with
      case ParseEvent::kBody:     // skipped, see SkipRestOfBody
        break;
    }
  }
}

// Waits for the next bytes. False: there will be none.
Task<bool> ServerConnection::Receive() {
  if (end_of_stream_) co_return false;
  buffer_.Reset();
  const ServerOptions& options = server_->options_;
  if (parser_.between_messages()) {
    if (parser_.memory_bytes() > kParserIdleBytesMax) parser_.ReleaseMemory();
    deadline_.MoveTo(options.idle_timeout);
  } else if (!parser_.in_head()) {
    deadline_.MoveTo(options.body_timeout);
  } else if (!head_deadline_set_) {
    deadline_.MoveTo(options.head_timeout);  // for all of the head, however it trickles in
    head_deadline_set_ = true;
  }
  absl::StatusOr<ReceivedBuffer> received = co_await stream_.Receive();
  if (!received.ok() || received->empty()) {
    if (!received.ok()) Broken(received.status());
    end_of_stream_ = true;
    co_return false;
  }
  buffer_ = *std::move(received);
  input_ = {reinterpret_cast<const char*>(buffer_.data().data()), buffer_.size()};
  co_return true;
}

// Lets the handler answer the request whose head is complete. False: the connection ends after this.
Task<bool> ServerConnection::Handle() {
  const Request& head = parser_.request();
  message_complete_ = false;
  continue_said_ = false;
  response_.Reset();
  if (head.has_body()) {
    std::lock_guard lock(shut_mutex_);
    receiving_body_ = true;
  }
  deadline_.MoveTo(absl::InfiniteDuration());
  server_->requests_.fetch_add(1, std::memory_order_relaxed);
  absl::Status status;
  try {
    status = co_await server_->handler_(&request_, &response_);
  } catch (const std::exception& error) {
    status = absl::InternalError(absl::StrCat("handler: ", error.what()));
  } catch (...) {
    status = absl::InternalError("handler: an exception that is no std::exception");
  }
  if (status.ok() && !response_.begun()) status = absl::InternalError("the handler did not answer");
  if (status.ok() && !response_.ended()) status = response_.End();
  if (!status.ok()) {
    server_->handler_errors_.fetch_add(1, std::memory_order_relaxed);
    const bool stopped = co_await StopRequested();
    // Otherwise the error follows from what the handler cannot help.
    if (!refused_ && !broken_ && !stopped) Report(ServerError::Source::kHandler, status);
    if (refused_) {
      // ReadBody() has put the answer into the output.
    } else if (response_.begun() || end_of_stream_ || sending_) {
      co_return false;  // it cannot be said any more
    } else {
      response_.Reset();
      response_.set_status(StatusForError(status));
      response_.Send("text/plain; charset=utf-8", std::string(ReasonPhrase(response_.status())) + "\n");
    }
  }
  if (refused_ || !keep_alive_) co_return false;
  if (head.has_body()) {
    const bool skipped = message_complete_ || co_await SkipRestOfBody();
    bool shut;
    {
      std::lock_guard lock(shut_mutex_);
      receiving_body_ = false;
      shut = shut_;
    }
    if (shut) stream_.Shutdown(Stream::Direction::kReceive).IgnoreError();
    co_return skipped;
  }
  parser_.Reset();
  co_return true;
}

// Reads a body that nobody wanted up to its end. False: that would take too long, or it does not come.
Task<bool> ServerConnection::SkipRestOfBody() {
  const Request& head = parser_.request();
  if (head.expects_continue() && !continue_said_ && parser_.body_bytes() == 0) co_return false;  // it may not come
  if (head.content_length().value_or(0) > kSkipMax) co_return false;
  parser_.SkipBody();
  for (;;) {
    const ParseResult result = parser_.Feed(input_);
    input_.remove_prefix(result.consumed);
    if (result.event == ParseEvent::kMessage) co_return true;
    if (result.event == ParseEvent::kError) {
      Report(ServerError::Source::kConnection, RefusalError(parser_.error().status, parser_.error().reason));
      co_return false;
    }
    if (parser_.body_bytes() > kSkipMax) co_return false;
    if (!input_.empty()) continue;
    parser_.PinHead();  // the views in it must not dangle, even if nobody looks any more
    if (!output_.empty() && !(co_await SendGathered()).ok()) co_return false;
    if (!co_await Receive()) co_return false;
  }
}

// The answer to a request that cannot be handled; the last of this connection.
void ServerConnection::Refuse(StatusCode status, std::string_view reason) {
  server_->refused_.fetch_add(1, std::memory_order_relaxed);
  Report(ServerError::Source::kConnection, RefusalError(status, reason));
  AppendErrorResponse(status, reason, Stamp(), &output_);
  refused_ = true;
  keep_alive_ = false;
  input_ = {};
}

void ServerConnection::Broken(const absl::Status& status) {
  if (absl::IsCancelled(status)) return;  // stopped, which is nobody's error, or out of time, which Run() sees
  broken_ = true;
  if (!IsPeerGone(status)) Report(ServerError::Source::kConnection, status);
}

void ServerConnection::Report(ServerError::Source source, absl::Status status) noexcept {
  const auto& on_error = server_->options_.on_error;
  if (on_error == nullptr) return;
  if (source == ServerError::Source::kConnection && std::exchange(reported_, true)) return;
  ServerError error;
  error.source = source;
  error.status = std::move(status);
  if (auto peer = stream_.socket().PeerAddress(); peer.ok()) error.peer = *std::move(peer);
  if (handling_) {
    const Request& head = parser_.request();
    error.request_line.append(head.method_name()).append(" ").append(head.target());
    absl::StrAppend(&error.request_line, " HTTP/1.", head.version_minor());
  }
  on_error(error);
}

Task<absl::Status> ServerConnection::SendGathered() {
  // Of what a failed send was to say, a part may have gone out: whatever came next would be taken for its rest.
  if (sending_) co_return absl::UnavailableError("an earlier send has failed");
  deadline_.MoveTo(server_->options_.write_timeout);
  sending_ = true;
  absl::Status status = co_await stream_.Write(AsBytes(output_));
  if (!status.ok()) {
    keep_alive_ = false;
    Broken(status);
    co_return status;
  }
  sending_ = false;
  output_.clear();
  if (output_.capacity() > 4 * kGatherMax) output_.shrink_to_fit();
  co_return status;
}

Task<> ServerConnection::AwaitDelivered() {
  absl::Duration pause = absl::Microseconds(100);
  while (stream_.UndeliveredBytes() > 0) {
    const absl::Status status = co_await Sleep(pause);
    if (!status.ok()) co_return;
    pause = std::min(2 * pause, absl::Milliseconds(20));
  }
}

Task<> ServerConnection::Linger() {
  {
    std::lock_guard lock(shut_mutex_);
    lingering_ = true;
  }
  if (!stream_.Shutdown(Stream::Direction::kSend).ok()) co_return;
  for (uint64_t dropped = 0; dropped < (1 << 20);) {
    buffer_.Reset();
    absl::StatusOr<ReceivedBuffer> received = co_await stream_.Receive();
    if (!received.ok() || received->empty()) co_return;
    dropped += received->size();
  }
}

// --- ServerRequest
// -----------------------------------------------------------------------------------------------------

const Request& ServerRequest::head() const { return connection_->parser_.request(); }

Task<absl::StatusOr<std::string_view>> ServerRequest::ReadBody() {
  ServerConnection& c = *connection_;
  RequestParser& parser = c.parser_;
  if (!head().has_body() || c.message_complete_) co_return std::string_view();
  if (c.refused_) co_return absl::FailedPreconditionError("the body was refused");
  for (;;) {
    const ParseResult result = parser.Feed(c.input_);  // of nothing, too: the end of a body needs no further byte
    c.input_.remove_prefix(result.consumed);
    switch (result.event) {
      case ParseEvent::kBody:
        co_return result.body;
      case ParseEvent::kMessage:
        c.message_complete_ = true;
        co_return std::string_view();
      case ParseEvent::kError: {
        const RequestParser::Error error = parser.error();
        if (!c.response_.begun()) {
          c.Refuse(error.status, error.reason);
        } else {
          c.Report(ServerError::Source::kConnection, RefusalError(error.status, error.reason));
        }
        c.keep_alive_ = false;
        co_return error.status == StatusCode::kContentTooLarge ? absl::ResourceExhaustedError(error.reason)
                                                               : absl::InvalidArgumentError(error.reason);
      }
      case ParseEvent::kHead:
        EVRING_CHECK(false, "a head inside a body");
      case ParseEvent::kNeedMore:
        break;
    }
    if (head().expects_continue() && parser.body_bytes() == 0 && !c.response_.begun() && !c.continue_said_) {
      c.output_.append(kContinueResponse);
      c.continue_said_ = true;
    }
    parser.PinHead();  // the buffer that holds it is about to be given back
    if (!c.output_.empty()) {
      if (absl::Status status = co_await c.SendGathered(); !status.ok()) co_return status;
    }
    if (!co_await c.Receive()) {
      c.broken_ = true;
      co_return absl::UnavailableError("the client left in the middle of a body");
    }
    c.deadline_.MoveTo(absl::InfiniteDuration());
  }
}

Task<absl::StatusOr<std::string>> ServerRequest::ReadWholeBody(size_t bytes_max) {
  std::string body;
  if (const auto length = head().content_length(); length.has_value()) {
    if (*length > bytes_max) {
      co_return absl::ResourceExhaustedError(absl::StrCat("a body of ", *length, " bytes, at most ", bytes_max));
    }
    body.reserve(*length);
  }
  for (;;) {
    absl::StatusOr<std::string_view> piece = co_await ReadBody();
    if (!piece.ok()) co_return piece.status();
    if (piece->empty()) co_return body;
    if (piece->size() > bytes_max - body.size()) {
      co_return absl::ResourceExhaustedError(absl::StrCat("a body of more than ", bytes_max, " bytes"));
    }
    body.append(*piece);
  }
}

// --- ServerResponse
// ----------------------------------------------------------------------------------------------------

void ServerResponse::Reset() {
  head_.Reset();
  framing_ = BodyFraming::kNone;
  begun_ = false;
  ended_ = false;
  suppress_body_ = false;
  left_ = 0;
}

void ServerResponse::Send(std::string_view content_type, std::string_view body) {
  EVRING_CHECK(!begun_, "a request is answered once");
  head_.SetContentLength(body.size());
  if (!content_type.empty()) {
    EVRING_CHECK(head_.AddHeader("Content-Type", content_type).ok(), "a content type is a field value");
  }
  const SentHead sent = head_.AppendTo(connection_->ExchangeNow(), connection_->Stamp(), &connection_->output_);
  if (sent.framing == BodyFraming::kLength) connection_->output_.append(body);
  connection_->keep_alive_ = sent.keep_alive;
  begun_ = ended_ = true;
}

void ServerResponse::Send(const PreparedResponse& prepared) {
  EVRING_CHECK(!begun_, "a request is answered once");
  connection_->keep_alive_ = prepared.AppendTo(connection_->ExchangeNow(), connection_->Stamp(), &connection_->output_);
  begun_ = ended_ = true;
}

void ServerResponse::Begin(std::string_view content_type, std::optional<uint64_t> length) {
  EVRING_CHECK(!begun_, "a request is answered once");
  if (length.has_value()) {
    head_.SetContentLength(*length);
  } else {
    head_.SetStreaming();
  }
  if (!content_type.empty()) {
    EVRING_CHECK(head_.AddHeader("Content-Type", content_type).ok(), "a content type is a field value");
  }
  const SentHead sent = head_.AppendTo(connection_->ExchangeNow(), connection_->Stamp(), &connection_->output_);
  framing_ = sent.framing;
  connection_->keep_alive_ = sent.keep_alive;
  suppress_body_ = framing_ == BodyFraming::kNone;
  left_ = length.value_or(0);
  begun_ = true;
}

Task<absl::Status> ServerResponse::Write(std::string_view data) {
  EVRING_CHECK(begun_ && !ended_, "Begin() comes first, End() last");
  if (suppress_body_ || data.empty()) co_return absl::OkStatus();
  if (framing_ == BodyFraming::kLength) {
    if (data.size() > left_) co_return absl::InvalidArgumentError("more than the announced length");
    left_ -= data.size();
  }
  std::string& output = connection_->output_;
  if (framing_ == BodyFraming::kChunked) {
    AppendChunk(data, &output);
  } else {
    output.append(data);
  }
  if (output.size() >= ServerConnection::kGatherMax) co_return co_await Flush();
  co_return absl::OkStatus();
}

Task<absl::Status> ServerResponse::Flush() {
  if (connection_->output_.empty()) co_return absl::OkStatus();
  absl::Status status = co_await connection_->SendGathered();
  connection_->deadline_.MoveTo(absl::InfiniteDuration());
  if (!status.ok()) connection_->keep_alive_ = false;
  co_return status;
}

absl::Status ServerResponse::End() {
  EVRING_CHECK(begun_ && !ended_, "Begin() comes first");
  ended_ = true;
  if (suppress_body_) return absl::OkStatus();
  if (framing_ == BodyFraming::kChunked) AppendLastChunk(&connection_->output_);
  if (framing_ == BodyFraming::kUntilClose) connection_->keep_alive_ = false;
  if (framing_ == BodyFraming::kLength && left_ != 0) {
    connection_->keep_alive_ = false;
    return absl::InvalidArgumentError(absl::StrCat("the body is ", left_, " bytes shorter than announced"));
  }
  return absl::OkStatus();
}

}  // namespace evring::net::http

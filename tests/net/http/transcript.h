// transcript.h: what a RequestParser makes of a byte stream that arrives in given pieces, written down to be compared.
// Each piece is fed from memory of its own, of its exact size, which is freed before the next: a view that outlives its
// input is found by AddressSanitizer.

#ifndef EVRING_TESTS_NET_HTTP_TRANSCRIPT_H_
#define EVRING_TESTS_NET_HTTP_TRANSCRIPT_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/http/limits.h"
#include "net/http/parser.h"

namespace evring::net::http {

struct Message {
  std::string line;  // method, target, path, query, host, version and flags
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::vector<std::pair<std::string, std::string>> trailers;
  bool complete = false;

  bool operator==(const Message&) const = default;
};

struct Transcript {
  std::vector<Message> messages;  // the last one may be incomplete
  int error = 0;                  // the status, or 0
  bool between_messages = false;  // at the end

  bool operator==(const Transcript&) const = default;
};

inline std::vector<std::pair<std::string, std::string>> CopyOf(const Fields& fields) {
  std::vector<std::pair<std::string, std::string>> copy;
  for (const Field field : fields) copy.emplace_back(field.name, field.value);
  return copy;
}

inline std::string LineOf(const Request& r) {
  std::string line;
  for (std::string_view part : {r.method_name(), r.target(), r.raw_path(), r.query(), r.host()}) {
    line.append(part).append(" | ");
  }
  line += "1." + std::to_string(r.version_minor());
  line += r.content_length().has_value() ? " length=" + std::to_string(*r.content_length()) : "";
  for (const auto& [flag, name] :
       {std::pair(r.chunked(), " chunked"), std::pair(r.has_body(), " body"), std::pair(r.keep_alive(), " keep-alive"),
        std::pair(r.expects_continue(), " continue"), std::pair(r.wants_upgrade(), " upgrade")}) {
    if (flag) line += name;
  }
  return line;
}

inline void PrintTo(const Transcript& transcript, std::ostream* out) {
  *out << "error " << transcript.error << (transcript.between_messages ? ", between messages" : "");
  for (const Message& message : transcript.messages) {
    *out << "\n  " << message.line << (message.complete ? " complete" : " open");
    for (const auto& [name, value] : message.headers) *out << "\n    " << name << ": " << value;
    *out << "\n    body of " << message.body.size();
    for (const auto& [name, value] : message.trailers) *out << "\n    trailer " << name << ": " << value;
  }
}

// Feeds one piece until the parser wants more. False once it has refused the stream.
inline bool FeedPiece(RequestParser* parser, std::string_view piece, Transcript* transcript) {
  const std::unique_ptr<char[]> memory(new char[piece.size()]);
  std::memcpy(memory.get(), piece.data(), piece.size());
  std::string_view rest(memory.get(), piece.size());
  for (;;) {
    const ParseResult result = parser->Feed(rest);
    EXPECT_LE(result.consumed, rest.size());
    rest.remove_prefix(result.consumed);
    switch (result.event) {
      case ParseEvent::kNeedMore:
        EXPECT_TRUE(rest.empty()) << "wants more and left something";
        if (!transcript->messages.empty() && !transcript->messages.back().complete) parser->PinHead();
        return true;
      case ParseEvent::kHead:
        transcript->messages.push_back({LineOf(parser->request()), CopyOf(parser->request().headers()), "", {}});
        break;
      case ParseEvent::kBody:
        EXPECT_FALSE(result.body.empty());
        transcript->messages.back().body += result.body;
        break;
      case ParseEvent::kMessage:
        // The head has not moved, or it moved well.
        EXPECT_EQ(LineOf(parser->request()), transcript->messages.back().line);
        EXPECT_EQ(CopyOf(parser->request().headers()), transcript->messages.back().headers);
        transcript->messages.back().trailers = CopyOf(parser->request().trailers());
        transcript->messages.back().complete = true;
        break;
      case ParseEvent::kError:
        transcript->error = ToInt(parser->error().status);
        EXPECT_NE(parser->error().reason, nullptr);
        return false;
    }
  }
}

inline Transcript ParsePieces(const std::vector<std::string_view>& pieces, const Limits& limits = Limits()) {
  RequestParser parser(&limits);
  Transcript transcript;
  for (std::string_view piece : pieces) {
    if (!FeedPiece(&parser, piece, &transcript)) break;
  }
  transcript.between_messages = parser.between_messages();
  return transcript;
}

inline Transcript ParseWhole(std::string_view bytes, const Limits& limits = Limits()) {
  return ParsePieces({bytes}, limits);
}

inline std::vector<std::string_view> Bytewise(std::string_view bytes) {
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < bytes.size(); ++i) pieces.push_back(bytes.substr(i, 1));
  return pieces;
}

}  // namespace evring::net::http

#endif  // EVRING_TESTS_NET_HTTP_TRANSCRIPT_H_

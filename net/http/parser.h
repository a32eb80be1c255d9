// parser.h: the incremental parser of HTTP/1.1 requests, one per connection. It owns no socket and knows no coroutine.
//
// The connection feeds it whatever arrived, and it stops at the next event: exactly behind a head, a piece of body or a
// message, or at the end of the input. What it took is in `consumed`; the rest is fed again, also the pipelined rest.
//
//   Idle --head--> kHead --no body--------------------------------> kMessage --> Idle
//                        --Content-Length--> kBody ... -----------> kMessage
//                        --chunked--> kBody ... --trailer section-> kMessage
//   any state --refused--> kError, for good: answer error() and close; the bytes behind it cannot be trusted.
//
// A head that lies whole in one input is not copied: the Request points into that input. A head that does not is
// gathered in the parser's own memory. Body bytes are never copied.
//
//   F1  What comes out does not depend on how the bytes were cut: the same events, errors and body bytes for any split.
//   F2  Every byte of an accepted head belongs to the method, target, version, a field name, a field value, or to
//       exactly the delimiters of RFC 9112 between them: no bare CR or LF, no folded line, no space before a colon.
//   F3  Memory held is bounded by the Limits.
// Grammar and chunked coding are llhttp's, in its strict mode; the rules on top are in internal/head_rules.h.
// Checked by: tests/net/http/parser_test.cc, parser_split_test.cc and the table hostile_requests.h.

#ifndef EVRING_NET_HTTP_PARSER_H_
#define EVRING_NET_HTTP_PARSER_H_

#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/http/limits.h"
#include "net/http/refusal.h"
#include "net/http/request.h"

namespace evring::net::http {

enum class ParseEvent : uint8_t {
  kNeedMore,  // everything was consumed and nothing is complete: feed more
  kHead,      // request() is complete but for its body and trailers
  kBody,      // `body` is the next piece of the body, never empty; it points into the input
  kMessage,   // the message is complete; the next Feed begins another
  kError,     // the request is refused, see error()
};

struct ParseResult {
  ParseEvent event;
  size_t consumed;        // bytes of the input that are done with
  std::string_view body;  // kBody only
};

class RequestParser {
 public:
  // Why the parser gave up. Statuses: 400, 413, 414, 417, 431, 501, 505 (README.md says which for what).
  using Error = Refusal;

  // `limits` must outlive the parser; CHECK: no section may have 4 GiB. Allocates nothing.
  explicit RequestParser(const Limits* limits);
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Parses up to the next event. Behind kHead of a request without a body the next Feed, of anything, also of nothing,
  // returns kMessage; a caller in a hurry may Reset() instead. Behind kMessage it begins the next request; views of the
  // old one die. After kError it goes on returning kError.
  [[nodiscard]] ParseResult Feed(std::string_view input);

  // Valid from kHead on, see request.h for how long.
  const Request& request() const { return request_; }

  // Makes the request independent of the input that held its head, which may then be reused. From kHead to kMessage;
  // costs a copy of the head if it was not gathered anyway. The trailers, if any, keep pointing into the last input.
  void PinHead();

  // From now on the body of this message is consumed and not returned: Feed goes on to kMessage. Its limits stay.
  void SkipBody() { message_.skipping = true; }

  // Forgets the message and any error and waits for a new one. Only between messages does the byte stream stay in step.
  void Reset();

  // Gives back memory beyond the object itself; for a connection that will be idle. Between messages only. The request
  // is gone afterwards; empty lines that came before the next one stay counted.
  void ReleaseMemory();
  // How much that is.
  size_t memory_bytes() const;

  // True if no byte of a message that is not complete has been taken (empty lines before it do not count): an end of
  // stream is clean here, and a timeout is one of an idle connection.
  bool between_messages() const { return message_.phase == Phase::kIdle || message_.phase == Phase::kDone; }
  // True from the first byte of a head until it is complete.
  bool in_head() const { return message_.phase == Phase::kHead || message_.phase == Phase::kMethod; }

  // Body bytes that came so far, without chunk framing, skipped ones included.
  uint64_t body_bytes() const { return message_.body_bytes; }
  // What is still to come of a body with Content-Length; 0 for others.
  uint64_t body_bytes_left() const { return message_.phase == Phase::kLength ? body_left_ : 0; }

  // Valid after kError.
  const Error& error() const { return error_; }

 private:
  enum class Phase : uint8_t {
    kIdle,      // before the first byte of a head; empty lines are skipped
    kHead,      // llhttp has the first bytes of a head
    kMethod,    // llhttp does not know the method: gathering it, to tell 501 from 400
    kNoBody,    // behind a head without a body
    kLength,    // in a body with Content-Length
    kChunked,   // in a chunked body; llhttp has it
    kTrailers,  // behind the last chunk; llhttp has it
    kDone,      // behind a message
    kFailed,
  };
  // Where llhttp stopped: its callbacks say so here, and return HPE_PAUSED.
  enum class Stop : uint8_t { kNone, kHeadComplete, kChunkHeader, kBody, kMessageComplete };
  struct Callbacks;  // parser.cc: what llhttp calls

  // What RunSection found.
  struct SectionRun {
    enum End : uint8_t { kOpen, kComplete, kFull, kRefused } end;
    size_t consumed;
    llhttp_errno_t code;
    size_t error_offset;  // kRefused: the offending byte, from the section's first
  };

  ParseResult BeginMessage(std::string_view input);
  size_t TakePlainHead(std::string_view input);
  void SetBase(const char* base, size_t head_bytes);
  ParseResult FeedHead(std::string_view input, size_t skipped);
  ParseResult FeedMethod(std::string_view input);
  ParseResult FeedLength(std::string_view input);
  ParseResult FeedChunked(std::string_view input);
  ParseResult FeedTrailers(std::string_view input, size_t consumed_before);
  ParseResult Fail(Error error, size_t consumed);

  // A section is a head or a trailer section: its bytes lie in one input, or, once one did not suffice, in `copy`.
  SectionRun RunSection(std::string_view input, size_t bytes_max, std::string* copy);
  Error HeadError(const SectionRun& run) const;
  Error FinishHead();
  Error ReadVersion(size_t offset);
  Error ReadFields();
  Error CheckTrailers();
  bool FieldLinesFit(Fields* fields, size_t offset) const;
  bool ChunkHeadFits(size_t more_bytes);

  static constexpr size_t kVersionBytes = 11;  // " HTTP/1.1\r\n"
  // What one chunk head may have without using up the allowance for extensions: the line end of the data before it, the
  // digits of a 64-bit size and its own line end.
  static constexpr size_t kChunkHeadBytesFree = 2 + 16 + 2;
  static constexpr uint8_t kEmptyLineBytesMax = 8;  // four empty lines before a request line

  // What begins anew with each message. Small, because it is cleared for each: above 64 bytes gcc does that by `rep
  // stos`, which makes Reset 5 ns longer.
  struct Message {
    Phase phase = Phase::kIdle;
    Stop stop = Stop::kNone;
    bool skipping = false;
    bool in_name = false;      // the last field has a name and no value so far
    bool copied = false;       // the section is in its copy
    bool head_copied = false;  // the head is in head_copy_
    uint8_t empty_line_bytes = 0;
    size_t section_bytes = 0;     // how much of the section llhttp has taken
    uint64_t body_bytes = 0;      // that came
    size_t chunk_head_bytes = 0;  // of the chunk head being read
    size_t extension_bytes = 0;   // of all chunk heads of this body, beyond what is free
  };
  static_assert(sizeof(Message) <= 64);

  const Limits* limits_;
  llhttp_t llhttp_;
  Message message_;
  const char* base_ = nullptr;  // the section's first byte
  Fields* fields_ = nullptr;    // the section's fields, being filled
  size_t head_bytes_ = 0;       // of the complete head
  uint64_t body_left_ = 0;      // Phase::kLength: what is still to come
  std::string_view piece_;      // Stop::kBody: of the body
  Error error_;
  Request request_;
  std::string head_copy_;
  std::string trailer_copy_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_PARSER_H_

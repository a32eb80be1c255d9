#include "net/http/parser.h"

#include <algorithm>
#include <cstring>

#include "kevent/check.h"
#include "net/http/chars.h"
#include "net/http/internal/head_rules.h"
#include "net/http/internal/head_scan.h"

namespace evring::net::http {

// In its loose mode llhttp 8.1 takes any two bytes for the line end behind a chunk, and a bare CR for one in a head.
static_assert(LLHTTP_STRICT_MODE == 1, "compile llhttp, and whoever includes it, with -DLLHTTP_STRICT_MODE=1");
static_assert(static_cast<int>(HTTP_DELETE) == static_cast<int>(Method::kDelete) &&
                  static_cast<int>(HTTP_CONNECT) == static_cast<int>(Method::kConnect) &&
                  static_cast<int>(HTTP_MSEARCH) == static_cast<int>(Method::kMSearch) &&
                  static_cast<int>(HTTP_PATCH) == static_cast<int>(Method::kPatch) &&
                  static_cast<int>(HTTP_UNLINK) + 1 == kMethodCount,
              "Method has llhttp's numbers; what llhttp has beyond them belongs to other protocols");

namespace {

using internal::BadRequest;

bool IsLineEnd(const char* at) { return std::memcmp(at, "\r\n", 2) == 0; }

ParseResult NeedMore(size_t consumed) { return {ParseEvent::kNeedMore, consumed, {}}; }

}  // namespace

// What llhttp calls from inside llhttp_execute. A span comes in several adjacent pieces if the input was cut in it.
struct RequestParser::Callbacks {
  static RequestParser& Self(llhttp_t* llhttp) { return *static_cast<RequestParser*>(llhttp->data); }

  static int Refuse(RequestParser& self, Error error) {
    self.error_ = error;
    return HPE_USER;
  }

  template <Stop kStop>
  static int StopHere(llhttp_t* llhttp) {
    Self(llhttp).message_.stop = kStop;
    return HPE_PAUSED;
  }

  static int Url(llhttp_t* llhttp, const char* at, size_t size) {
    RequestParser& self = Self(llhttp);
    Request::Part& target = self.request_.target_;
    if (target.bytes == 0) target.offset = static_cast<uint32_t>(at - self.base_);
    target.bytes += static_cast<uint32_t>(size);
    if (target.bytes > self.limits_->target_bytes_max) [[unlikely]] {
      return Refuse(self, {StatusCode::kUriTooLong, "the request target is too long"});
    }
    return HPE_OK;
  }

  static int FieldName(llhttp_t* llhttp, const char* at, size_t size) {
    RequestParser& self = Self(llhttp);
    std::vector<internal::FieldSlot>& slots = self.fields_->slots_;
    if (self.message_.in_name) [[unlikely]] {
      slots.back().name_bytes += static_cast<uint32_t>(size);
    } else {
      slots.push_back({static_cast<uint32_t>(at - self.base_), static_cast<uint32_t>(size), 0, 0});
      self.message_.in_name = true;
    }
    return HPE_OK;
  }

  // Comes for every field, with no bytes for an empty value.
  static int FieldValue(llhttp_t* llhttp, const char* at, size_t size) {
    RequestParser& self = Self(llhttp);
    std::vector<internal::FieldSlot>& slots = self.fields_->slots_;
    internal::FieldSlot& slot = slots.back();
    const uint32_t offset = static_cast<uint32_t>(at - self.base_);
    if (self.message_.in_name) [[likely]] {
      self.message_.in_name = false;
      slot.value_offset = offset;
      slot.value_bytes = static_cast<uint32_t>(size);
      // Counted here and not at the name: a bad name is never reported, unless the input was cut in the middle of it.
      if (slots.size() > self.limits_->headers_max) [[unlikely]] {
        return Refuse(self, {StatusCode::kRequestHeaderFieldsTooLarge, "too many header fields"});
      }
      return HPE_OK;
    }
    if (offset != slot.value_offset + slot.value_bytes) return Refuse(self, BadRequest("a folded header line"));
    slot.value_bytes += static_cast<uint32_t>(size);
    return HPE_OK;
  }

  static int Body(llhttp_t* llhttp, const char* at, size_t size) {
    Self(llhttp).piece_ = std::string_view(at, size);
    return StopHere<Stop::kBody>(llhttp);
  }

  static constexpr llhttp_settings_t Settings() {
    llhttp_settings_t settings{};
    settings.on_url = Url;
    settings.on_header_field = FieldName;
    settings.on_header_value = FieldValue;
    settings.on_headers_complete = StopHere<Stop::kHeadComplete>;
    settings.on_chunk_header = StopHere<Stop::kChunkHeader>;
    settings.on_body = Body;
    settings.on_message_complete = StopHere<Stop::kMessageComplete>;
    return settings;
  }
};

RequestParser::RequestParser(const Limits* limits) : limits_(limits) {
  EVRING_CHECK(limits->head_bytes_max <= UINT32_MAX && limits->trailer_bytes_max <= UINT32_MAX,
               "places in a section are 32 bits wide");
  static constexpr llhttp_settings_t kSettings = Callbacks::Settings();
  llhttp_init(&llhttp_, HTTP_REQUEST, &kSettings);
  llhttp_.data = this;
  llhttp_.lenient_flags = LENIENT_VERSION;  // any digits: ReadVersion tells 505 from what is served
}

void RequestParser::Reset() {
  message_ = Message{};
  error_ = Error{};
  request_.headers_.slots_.clear();
  request_.trailers_.slots_.clear();
}

void RequestParser::ReleaseMemory() {
  EVRING_CHECK(between_messages(), "a message needs what it has");
  const uint8_t empty_line_bytes = message_.phase == Phase::kIdle ? message_.empty_line_bytes : uint8_t{0};
  Reset();
  message_.empty_line_bytes = empty_line_bytes;
  request_.headers_.slots_.shrink_to_fit();
  request_.trailers_.slots_.shrink_to_fit();
  // By a swap: the assignment of an empty string leaves the old one its memory.
  std::string().swap(request_.decoded_path_);
  std::string().swap(head_copy_);
  std::string().swap(trailer_copy_);
}

size_t RequestParser::memory_bytes() const {
  // A string holds its first bytes itself, and these count as well: nobody needs to know better.
  return (request_.headers_.slots_.capacity() + request_.trailers_.slots_.capacity()) * sizeof(internal::FieldSlot) +
         request_.decoded_path_.capacity() + head_copy_.capacity() + trailer_copy_.capacity();
}

void RequestParser::PinHead() {
  if (message_.head_copied) return;
  head_copy_.assign(request_.headers_.base_, head_bytes_);
  request_.headers_.base_ = head_copy_.data();
  message_.head_copied = true;
}

ParseResult RequestParser::Feed(std::string_view input) {
  switch (message_.phase) {
    case Phase::kDone:
      Reset();
      [[fallthrough]];
    case Phase::kIdle:
      return BeginMessage(input);
    case Phase::kHead:
      return FeedHead(input, 0);
    case Phase::kMethod:
      return FeedMethod(input);
    case Phase::kNoBody:
      message_.phase = Phase::kDone;
      return {ParseEvent::kMessage, 0, {}};
    case Phase::kLength:
      return FeedLength(input);
    case Phase::kChunked:
      return FeedChunked(input);
    case Phase::kTrailers:
      return FeedTrailers(input, 0);
    case Phase::kFailed:
      break;
  }
  return {ParseEvent::kError, input.size(), {}};
}

ParseResult RequestParser::Fail(Error error, size_t consumed) {
  message_.phase = Phase::kFailed;
  error_ = error;
  return {ParseEvent::kError, consumed, {}};
}

// A few empty lines before a request line are let pass (RFC 9112 section 2.2), whole ones. llhttp never sees them.
ParseResult RequestParser::BeginMessage(std::string_view input) {
  size_t skipped = 0;
  while (skipped < input.size()) {
    const bool after_cr = message_.empty_line_bytes % 2 == 1;
    const char c = input[skipped];
    if (c != '\r' && c != '\n' && !after_cr) [[likely]]
      break;
    if (after_cr ? c != '\n' : c != '\r') return Fail(BadRequest("a bare CR or LF before the request line"), skipped);
    ++skipped;
    if (++message_.empty_line_bytes > kEmptyLineBytesMax) {
      return Fail(BadRequest("too many empty lines before the request line"), skipped);
    }
  }
  if (skipped == input.size()) return NeedMore(skipped);

  input.remove_prefix(skipped);
  if (const size_t bytes = TakePlainHead(input)) {
    if (const Error error = ReadFields()) [[unlikely]]
      return Fail(error, skipped + bytes);
    return {ParseEvent::kHead, skipped + bytes, {}};
  }
  request_.headers_.slots_.clear();
  request_.target_ = {};
  llhttp_reset(&llhttp_);
  message_.phase = Phase::kHead;
  fields_ = &request_.headers_;
  return FeedHead(input, skipped);
}

// The length of the head if it is one for the short cut and within the limits, else 0.
size_t RequestParser::TakePlainHead(std::string_view input) {
  Request& r = request_;
  internal::ScannedHead head;
  if (!internal::ScanPlainHead(input, &head, &r.headers_.slots_)) return 0;
  if (head.bytes > limits_->head_bytes_max || head.target_bytes > limits_->target_bytes_max ||
      r.headers_.slots_.size() > limits_->headers_max) {
    return 0;
  }
  SetBase(input.data(), head.bytes);
  r.method_ = head.method;
  r.version_minor_ = 1;
  r.target_ = {head.target_offset, head.target_bytes};
  r.path_ = {head.target_offset, head.path_bytes};
  r.query_ = {};
  if (head.target_bytes > head.path_bytes) {
    r.query_ = {head.target_offset + head.path_bytes + 1, head.target_bytes - head.path_bytes - 1};
  }
  llhttp_.flags = 0;  // ReadFields asks it about Content-Length
  return head.bytes;
}

void RequestParser::SetBase(const char* base, size_t head_bytes) {
  base_ = base;
  head_bytes_ = head_bytes;
  message_.head_copied = message_.copied;
  request_.headers_.base_ = base;
  request_.trailers_.base_ = base;
  request_.path_decoded_ = false;
}

// Runs llhttp over what is new of a section: the first time where it lies in the input, from then on behind what was
// copied. llhttp is never shown more than `bytes_max` bytes of the section, so that where the limit strikes does not
// depend on how the input was cut.
RequestParser::SectionRun RequestParser::RunSection(std::string_view input, size_t bytes_max, std::string* copy) {
  Message& m = message_;
  const size_t room = std::min(input.size(), bytes_max - m.section_bytes);
  if (m.copied) [[unlikely]] {
    copy->append(input.data(), room);
    base_ = copy->data();
  } else {
    base_ = input.data();
  }
  const char* const begin = base_ + m.section_bytes;
  const llhttp_errno_t code = llhttp_execute(&llhttp_, begin, room);
  if (code == HPE_PAUSED) [[likely]] {
    const size_t consumed = llhttp_.error_pos - begin;
    m.section_bytes += consumed;
    return {SectionRun::kComplete, consumed, code, 0};
  }
  m.section_bytes += room;
  if (code != HPE_OK) {
    return {SectionRun::kRefused, room, code, static_cast<size_t>(llhttp_.error_pos - base_)};
  }
  if (!m.copied) {
    copy->assign(input.data(), room);
    m.copied = true;
  }
  return {m.section_bytes == bytes_max ? SectionRun::kFull : SectionRun::kOpen, room, code, 0};
}

ParseResult RequestParser::FeedHead(std::string_view input, size_t skipped) {
  if (input.empty()) return NeedMore(skipped);
  const SectionRun run = RunSection(input, limits_->head_bytes_max, &head_copy_);
  const size_t consumed = skipped + run.consumed;
  if (run.end == SectionRun::kComplete) [[likely]] {
    if (const Error error = FinishHead()) [[unlikely]]
      return Fail(error, consumed);
    return {ParseEvent::kHead, consumed, {}};
  }
  if (run.end == SectionRun::kOpen) return NeedMore(consumed);
  if (run.end == SectionRun::kFull) {
    const Request::Part target = request_.target_;
    if (target.bytes == 0 || target.offset + target.bytes == message_.section_bytes) {
      return Fail({StatusCode::kUriTooLong, "the request line is too long"}, consumed);
    }
    return Fail({StatusCode::kRequestHeaderFieldsTooLarge, "the request head is too long"}, consumed);
  }
  if (run.code == HPE_INVALID_METHOD) {
    if (!message_.copied) head_copy_.assign(base_, message_.section_bytes);
    message_.phase = Phase::kMethod;
    const ParseEvent event = FeedMethod({}).event;
    return {event, consumed, {}};
  }
  return Fail(HeadError(run), consumed);
}

ParseResult RequestParser::FeedMethod(std::string_view input) {
  head_copy_.append(input.substr(0, internal::kMethodBytesMax));
  if (const Error error = internal::JudgeUnknownMethod(head_copy_)) return Fail(error, input.size());
  return NeedMore(input.size());
}

RequestParser::Error RequestParser::HeadError(const SectionRun& run) const {
  if (run.code == HPE_USER) return error_;  // a callback refused
  if (run.code == HPE_INVALID_URL) {
    // The target up to the offending byte was not reported if it came in one piece.
    const std::string_view head(base_, run.error_offset);
    const size_t target = head.find_first_not_of(' ', std::min(head.find(' '), head.size()));
    if (target != std::string_view::npos && head.size() - target > limits_->target_bytes_max) {
      return {StatusCode::kUriTooLong, "the request target is too long"};
    }
  }
  if (llhttp_.method == HTTP_PRI) return {StatusCode::kHttpVersionNotSupported, "HTTP/2 is not spoken here"};
  if (llhttp_.method >= kMethodCount) return {StatusCode::kNotImplemented, "a method of another protocol"};
  switch (run.code) {
    case HPE_INVALID_URL:
      return BadRequest("a character that no request target has");
    case HPE_INVALID_VERSION:
    case HPE_INVALID_CONSTANT:
      return BadRequest("a malformed HTTP version");
    case HPE_INVALID_CONTENT_LENGTH:
      return BadRequest("a Content-Length that is not a number of 64 bits");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
      return BadRequest("Content-Length twice, or with Transfer-Encoding");
    case HPE_INVALID_TRANSFER_ENCODING:
      return BadRequest("a transfer coding after chunked");
    default:
      return BadRequest("a malformed header line");
  }
}

// Order matters only for what the client is told when several things are wrong; it does not depend on the input's cuts.
RequestParser::Error RequestParser::FinishHead() {
  Message& m = message_;
  Request& r = request_;
  SetBase(base_, m.section_bytes);
  if (llhttp_.method >= kMethodCount) return {StatusCode::kNotImplemented, "a method of another protocol"};
  r.method_ = static_cast<Method>(llhttp_.method);
  if (r.target_.offset != MethodName(r.method_).size() + 1) return BadRequest("white space before the request target");
  const size_t version_offset = r.target_.offset + r.target_.bytes;
  if (const Error error = ReadVersion(version_offset)) return error;
  if (!FieldLinesFit(&r.headers_, version_offset + kVersionBytes)) return BadRequest("a malformed header line");
  if (r.method_ == Method::kConnect) return {StatusCode::kNotImplemented, "CONNECT is for proxies"};

  internal::Target target;
  if (const Error error = internal::SplitTarget(r.method_, r.target(), &target)) return error;
  r.path_ = r.PartOf(target.path);
  r.query_ = r.PartOf(target.query);
  if (const Error error = ReadFields()) return error;
  if (target.absolute) r.host_ = r.PartOf(target.authority);
  return {};
}

// " HTTP/1.1" and the line end, directly behind the target.
RequestParser::Error RequestParser::ReadVersion(size_t offset) {
  const char* const at = base_ + offset;
  if (message_.section_bytes - offset < kVersionBytes + 2) return BadRequest("a request line without a version");
  if (std::memcmp(at, " HTTP/1.1\r\n", kVersionBytes) == 0) [[likely]] {
    request_.version_minor_ = 1;
    return {};
  }
  if (std::memcmp(at, " HTTP/", 6) != 0 || !IsDigit(at[6]) || at[7] != '.' || !IsDigit(at[8]) || !IsLineEnd(at + 9)) {
    return BadRequest("a malformed request line");
  }
  if (at[6] != '1') return {StatusCode::kHttpVersionNotSupported, "a major version other than 1"};
  request_.version_minor_ = static_cast<uint8_t>(at[8] - '0');
  return {};
}

// Proves F2 for the field lines from `offset` to the end of the section: name, colon, white space, value, line end, and
// the next name directly behind it; an empty line directly behind the last. Trims white space behind the values.
bool RequestParser::FieldLinesFit(Fields* fields, size_t offset) const {
  const char* const base = base_;
  size_t line = offset;
  for (internal::FieldSlot& slot : fields->slots_) {
    size_t at = line + slot.name_bytes;
    if (slot.name_offset != line || slot.name_bytes == 0 || base[at] != ':') return false;
    do {
      ++at;
    } while (IsOws(base[at]));
    if (slot.value_bytes == 0) slot.value_offset = static_cast<uint32_t>(at);  // llhttp has it behind the line end
    if (slot.value_offset != at) return false;
    at += slot.value_bytes;
    if (!IsLineEnd(base + at)) return false;
    while (slot.value_bytes > 0 && IsOws(base[slot.value_offset + slot.value_bytes - 1])) --slot.value_bytes;
    line = at + 2;
  }
  return line + 2 == message_.section_bytes && IsLineEnd(base + line);
}

RequestParser::Error RequestParser::ReadFields() {
  Request& r = request_;
  const bool http11 = r.version_minor_ >= 1;
  const char* const base = base_;
  int hosts = 0;
  bool close = false, keep_alive = false, upgrade = false, upgrade_field = false, transfer_encoding = false;
  r.host_ = {};
  r.expects_continue_ = false;
  for (const internal::FieldSlot& slot : r.headers_.slots_) {
    const std::string_view name(base + slot.name_offset, slot.name_bytes);
    const std::string_view value(base + slot.value_offset, slot.value_bytes);
    switch (slot.name_bytes) {
      case 4:
        if (IsWord(name, "host")) {
          ++hosts;
          if (!internal::IsValidHost(value)) return BadRequest("a malformed Host");
          r.host_ = {slot.value_offset, slot.value_bytes};
        }
        break;
      case 6:
        // HTTP/1.0 knows no expectations: they are ignored (RFC 9110 section 10.1.1).
        if (IsWord(name, "expect") && http11) {
          if (!IsWord(value, "100-continue")) {
            return {StatusCode::kExpectationFailed, "an expectation other than 100-continue"};
          }
          r.expects_continue_ = true;
        }
        break;
      case 7:
        upgrade_field |= IsWord(name, "upgrade");
        break;
      case 10:
        if (IsWord(name, "connection")) {
          for (std::string_view list = value; !list.empty();) {
            const std::string_view option = NextListElement(&list);
            close |= IsWord(option, "close");
            keep_alive |= IsWord(option, "keep-alive");
            upgrade |= IsWord(option, "upgrade");
          }
        }
        break;
      case 17:
        transfer_encoding |= IsWord(name, "transfer-encoding");
        break;
      default:
        break;
    }
  }
  if (hosts > 1) return BadRequest("more than one Host");
  if (hosts == 0 && http11) return BadRequest("no Host");
  r.keep_alive_ = !close && (http11 || keep_alive);
  r.wants_upgrade_ = upgrade && upgrade_field && http11;

  if (transfer_encoding) {
    if (!http11) return BadRequest("Transfer-Encoding in HTTP/1.0");
    if (const Error error = internal::CheckTransferEncoding(r.headers_)) return error;
  }
  r.chunked_ = transfer_encoding;
  r.has_content_length_ = (llhttp_.flags & F_CONTENT_LENGTH) != 0;
  r.content_length_ = r.has_content_length_ ? llhttp_.content_length : 0;
  if (r.content_length_ > limits_->body_bytes_max) {
    return {StatusCode::kContentTooLarge, "Content-Length beyond what this server takes"};
  }
  body_left_ = r.content_length_;
  message_.phase = r.chunked_ ? Phase::kChunked : r.content_length_ > 0 ? Phase::kLength : Phase::kNoBody;
  return {};
}

ParseResult RequestParser::FeedLength(std::string_view input) {
  Message& m = message_;
  if (body_left_ == 0) {
    m.phase = Phase::kDone;
    return {ParseEvent::kMessage, 0, {}};
  }
  const size_t size = std::min<uint64_t>(input.size(), body_left_);
  if (size == 0) return NeedMore(0);
  body_left_ -= size;
  m.body_bytes += size;
  if (!m.skipping) return {ParseEvent::kBody, size, input.substr(0, size)};
  if (body_left_ > 0) return NeedMore(size);
  m.phase = Phase::kDone;
  return {ParseEvent::kMessage, size, {}};
}

// Counts bytes of a chunk head. What exceeds a plain one comes out of the allowance for extensions.
bool RequestParser::ChunkHeadFits(size_t more_bytes) {
  message_.chunk_head_bytes += more_bytes;
  const size_t head = message_.chunk_head_bytes;
  const size_t excess = head > kChunkHeadBytesFree ? head - kChunkHeadBytesFree : 0;
  return message_.extension_bytes + excess <= limits_->chunk_extension_bytes_max;
}

ParseResult RequestParser::FeedChunked(std::string_view input) {
  Message& m = message_;
  size_t consumed = 0;
  while (consumed < input.size()) {
    const char* const begin = input.data() + consumed;
    llhttp_resume(&llhttp_);
    const llhttp_errno_t code = llhttp_execute(&llhttp_, begin, input.size() - consumed);
    if (code != HPE_OK && code != HPE_PAUSED) {
      return Fail(BadRequest("a malformed chunk"), input.size());
    }
    const size_t taken = code == HPE_OK ? input.size() - consumed : llhttp_.error_pos - begin;
    consumed += taken;
    if (code == HPE_PAUSED && m.stop == Stop::kBody) {
      m.chunk_head_bytes = 0;
      m.body_bytes += piece_.size();
      if (!m.skipping) return {ParseEvent::kBody, consumed, piece_};
      continue;
    }
    if (!ChunkHeadFits(taken)) return Fail(BadRequest("chunk extensions too long"), consumed);
    if (code == HPE_OK) break;

    m.extension_bytes += m.chunk_head_bytes > kChunkHeadBytesFree ? m.chunk_head_bytes - kChunkHeadBytesFree : 0;
    m.chunk_head_bytes = 0;
    if (llhttp_.content_length > limits_->body_bytes_max - m.body_bytes) {
      return Fail({StatusCode::kContentTooLarge, "a body longer than this server takes"}, consumed);
    }
    if (llhttp_.content_length == 0) {  // the last chunk
      m.phase = Phase::kTrailers;
      fields_ = &request_.trailers_;
      m.in_name = false;
      m.copied = false;
      m.section_bytes = 0;
      return FeedTrailers(input.substr(consumed), consumed);
    }
  }
  return NeedMore(consumed);
}

ParseResult RequestParser::FeedTrailers(std::string_view input, size_t consumed_before) {
  if (input.empty()) return NeedMore(consumed_before);
  llhttp_resume(&llhttp_);
  const SectionRun run = RunSection(input, limits_->trailer_bytes_max, &trailer_copy_);
  const size_t consumed = consumed_before + run.consumed;
  switch (run.end) {
    case SectionRun::kOpen:
      return NeedMore(consumed);
    case SectionRun::kFull:
      return Fail({StatusCode::kRequestHeaderFieldsTooLarge, "the trailer section is too long"}, consumed);
    case SectionRun::kRefused:
      return Fail(run.code == HPE_USER ? error_ : BadRequest("a malformed trailer line"), consumed);
    case SectionRun::kComplete:
      break;
  }
  if (const Error error = CheckTrailers()) return Fail(error, consumed);
  message_.phase = Phase::kDone;
  return {ParseEvent::kMessage, consumed, {}};
}

// A trailer that frames or routes the message would be acted on by one recipient and not by another (RFC 9110 section
// 6.5.1): refused.
RequestParser::Error RequestParser::CheckTrailers() {
  Fields* const trailers = &request_.trailers_;
  if (!FieldLinesFit(trailers, 0)) return BadRequest("a malformed trailer line");
  trailers->base_ = base_;
  for (const Field field : *trailers) {
    for (std::string_view name : {"content-length", "transfer-encoding", "host", "trailer", "content-encoding"}) {
      if (EqualsIgnoreCase(field.name, name)) return BadRequest("a trailer field that belongs into the head");
    }
  }
  return {};
}

}  // namespace evring::net::http

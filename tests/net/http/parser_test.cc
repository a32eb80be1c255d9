// parser_test.cc: what RequestParser delivers, where it stops, whose memory it points into, and where each limit
// strikes. Refusals in their many forms are in the table hostile_requests.h.

#include "net/http/parser.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "tests/net/http/transcript.h"

namespace evring::net::http {
namespace {

constexpr std::string_view kGet = "GET /a/b?c=d HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\n\r\n";

bool PointsInto(std::string_view part, std::string_view whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

// The status with which a stream is refused; 0 if it is not.
int StatusOf(const std::string& bytes, const Limits& limits = Limits()) {
  const Transcript whole = ParseWhole(bytes, limits);
  EXPECT_EQ(ParsePieces(Bytewise(bytes), limits), whole);
  return whole.error;
}

class ParserTest : public testing::Test {
 protected:
  // Feeds `input` and expects one event that takes all of it.
  ParseResult FeedAll(std::string_view input, ParseEvent event) {
    const ParseResult result = parser_.Feed(input);
    EXPECT_EQ(result.event, event);
    EXPECT_EQ(result.consumed, input.size());
    return result;
  }

  Limits limits_;
  RequestParser parser_{&limits_};
};

TEST_F(ParserTest, AGetIsTakenApart) {
  FeedAll(kGet, ParseEvent::kHead);
  const Request& request = parser_.request();
  EXPECT_EQ(request.method(), Method::kGet);
  EXPECT_EQ(request.method_name(), "GET");
  EXPECT_EQ(request.target(), "/a/b?c=d");
  EXPECT_EQ(request.raw_path(), "/a/b");
  EXPECT_EQ(request.query(), "c=d");
  EXPECT_EQ(request.host(), "example.test");
  EXPECT_EQ(request.version_minor(), 1);
  ASSERT_EQ(request.headers().size(), 2u);
  EXPECT_EQ(request.headers()[1].name, "Accept");
  EXPECT_EQ(request.headers()[1].value, "*/*");
  EXPECT_EQ(request.header("ACCEPT"), "*/*");
  EXPECT_EQ(request.content_length(), std::nullopt);
  EXPECT_FALSE(request.has_body());
  EXPECT_FALSE(request.chunked());
  EXPECT_TRUE(request.keep_alive());
  EXPECT_FALSE(request.expects_continue());
  EXPECT_FALSE(request.wants_upgrade());
  EXPECT_EQ(parser_.Feed("").event, ParseEvent::kMessage);
}

TEST_F(ParserTest, AWholeHeadIsReadWhereItLies) {
  FeedAll(kGet, ParseEvent::kHead);
  EXPECT_TRUE(PointsInto(parser_.request().target(), kGet));
  EXPECT_TRUE(PointsInto(parser_.request().host(), kGet));
  EXPECT_TRUE(PointsInto(parser_.request().headers()[1].value, kGet));
}

// Also where llhttp reads the head and not the short cut.
TEST_F(ParserTest, AWholeHeadWithABodyIsReadWhereItLies) {
  const std::string_view post = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n";
  FeedAll(post, ParseEvent::kHead);
  EXPECT_TRUE(PointsInto(parser_.request().target(), post));
  EXPECT_TRUE(PointsInto(parser_.request().headers()[1].value, post));
}

TEST_F(ParserTest, ACutHeadIsGatheredAndOutlivesItsInputs) {
  for (char c : kGet.substr(0, kGet.size() - 1)) {
    const std::unique_ptr<char> byte(new char(c));
    FeedAll(std::string_view(byte.get(), 1), ParseEvent::kNeedMore);
    EXPECT_TRUE(parser_.in_head());
    EXPECT_FALSE(parser_.between_messages());
  }
  FeedAll(kGet.substr(kGet.size() - 1), ParseEvent::kHead);
  EXPECT_EQ(parser_.request().target(), "/a/b?c=d");
  EXPECT_EQ(parser_.request().header("accept"), "*/*");
  EXPECT_FALSE(parser_.in_head());
}

TEST_F(ParserTest, APinnedHeadOutlivesItsInput) {
  auto input =
      std::make_unique<std::string>("PUT /a%20b?q HTTP/1.1\r\nHost: example.test\r\nContent-Length: 3\r\n\r\n");
  FeedAll(*input, ParseEvent::kHead);
  parser_.PinHead();
  parser_.PinHead();  // twice does no harm
  input.reset();
  FeedAll("abc", ParseEvent::kBody);
  const Request& request = parser_.request();
  EXPECT_EQ(request.target(), "/a%20b?q");
  EXPECT_EQ(*request.path(), "/a b");
  EXPECT_EQ(request.query(), "q");
  EXPECT_EQ(request.host(), "example.test");
  EXPECT_EQ(request.headers()[1].name, "Content-Length");
}

// Exactly behind each head and each message, though all bytes are there.
TEST_F(ParserTest, PipelinedRequestsComeOutOneByOne) {
  std::string_view rest =
      "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
      "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
      "POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\n"
      "GET /4 HTTP/1.1\r\nHost: x\r\n\r\n";
  std::string events;
  for (;;) {
    const ParseResult result = parser_.Feed(rest);
    rest.remove_prefix(result.consumed);
    if (result.event == ParseEvent::kNeedMore) break;
    if (result.event == ParseEvent::kHead) events += "head " + std::string(parser_.request().target()) + ", ";
    if (result.event == ParseEvent::kBody) events += "body " + std::string(result.body) + ", ";
    if (result.event == ParseEvent::kMessage) events += "end, ";
    ASSERT_NE(result.event, ParseEvent::kError);
  }
  EXPECT_EQ(events, "head /1, end, head /2, body hi, end, head /3, body ho, end, head /4, end, ");
  EXPECT_TRUE(rest.empty());
  EXPECT_TRUE(parser_.between_messages());
}

TEST_F(ParserTest, ACallerInAHurryResetsBehindAHeadWithoutABody) {
  for (int i = 0; i < 3; ++i) {
    FeedAll(kGet, ParseEvent::kHead);
    parser_.Reset();
    EXPECT_TRUE(parser_.between_messages());
  }
}

TEST_F(ParserTest, ABodyWithALengthComesAsItArrivesAndIsNotCopied) {
  FeedAll("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n", ParseEvent::kHead);
  EXPECT_EQ(parser_.request().content_length(), 8u);
  EXPECT_TRUE(parser_.request().has_body());
  EXPECT_EQ(parser_.body_bytes_left(), 8u);
  FeedAll("", ParseEvent::kNeedMore);
  const std::string_view first = "abc";
  EXPECT_EQ(FeedAll(first, ParseEvent::kBody).body.data(), first.data());
  EXPECT_EQ(parser_.body_bytes(), 3u);
  EXPECT_EQ(parser_.body_bytes_left(), 5u);
  const ParseResult last = parser_.Feed("defghGET ");
  EXPECT_EQ(last.body, "defgh");
  EXPECT_EQ(last.consumed, 5u);
  EXPECT_FALSE(parser_.between_messages());
  EXPECT_EQ(parser_.Feed("GET ").event, ParseEvent::kMessage);
  EXPECT_TRUE(parser_.between_messages());
}

TEST_F(ParserTest, ALengthOfZeroIsNoBody) {
  FeedAll("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", ParseEvent::kHead);
  EXPECT_EQ(parser_.request().content_length(), 0u);
  EXPECT_FALSE(parser_.request().has_body());
  FeedAll("", ParseEvent::kMessage);
}

TEST_F(ParserTest, ChunksComeWithoutTheirFramingAndAreNotCopied) {
  FeedAll("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n", ParseEvent::kHead);
  EXPECT_TRUE(parser_.request().chunked());
  EXPECT_TRUE(parser_.request().has_body());
  EXPECT_EQ(parser_.request().content_length(), std::nullopt);
  FeedAll("A;x=y\r", ParseEvent::kNeedMore);
  const std::string_view piece = "\n01234";
  EXPECT_EQ(FeedAll(piece, ParseEvent::kBody).body.data(), piece.data() + 1);
  const ParseResult rest = parser_.Feed("56789\r\n1\r\n!\r\n0\r\n\r\n");
  EXPECT_EQ(rest.body, "56789");
  EXPECT_EQ(rest.consumed, 5u);
  EXPECT_EQ(parser_.Feed("\r\n1\r\n!\r\n0\r\n\r\n").body, "!");
  EXPECT_EQ(parser_.body_bytes(), 11u);
  EXPECT_EQ(parser_.body_bytes_left(), 0u);
  FeedAll("\r\n0\r\n\r\n", ParseEvent::kMessage);
  EXPECT_TRUE(parser_.request().trailers().empty());
}

TEST_F(ParserTest, TrailersComeWithTheMessage) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  FeedAll(head, ParseEvent::kHead);
  FeedAll("0\r\nX-Sum: 17 \r\nx-", ParseEvent::kNeedMore);
  FeedAll("more:\r\n\r\n", ParseEvent::kMessage);
  const Fields& trailers = parser_.request().trailers();
  ASSERT_EQ(trailers.size(), 2u);
  EXPECT_EQ(trailers.Find("x-sum"), "17");
  EXPECT_EQ(trailers[1].name, "x-more");
  EXPECT_EQ(trailers[1].value, "");
  EXPECT_EQ(parser_.request().headers().size(), 2u) << "trailers are not mixed with the headers";
  // And they are gone with the message.
  FeedAll(kGet, ParseEvent::kHead);
  EXPECT_TRUE(parser_.request().trailers().empty());
}

TEST_F(ParserTest, ASkippedBodyIsConsumedAndItsLimitsStay) {
  limits_.body_bytes_max = 10;
  FeedAll("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", ParseEvent::kHead);
  parser_.SkipBody();
  FeedAll("hel", ParseEvent::kNeedMore);
  const ParseResult end = parser_.Feed("loGET");
  EXPECT_EQ(end.event, ParseEvent::kMessage);
  EXPECT_EQ(end.consumed, 2u);

  FeedAll("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", ParseEvent::kHead);
  parser_.SkipBody();
  FeedAll("5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n", ParseEvent::kMessage);
  EXPECT_EQ(parser_.body_bytes(), 10u);

  FeedAll("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", ParseEvent::kHead);
  parser_.SkipBody();
  EXPECT_EQ(parser_.Feed("5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n").event, ParseEvent::kError);
  EXPECT_EQ(parser_.error().status, StatusCode::kContentTooLarge);
}

TEST_F(ParserTest, SkippingEndsWithTheMessage) {
  const std::string_view post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
  FeedAll(post, ParseEvent::kHead);
  parser_.SkipBody();
  FeedAll("hi", ParseEvent::kMessage);
  FeedAll(post, ParseEvent::kHead);
  FeedAll("ho", ParseEvent::kBody);
}

TEST_F(ParserTest, AnErrorStaysUntilReset) {
  EXPECT_EQ(parser_.Feed("BREW / HTTP/1.1\r\n\r\n").event, ParseEvent::kError);
  EXPECT_EQ(parser_.error().status, StatusCode::kNotImplemented);
  EXPECT_FALSE(parser_.between_messages());
  FeedAll(kGet, ParseEvent::kError);
  FeedAll("", ParseEvent::kError);
  parser_.Reset();
  EXPECT_FALSE(parser_.error());
  FeedAll(kGet, ParseEvent::kHead);
}

TEST_F(ParserTest, MemoryIsGivenBackAndTheParserGoesOn) {
  FeedAll(kGet.substr(0, 30), ParseEvent::kNeedMore);
  FeedAll(kGet.substr(30), ParseEvent::kHead);
  FeedAll("", ParseEvent::kMessage);
  parser_.ReleaseMemory();
  EXPECT_TRUE(parser_.between_messages());
  FeedAll(kGet.substr(0, 30), ParseEvent::kNeedMore);
  FeedAll(kGet.substr(30), ParseEvent::kHead);
}

// A CR is half of an empty line, and four of them are the most, whatever comes in between.
TEST_F(ParserTest, GivingMemoryBackForgetsNoEmptyLine) {
  FeedAll("\r", ParseEvent::kNeedMore);
  parser_.ReleaseMemory();
  FeedAll("\n\r\n\r\n\r\n", ParseEvent::kNeedMore);
  parser_.ReleaseMemory();
  FeedAll("\r", ParseEvent::kError);
  parser_.Reset();
  FeedAll("\r\n", ParseEvent::kNeedMore);
  parser_.ReleaseMemory();
  FeedAll(kGet, ParseEvent::kHead);
  FeedAll("", ParseEvent::kMessage);
  parser_.ReleaseMemory();
  FeedAll("\r\n\r\n\r\n\r\n", ParseEvent::kNeedMore);
}

TEST_F(ParserTest, TellsHowMuchMemoryItHolds) {
  const size_t empty = parser_.memory_bytes();
  EXPECT_LT(empty, 100u);
  const std::string head = "GET / HTTP/1.1\r\nHost: test\r\nX: " + std::string(1000, 'x') + "\r\n\r\n";
  FeedAll(std::string_view(head).substr(0, 500), ParseEvent::kNeedMore);
  FeedAll(std::string_view(head).substr(500), ParseEvent::kHead);
  FeedAll("", ParseEvent::kMessage);
  EXPECT_GE(parser_.memory_bytes(), head.size());
  parser_.ReleaseMemory();
  EXPECT_EQ(parser_.memory_bytes(), empty);
}

TEST_F(ParserTest, EmptyLinesBeforeARequestLeaveTheConnectionIdle) {
  FeedAll("\r\n\r", ParseEvent::kNeedMore);
  EXPECT_TRUE(parser_.between_messages());
  FeedAll("\n", ParseEvent::kNeedMore);
  FeedAll(kGet, ParseEvent::kHead);
}

TEST_F(ParserTest, EveryKnownMethodIsServedButConnect) {
  for (int i = 0; i < kMethodCount; ++i) {
    const Method method = static_cast<Method>(i);
    SCOPED_TRACE(std::string(MethodName(method)));
    if (method == Method::kConnect) continue;
    const std::string head = std::string(MethodName(method)) + " / HTTP/1.1\r\nHost: x\r\n\r\n";
    FeedAll(head, ParseEvent::kHead);
    EXPECT_EQ(parser_.request().method(), method);
    parser_.Reset();
  }
  EXPECT_EQ(StatusOf("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), 501);
}

TEST_F(ParserTest, KeepAliveFollowsVersionAndConnection) {
  const std::vector<std::tuple<std::string, std::string, bool>> cases = {
      {"1.1", "", true},
      {"1.1", "Connection: close\r\n", false},
      {"1.1", "Connection: CLOSE\r\n", false},
      {"1.1", "Connection: keep-alive\r\n", true},
      {"1.1", "Connection: x-closer\r\n", true},
      {"1.1", "Connection: keep-alive, x , close\r\n", false},
      {"1.1", "Connection: keep-alive\r\nConnection: close\r\n", false},
      {"1.1", "Proxy-Connection: close\r\n", true},
      {"1.0", "", false},
      {"1.0", "Connection: Keep-Alive\r\n", true},
      {"1.0", "Connection: keep-alive, close\r\n", false},
      {"1.0", "Proxy-Connection: keep-alive\r\n", false},
      {"1.2", "", true},
  };
  for (const auto& [version, field, keep_alive] : cases) {
    SCOPED_TRACE(version + " " + field);
    const std::string head = "GET / HTTP/" + version + "\r\nHost: x\r\n" + field + "\r\n";
    FeedAll(head, ParseEvent::kHead);
    EXPECT_EQ(parser_.request().keep_alive(), keep_alive);
    parser_.Reset();
  }
}

TEST_F(ParserTest, ContinueIsExpectedInHttp11Only) {
  for (const auto& [version, expected] : {std::pair("1.1", true), std::pair("1.0", false)}) {
    const std::string head =
        std::string("POST / HTTP/") + version + "\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n";
    FeedAll(head, ParseEvent::kHead);
    EXPECT_EQ(parser_.request().expects_continue(), expected);
    parser_.Reset();
  }
}

TEST_F(ParserTest, AnUpgradeNeedsBothFields) {
  const std::vector<std::pair<std::string, bool>> cases = {
      {"Connection: Upgrade\r\nUpgrade: websocket\r\n", true},
      {"Upgrade: websocket\r\n", false},
      {"Connection: upgrade\r\n", false},
  };
  for (const auto& [fields, wanted] : cases) {
    SCOPED_TRACE(fields);
    const std::string head = "GET / HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
    FeedAll(head, ParseEvent::kHead);
    EXPECT_EQ(parser_.request().wants_upgrade(), wanted);
    parser_.Reset();
  }
  FeedAll("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", ParseEvent::kHead);
  EXPECT_FALSE(parser_.request().wants_upgrade());
}

TEST_F(ParserTest, TargetsAreTakenApart) {
  struct Case {
    std::string target, path, query, host;
  };
  for (const Case& each : std::vector<Case>{
           {"/", "/", "", "h"},
           {"/?", "/", "", "h"},
           {"/a?b?c", "/a", "b?c", "h"},
           {"//a//b", "//a//b", "", "h"},
           {"/a;b=c/d", "/a;b=c/d", "", "h"},
           {"/|\"{}^`\\", "/|\"{}^`\\", "", "h"},
           {"http://o.test/a?b", "/a", "b", "o.test"},
           {"HTTP://o.test:8080", "/", "", "o.test:8080"},
           {"https://[::1]?b", "/", "b", "[::1]"},
       }) {
    SCOPED_TRACE(each.target);
    const std::string head = "GET " + each.target + " HTTP/1.1\r\nHost: h\r\n\r\n";
    FeedAll(head, ParseEvent::kHead);
    EXPECT_EQ(parser_.request().target(), each.target);
    EXPECT_EQ(parser_.request().raw_path(), each.path);
    EXPECT_EQ(parser_.request().query(), each.query);
    EXPECT_EQ(parser_.request().host(), each.host);
    parser_.Reset();
  }
}

TEST_F(ParserTest, HostsAreChecked) {
  for (std::string_view good : {"", "a", "a.b-c_d~e", "a:", "a:80", "127.0.0.1:65535", "[::1]", "[::ffff:1.2.3.4]:80",
                                "%41.test", "xn--bcher-kva.example", "a!$&'()*+,;=b"}) {
    EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: " + std::string(good) + "\r\n\r\n"), 0) << good;
  }
  for (std::string_view bad :
       {"a b",    "a/b",   "a?b", "a#b",  "a@b", "a:b", "a:8:0", "a:-1",  "[::1",      "::1", "[]",
        "[::1]x", "[g::]", "a]",  "a[b]", "%4",  "%zz", "a\\b",  "\"a\"", "a\xc3\xa4", "<a>", "a|b"}) {
    EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: " + std::string(bad) + "\r\n\r\n"), 400) << bad;
  }
}

// Each limit: as much as it says is served, one more is not.
TEST_F(ParserTest, TheTargetLimitStrikesExactly) {
  limits_.target_bytes_max = 5;
  for (std::string method : {"GET", "DELETE"}) {  // by the short cut, and without it
    EXPECT_EQ(StatusOf(method + " /1234 HTTP/1.1\r\nHost: x\r\n\r\n", limits_), 0);
    EXPECT_EQ(StatusOf(method + " /12345 HTTP/1.1\r\nHost: x\r\n\r\n", limits_), 414);
    EXPECT_EQ(StatusOf(method + " /1234567", limits_), 414);
    EXPECT_EQ(StatusOf(method + " /1234\x01", limits_), 400);
    EXPECT_EQ(StatusOf(method + " /12345\x01", limits_), 414) << "too long before it is bad";
  }
  EXPECT_EQ(StatusOf("PRI /12345\x01", limits_), 414) << "also by a method that is not served";
}

TEST_F(ParserTest, TheHeadLimitStrikesExactly) {
  for (std::string method : {"GET", "DELETE"}) {
    const std::string head = method + " / HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n";
    limits_.head_bytes_max = head.size();
    EXPECT_EQ(StatusOf(head, limits_), 0);
    EXPECT_EQ(StatusOf("\r\n\r\n" + head, limits_), 0) << "empty lines do not count";
    limits_.head_bytes_max = head.size() - 1;
    EXPECT_EQ(StatusOf(head, limits_), 431);
    EXPECT_EQ(StatusOf(head + head, limits_), 431);
  }
  limits_.head_bytes_max = 6;
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\n", limits_), 431);
  limits_.head_bytes_max = 5;
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\n", limits_), 414) << "the target has not ended where the limit strikes";
}

TEST_F(ParserTest, TheFieldLimitStrikesExactly) {
  limits_.headers_max = 2;
  for (std::string method : {"GET", "DELETE"}) {
    EXPECT_EQ(StatusOf(method + " / HTTP/1.1\r\nHost: x\r\nA: 1\r\n\r\n", limits_), 0);
    EXPECT_EQ(StatusOf(method + " / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\n\r\n", limits_), 431);
  }
}

TEST_F(ParserTest, TheBodyLimitStrikesExactly) {
  limits_.body_bytes_max = 4;
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\n";
  EXPECT_EQ(StatusOf(post + "Content-Length: 4\r\n\r\nabcd", limits_), 0);
  EXPECT_EQ(StatusOf(post + "Content-Length: 5\r\n\r\n", limits_), 413);
  const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(StatusOf(chunked + "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", limits_), 0);
  EXPECT_EQ(StatusOf(chunked + "3\r\nabc\r\n2\r\n", limits_), 413) << "before the data comes";
  EXPECT_EQ(StatusOf(chunked + "5\r\n", limits_), 413);
}

TEST_F(ParserTest, TheChunkExtensionLimitStrikesExactly) {
  const std::string chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  limits_.chunk_extension_bytes_max = 10;
  // A chunk head has 20 bytes free; the first one has no line end before it.
  const std::string first = "1;" + std::string(20 + 10 - 4, 'x') + "\r\n";
  EXPECT_EQ(StatusOf(chunked + first + "a\r\n0\r\n\r\n", limits_), 0);
  EXPECT_EQ(StatusOf(chunked + first.substr(0, 2) + "x" + first.substr(2) + "a\r\n0\r\n\r\n", limits_), 400);
  // All heads of a body draw on the same allowance; plain ones draw nothing.
  const std::string plain = "0000000000000001\r\na\r\n";
  EXPECT_EQ(StatusOf(chunked + plain + plain + first + "a\r\n0\r\n\r\n", limits_), 400) << "2 more, for the line end";
  EXPECT_EQ(StatusOf(chunked + first + "a\r\n" + plain + plain + plain + "0\r\n\r\n", limits_), 0);
  EXPECT_EQ(StatusOf(chunked + first + "a\r\n00000000000000001\r\nb\r\n0\r\n\r\n", limits_), 400);
}

TEST_F(ParserTest, TheTrailerLimitsStrikeExactly) {
  const std::string last = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  const std::string trailers = "A: 1\r\nB: 2\r\n\r\n";
  limits_.trailer_bytes_max = trailers.size();
  limits_.headers_max = 2;
  EXPECT_EQ(StatusOf(last + trailers, limits_), 0);
  EXPECT_EQ(StatusOf(last + "A: 10\r\nB: 2\r\n\r\n", limits_), 431);
  EXPECT_EQ(StatusOf(last + "A:\r\nB:\r\nC:\r\n\r\n", limits_), 431);
}

TEST(ParserDeathTest, LimitsThatPlacesCannotHoldAreABug) {
  Limits limits;
  limits.head_bytes_max = size_t{1} << 33;
  EXPECT_DEATH(RequestParser parser(&limits), "32 bits");
}

}  // namespace
}  // namespace evring::net::http

// hostile_requests.h: requests that break a rule, bend one, or only look as if they did, each with what must become of
// it. For the parser alone (parser_split_test.cc) and for servers over sockets. Made for the default Limits.

#ifndef EVRING_TESTS_NET_HTTP_HOSTILE_REQUESTS_H_
#define EVRING_TESTS_NET_HTTP_HOSTILE_REQUESTS_H_

#include <string>
#include <string_view>
#include <vector>

#include "net/http/limits.h"

namespace evring::net::http {

struct RequestCase {
  // For `status`: the bytes are so many good requests, whole ones, and each is answered; see `requests`.
  static constexpr int kServed = 0;
  // For `status`: nothing is wrong so far, but the bytes end too early. At the end of the stream a server closes, or
  // answers 400; in silence it answers 408, or closes.
  static constexpr int kUnfinished = -1;

  std::string name;
  std::string bytes;
  int status;        // of the answer, behind which the connection is closed; or one of the two above
  int requests = 1;  // kServed: how many there are
};

inline std::vector<RequestCase> HostileRequests() {
  using namespace std::string_literals;
  constexpr int kServed = RequestCase::kServed;
  constexpr int kUnfinished = RequestCase::kUnfinished;
  const Limits limits;
  const std::string host = "Host: example.test\r\n";
  const std::string get = "GET / HTTP/1.1\r\n" + host;    // a header section that is still open
  const std::string post = "POST / HTTP/1.1\r\n" + host;  // likewise
  const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  const std::string tail = "0\r\n\r\n";
  const auto fields = [](size_t count) {
    std::string all;
    for (size_t i = 0; i < count; ++i) all += "X-" + std::to_string(i) + ": 1\r\n";
    return all;
  };
  const auto many = [](size_t count, std::string_view what) {
    std::string all;
    for (size_t i = 0; i < count; ++i) all += what;
    return all;
  };

  return {
      // The request line.
      {"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, 400},
      {"no method", " / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"empty line only, bare CR", "\rGET / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"empty line only, bare LF", "\nGET / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"CR CR LF before the request", "\r\r\nGET / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"too many empty lines", many(5, "\r\n") + get + "\r\n", 400},
      {"some empty lines", many(4, "\r\n") + get + "\r\n", kServed},
      {"unknown method", "BREW / HTTP/1.1\r\n" + host + "\r\n", 501},
      {"method with a known beginning", "GETS / HTTP/1.1\r\n" + host + "\r\n", 501},
      {"beginning of a known method", "GE / HTTP/1.1\r\n" + host + "\r\n", 501},
      {"method in small letters", "get / HTTP/1.1\r\n" + host + "\r\n", 501},
      {"endless method", std::string(200, 'A'), 501},
      {"method with a control character", "GE\x01T / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"method with NUL", "GET\0 / HTTP/1.1\r\n"s + host + "\r\n", 400},
      {"tab behind the method", "GET\t/ HTTP/1.1\r\n" + host + "\r\n", 400},
      {"two spaces behind the method", "GET  / HTTP/1.1\r\n" + host + "\r\n", 400},
      {"two spaces before the version", "GET /  HTTP/1.1\r\n" + host + "\r\n", 400},
      {"space behind the version", "GET / HTTP/1.1 \r\n" + host + "\r\n", 400},
      {"tab before the version", "GET /\tHTTP/1.1\r\n" + host + "\r\n", 400},
      {"no target", "GET HTTP/1.1\r\n" + host + "\r\n", 400},
      {"no version", "GET /\r\n" + host + "\r\n", 400},
      {"HTTP/0.9 line", "GET /\r\n\r\n", 400},
      {"version in small letters", "GET / http/1.1\r\n" + host + "\r\n", 400},
      {"version of another protocol", "GET / RTSP/1.1\r\n" + host + "\r\n", 400},
      {"version without a minor", "GET / HTTP/1\r\n" + host + "\r\n", 400},
      {"version with two digits", "GET / HTTP/1.10\r\n" + host + "\r\n", 400},
      {"version with a leading zero", "GET / HTTP/01.1\r\n" + host + "\r\n", 400},
      {"version with a sign", "GET / HTTP/+1.1\r\n" + host + "\r\n", 400},
      {"version 0.9", "GET / HTTP/0.9\r\n" + host + "\r\n", 505},
      {"version 2.0", "GET / HTTP/2.0\r\n" + host + "\r\n", 505},
      {"version 3.1", "GET / HTTP/3.1\r\n" + host + "\r\n", 505},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"version 1.2 is served as 1.1", "GET / HTTP/1.2\r\n" + host + "\r\n", kServed},
      {"RTSP method", "DESCRIBE / HTTP/1.1\r\n" + host + "\r\n", 501},
      {"ICE source", "SOURCE /live ICE/1.0\r\n" + host + "\r\n", 501},
      {"bare LF behind the request line", "GET / HTTP/1.1\n" + host + "\r\n", 400},
      {"bare CR behind the request line", "GET / HTTP/1.1\r" + host + "\r\n", 400},
      {"CR CR LF behind the request line", "GET / HTTP/1.1\r\r\n" + host + "\r\n", 400},

      // The target.
      {"NUL in the target", "GET /a\0b HTTP/1.1\r\n"s + host + "\r\n", 400},
      {"DEL in the target", "GET /a\x7f HTTP/1.1\r\n" + host + "\r\n", 400},
      {"high byte in the target", "GET /\xc3\xa4 HTTP/1.1\r\n" + host + "\r\n", 400},
      {"fragment in the target", "GET /a#b HTTP/1.1\r\n" + host + "\r\n", 400},
      {"target without a slash", "GET index.html HTTP/1.1\r\n" + host + "\r\n", 400},
      {"asterisk with GET", "GET * HTTP/1.1\r\n" + host + "\r\n", 400},
      {"asterisk with OPTIONS", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", kServed},
      {"absolute target", "GET http://example.test/a?b HTTP/1.1\r\n" + host + "\r\n", kServed},
      {"absolute target of another host", "GET http://other.test HTTP/1.1\r\n" + host + "\r\n", kServed},
      {"absolute target with user information", "GET http://me@example.test/ HTTP/1.1\r\n" + host + "\r\n", 400},
      {"absolute target without a host", "GET http:///a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"absolute target with a port only", "GET http://:80/a HTTP/1.1\r\n" + host + "\r\n", 400},
      {"absolute target, other scheme", "GET ftp://example.test/ HTTP/1.1\r\n" + host + "\r\n", 400},
      {"CONNECT", "CONNECT example.test:443 HTTP/1.1\r\n" + host + "\r\n", 501},
      {"path upwards is a path", "GET /../../etc/passwd HTTP/1.1\r\n" + host + "\r\n", kServed},
      {"target as long as may be",
       "GET /" + std::string(limits.target_bytes_max - 1, 'a') + " HTTP/1.1\r\n" + host + "\r\n", kServed},
      {"target too long by one", "GET /" + std::string(limits.target_bytes_max, 'a') + " HTTP/1.1\r\n" + host + "\r\n",
       414},
      {"endless target", "GET /" + std::string(2 * limits.head_bytes_max, 'a'), 414},
      {"endless spaces before the target", "GET " + std::string(2 * limits.head_bytes_max, ' '), 414},

      // Field lines.
      {"space before the colon", get + "X : 1\r\n\r\n", 400},
      {"tab before the colon", get + "X\t: 1\r\n\r\n", 400},
      {"no colon", get + "X\r\n\r\n", 400},
      {"no name", get + ": 1\r\n\r\n", 400},
      {"space in a name", get + "X Y: 1\r\n\r\n", 400},
      {"slash in a name", get + "X/Y: 1\r\n\r\n", 400},
      {"NUL in a name", get + "X\0Y: 1\r\n\r\n"s, 400},
      {"high byte in a name", get + "X\xe9: 1\r\n\r\n", 400},
      {"NUL in a value", get + "X: a\0b\r\n\r\n"s, 400},
      {"control character in a value", get + "X: a\x1b[0m\r\n\r\n", 400},
      {"DEL in a value", get + "X: a\x7f\r\n\r\n", 400},
      {"vertical tab before a value", get + "X:\x0b 1\r\n\r\n", 400},
      {"bare CR in a value", get + "X: a\rb\r\n\r\n", 400},
      {"bare CR between fields", get + "X: a\rY: b\r\n\r\n", 400},
      {"bare CR behind a colon", get + "X:\rY: b\r\n\r\n", 400},
      {"bare LF between fields", get + "X: a\nY: b\r\n\r\n", 400},
      {"bare LF everywhere", "GET / HTTP/1.1\nHost: example.test\n\n", 400},
      {"bare LF at the end", get + "\n", 400},
      {"bare CR at the end", get + "\rX: 1\r\n\r\n", 400},
      {"folded line", get + "X: a\r\n b\r\n\r\n", 400},
      {"folded line, tab", get + "X: a\r\n\tb\r\n\r\n", 400},
      {"folded line, empty", get + "X: a\r\n \r\n\r\n", 400},
      {"folded line behind an empty value", get + "X:\r\n b\r\n\r\n", 400},
      {"space before the first name", "GET / HTTP/1.1\r\n X: 1\r\n" + host + "\r\n", 400},
      {"tabs around a value", get + "X:\t1\t \r\n\r\n", kServed},
      {"high bytes in a value", get + "X: \xc3\xa4\r\n\r\n", kServed},
      {"empty value", get + "X:\r\nY: \r\n\r\n", kServed},
      {"as many fields as may be", get + fields(limits.headers_max - 1) + "\r\n", kServed},
      {"too many fields by one", get + fields(limits.headers_max) + "\r\n", 431},
      {"head as long as may be", get + "X: " + std::string(limits.head_bytes_max - get.size() - 7, 'a') + "\r\n\r\n",
       kServed},
      {"head too long by one", get + "X: " + std::string(limits.head_bytes_max - get.size() - 6, 'a') + "\r\n\r\n",
       431},
      {"endless value", get + "X: " + std::string(2 * limits.head_bytes_max, 'a'), 431},
      {"endless name", get + std::string(2 * limits.head_bytes_max, 'a'), 431},
      {"endless fields", get + fields(20000), 431},

      // Host.
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", kServed},
      {"Host twice", get + host + "\r\n", 400},
      {"Host twice, another one", get + "Host: evil.test\r\n\r\n", 400},
      {"Host with a path", "GET / HTTP/1.1\r\nHost: example.test/x\r\n\r\n", 400},
      {"Host with a space", "GET / HTTP/1.1\r\nHost: example test\r\n\r\n", 400},
      {"Host with user information", "GET / HTTP/1.1\r\nHost: me@example.test\r\n\r\n", 400},
      {"Host with two ports", "GET / HTTP/1.1\r\nHost: example.test:80:80\r\n\r\n", 400},
      {"Host with a port of letters", "GET / HTTP/1.1\r\nHost: example.test:http\r\n\r\n", 400},
      {"Host as a list", "GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", 400},
      {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", kServed},
      {"Host with an IPv6 address", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", kServed},

      // Content-Length.
      {"negative length", post + "Content-Length: -1\r\n\r\nx", 400},
      {"length with a plus", post + "Content-Length: +5\r\n\r\nhello", 400},
      {"length in hexadecimal", post + "Content-Length: 0x5\r\n\r\nhello", 400},
      {"length with a fraction", post + "Content-Length: 5.0\r\n\r\nhello", 400},
      {"length with a space in it", post + "Content-Length: 1 0\r\n\r\n0123456789", 400},
      {"length with a tab in it", post + "Content-Length: 1\t0\r\n\r\n0123456789", 400},
      {"empty length", post + "Content-Length:\r\n\r\n", 400},
      {"length of letters", post + "Content-Length: many\r\n\r\n", 400},
      {"length as a list", post + "Content-Length: 5, 5\r\n\r\nhello", 400},
      {"length twice, the same", post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
      {"length twice, different", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400},
      {"length beyond 64 bits", post + "Content-Length: 18446744073709551616\r\n\r\n", 400},
      {"length that wraps to 5", post + "Content-Length: 18446744073709551621\r\n\r\nhello", 400},
      {"length of 64 bits", post + "Content-Length: 18446744073709551615\r\n\r\n", 413},
      {"length beyond the limit", post + "Content-Length: " + std::to_string(limits.body_bytes_max + 1) + "\r\n\r\n",
       413},
      {"length with zeros in front", post + "Content-Length: 0005\r\n\r\nhello", kServed},
      {"length with a body that is cut", post + "Content-Length: 10\r\n\r\nhello", kUnfinished},
      {"folded length", post + "Content-Length:\r\n 5\r\n\r\nhello", 400},
      {"space before the colon of the length", post + "Content-Length : 5\r\n\r\nhello", 400},
      {"GET with a body", get + "Content-Length: 5\r\n\r\nhello", kServed},
      {"body that looks like a request",
       post + "Content-Length: " + std::to_string(get.size() + 2) + "\r\n\r\n" + get + "\r\n", kServed},

      // Transfer-Encoding.
      {"length and chunked", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + tail, 400},
      {"chunked and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + tail, 400},
      {"chunked in HTTP/1.0", "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n" + tail, 400},
      {"chunked is not last", post + "Transfer-Encoding: chunked, gzip\r\n\r\n" + tail, 400},
      {"chunked is not last, in two fields",
       post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n" + tail, 400},
      {"chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n" + tail, 400},
      {"chunked twice, in two fields", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + tail,
       400},
      {"another coding under chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + tail, 501},
      {"another coding under chunked, in two fields",
       post + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + tail, 501},
      {"another coding", post + "Transfer-Encoding: gzip\r\n\r\n", 400},
      {"identity", post + "Transfer-Encoding: identity\r\n\r\n", 400},
      {"unknown coding", post + "Transfer-Encoding: xchunked\r\n\r\n" + tail, 400},
      {"chunked with a parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n" + tail, 400},
      {"chunked in quotes", post + "Transfer-Encoding: \"chunked\"\r\n\r\n" + tail, 400},
      {"chunked behind a vertical tab",
       post +
           "Transfer-Encoding:\x0b"
           "chunked\r\n\r\n" +
           tail,
       400},
      {"chunked behind a comma", post + "Transfer-Encoding: ,chunked\r\n\r\n" + tail, 400},
      {"chunked before a comma", post + "Transfer-Encoding: chunked,\r\n\r\n" + tail, 400},
      {"empty coding before chunked", post + "Transfer-Encoding: gzip,\r\nTransfer-Encoding: chunked\r\n\r\n" + tail,
       400},
      {"empty coding", post + "Transfer-Encoding:\r\n\r\n", 400},
      {"folded chunked", post + "Transfer-Encoding:\r\n chunked\r\n\r\n" + tail, 400},
      {"space before the colon of the coding", post + "Transfer-Encoding : chunked\r\n\r\n" + tail, 400},
      {"chunked in capitals", post + "Transfer-Encoding: CHUNKED\r\n\r\n" + tail, kServed},

      // Chunks.
      {"chunk size of letters", chunked + "xyz\r\n", 400},
      {"chunk size in 0x", chunked + "0x5\r\nhello\r\n" + tail, 400},
      {"negative chunk size", chunked + "-5\r\nhello\r\n" + tail, 400},
      {"chunk size with a plus", chunked + "+5\r\nhello\r\n" + tail, 400},
      {"space before a chunk size", chunked + " 5\r\nhello\r\n" + tail, 400},
      {"space behind a chunk size", chunked + "5 \r\nhello\r\n" + tail, 400},
      {"empty chunk size", chunked + "\r\nhello\r\n" + tail, 400},
      {"chunk size beyond 64 bits", chunked + "10000000000000005\r\nhello\r\n" + tail, 400},
      {"chunk size of 64 bits", chunked + "ffffffffffffffff\r\nhello\r\n" + tail, 413},
      {"chunk size beyond the limit", chunked + "7fffffff\r\nhello\r\n", 413},
      {"endless zeros in a chunk size", chunked + std::string(100000, '0'), 400},
      {"bare LF behind a chunk size", chunked + "5\nhello\r\n" + tail, 400},
      {"bare CR behind a chunk size", chunked + "5\rhello\r\n" + tail, 400},
      {"bare LF behind a chunk", chunked + "5\r\nhello\n" + tail, 400},
      {"CR CR LF behind a chunk", chunked + "5\r\nhello\r\r\n" + tail, 400},
      {"nothing behind a chunk", chunked + "5\r\nhello" + tail, 400},
      {"chunk longer than it says", chunked + "5\r\nhello!!\r\n" + tail, 400},
      {"two other bytes behind a chunk", chunked + "5\r\nhelloXX" + tail, 400},
      {"bare LF in a chunk extension", chunked + "5;a\nb\r\nhello\r\n" + tail, 400},
      {"chunk extension too long",
       chunked + "5;a=" + std::string(limits.chunk_extension_bytes_max + 20, 'b') + "\r\nhello\r\n" + tail, 400},
      {"chunk extensions too long together",
       chunked +
           many(limits.chunk_extension_bytes_max / 40,
                "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n") +
           tail,
       400},
      {"endless chunk extension", chunked + "5;" + std::string(100000, 'a'), 400},
      {"chunk extensions", chunked + "5;a=b\r\nhello\r\n3;c=\"d\"\r\nbye\r\n0;e\r\n\r\n", kServed},
      {"zeros before a chunk size", chunked + "005\r\nhello\r\n000\r\n\r\n", kServed},
      {"truncated chunk", chunked + "5\r\nhel", kUnfinished},
      {"no last chunk", chunked + "5\r\nhello\r\n", kUnfinished},
      {"no end behind the last chunk", chunked + "5\r\nhello\r\n0\r\n", kUnfinished},
      {"something else behind the last chunk", chunked + "0\r\nX\r\n\r\n", 400},
      {"bare LF behind the last chunk", chunked + "0\r\n\n", 400},

      // Trailers.
      {"trailers", chunked + "5\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", kServed},
      {"length as a trailer", chunked + "0\r\nContent-Length: 5\r\n\r\n", 400},
      {"chunked as a trailer", chunked + "0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"Host as a trailer", chunked + "0\r\nHost: evil.test\r\n\r\n", 400},
      {"folded trailer", chunked + "0\r\nX: a\r\n b\r\n\r\n", 400},
      {"space before a trailer", chunked + "0\r\n X: a\r\n\r\n", 400},
      {"bare LF behind a trailer", chunked + "0\r\nX: a\n\r\n", 400},
      {"NUL in a trailer", chunked + "0\r\nX: a\0\r\n\r\n"s, 400},
      {"trailers too long", chunked + "0\r\nX: " + std::string(limits.trailer_bytes_max, 'a') + "\r\n\r\n", 431},
      {"too many trailers", chunked + "0\r\n" + fields(limits.headers_max + 1) + "\r\n", 431},

      // Expect.
      {"unknown expectation", post + "Expect: miracles\r\nContent-Length: 5\r\n\r\nhello", 417},
      {"expectations as a list", post + "Expect: 100-continue, miracles\r\nContent-Length: 5\r\n\r\nhello", 417},
      {"unknown expectation in HTTP/1.0", "POST / HTTP/1.0\r\nExpect: miracles\r\nContent-Length: 5\r\n\r\nhello",
       kServed},

      // What only looks odd, and several at once.
      {"unfinished request line", "GET / HT", kUnfinished},
      {"unfinished field", get + "X-Half: ", kUnfinished},
      {"unfinished method", "GE", kUnfinished},
      {"nothing but empty lines", "\r\n\r\n", kUnfinished},
      {"upgrade that is not taken",
       get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", kServed},
      {"pipeline", get + "\r\n" + get + "\r\n" + get + "\r\n", kServed, 3},
      {"pipeline with bodies", chunked + "5\r\nhello\r\n" + tail + post + "Content-Length: 2\r\n\r\nhi" + get + "\r\n",
       kServed, 3},
      {"empty line behind a body", post + "Content-Length: 2\r\n\r\nhi\r\n" + get + "\r\n", kServed, 2},
  };
}

}  // namespace evring::net::http

#endif  // EVRING_TESTS_NET_HTTP_HOSTILE_REQUESTS_H_

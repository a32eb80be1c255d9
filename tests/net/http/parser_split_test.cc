// parser_split_test.cc: what the parser makes of a stream does not depend on how it was cut (F1 of net/http/parser.h).
// As heads that arrive whole take the short cut of internal/head_scan.h and all others go through llhttp, this is also
// the proof that the two agree. Method: the table of hostile requests, then requests mutated at random; each one whole,
// byte by byte, and cut in two or at random.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/net/http/hostile_requests.h"
#include "tests/net/http/transcript.h"

namespace evring::net::http {
namespace {

int OutcomeOf(const Transcript& transcript) {
  if (transcript.error != 0) return transcript.error;
  const bool complete = transcript.between_messages && !transcript.messages.empty();
  return complete ? RequestCase::kServed : RequestCase::kUnfinished;
}

std::vector<std::string_view> CutAtRandom(std::string_view bytes, std::mt19937* random) {
  std::vector<std::string_view> pieces;
  const size_t longest = 1 + (*random)() % 40;
  while (!bytes.empty()) {
    const size_t size = std::min(bytes.size(), (*random)() % longest + 1);
    pieces.push_back(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  return pieces;
}

TEST(HostileRequests, TheTableHasNoNameTwice) {
  std::vector<std::string> names;
  for (const RequestCase& each : HostileRequests()) names.push_back(each.name);
  EXPECT_GE(names.size(), 70u);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(HostileRequests, WholeTheyComeOutAsTheTableSays) {
  for (const RequestCase& each : HostileRequests()) {
    SCOPED_TRACE(each.name);
    const Transcript transcript = ParseWhole(each.bytes);
    EXPECT_EQ(OutcomeOf(transcript), each.status);
    if (each.status == RequestCase::kServed) {
      EXPECT_EQ(transcript.messages.size(), static_cast<size_t>(each.requests));
    }
  }
}

TEST(HostileRequests, ByteByByteTheyComeOutTheSame) {
  for (const RequestCase& each : HostileRequests()) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(ParsePieces(Bytewise(each.bytes)), ParseWhole(each.bytes));
  }
}

TEST(HostileRequests, CutInTwoAnywhereTheyComeOutTheSame) {
  for (const RequestCase& each : HostileRequests()) {
    SCOPED_TRACE(each.name);
    const Transcript whole = ParseWhole(each.bytes);
    const std::string_view bytes = each.bytes;
    // Of the long ones, which are long in the middle, only the cuts near the ends and some between them.
    const size_t step = bytes.size() < 2000 ? 1 : bytes.size() / 97;
    for (size_t cut = 1; cut < bytes.size(); cut += cut < 300 || bytes.size() - cut < 300 ? 1 : step) {
      SCOPED_TRACE(cut);
      ASSERT_EQ(ParsePieces({bytes.substr(0, cut), bytes.substr(cut)}), whole);
    }
  }
}

// Each byte value at each place of a request with everything in it.
TEST(ParserSplit, AnyByteAnywhereGivesTheSameWholeAndBytewise) {
  const std::string_view requests[] = {
      "GET /a?b=c HTTP/1.1\r\nHost: x.test:80\r\nAccept: */*\r\n\r\n",
      "HEAD /a HTTP/1.1\r\nHost: [::1]\r\nX-A-B:  c \r\nConnection: close\r\n\r\n",
      "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n",
      "PUT http://h/p HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
  };
  for (std::string_view request : requests) {
    for (size_t place = 0; place < request.size(); ++place) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string bytes(request);
        bytes[place] = static_cast<char>(byte);
        ASSERT_EQ(ParsePieces(Bytewise(bytes)), ParseWhole(bytes)) << "byte " << byte << " at " << place << " of\n"
                                                                   << request;
      }
    }
  }
}

class Mutator {
 public:
  explicit Mutator(std::mt19937* random) : random_(*random) {}

  std::string Mutate(std::string bytes) {
    for (size_t times = random_() % 4; times > 0; --times) {
      const size_t place = random_() % (bytes.size() + 1);
      switch (random_() % 5) {
        case 0:
          bytes.insert(place, 1, static_cast<char>(random_()));
          break;
        case 1:
          bytes.erase(place, random_() % 4);
          break;
        case 2:
          bytes.insert(place, kWords[random_() % std::size(kWords)]);
          break;
        case 3:  // repeats a part
          bytes.insert(place, bytes.substr(random_() % (bytes.size() + 1), random_() % 30));
          break;
        case 4:
          if (place < bytes.size()) bytes[place] = kBytes[random_() % kBytes.size()];
          break;
      }
      if (bytes.empty()) bytes = "\r";
    }
    return bytes;
  }

 private:
  static constexpr std::string_view kWords[] = {"\r\n",
                                                "\r",
                                                "\n",
                                                " ",
                                                "\t",
                                                ":",
                                                ": ",
                                                ";",
                                                ",",
                                                "\r\n ",
                                                "0\r\n\r\n",
                                                "Content-Length: 3\r\n",
                                                "Transfer-Encoding: chunked\r\n",
                                                "Connection: close\r\n",
                                                "Connection: keep-alive, upgrade\r\n",
                                                "Upgrade: x\r\n",
                                                "Host: a\r\n",
                                                "Expect: 100-continue\r\n",
                                                "chunked",
                                                "gzip, ",
                                                "HTTP/1.0",
                                                "HTTP/1.1",
                                                "%41",
                                                "%",
                                                "#",
                                                "?",
                                                "*",
                                                "http://h:1/",
                                                "1\r\nx\r\n",
                                                ";a=\"b\"",
                                                "GET ",
                                                "POST ",
                                                "18446744073709551616",
                                                "\x80",
                                                "X-Long-Name-With-1-Digit: v\r\n"};
  static constexpr std::string_view kBytes{
      "\r\n\t :;,/?#*%\"\\\0\x01\x1f\x7f\x80\xff"
      "aZ0-",
      24};

  std::mt19937& random_;
};

TEST(ParserSplit, MutatedRequestsGiveTheSameHoweverCut) {
  // Small limits, so that they strike often.
  Limits limits;
  limits.target_bytes_max = 24;
  limits.head_bytes_max = 220;
  limits.headers_max = 6;
  limits.body_bytes_max = 40;
  limits.chunk_extension_bytes_max = 12;
  limits.trailer_bytes_max = 40;
  const std::string seeds[] = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b?c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
      "HEAD /abc/def HTTP/1.1\r\nHost: a:1\r\nUser-Agent: b\r\nConnection: keep-alive\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n\r\nPUT http://b/c HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
  };
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  Mutator mutator(&random);
  int served = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string bytes = mutator.Mutate(seeds[random() % std::size(seeds)]);
    SCOPED_TRACE(testing::PrintToString(bytes));
    const Transcript whole = ParseWhole(bytes, limits);
    ASSERT_EQ(ParsePieces(Bytewise(bytes), limits), whole);
    ASSERT_EQ(ParsePieces(CutAtRandom(bytes, &random), limits), whole);
    whole.error == 0 ? ++served : ++refused;
  }
  // The mutations are neither all harmless nor all fatal.
  EXPECT_GT(served, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace evring::net::http

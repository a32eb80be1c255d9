// head_scan_test.cc: which heads the short cut takes, and that it reads nothing outside its input. That it agrees with
// llhttp on what it takes is shown by parser_split_test.cc.

#include "net/http/internal/head_scan.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace evring::net::http::internal {
namespace {

bool Takes(std::string_view input) {
  ScannedHead head;
  std::vector<FieldSlot> slots;
  return ScanPlainHead(input, &head, &slots);
}

#ifdef __SSE2__
// Were it to take nothing, everything would still work, and slowly.
TEST(HeadScan, TakesWhatClientsSend) {
  for (std::string_view input : {
           "GET / HTTP/1.1\r\nHost:\r\n\r\n",
           "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
           "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\nGET /next",
           "HEAD /a/b/c?d=e&f=g HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n",
           "GET /index.html HTTP/1.1\r\nHost: example.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) "
           "Gecko/20100101 Firefox/115.0\r\nAccept: text/html,application/xhtml+xml;q=0.9\r\nAccept-Language: en-US\r\n"
           "Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n"
           "Sec-Fetch-Dest: document\r\n\r\n",
       }) {
    EXPECT_TRUE(Takes(input)) << input;
  }
}

TEST(HeadScan, FindsThePlaces) {
  const std::string_view input = "HEAD /a?b HTTP/1.1\r\nHost: x\r\nEmpty:\r\nTight:y\r\n\r\nrest";
  ScannedHead head;
  std::vector<FieldSlot> slots;
  ASSERT_TRUE(ScanPlainHead(input, &head, &slots));
  EXPECT_EQ(head.method, Method::kHead);
  EXPECT_EQ(input.substr(head.target_offset, head.target_bytes), "/a?b");
  EXPECT_EQ(head.path_bytes, 2u);
  EXPECT_EQ(head.bytes, input.size() - 4);
  std::vector<std::string> lines;
  for (const FieldSlot& slot : slots) {
    lines.push_back(std::string(input.substr(slot.name_offset, slot.name_bytes)) + "=" +
                    std::string(input.substr(slot.value_offset, slot.value_bytes)));
  }
  EXPECT_EQ(lines, (std::vector<std::string>{"Host=x", "Empty=", "Tight=y"}));
}
#endif

TEST(HeadScan, LeavesTheRestToLlhttp) {
  for (std::string_view input : {
           "",
           "GET / HTTP/1.1\r\nHost: x\r\n",
           "GET / HTTP/1.1\r\nHost: x\r\n\r",
           "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
           "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
           "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n",
           "GET /?#a HTTP/1.1\r\nHost: x\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\r\nhello",
           "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: x\r\nX1: digits in names are rare\r\n\r\n",
           "GET / HTTP/1.1\r\nHost:  x\r\nWhite-Space: around \r\n\r\n",
           "GET / HTTP/1.1\r\nHost: x\r\nFolded: a\r\n b\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: x\r\nTab: a\tb\r\n\r\n",
           "GET / HTTP/1.1\nHost: x\n\n            ",
       }) {
    EXPECT_FALSE(Takes(input)) << input;
  }
}

// Between two pages that cannot be read, at the beginning and at the end of the readable one.
TEST(HeadScan, ReadsNothingOutsideItsInput) {
  const size_t page = sysconf(_SC_PAGESIZE);
  char* const pages = static_cast<char*>(mmap(nullptr, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  char* const readable = pages + page;
  ASSERT_EQ(mprotect(readable, page, PROT_READ | PROT_WRITE), 0);
  const std::string head =
      "GET /some/path?and=query HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\nCookie: a\r\n\r\n";
  for (size_t size = 0; size <= head.size(); ++size) {
    for (char* at : {readable, readable + page - size}) {
      std::memcpy(at, head.data(), size);
      const bool took = Takes(std::string_view(at, size));
      EXPECT_TRUE(size == head.size() || !took);
    }
  }
  munmap(pages, 3 * page);
}

}  // namespace
}  // namespace evring::net::http::internal

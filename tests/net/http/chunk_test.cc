// chunk_test.cc: chunked bodies as bytes, and read back by the parser.

#include "net/http/chunk.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "tests/net/http/transcript.h"

namespace evring::net::http {
namespace {

constexpr std::string_view kPost = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

TEST(Chunk, SizesAreInHexadecimalWithoutZerosInFront) {
  EXPECT_EQ(ChunkHead(1).bytes(), "1\r\n");
  EXPECT_EQ(ChunkHead(10).bytes(), "a\r\n");
  EXPECT_EQ(ChunkHead(16).bytes(), "10\r\n");
  EXPECT_EQ(ChunkHead(0xfedcba9876543210).bytes(), "fedcba9876543210\r\n");
}

TEST(Chunk, EmptyDataWritesNothing) {
  std::string out = "x";
  AppendChunk("", &out);
  EXPECT_EQ(out, "x");
  AppendChunk("hello", &out);
  EXPECT_EQ(out, "x5\r\nhello\r\n");
  AppendLastChunk(&out);
  EXPECT_EQ(out, "x5\r\nhello\r\n0\r\n\r\n");
}

TEST(Chunk, AnEmptyChunkHeadIsABug) { EXPECT_DEATH(ChunkHead(0), "empty chunk"); }

TEST(Chunk, WhatIsWrittenIsReadBack) {
  std::string out(kPost);
  std::string body;
  for (size_t size : {1, 2, 15, 16, 17, 255, 256, 4096, 70000}) {
    const std::string data(size, static_cast<char>('a' + size % 26));
    AppendChunk(data, &out);
    body += data;
  }
  FieldLines trailers(FieldLines::Place::kTrailers);
  ASSERT_TRUE(trailers.Add("X-Sum", "17").ok());
  ASSERT_TRUE(trailers.Add("X-More", "").ok());
  AppendLastChunk(trailers, &out);
  const Transcript transcript = ParseWhole(out);
  ASSERT_EQ(transcript.messages.size(), 1u);
  EXPECT_TRUE(transcript.messages[0].complete);
  EXPECT_EQ(transcript.messages[0].body, body);
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(transcript.messages[0].trailers, (Pairs{{"X-Sum", "17"}, {"X-More", ""}}));
}

TEST(Trailers, FieldsThatBelongIntoTheHeadAreRefused) {
  FieldLines trailers(FieldLines::Place::kTrailers);
  for (const char* name :
       {"Content-Length", "Transfer-Encoding", "Host", "Trailer", "content-type", "Set-Cookie", "Connection"}) {
    EXPECT_EQ(trailers.Add(name, "x").code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(trailers.Add("X", "a\r\nb").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(trailers.empty());
  EXPECT_TRUE(trailers.Add("Server-Timing", "total;dur=1").ok());
  EXPECT_EQ(trailers.bytes(), "Server-Timing: total;dur=1\r\n");
  trailers.Clear();
  EXPECT_TRUE(trailers.empty());
}

TEST(Trailers, FieldsOfAHeadAreNotTakenForTrailers) {
  std::string out;
  EXPECT_DEATH(AppendLastChunk(FieldLines(FieldLines::Place::kHead), &out), "checked for a head");
  FieldLines head;
  EXPECT_DEATH(head.Append(FieldLines(FieldLines::Place::kTrailers)), "do not mix");
}

}  // namespace
}  // namespace evring::net::http

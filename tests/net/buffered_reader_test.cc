// buffered_reader_test.cc: a script plays the stream. What a call gives must not depend on how the bytes are split, so
// each kind of call meets every split of a short message, at once and by suspending; then limits, ends, errors,
// cancellation.

#include "net/buffered_reader.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/byte_stream.h"
#include "net/stream.h"
#include "runtime/runtime.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/timeout.h"
#include "tests/net/scripted_stream.h"
#include "tests/runtime/machines.h"

namespace evring::net {
namespace {

static_assert(ByteSource<ScriptedStream> && ByteSource<TaskStream> && ByteSource<AwaitableStream>);
static_assert(ByteSource<Stream>);
static_assert(!ByteSource<std::string>);

using ::evring::testing::RunOk;
using ::evring::testing::WithWorkers;

using Pace = ScriptedStream::Pace;

class BufferedReaderTest : public ::evring::testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BufferedReaderTest, ::evring::testing::MachinesOfOneWorker(),
                         ::evring::testing::MachineName);

// All the ways to cut `text` into chunks: one for each set of borders.
std::vector<std::vector<std::string>> EverySplit(absl::string_view text) {
  std::vector<std::vector<std::string>> splits;
  for (size_t borders = 0; borders < (size_t{1} << (text.size() - 1)); ++borders) {
    std::vector<std::string>& chunks = splits.emplace_back(1);
    for (size_t i = 0; i < text.size(); ++i) {
      chunks.back() += text[i];
      if (i + 1 < text.size() && (borders >> i & 1) != 0) chunks.emplace_back();
    }
  }
  return splits;
}

std::span<std::byte> Bytes(std::string* text) { return std::as_writable_bytes(std::span(text->data(), text->size())); }

// Awaits a call, gives what it gave as text: the value, or the name of the error's code.
std::string Text(const absl::StatusOr<absl::string_view>& result) {
  return result.ok() ? std::string(*result) : absl::StatusCodeToString(result.status().code());
}
std::string Text(const absl::StatusOr<size_t>& result) {
  return result.ok() ? absl::StrCat(*result) : absl::StatusCodeToString(result.status().code());
}
std::string Text(const absl::Status& status) { return absl::StatusCodeToString(status.code()); }

// --- Every split
// ---------------------------------------------------------------------------------------------------------

template <class Source>
Task<> ReadMessage(Source* source, size_t capacity) {
  BufferedReader<Source> reader(source, capacity);
  EXPECT_EQ(Text(co_await reader.ReadLine(2)), "GE");
  EXPECT_EQ(Text(co_await reader.ReadUntil("=-=", 1)), "=");
  EXPECT_EQ(Text(co_await reader.Peek(2)), "ab");
  EXPECT_EQ(Text(co_await reader.ReadExactly(size_t{1})), "a");
  std::string out(2, '\0');
  EXPECT_EQ(Text(co_await reader.ReadExactly(Bytes(&out))), "OK");
  EXPECT_EQ(out, "bc");
  EXPECT_EQ(Text(co_await reader.ReadAll(3)), "def");
  EXPECT_EQ(Text(co_await reader.ReadLine(9)), "OUT_OF_RANGE");
  EXPECT_TRUE(reader.ended());
}

Task<> ReadEverySplit() {
  for (const std::vector<std::string>& split : EverySplit("GE\r\n==-=abcdef")) {
    for (const size_t capacity : {1, 3, 64}) {
      for (const Pace pace : {Pace::kAtOnce, Pace::kLater}) {
        SCOPED_TRACE(::testing::PrintToString(split) + " capacity " + absl::StrCat(capacity));
        ScriptedStream script(pace);
        script.Chunks(split).End();
        co_await ReadMessage(&script, capacity);
        EXPECT_TRUE(script.script_done());
      }
      ScriptedStream script;
      script.Chunks(split).End();
      TaskStream tasks(&script);
      co_await ReadMessage(&tasks, capacity);
    }
    if (::testing::Test::HasFailure()) co_return;
  }
}

// The script decides all of it, so one kernel is enough.
TEST(BufferedReader, GivesTheSameForEverySplitOfAMessage) { RunOk(ReadEverySplit(), WithWorkers(1)); }

Task<> ReadBinaryDelimiter() {
  const std::string delimiter("\0\n\0", 3);
  const std::string message = absl::StrCat("x", absl::string_view("\0\n", 2), delimiter, "y", delimiter);
  for (const std::vector<std::string>& split : EverySplit(message)) {
    SCOPED_TRACE(::testing::PrintToString(split));
    ScriptedStream script;
    script.Chunks(split).End();
    BufferedReader reader(&script, 2);
    // The bytes before the first one begin a delimiter too, and do not end it.
    EXPECT_EQ(Text(co_await reader.ReadUntil(delimiter, 100)), "x");
    EXPECT_EQ(Text(co_await reader.ReadUntil(delimiter, 100)), std::string("\n\0y", 3));
    EXPECT_EQ(reader.buffered(), "");
    EXPECT_EQ(Text(co_await reader.Fill()), "0");
  }
}

TEST_P(BufferedReaderTest, FindsABinaryDelimiterAcrossTheBordersOfChunks) { RunOk(ReadBinaryDelimiter()); }

Task<> ReadByFreeAwaitables() {
  ScriptedStream script(Pace::kLater);
  script.Chunk("ab\nc").Chunk("d\n").Chunk("ef").End();
  AwaitableStream stream(&script);
  BufferedReader reader(&stream);
  EXPECT_EQ(Text(co_await reader.ReadLine(9)), "ab");
  EXPECT_EQ(Text(co_await reader.ReadLine(9)), "cd");
  std::string out(9, '\0');
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "2");
  EXPECT_EQ(Text(co_await reader.Fill()), "0");
}

TEST_P(BufferedReaderTest, TakesAStreamOfAnyAwaitables) { RunOk(ReadByFreeAwaitables()); }

// --- At once
// -------------------------------------------------------------------------------------------------------------

Task<> ReadWhatHasArrived() {
  ScriptedStream script(Pace::kLater);
  script.Chunk("one\ntwo\n\nabcdefg");
  BufferedReader reader(&script);
  EXPECT_EQ(Text(co_await reader.ReadLine(9)), "one");
  auto line = reader.ReadLine(9);
  EXPECT_TRUE(line.await_ready());
  EXPECT_EQ(Text(line.await_resume()), "two");
  auto empty_line = reader.ReadLine(0);
  EXPECT_TRUE(empty_line.await_ready());
  EXPECT_EQ(Text(empty_line.await_resume()), "");
  auto until = reader.ReadUntil("b", 1);
  EXPECT_TRUE(until.await_ready());
  EXPECT_EQ(Text(until.await_resume()), "a");
  auto peek = reader.Peek(2);
  EXPECT_TRUE(peek.await_ready());
  EXPECT_EQ(Text(peek.await_resume()), "cd");
  auto view = reader.ReadExactly(size_t{2});
  EXPECT_TRUE(view.await_ready());
  EXPECT_EQ(Text(view.await_resume()), "cd");
  std::string out(1, '\0');
  auto exactly = reader.ReadExactly(Bytes(&out));
  EXPECT_TRUE(exactly.await_ready());
  EXPECT_EQ(Text(exactly.await_resume()), "OK");
  EXPECT_EQ(out, "e");
  auto some = reader.ReadSome(Bytes(&out));
  EXPECT_TRUE(some.await_ready());
  EXPECT_EQ(Text(some.await_resume()), "1");
  EXPECT_EQ(out, "f");
  auto more = reader.ReadLine(9);
  EXPECT_FALSE(more.await_ready());
  EXPECT_EQ(script.rooms().size(), 1u) << "one read has served them all";
  EXPECT_EQ(reader.buffered(), "g");
}

TEST_P(BufferedReaderTest, WhatHasArrivedIsGivenWithoutSuspending) { RunOk(ReadWhatHasArrived()); }

Task<> ViewsStay() {
  ScriptedStream script;
  script.Chunk("first\nsecond");
  BufferedReader reader(&script);
  const absl::StatusOr<absl::string_view> line = co_await reader.ReadLine(9);
  EXPECT_EQ(reader.buffered(), "second");
  reader.Consume(3);
  EXPECT_EQ(reader.buffered(), "ond");
  EXPECT_EQ(Text(line), "first");
}

TEST_P(BufferedReaderTest, AViewStaysUntilTheNextCall) { RunOk(ViewsStay()); }

// --- Limits
// --------------------------------------------------------------------------------------------------------------

Task<> Limits() {
  // The script has no second chunk: who is refused is refused by what has arrived, without waiting for more.
  {
    ScriptedStream script;
    script.Chunk("12345");
    BufferedReader reader(&script);
    EXPECT_EQ(Text(co_await reader.ReadLine(4)), "RESOURCE_EXHAUSTED");
    EXPECT_EQ(Text(co_await reader.ReadUntil("\r\n", 4)), "RESOURCE_EXHAUSTED");
    EXPECT_EQ(Text(co_await reader.ReadAll(4)), "RESOURCE_EXHAUSTED");
    EXPECT_EQ(reader.buffered(), "12345") << "a refusal consumes nothing";
    EXPECT_EQ(script.rooms().size(), 1u);
    script.Chunk("\r\n");
    EXPECT_EQ(Text(co_await reader.ReadLine(5)), "12345") << "a call with a larger limit goes on";
  }
  {
    ScriptedStream script;
    script.Chunk("1234\r").Chunk("\n").Chunk("1234\r").Chunk("x\n");
    BufferedReader reader(&script);
    EXPECT_EQ(Text(co_await reader.ReadLine(4)), "1234") << "the CR does not count";
    EXPECT_EQ(Text(co_await reader.ReadLine(4)), "RESOURCE_EXHAUSTED") << "this one does: no LF follows";
    EXPECT_EQ(Text(co_await reader.ReadLine(6)), "1234\rx");
  }
  {
    ScriptedStream script;
    script.Chunk("123").End();
    BufferedReader reader(&script);
    EXPECT_EQ(Text(co_await reader.ReadAll(3)), "123") << "the end comes exactly at the limit";
  }
}

TEST_P(BufferedReaderTest, ALimitIsExactSaidAtOnceAndLosesNothing) { RunOk(Limits()); }

Task<> GrowOnlyAsBytesArrive() {
  ScriptedStream script;
  for (int i = 0; i < 64; ++i) script.Chunk(std::string(16, 'x'));
  script.End();
  BufferedReader reader(&script, 16);
  EXPECT_EQ(Text(co_await reader.ReadExactly(size_t{1} << 40)), "DATA_LOSS");
  EXPECT_EQ(reader.buffered().size(), 1024u);
  size_t arrived = 0;
  for (const size_t room : script.rooms()) {
    EXPECT_LE(room, std::max<size_t>(arrived, 16)) << "at most as much again as has arrived";
    arrived += 16;
  }
}

TEST_P(BufferedReaderTest, MemoryGrowsWithWhatArrivesNotWithWhatIsAnnounced) { RunOk(GrowOnlyAsBytesArrive()); }

Task<> GrowToTheLimitOnly() {
  ScriptedStream script;
  script.Chunk(std::string(1000, 'x'));
  BufferedReader reader(&script, 16);
  EXPECT_EQ(Text(co_await reader.ReadLine(100)), "RESOURCE_EXHAUSTED");
  EXPECT_LE(reader.buffered().size(), 102u);
}

TEST_P(BufferedReaderTest, MemoryGrowsToTheLimitAndNoFurther) { RunOk(GrowToTheLimitOnly()); }

// --- The end and errors
// --------------------------------------------------------------------------------------------------

Task<> EndInTheMiddle() {
  ScriptedStream script;
  script.Chunk("partial").End();
  BufferedReader reader(&script);
  // Whatever is asked for; the script fails on a read behind the end.
  EXPECT_EQ(Text(co_await reader.ReadLine(99)), "DATA_LOSS");
  EXPECT_EQ(Text(co_await reader.ReadUntil("=", 99)), "DATA_LOSS");
  EXPECT_EQ(Text(co_await reader.ReadExactly(size_t{8})), "DATA_LOSS");
  EXPECT_EQ(Text(co_await reader.Peek(8)), "DATA_LOSS");
  std::string out(8, '\0');
  EXPECT_EQ(Text(co_await reader.ReadExactly(Bytes(&out))), "DATA_LOSS");
  EXPECT_EQ(Text(co_await reader.Fill()), "0");
  EXPECT_EQ(reader.buffered(), "partial");
  EXPECT_EQ(Text(co_await reader.ReadAll(7)), "partial");
  EXPECT_EQ(Text(co_await reader.ReadLine(99)), "OUT_OF_RANGE");
  EXPECT_EQ(Text(co_await reader.ReadExactly(Bytes(&out))), "OUT_OF_RANGE");
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "0");
  EXPECT_EQ(Text(co_await reader.ReadAll(0)), "");
  EXPECT_EQ(Text(co_await reader.ReadExactly(size_t{0})), "") << "nothing can always be had";
}

TEST_P(BufferedReaderTest, TheEndInTheMiddleIsDataLossAndBeforeTheFirstByteOutOfRange) { RunOk(EndInTheMiddle()); }

Task<> EndMessages() {
  ScriptedStream script;
  script.Chunk("abc").End();
  BufferedReader reader(&script);
  EXPECT_EQ((co_await reader.ReadLine(99)).status().message(),
            "the stream has ended after 3 bytes, before the end of a line");
  reader.Consume(3);
  EXPECT_EQ((co_await reader.ReadLine(99)).status().message(), "the stream has ended");
}

TEST_P(BufferedReaderTest, TheEndSaysWhatWasMissing) { RunOk(EndMessages()); }

// One call of each kind meets an error after part of its bytes; repeated, it gives what it would have given.
Task<> ErrorsPass(Pace pace) {
  const absl::Status reset = absl::UnavailableError("reset");
  ScriptedStream script(pace);
  for (int i = 0; i < 6; ++i) script.Chunk("ab").Error(reset).Chunk("c\n");
  script.Error(reset).End();
  BufferedReader reader(&script, 4);
  EXPECT_EQ((co_await reader.ReadLine(9)).status(), reset);
  EXPECT_EQ(reader.buffered(), "ab");
  EXPECT_EQ(Text(co_await reader.ReadLine(9)), "abc");
  EXPECT_EQ((co_await reader.ReadUntil("c\n", 9)).status(), reset);
  EXPECT_EQ(Text(co_await reader.ReadUntil("c\n", 9)), "ab");
  EXPECT_EQ((co_await reader.ReadExactly(size_t{4})).status(), reset);
  EXPECT_EQ(Text(co_await reader.ReadExactly(size_t{4})), "abc\n");
  std::string out(4, '\0');
  EXPECT_EQ(co_await reader.ReadExactly(Bytes(&out)), reset);
  EXPECT_EQ(reader.buffered(), "ab");
  EXPECT_EQ(Text(co_await reader.ReadExactly(Bytes(&out))), "OK");
  EXPECT_EQ(out, "abc\n");
  out.resize(2);
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "2");
  EXPECT_EQ((co_await reader.ReadSome(Bytes(&out))).status(), reset);
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "2");
  EXPECT_EQ(out, "c\n");
  EXPECT_EQ(Text(co_await reader.Fill()), "2");
  EXPECT_EQ((co_await reader.Fill()).status(), reset);
  EXPECT_EQ(Text(co_await reader.Fill()), "2");
  EXPECT_EQ((co_await reader.ReadAll(9)).status(), reset);
  EXPECT_EQ(Text(co_await reader.ReadAll(9)), "abc\n");
}

TEST_P(BufferedReaderTest, AnErrorLosesNothing) {
  RunOk(ErrorsPass(Pace::kAtOnce));
  RunOk(ErrorsPass(Pace::kLater));
}

// --- Into memory of the caller
// -------------------------------------------------------------------------------------------

Task<> LargePieces() {
  ScriptedStream script;
  script.Chunk("head\nab").Chunk("cdef").Chunk("ghijkl").Chunk("mnopq");
  BufferedReader reader(&script, 8);
  EXPECT_EQ(Text(co_await reader.ReadLine(9)), "head");
  std::string out(12, '\0');
  EXPECT_EQ(Text(co_await reader.ReadExactly(Bytes(&out))), "OK");
  EXPECT_EQ(out, "abcdefghijkl");
  // 10 missing are more than the buffer holds: straight into place; then 6, which come through the buffer.
  EXPECT_EQ(script.rooms(), (std::vector<size_t>{8, 10, 8}));
  EXPECT_EQ(reader.buffered(), "");
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "5");
  EXPECT_EQ(script.rooms().back(), 12u);
}

TEST_P(BufferedReaderTest, LargePiecesAreReadStraightIntoPlace) { RunOk(LargePieces()); }

Task<> LargePieceBroken(std::vector<std::string> chunks, absl::Status status, std::string code) {
  ScriptedStream script;
  script.Chunks(chunks);
  status.ok() ? script.End() : script.Error(status);
  BufferedReader reader(&script, 8);
  std::string out(30, '\0');
  EXPECT_EQ(Text(co_await reader.ReadExactly(Bytes(&out))), code);
  std::string all;
  for (const std::string& chunk : chunks) all += chunk;
  EXPECT_EQ(reader.buffered(), all) << "what had been read straight into place is back";
  if (status.ok()) co_return;
  script.Chunk(std::string(30 - all.size(), 'z'));
  EXPECT_EQ(Text(co_await reader.ReadExactly(Bytes(&out))), "OK");
  EXPECT_EQ(out, all + std::string(30 - all.size(), 'z'));
}

TEST_P(BufferedReaderTest, ALargePieceThatBreaksOffIsBackInTheBuffer) {
  const std::vector<std::string> large = {"0123456789", "abcdefghij"};
  const std::vector<std::string> past_the_direct_part = {"0123456789", "abcdefghij", "klmn"};
  for (const auto& chunks : {large, past_the_direct_part}) {
    RunOk(LargePieceBroken(chunks, absl::OkStatus(), "DATA_LOSS"));
    RunOk(LargePieceBroken(chunks, absl::UnavailableError("reset"), "UNAVAILABLE"));
  }
}

Task<> SmallReads() {
  ScriptedStream script;
  script.Chunk("abcdef").Chunk("gh").End();
  BufferedReader reader(&script, 8);
  std::string out(4, '\0');
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "4");
  EXPECT_EQ(out, "abcd");
  EXPECT_EQ(script.rooms().back(), 8u) << "a small piece is read ahead";
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "2") << "what there is, without another read";
  EXPECT_EQ(Text(co_await reader.ReadSome({})), "0");
  EXPECT_EQ(script.rooms().size(), 1u) << "no read for no memory";
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "2");
  EXPECT_EQ(Text(co_await reader.ReadSome(Bytes(&out))), "0");
}

TEST_P(BufferedReaderTest, ReadSomeReadsOnceAndOnlyIfNothingIsBuffered) { RunOk(SmallReads()); }

Task<> Fills() {
  ScriptedStream script;
  script.Chunk("abc").Chunk("defghijkl").End();
  BufferedReader reader(&script, 8);
  EXPECT_EQ(Text(co_await reader.Fill()), "3");
  EXPECT_EQ(Text(co_await reader.Fill()), "5");
  EXPECT_EQ(reader.buffered(), "abcdefgh");
  EXPECT_EQ(Text(co_await reader.Fill()), "RESOURCE_EXHAUSTED");
  reader.Consume(1);
  EXPECT_EQ(Text(co_await reader.Fill()), "1") << "consumed bytes make room";
  EXPECT_EQ(reader.buffered(), "bcdefghi");
  reader.Consume(8);
  EXPECT_EQ(Text(co_await reader.Fill()), "3");
  EXPECT_EQ(Text(co_await reader.Fill()), "0");
  EXPECT_EQ(reader.buffered(), "jkl");
}

TEST_P(BufferedReaderTest, FillReadsOnceBehindWhatIsBuffered) { RunOk(Fills()); }

// --- Long streams
// --------------------------------------------------------------------------------------------------------

// A megabyte of lines of any length through a small buffer, in chunks of any size.
Task<> ManyLines(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::string> lines;
  std::string text;
  while (text.size() < 1'000'000) {
    std::string line(random() % 300, static_cast<char>('a' + random() % 26));
    absl::StrAppend(&text, line, random() % 2 == 0 ? "\n" : "\r\n");
    lines.push_back(std::move(line));
  }
  ScriptedStream script;
  for (size_t at = 0; at < text.size();) {
    const size_t n = std::min<size_t>(1 + random() % 700, text.size() - at);
    script.Chunk(absl::string_view(text).substr(at, n));
    at += n;
  }
  script.End();
  BufferedReader reader(&script, 64);
  for (size_t i = 0; i < lines.size(); ++i) {
    const absl::StatusOr<absl::string_view> line = co_await reader.ReadLine(299);
    EXPECT_EQ(Text(line), lines[i]) << "line " << i << " seed " << seed;
    if (::testing::Test::HasFailure()) co_return;
  }
  EXPECT_EQ(Text(co_await reader.ReadLine(299)), "OUT_OF_RANGE");
}

TEST_P(BufferedReaderTest, ALongStreamThroughASmallBuffer) {
  for (const uint64_t seed : {1, 2, 3}) RunOk(ManyLines(seed));
}

// --- Cancellation
// --------------------------------------------------------------------------------------------------------

// Waits in a call of each kind with part of its bytes there, and is stopped: the bytes stay for the next call.
template <class Call>
Task<> CancelIn(Call call, std::string already) {
  ScriptedStream script;
  script.Chunk("ab").Error(absl::CancelledError("waits here")).Chunk("c\n").End();
  TaskStream stream(&script);
  BufferedReader reader(&stream, 4);
  Task<std::string> waiting = call(&reader);
  const absl::StatusOr<std::string> stopped = co_await WithTimeout(absl::Milliseconds(1), std::move(waiting));
  // The task ends by itself when it is asked to stop; what it ends with is in its own words.
  EXPECT_TRUE(absl::IsDeadlineExceeded(stopped.status())) << stopped.status();
  EXPECT_EQ(reader.buffered(), already);
  EXPECT_EQ(Text(co_await reader.ReadLine(9)), "abc");
}

TEST_P(BufferedReaderTest, AfterACancelTheBytesThatArrivedAreStillThere) {
  using Reader = BufferedReader<TaskStream>;
  RunOk(CancelIn([](Reader* reader) -> Task<std::string> { co_return Text(co_await reader->ReadLine(9)); }, "ab"));
  RunOk(
      CancelIn([](Reader* reader) -> Task<std::string> { co_return Text(co_await reader->ReadUntil("zz", 9)); }, "ab"));
  RunOk(CancelIn([](Reader* reader) -> Task<std::string> { co_return Text(co_await reader->ReadExactly(size_t{3})); },
                 "ab"));
  RunOk(CancelIn([](Reader* reader) -> Task<std::string> { co_return Text(co_await reader->ReadAll(9)); }, "ab"));
  RunOk(CancelIn(
      [](Reader* reader) -> Task<std::string> {
        std::string out(20, '\0');
        co_return Text(co_await reader->ReadExactly(Bytes(&out)));
      },
      "ab"));
  RunOk(CancelIn(
      [](Reader* reader) -> Task<std::string> {
        EXPECT_EQ(Text(co_await reader->Fill()), "2");
        co_return Text(co_await reader->Fill());
      },
      "ab"));
}

Task<std::string> LineOf(BufferedReader<Stream>* reader) { co_return Text(co_await reader->ReadLine(100)); }

Task<> CancelOnASocket() {
  absl::StatusOr<std::pair<Stream, Stream>> pair = Stream::Pair();
  EXPECT_TRUE(pair.ok()) << pair.status();
  if (!pair.ok()) co_return;
  auto& [near, far] = *pair;
  BufferedReader reader(&near);
  EXPECT_EQ(Text(co_await far.Write(std::as_bytes(std::span("hel", 3)))), "OK");
  const absl::StatusOr<std::string> stopped = co_await WithTimeout(absl::Milliseconds(5), LineOf(&reader));
  EXPECT_TRUE(absl::IsDeadlineExceeded(stopped.status())) << stopped.status();
  EXPECT_EQ(Text(co_await far.Write(std::as_bytes(std::span("lo\n", 3)))), "OK");
  EXPECT_EQ(co_await LineOf(&reader), "hello");
}

class BufferedReaderSocketTest : public ::evring::testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BufferedReaderSocketTest, ::evring::testing::MachinesWithoutErrors({1, 2}),
                         ::evring::testing::MachineName);

TEST_P(BufferedReaderSocketTest, ACancelledReadOfASocketLosesNothing) { RunOk(CancelOnASocket()); }

// --- Misuse
// --------------------------------------------------------------------------------------------------------------

// Answers more than it was asked for.
class GreedyStream {
 public:
  Task<absl::StatusOr<size_t>> Read(std::span<std::byte> buffer) { co_return buffer.size() + 1; }
};

Task<> ReadGreedily() {
  GreedyStream stream;
  BufferedReader reader(&stream);
  (co_await reader.Fill()).IgnoreError();
}
Task<> ReadGreedilyIntoPlace() {
  GreedyStream stream;
  BufferedReader reader(&stream, 1);
  std::string out(2, '\0');
  (co_await reader.ReadSome(Bytes(&out))).IgnoreError();
}

TEST(BufferedReaderDeathTest, AStreamThatClaimsMoreThanItsRoomIsAFailedCheck) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(ReadGreedily(), WithWorkers(1)), "no more than it was given room for");
  EXPECT_DEATH(RunOk(ReadGreedilyIntoPlace(), WithWorkers(1)), "no more than it was given room for");
}

Task<> ConsumeTooMuch() {
  ScriptedStream script;
  script.Chunk("ab");
  BufferedReader reader(&script);
  (co_await reader.Fill()).IgnoreError();
  reader.Consume(3);
}

TEST(BufferedReaderDeathTest, ConsumingMoreThanThereIsIsAFailedCheck) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(ConsumeTooMuch(), WithWorkers(1)), "what was read is consumed");
}

#ifndef NDEBUG
Task<> FillOf(BufferedReader<TaskStream>* reader) { (co_await reader->Fill()).IgnoreError(); }

Task<> TwoCalls() {
  ScriptedStream script;
  script.Error(absl::CancelledError("waits here"));
  TaskStream stream(&script);
  BufferedReader reader(&stream);
  JoinHandle<> first = co_await Spawn(FillOf(&reader));
  co_await Yield();
  (co_await reader.Fill()).IgnoreError();
  co_await std::move(first);
}

TEST(BufferedReaderDeathTest, TwoCallsAtATimeAreAFailedDebugCheck) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(TwoCalls(), WithWorkers(1)), "one call at a time");
}
#endif

}  // namespace
}  // namespace evring::net

// buffered_writer_test.cc: a script plays the stream and notes what each write was made of.

#include "net/buffered_writer.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/buffered_reader.h"
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

static_assert(ByteSink<ScriptedStream> && ByteSink<TaskStream> && ByteSink<AwaitableStream> && ByteSink<Stream>);
static_assert(!ByteSink<std::string>);

using ::evring::testing::RunOk;
using ::evring::testing::WithWorkers;

using Pace = ScriptedStream::Pace;
using Sizes = std::vector<std::vector<size_t>>;

class BufferedWriterTest : public ::evring::testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BufferedWriterTest, ::evring::testing::MachinesOfOneWorker(),
                         ::evring::testing::MachineName);

std::string Code(const absl::Status& status) { return absl::StatusCodeToString(status.code()); }

Task<> SmallWrites(Pace pace) {
  ScriptedStream script(pace);
  BufferedWriter writer(&script, 8);
  EXPECT_EQ(Code(co_await writer.Write("abc")), "OK");
  EXPECT_EQ(Code(co_await writer.Write("")), "OK");
  EXPECT_EQ(Code(co_await writer.Write("defgh")), "OK");
  EXPECT_EQ(writer.buffered(), 8u) << "exactly full is not too full";
  EXPECT_TRUE(script.writes().empty());
  EXPECT_EQ(Code(co_await writer.Flush()), "OK");
  EXPECT_EQ(writer.buffered(), 0u);
  EXPECT_EQ(script.written(), "abcdefgh");
  EXPECT_EQ(script.writes(), (Sizes{{8}}));
  EXPECT_EQ(Code(co_await writer.Flush()), "OK");
  EXPECT_EQ(script.writes().size(), 1u) << "nothing to flush, nothing written";
}

TEST_P(BufferedWriterTest, GathersSmallWritesUntilTheFlush) {
  RunOk(SmallWrites(Pace::kAtOnce));
  RunOk(SmallWrites(Pace::kLater));
}

template <class Sink>
Task<> LargeWrites(Sink* sink, ScriptedStream* script) {
  BufferedWriter<Sink> writer(sink, 8);
  EXPECT_EQ(Code(co_await writer.Write("abcdefgh")), "OK");
  EXPECT_EQ(Code(co_await writer.Write("i")), "OK");
  EXPECT_EQ(script->written(), "abcdefghi");
  EXPECT_EQ(Code(co_await writer.Write("0123456789")), "OK");
  EXPECT_EQ(Code(co_await writer.Write("x")), "OK");
  EXPECT_EQ(Code(co_await writer.Write("ABCDEFGHIJ")), "OK");
  EXPECT_EQ(writer.buffered(), 0u);
  EXPECT_EQ(script->written(), "abcdefghi0123456789xABCDEFGHIJ");
  EXPECT_EQ(script->writes(), (Sizes{{8, 1}, {10}, {1, 10}}));
}

TEST_P(BufferedWriterTest, PassesWhatDoesNotFitThroughInOneWriteWithWhatWasBefore) {
  for (const Pace pace : {Pace::kAtOnce, Pace::kLater}) {
    ScriptedStream script(pace);
    RunOk(LargeWrites(&script, &script));
  }
  {
    ScriptedStream script;
    TaskStream stream(&script);
    RunOk(LargeWrites(&stream, &script));
  }
  {
    ScriptedStream script(Pace::kLater);
    AwaitableStream stream(&script);
    RunOk(LargeWrites(&stream, &script));
  }
}

Task<> NoBuffer() {
  ScriptedStream script;
  BufferedWriter writer(&script, 0);
  EXPECT_EQ(Code(co_await writer.Write("a")), "OK");
  EXPECT_EQ(Code(co_await writer.Write("")), "OK");
  EXPECT_EQ(Code(co_await writer.Write("bc")), "OK");
  EXPECT_EQ(script.writes(), (Sizes{{1}, {2}}));
}

TEST_P(BufferedWriterTest, WithoutCapacityEveryWritePassesThrough) { RunOk(NoBuffer()); }

Task<> CopiesAreMadeAtOnce() {
  ScriptedStream script(Pace::kLater);
  BufferedWriter writer(&script, 8);
  {
    std::string text = "abc";
    auto write = writer.Write(text);
    EXPECT_TRUE(write.await_ready());
    EXPECT_TRUE(write.await_resume().ok());
    text = "zzz";  // was copied
  }
  EXPECT_EQ(Code(co_await writer.Flush()), "OK");
  EXPECT_EQ(script.written(), "abc");
}

TEST_P(BufferedWriterTest, WhatFitsIsCopiedWithoutSuspending) { RunOk(CopiesAreMadeAtOnce()); }

// --- Errors
// --------------------------------------------------------------------------------------------------------------

Task<> FailIn(size_t write, Pace pace) {
  const absl::Status broken = absl::FailedPreconditionError("broken pipe");
  ScriptedStream script(pace);
  script.FailWrite(write, broken);
  BufferedWriter writer(&script, 8);
  const absl::Status at_first = write == 0 ? broken : absl::OkStatus();
  EXPECT_TRUE(writer.status().ok());
  EXPECT_EQ(Code(co_await writer.Write("abc")), "OK");
  EXPECT_EQ(co_await writer.Write("0123456789"), at_first);
  EXPECT_EQ(co_await writer.Write("def"), at_first);
  EXPECT_EQ(co_await writer.Flush(), broken);
  EXPECT_EQ(writer.buffered(), 0u);
  // Final: the stream is not asked again.
  EXPECT_EQ(co_await writer.Write("x"), broken);
  EXPECT_EQ(co_await writer.Write("0123456789"), broken);
  EXPECT_EQ(co_await writer.Flush(), broken);
  EXPECT_EQ(writer.status(), broken);
  EXPECT_EQ(writer.buffered(), 0u);
  EXPECT_EQ(script.writes().size(), write + 1);
}

TEST_P(BufferedWriterTest, AnErrorIsFinal) {
  for (const Pace pace : {Pace::kAtOnce, Pace::kLater}) {
    RunOk(FailIn(0, pace));
    RunOk(FailIn(1, pace));
  }
}

Task<> FlushOf(BufferedWriter<TaskStream>* writer) { EXPECT_EQ(Code(co_await writer->Flush()), "CANCELLED"); }
Task<> WriteOf(BufferedWriter<TaskStream>* writer) {
  EXPECT_EQ(Code(co_await writer->Write("0123456789")), "CANCELLED");
}

Task<> CancelAWrite(bool in_flush) {
  ScriptedStream script;
  script.FailWrite(0, absl::CancelledError("waits here"));
  TaskStream stream(&script);
  BufferedWriter writer(&stream, 8);
  EXPECT_EQ(Code(co_await writer.Write("abc")), "OK");
  Task<> call = in_flush ? FlushOf(&writer) : WriteOf(&writer);
  const absl::Status timed_out = co_await WithTimeout(absl::Milliseconds(1), std::move(call));
  EXPECT_TRUE(absl::IsDeadlineExceeded(timed_out)) << timed_out;
  EXPECT_EQ(Code(co_await writer.Write("x")), "CANCELLED") << "how much went out is not known";
  EXPECT_EQ(script.writes().size(), 1u);
}

TEST_P(BufferedWriterTest, ACancelledWriteIsFinalToo) {
  RunOk(CancelAWrite(true));
  RunOk(CancelAWrite(false));
}

// --- The end of a writer
// -------------------------------------------------------------------------------------------------

Task<> AbandonsAndFails() {
  ScriptedStream script;
  {
    BufferedWriter writer(&script, 8);
    EXPECT_EQ(Code(co_await writer.Write("abc")), "OK");
    writer.Abandon();
    EXPECT_EQ(writer.buffered(), 0u);
    EXPECT_EQ(Code(co_await writer.Flush()), "OK");
  }
  EXPECT_TRUE(script.writes().empty());
  try {
    BufferedWriter writer(&script, 8);
    EXPECT_EQ(Code(co_await writer.Write("abc")), "OK");
    throw std::runtime_error("on the way");
  } catch (const std::runtime_error&) {
  }
  script.FailWrite(0, absl::UnavailableError("reset"));
  {
    BufferedWriter writer(&script, 8);
    EXPECT_EQ(Code(co_await writer.Write("abc")), "OK");
    EXPECT_NE(Code(co_await writer.Flush()), "OK");
  }
}

TEST_P(BufferedWriterTest, MayEndAbandonedOrBrokenOrByAnException) { RunOk(AbandonsAndFails()); }

#ifndef NDEBUG
Task<> ForgetTheFlush() {
  ScriptedStream script;
  BufferedWriter writer(&script, 8);
  EXPECT_EQ(Code(co_await writer.Write("abc")), "OK");
}

TEST(BufferedWriterDeathTest, AForgottenFlushIsAFailedDebugCheck) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(ForgetTheFlush(), WithWorkers(1)), "unflushed data: Flush\\(\\) or Abandon\\(\\)");
}

Task<> TwoWrites() {
  ScriptedStream script;
  script.FailWrite(0, absl::CancelledError("waits here"));
  TaskStream stream(&script);
  BufferedWriter writer(&stream, 8);
  JoinHandle<> first = co_await Spawn(WriteOf(&writer));
  co_await Yield();
  (co_await writer.Write("x")).IgnoreError();
  co_await std::move(first);
}

TEST(BufferedWriterDeathTest, TwoCallsAtATimeAreAFailedDebugCheck) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOk(TwoWrites(), WithWorkers(1)), "one call at a time");
}
#endif

// --- Over a socket
// -------------------------------------------------------------------------------------------------------

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  std::mt19937_64 random(7);
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

Task<> WriteInPieces(Stream* stream, const std::string* text, uint64_t seed) {
  std::mt19937_64 random(seed);
  BufferedWriter writer(stream, 1000);
  for (size_t at = 0; at < text->size();) {
    const size_t n = std::min<size_t>(random() % (random() % 4 == 0 ? 50'000 : 300), text->size() - at);
    EXPECT_EQ(Code(co_await writer.Write(absl::string_view(*text).substr(at, n))), "OK");
    at += n;
    if (random() % 20 == 0) {
      EXPECT_EQ(Code(co_await writer.Flush()), "OK");
    }
  }
  EXPECT_EQ(Code(co_await writer.Flush()), "OK");
  EXPECT_TRUE(stream->Shutdown(Stream::Direction::kSend).ok());
}

Task<> ThroughASocket(uint64_t seed, size_t bytes) {
  absl::StatusOr<std::pair<Stream, Stream>> pair = Stream::Pair();
  EXPECT_TRUE(pair.ok()) << pair.status();
  if (!pair.ok()) co_return;
  const std::string text = Pattern(bytes);
  JoinHandle<> writing = co_await Spawn(WriteInPieces(&pair->first, &text, seed));
  BufferedReader reader(&pair->second);
  const absl::StatusOr<absl::string_view> all = co_await reader.ReadAll(text.size());
  EXPECT_TRUE(all.ok() && *all == text) << all.status() << " seed " << seed;
  co_await std::move(writing);
}

class BufferedWriterSocketTest : public ::evring::testing::EveryMachine {};
INSTANTIATE_TEST_SUITE_P(Machines, BufferedWriterSocketTest, ::evring::testing::MachinesWithoutErrors({2}),
                         ::evring::testing::MachineName);

TEST_P(BufferedWriterSocketTest, WhatIsWrittenInPiecesArrivesWhole) {
  for (const uint64_t seed : {1, 2, 3}) RunOk(ThroughASocket(seed, machine().simulated() ? 60'000 : 3'000'000));
}

}  // namespace
}  // namespace evring::net

// http_parser_bench.cc: what the HTTP library takes of a request, without sockets: parsing it and writing the answer.
// One iteration is one request, as it leaves the client: alone in a buffer, or one of 16 in it.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/http/limits.h"
#include "net/http/parser.h"
#include "net/http/prepared_response.h"
#include "net/http/response.h"
#include "net/http/server_stamp.h"

namespace evring::net::http {
namespace {

constexpr std::string_view kWrk = "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
constexpr std::string_view kCurl =
    "GET /plaintext HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
constexpr std::string_view kBrowser =
    "GET /index.html?lang=en HTTP/1.1\r\nHost: www.example.test\r\nConnection: "
    "keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
    "Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef; "
    "theme=dark\r\n\r\n";
// The same as kWrk by a method that the short cut does not take: llhttp parses it.
constexpr std::string_view kDelete = "DELETE /plaintx HTTP/1.1\r\nHost: 127.0.0.1:808\r\n\r\n";
constexpr std::string_view kPost =
    "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
constexpr std::string_view kChunkedPost =
    "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
static_assert(kWrk.size() == kDelete.size());

// Parses everything in `input` and returns how many messages that were.
size_t ParseAll(RequestParser* parser, std::string_view input, benchmark::State& state) {
  size_t messages = 0;
  for (;;) {
    const ParseResult result = parser->Feed(input);
    input.remove_prefix(result.consumed);
    switch (result.event) {
      case ParseEvent::kNeedMore:
        return messages;
      case ParseEvent::kMessage:
        ++messages;
        break;
      case ParseEvent::kError:
        state.SkipWithError(parser->error().reason);
        return 1;
      default:
        benchmark::DoNotOptimize(result.body.data());
    }
  }
}

void BM_Parse(benchmark::State& state, std::string_view request) {
  const Limits limits;
  RequestParser parser(&limits);
  int64_t bytes = 0;
  for (auto _ : state) {
    bytes += static_cast<int64_t>(request.size());
    if (ParseAll(&parser, request, state) != 1) state.SkipWithError("not one message");
  }
  state.SetBytesProcessed(bytes);
}
BENCHMARK_CAPTURE(BM_Parse, wrk_get, kWrk);
BENCHMARK_CAPTURE(BM_Parse, curl_get, kCurl);
BENCHMARK_CAPTURE(BM_Parse, browser_get, kBrowser);
BENCHMARK_CAPTURE(BM_Parse, delete_by_llhttp, kDelete);
BENCHMARK_CAPTURE(BM_Parse, post_with_length, kPost);
BENCHMARK_CAPTURE(BM_Parse, post_chunked, kChunkedPost);

// The head arrives in two pieces and is gathered.
void BM_ParseCutInTwo(benchmark::State& state) {
  const Limits limits;
  RequestParser parser(&limits);
  for (auto _ : state) {
    ParseAll(&parser, kWrk.substr(0, 20), state);
    if (ParseAll(&parser, kWrk.substr(20), state) != 1) state.SkipWithError("not one message");
  }
}
BENCHMARK(BM_ParseCutInTwo);

constexpr int kDepth = 16;

void BM_ParsePipelined(benchmark::State& state) {
  std::string input;
  for (int i = 0; i < kDepth; ++i) input += kWrk;
  const Limits limits;
  RequestParser parser(&limits);
  while (state.KeepRunningBatch(kDepth)) {
    if (ParseAll(&parser, input, state) != kDepth) state.SkipWithError("not all messages");
  }
}
BENCHMARK(BM_ParsePipelined);

const Exchange kExchange(Method::kGet, /*http11=*/true, /*keep_alive=*/true);
constexpr std::string_view kBody = "Hello, World!";

void BM_AnswerPrepared(benchmark::State& state) {
  ServerStamp stamp("evring");
  const absl::StatusOr<PreparedResponse> response =
      PreparedResponse::Create(StatusCode::kOk, "text/plain; charset=utf-8", kBody, stamp);
  std::string out;
  for (auto _ : state) {
    out.clear();
    stamp.SetTime(1700000000);
    response->AppendTo(kExchange, stamp, &out);
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_AnswerPrepared);

void BM_AnswerAtHand(benchmark::State& state) {
  ServerStamp stamp("evring");
  std::string out;
  for (auto _ : state) {
    out.clear();
    stamp.SetTime(1700000000);
    AppendResponse(StatusCode::kOk, "text/plain; charset=utf-8", kBody, kExchange, stamp, &out);
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_AnswerAtHand);

void BM_AnswerBuilt(benchmark::State& state) {
  ServerStamp stamp("evring");
  ResponseHead head;
  std::string out;
  for (auto _ : state) {
    out.clear();
    stamp.SetTime(1700000000);
    head.Reset();
    if (!head.AddHeader("Content-Type", "text/plain; charset=utf-8").ok()) state.SkipWithError("refused");
    head.SetContentLength(kBody.size());
    head.AppendTo(kExchange, stamp, &out);
    out.append(kBody);
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_AnswerBuilt);

void BM_NextSecond(benchmark::State& state) {
  ServerStamp stamp("evring");
  int64_t now = 1700000000;
  for (auto _ : state) {
    stamp.SetTime(++now);
    benchmark::DoNotOptimize(stamp.lines().data());
  }
}
BENCHMARK(BM_NextSecond);

}  // namespace
}  // namespace evring::net::http

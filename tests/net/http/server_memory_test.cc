// What a connection holds while it waits for its next request: not what its last one needed. The bytes that are
// allocated by operator new are counted. (ThreadSanitizer's cannot be replaced: skipped there.)

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kevent/sanitizer.h"
#include "tests/net/http/server_test_util.h"

namespace evring::net::http {
namespace {

#ifdef EVRING_TSAN
constexpr bool kBytesCounted = false;
#else
constexpr bool kBytesCounted = true;
#endif

constinit std::atomic<int64_t> live_bytes{0};  // relaxed: read again until it stands still

[[maybe_unused]] void* CountedNew(size_t size) {
  void* const block = std::malloc(size);
  if (block == nullptr) throw std::bad_alloc();
  live_bytes.fetch_add(static_cast<int64_t>(malloc_usable_size(block)), std::memory_order_relaxed);
  return block;
}
[[maybe_unused]] void CountedDelete(void* block) noexcept {
  if (block != nullptr) {
    live_bytes.fetch_sub(static_cast<int64_t>(malloc_usable_size(block)), std::memory_order_relaxed);
  }
  std::free(block);
}

}  // namespace
}  // namespace evring::net::http

#ifndef EVRING_TSAN
void* operator new(size_t size) { return evring::net::http::CountedNew(size); }
void operator delete(void* block) noexcept { evring::net::http::CountedDelete(block); }
void operator delete(void* block, size_t) noexcept { evring::net::http::CountedDelete(block); }
#endif

namespace evring::net::http {
namespace {

constexpr int kConnections = 50;

// A head of about 8 KiB with 80 fields.
std::string LargeHead() {
  std::string fields;
  for (int i = 0; i < 80; ++i) absl::StrAppend(&fields, "X-Field-", i, ": ", std::string(84, 'v'), "\r\n");
  return Get("/", fields);
}

// Each connection sends a large head in two pieces, so that its parser has to copy it, and is answered. Then all of
// them wait, and hold little more than when they had served small requests only.
TEST(ServerMemory, AConnectionThatWaitsDoesNotHoldTheMemoryOfALargeHead) {
  if (!kBytesCounted) GTEST_SKIP() << "ThreadSanitizer's operator new cannot be counted";
  ServerUnderTest server(1, ServerOptions(), &AnswerAtOnce);
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < kConnections; ++i) {
    clients.push_back(std::make_unique<TestClient>(server.port()));
    for (int j = 0; j < 3; ++j) ASSERT_TRUE(clients.back()->Ask(Get("/")).has_value());
  }
  const std::string head = LargeHead();
  const std::string first = head.substr(0, head.size() / 2), second = head.substr(head.size() / 2);
  absl::SleepFor(absl::Milliseconds(50));
  const int64_t before = live_bytes.load(std::memory_order_relaxed);
  int64_t in_the_middle = 0;
  for (const auto& client : clients) ASSERT_TRUE(client->Send(first));
  EXPECT_TRUE(Eventually([&] {
    in_the_middle = live_bytes.load(std::memory_order_relaxed);
    return in_the_middle - before > int64_t{kConnections} * static_cast<int64_t>(first.size());
  })) << "the parsers copy their halves: "
      << in_the_middle - before << " bytes";
  for (const auto& client : clients) ASSERT_TRUE(client->Ask(second).has_value());
  int64_t after = 0;
  EXPECT_TRUE(Eventually([&] {
    after = live_bytes.load(std::memory_order_relaxed);
    return after - before <= kConnections * 512;
  })) << (after - before) / kConnections
      << " bytes a connection";
  for (const auto& client : clients) EXPECT_TRUE(client->Ask(head).has_value()) << "it goes on";
}

}  // namespace
}  // namespace evring::net::http

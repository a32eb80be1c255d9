// counted_new.h: replaces the global operator new and delete of the test that includes it by ones that count and check.
// For one source file of a test. ThreadSanitizer brings an operator new of its own that cannot be replaced: there
// nothing is counted, and kBlocksCounted says so.

#ifndef EVRING_TESTS_RUNTIME_COUNTED_NEW_H_
#define EVRING_TESTS_RUNTIME_COUNTED_NEW_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "kevent/sanitizer.h"

namespace evring {

#ifdef EVRING_TSAN
inline constexpr bool kBlocksCounted = false;
#else
inline constexpr bool kBlocksCounted = true;
#endif

// Since the start of the process, by all threads. Relaxed: read where the threads concerned have been joined.
inline constinit std::atomic<int64_t> counted_news{0};
inline constinit std::atomic<int64_t> counted_deletes{0};
inline constinit std::atomic<int64_t> counted_mismatches{0};  // a sized delete with another size than its new
inline constinit thread_local size_t last_new_size = 0;       // of the calling thread

// How many blocks are allocated now.
inline int64_t LiveBlocks() {
  return counted_news.load(std::memory_order_relaxed) - counted_deletes.load(std::memory_order_relaxed);
}

// Each block is preceded by its size, in 16 bytes so that it stays aligned.
inline constexpr size_t kCountedHeader = 16;

inline void* CountedNew(size_t size) {
  if (size > PTRDIFF_MAX - kCountedHeader) throw std::bad_alloc();
  auto* const block = static_cast<char*>(std::malloc(size + kCountedHeader));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<size_t*>(block) = size;
  counted_news.fetch_add(1, std::memory_order_relaxed);
  last_new_size = size;
  return block + kCountedHeader;
}

inline void CountedDelete(void* p, const size_t* size) noexcept {
  if (p == nullptr) return;
  char* const block = static_cast<char*>(p) - kCountedHeader;
  if (size != nullptr && *reinterpret_cast<size_t*>(block) != *size) {
    counted_mismatches.fetch_add(1, std::memory_order_relaxed);
  }
  counted_deletes.fetch_add(1, std::memory_order_relaxed);
  std::free(block);
}

}  // namespace evring

#ifndef EVRING_TSAN
void* operator new(size_t size) { return evring::CountedNew(size); }
void operator delete(void* p) noexcept { evring::CountedDelete(p, nullptr); }
void operator delete(void* p, size_t size) noexcept { evring::CountedDelete(p, &size); }
#endif

#endif  // EVRING_TESTS_RUNTIME_COUNTED_NEW_H_

#include "net/http/internal/head_scan.h"

#include <cstddef>
#include <cstring>

#include "net/http/chars.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace evring::net::http::internal {

#ifdef __SSE2__
namespace {

constexpr ptrdiff_t kBlockBytes = 16;
// The shortest head worth a look is longer than a block, so a block that ends with the input begins inside it.
constexpr size_t kInputBytesMin = sizeof("GET / HTTP/1.1\r\nHost:\r\n\r\n") - 1;
static_assert(kInputBytesMin >= static_cast<size_t>(kBlockBytes));

__m128i Fill(char c) { return _mm_set1_epi8(c); }
// Per byte: a <= b, as unsigned numbers.
__m128i AtMost(__m128i a, __m128i b) { return _mm_cmpeq_epi8(_mm_min_epu8(a, b), a); }
uint32_t Mask(__m128i bytes) { return static_cast<uint32_t>(_mm_movemask_epi8(bytes)); }

__m128i Load(const char* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }

// The first byte in [at, end) that `kStops` marks, or nullptr. Reads nothing outside the input, which is longer than a
// block: what is left behind the last whole block is looked at as the end of the input's last block.
template <__m128i (*kStops)(__m128i)>
const char* FindStop(const char* at, const char* end) {
  while (end - at >= kBlockBytes) {
    const uint32_t bits = Mask(kStops(Load(at)));
    if (bits != 0) return at + __builtin_ctz(bits);
    at += kBlockBytes;
  }
  if (at == end) return nullptr;
  const uint32_t bits = Mask(kStops(Load(end - kBlockBytes))) >> (kBlockBytes - (end - at));
  return bits == 0 ? nullptr : at + __builtin_ctz(bits);
}

// Not a letter or a hyphen. Other token characters are rare in names: llhttp's.
__m128i EndsName(__m128i bytes) {
  const __m128i from_a = _mm_sub_epi8(_mm_or_si128(bytes, Fill(0x20)), Fill('a'));
  const __m128i plain = _mm_or_si128(AtMost(from_a, Fill('z' - 'a')), _mm_cmpeq_epi8(bytes, Fill('-')));
  return _mm_andnot_si128(plain, Fill(-1));
}

// A control character. HTAB is legal in a value, and llhttp's.
__m128i EndsValue(__m128i bytes) { return _mm_or_si128(AtMost(bytes, Fill(0x1f)), _mm_cmpeq_epi8(bytes, Fill(0x7f))); }

// Not printable ASCII (as signed numbers, bytes above 0x7f are below 0x21), or one of the two that mean something.
__m128i EndsPath(__m128i bytes) {
  const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, Fill('?')), _mm_cmpeq_epi8(bytes, Fill('#')));
  return _mm_or_si128(marks, _mm_or_si128(_mm_cmplt_epi8(bytes, Fill(0x21)), _mm_cmpeq_epi8(bytes, Fill(0x7f))));
}

__m128i EndsQuery(__m128i bytes) {
  const __m128i hash = _mm_cmpeq_epi8(bytes, Fill('#'));
  return _mm_or_si128(hash, _mm_or_si128(_mm_cmplt_epi8(bytes, Fill(0x21)), _mm_cmpeq_epi8(bytes, Fill(0x7f))));
}

bool FramesABody(std::string_view name) { return IsWord(name, "content-length") || IsWord(name, "transfer-encoding"); }

}  // namespace

bool ScanPlainHead(std::string_view input, ScannedHead* head, std::vector<FieldSlot>* slots) {
  const char* const base = input.data();
  const char* const end = base + input.size();
  if (input.size() < kInputBytesMin) return false;
  const char* at = base;
  if (std::memcmp(base, "GET /", 5) == 0) {
    head->method = Method::kGet;
    at += 4;
  } else if (std::memcmp(base, "HEAD /", 6) == 0) {
    head->method = Method::kHead;
    at += 5;
  } else {
    return false;
  }

  const char* const target = at;
  at = FindStop<EndsPath>(at, end);
  if (at == nullptr) return false;
  head->target_offset = static_cast<uint32_t>(target - base);
  head->path_bytes = static_cast<uint32_t>(at - target);
  if (*at == '?') {
    at = FindStop<EndsQuery>(at + 1, end);
    if (at == nullptr) return false;
  }
  head->target_bytes = static_cast<uint32_t>(at - target);

  constexpr std::string_view kVersion = " HTTP/1.1\r\n";
  if (static_cast<size_t>(end - at) < kVersion.size() || std::memcmp(at, kVersion.data(), kVersion.size()) != 0) {
    return false;
  }
  at += kVersion.size();
  while (end - at >= 2) {
    if (*at == '\r') {
      head->bytes = static_cast<uint32_t>(at + 2 - base);
      return at[1] == '\n';
    }
    const char* const name = at;
    at = FindStop<EndsName>(at, end);
    if (at == nullptr || *at != ':' || at == name || FramesABody(std::string_view(name, at - name))) return false;
    const char* const value = at + 1 + (end - at > 1 && at[1] == ' ');
    at = FindStop<EndsValue>(value, end);
    // White space around the value, beyond the usual one, is llhttp's.
    if (at == nullptr || end - at < 2 || at[0] != '\r' || at[1] != '\n' || *value == ' ' || at[-1] == ' ') return false;
    slots->push_back({static_cast<uint32_t>(name - base), static_cast<uint32_t>(value - 1 - (value[-1] == ' ') - name),
                      static_cast<uint32_t>(value - base), static_cast<uint32_t>(at - value)});
    at += 2;
  }
  return false;
}
#else
bool ScanPlainHead(std::string_view, ScannedHead*, std::vector<FieldSlot>*) { return false; }
#endif

}  // namespace evring::net::http::internal

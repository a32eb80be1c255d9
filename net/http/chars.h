// chars.h: the character classes of RFC 9110 and the comparisons that header fields need. Constant tables, no locale.

#ifndef EVRING_NET_HTTP_CHARS_H_
#define EVRING_NET_HTTP_CHARS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace evring::net::http {

namespace chars_internal {

enum Class : uint8_t {
  kToken = 1,  // tchar, RFC 9110 section 5.6.2
  kField = 2,  // field-content and the white space in it: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5)
  kDigit = 4,
};

constexpr std::array<uint8_t, 256> MakeClasses() {
  std::array<uint8_t, 256> classes{};
  for (int c = 0; c < 256; ++c) {
    if (c == '\t' || (c >= ' ' && c != 0x7f)) classes[c] |= kField;
    if (c >= '0' && c <= '9') classes[c] |= kToken | kDigit;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) classes[c] |= kToken;
  }
  for (char c : std::string_view("!#$%&'*+-.^_`|~")) {
    classes[static_cast<uint8_t>(c)] |= kToken;
  }
  return classes;
}

inline constexpr std::array<uint8_t, 256> kClasses = MakeClasses();

constexpr bool All(std::string_view text, Class wanted) {
  uint8_t all = wanted;
  for (char c : text) all &= kClasses[static_cast<uint8_t>(c)];
  return all != 0;
}

}  // namespace chars_internal

constexpr bool IsTokenChar(char c) {
  return (chars_internal::kClasses[static_cast<uint8_t>(c)] & chars_internal::kToken) != 0;
}
constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
constexpr bool IsOws(char c) { return c == ' ' || c == '\t'; }
constexpr char ToLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// The value of a hexadecimal digit, or -1.
constexpr int HexValue(char c) {
  if (IsDigit(c)) return c - '0';
  const char lower = ToLower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// A token is not empty; a field value may be.
constexpr bool IsToken(std::string_view text) {
  return !text.empty() && chars_internal::All(text, chars_internal::kToken);
}
constexpr bool IsFieldValue(std::string_view text) { return chars_internal::All(text, chars_internal::kField); }
constexpr bool IsDigits(std::string_view text) {
  return !text.empty() && chars_internal::All(text, chars_internal::kDigit);
}

// Equal but for the case of ASCII letters.
constexpr bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (ToLower(a[i]) != ToLower(b[i])) return false;
  }
  return true;
}

// True if `text` is `lower` but for case. `lower` is made of small letters, digits and hyphens; `text` has no control
// characters: then a character that differs from one of these by the case bit alone is its capital.
template <size_t kSize>
constexpr bool IsWord(std::string_view text, const char (&lower)[kSize]) {
  if (text.size() != kSize - 1) return false;
  int difference = 0;
  for (size_t i = 0; i + 1 < kSize; ++i) difference |= (text[i] | 0x20) ^ lower[i];
  return difference == 0;
}

constexpr std::string_view TrimOws(std::string_view text) {
  while (!text.empty() && IsOws(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsOws(text.back())) text.remove_suffix(1);
  return text;
}

// Takes the next element off the front of a comma-separated list (RFC 9110 section 5.6.1), without the white space
// around it; "" for an empty element. Call while the list is not empty. Quoted strings are not known here.
constexpr std::string_view NextListElement(std::string_view* list) {
  const size_t comma = list->find(',');
  const std::string_view element = TrimOws(list->substr(0, comma));
  list->remove_prefix(comma == std::string_view::npos ? list->size() : comma + 1);
  return element;
}

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_CHARS_H_

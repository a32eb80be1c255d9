// needs.h: what a call of BufferedReader waits for, and how it is recognized in the bytes that have arrived so far.
//
// A need looks at the data again each time more has come, from its first byte on, and answers:
//
//   kMore      not yet; size_max() is the most bytes that it may have to see
//   kFound     `length` bytes are the result, `consumed` bytes are used up
//   kTooLong   the limit is exceeded, and nothing that may still come can change that
//
// The delimiter is looked for in each byte once, however the bytes are split.

#ifndef EVRING_NET_INTERNAL_NEEDS_H_
#define EVRING_NET_INTERNAL_NEEDS_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace evring::net::internal {

struct Verdict {
  enum Kind { kMore, kFound, kTooLong };

  static Verdict More() { return Verdict(kMore, 0, 0); }
  static Verdict Found(size_t length, size_t consumed) { return Verdict(kFound, length, consumed); }
  static Verdict TooLong() { return Verdict(kTooLong, 0, 0); }

  Verdict(Kind kind_in, size_t length_in, size_t consumed_in)
      : kind(kind_in), length(length_in), consumed(consumed_in) {}

  Kind kind;
  size_t length;
  size_t consumed;
};

// No buffer is as large, and adding the length of a delimiter does not overflow.
inline constexpr size_t kLimitMax = SIZE_MAX / 4;

// Everything up to a delimiter.
class NeedUntil {
 public:
  NeedUntil(absl::string_view delimiter, size_t limit);
  Verdict Look(absl::string_view data);
  // The stream has ended behind `data`, in which nothing was found.
  Verdict LookAtEnd(absl::string_view) const { return Verdict::More(); }
  size_t size_max() const { return limit_ + delimiter_.size(); }
  static constexpr const char* kName = "a delimiter";

 private:
  absl::string_view delimiter_;
  size_t limit_;
  size_t from_ = 0;  // the delimiter starts at no byte before
};

// Everything up to LF or CR LF.
class NeedLine {
 public:
  explicit NeedLine(size_t limit);
  Verdict Look(absl::string_view data);
  Verdict LookAtEnd(absl::string_view) const { return Verdict::More(); }
  size_t size_max() const { return limit_ + 2; }
  static constexpr const char* kName = "the end of a line";

 private:
  size_t limit_;
  size_t from_ = 0;  // there is no LF before
};

// A number of bytes; consumed, or only looked at.
class NeedBytes {
 public:
  NeedBytes(size_t n, bool consume) : n_(n), consume_(consume) {}
  Verdict Look(absl::string_view data) const {
    return data.size() < n_ ? Verdict::More() : Verdict::Found(n_, consume_ ? n_ : 0);
  }
  Verdict LookAtEnd(absl::string_view) const { return Verdict::More(); }
  size_t size_max() const { return n_; }
  static constexpr const char* kName = "all the bytes";

 private:
  size_t n_;
  bool consume_;
};

// Everything up to the end of the stream.
class NeedAll {
 public:
  explicit NeedAll(size_t limit);
  Verdict Look(absl::string_view data) const { return data.size() > limit_ ? Verdict::TooLong() : Verdict::More(); }
  Verdict LookAtEnd(absl::string_view data) const { return Verdict::Found(data.size(), data.size()); }
  size_t size_max() const { return limit_ + 1; }
  static constexpr const char* kName = "the end of the stream";

 private:
  size_t limit_;
};

}  // namespace evring::net::internal

#endif  // EVRING_NET_INTERNAL_NEEDS_H_

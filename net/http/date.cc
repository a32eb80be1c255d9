#include "net/http/date.h"

#include <algorithm>
#include <array>

#include "absl/time/civil_time.h"
#include "net/http/chars.h"

namespace evring::net::http {
namespace {

constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
constexpr std::array<std::string_view, 7> kDays = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                                   "Friday", "Saturday", "Sunday"};

constexpr absl::CivilSecond kEpoch(1970, 1, 1);

char* PutTwoDigits(int number, char* out) {
  out[0] = static_cast<char>('0' + number / 10);
  out[1] = static_cast<char>('0' + number % 10);
  return out + 2;
}

char* Put(std::string_view text, char* out) { return std::copy(text.begin(), text.end(), out); }

// Takes parts off the front of a text; once a part does not fit, nothing fits any more.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  void Literal(std::string_view literal) {
    if (rest_.substr(0, literal.size()) != literal) return Fail();
    rest_.remove_prefix(literal.size());
  }

  // Exactly `digits` of them; with `pad`, the first may be a space instead.
  int Number(size_t digits, bool pad = false) {
    int number = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = i < rest_.size() ? rest_[i] : '\0';
      if (pad && i == 0 && c == ' ') continue;
      if (!IsDigit(c)) {
        Fail();
        return 0;
      }
      number = number * 10 + (c - '0');
    }
    rest_.remove_prefix(digits);
    return number;
  }

  int Month() {
    for (size_t at = 0; rest_.size() >= 3 && at < kMonths.size(); at += 3) {
      if (rest_.substr(0, 3) == kMonths.substr(at, 3)) {
        rest_.remove_prefix(3);
        return static_cast<int>(at / 3) + 1;
      }
    }
    Fail();
    return 0;
  }

  // A day's name, of which the first `letters` are written.
  void Day(size_t letters) {
    for (std::string_view day : kDays) {
      const std::string_view name = day.substr(0, letters);
      if (rest_.substr(0, name.size()) == name) return rest_.remove_prefix(name.size());
    }
    Fail();
  }

  bool AtEnd() const { return ok_ && rest_.empty(); }

 private:
  void Fail() {
    ok_ = false;
    rest_ = {};
  }

  std::string_view rest_;
  bool ok_ = true;
};

struct Fields {
  int year, month, day, hour, minute, second;
};

void ScanTime(Scanner* in, Fields* out) {
  out->hour = in->Number(2);
  in->Literal(":");
  out->minute = in->Number(2);
  in->Literal(":");
  out->second = in->Number(2);
}

// Nothing if a number is out of its range, e.g. on 30 February. Second 60 is a leap second: the next minute's first.
std::optional<int64_t> ToSeconds(const Fields& f) {
  if (f.hour > 23 || f.minute > 59 || f.second > 60) return std::nullopt;
  if (absl::CivilDay(f.year, f.month, f.day).day() != f.day) return std::nullopt;
  return absl::CivilSecond(f.year, f.month, f.day, f.hour, f.minute, f.second) - kEpoch;
}

}  // namespace

void FormatHttpDate(int64_t unix_seconds, char* out) {
  static const int64_t kFirst = absl::CivilSecond(0) - kEpoch;
  static const int64_t kLast = absl::CivilSecond(9999, 12, 31, 23, 59, 59) - kEpoch;
  const absl::CivilSecond time = kEpoch + std::clamp(unix_seconds, kFirst, kLast);
  const int year = static_cast<int>(time.year());
  out = Put(kDays[static_cast<size_t>(absl::GetWeekday(time))].substr(0, 3), out);
  out = Put(", ", out);
  out = PutTwoDigits(time.day(), out);
  *out++ = ' ';
  out = Put(kMonths.substr((time.month() - 1) * 3, 3), out);
  *out++ = ' ';
  out = PutTwoDigits(year / 100, out);
  out = PutTwoDigits(year % 100, out);
  *out++ = ' ';
  out = PutTwoDigits(time.hour(), out);
  *out++ = ':';
  out = PutTwoDigits(time.minute(), out);
  *out++ = ':';
  out = PutTwoDigits(time.second(), out);
  Put(" GMT", out);
}

std::optional<int64_t> ParseHttpDate(std::string_view text, int64_t now) {
  const size_t comma = text.find(',');
  Scanner in(text);
  Fields f{};
  bool two_digit_year = false;
  if (comma == 3) {  // IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
    in.Day(3);
    in.Literal(", ");
    f.day = in.Number(2);
    in.Literal(" ");
    f.month = in.Month();
    in.Literal(" ");
    f.year = in.Number(4);
    in.Literal(" ");
    ScanTime(&in, &f);
    in.Literal(" GMT");
  } else if (comma != std::string_view::npos) {  // RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
    two_digit_year = true;
    in.Day(std::string_view::npos);
    in.Literal(", ");
    f.day = in.Number(2);
    in.Literal("-");
    f.month = in.Month();
    in.Literal("-");
    f.year = in.Number(2);
    in.Literal(" ");
    ScanTime(&in, &f);
    in.Literal(" GMT");
  } else {  // asctime: Sun Nov  6 08:49:37 1994
    in.Day(3);
    in.Literal(" ");
    f.month = in.Month();
    in.Literal(" ");
    f.day = in.Number(2, /*pad=*/true);
    in.Literal(" ");
    ScanTime(&in, &f);
    in.Literal(" ");
    f.year = in.Number(4);
  }
  if (!in.AtEnd()) return std::nullopt;
  if (two_digit_year) {
    const int this_year = static_cast<int>((kEpoch + now).year());
    f.year += this_year - this_year % 100;
    if (f.year > this_year + 50) f.year -= 100;
    if (f.year <= this_year - 50) f.year += 100;
  }
  return ToSeconds(f);
}

}  // namespace evring::net::http

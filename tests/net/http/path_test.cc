// path_test.cc: from URL paths to file paths. Besides the listed cases, random paths made of what attackers use:
// whatever comes back stays below the root, by the words of path.h and by what the file system's own rules make of it.

#include "net/http/path.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace evring::net::http {
namespace {

std::vector<std::string> SegmentsOf(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    segments.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return segments;
}

TEST(PercentDecode, ResolvesEscapesAndAppends) {
  std::string out = "x";
  EXPECT_TRUE(PercentDecode("a%20b%2fc%C3%a4+%25", &out).ok());
  EXPECT_EQ(out, "xa b/c\xc3\xa4+%");
}

TEST(PercentDecode, RefusesBadEscapesAndNul) {
  for (std::string_view text : {"%", "a%", "%4", "%g0", "%0g", "%-1", "% 1", "%%41", "%00"}) {
    std::string out;
    EXPECT_EQ(PercentDecode(text, &out).code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(RelativeFilePath, PlainPathsComeOut) {
  EXPECT_EQ(*RelativeFilePath("/"), "");
  EXPECT_EQ(*RelativeFilePath("/index.html"), "index.html");
  EXPECT_EQ(*RelativeFilePath("/a/b/"), "a/b/");
  EXPECT_EQ(*RelativeFilePath("/a%20b/%C3%A4.png"), "a b/\xc3\xa4.png");
  EXPECT_EQ(*RelativeFilePath("/a..b/..c/c..", {.allow_dotfiles = true}), "a..b/..c/c..");
  EXPECT_EQ(*RelativeFilePath("/...", {.allow_dotfiles = true}), "...");
  EXPECT_EQ(*RelativeFilePath("/%252e%252e/x"), "%2e%2e/x") << "resolved once";
  EXPECT_EQ(*RelativeFilePath("/~root"), "~root");
}

TEST(RelativeFilePath, MalformedPathsAreInvalid) {
  using namespace std::string_literals;
  for (const std::string& path :
       {""s, "a"s, "*"s, "a/b"s, "/%"s, "/%zz"s, "/%00"s, "/a%00.png"s, "/a%2fb"s, "/a%2Fb"s, "/..%2f"s, "/a\\b"s,
        "/a%5cb"s, "/..%5c..%5cx"s, "/a\0b"s, "/a%0ab"s, "/a%7f"s, "/%1b[0m"s}) {
    EXPECT_EQ(RelativeFilePath(path).status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

TEST(RelativeFilePath, WaysOutAreDenied) {
  for (std::string_view path :
       {"/..", "/../", "/../x", "/a/../b", "/a/..", "/.", "/./x", "/a/.", "/%2e%2e/x", "/.%2e/x", "/%2E", "//",
        "//etc/passwd", "/a//b", "/a//", "/.git/config", "/.htaccess", "/a/.b"}) {
    EXPECT_EQ(RelativeFilePath(path).status().code(), absl::StatusCode::kPermissionDenied) << path;
  }
  // Dotfiles may be allowed; dot segments stay denied.
  EXPECT_EQ(*RelativeFilePath("/.well-known/x", {.allow_dotfiles = true}), ".well-known/x");
  for (std::string_view path : {"/..", "/.", "/a/../b", "/%2e%2e/x", "/..//"}) {
    EXPECT_EQ(RelativeFilePath(path, {.allow_dotfiles = true}).status().code(), absl::StatusCode::kPermissionDenied)
        << path;
  }
}

TEST(RelativeFilePath, NoPathLeadsOut) {
  constexpr std::string_view kParts[] = {"/",   ".",   "..", "%2e", "%2E", "%2f",  "%5c",    "\\",       "a",
                                         "b.c", "%00", "%",  "%25", "2e",  "etc",  "%c0%ae", "\xc0\xae", "\x01",
                                         " ",   "%20", "~",  ":",   "*",   "\x7f", "\xff"};
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::filesystem::path root = "/srv/root";
  int mapped = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string url = random() % 20 == 0 ? "" : "/";
    for (size_t parts = random() % 8; parts > 0; --parts) url += kParts[random() % std::size(kParts)];
    SCOPED_TRACE(testing::PrintToString(url));
    const FilePathPolicy policy{.allow_dotfiles = random() % 2 == 0};
    const absl::StatusOr<std::string> path = RelativeFilePath(url, policy);
    if (!path.ok()) continue;
    ++mapped;
    for (const std::string& segment : SegmentsOf(*path)) {
      ASSERT_NE(segment, "");
      ASSERT_NE(segment, ".");
      ASSERT_NE(segment, "..");
      ASSERT_TRUE(policy.allow_dotfiles || segment[0] != '.');
      for (char c : segment) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f && c != '\\');
    }
    const std::filesystem::path normal = (root / *path).lexically_normal();
    ASSERT_EQ(normal.string().compare(0, root.string().size(), root.string()), 0) << normal;
    ASSERT_EQ(normal, root / *path) << "nothing in it but plain segments";
  }
  EXPECT_GT(mapped, 1000);
}

}  // namespace
}  // namespace evring::net::http

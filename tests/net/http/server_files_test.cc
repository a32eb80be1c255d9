// FileServer over loopback: types, conditions, ranges, directories, and that no path and no link leads out of the
// directory.

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "net/http/file_server.h"
#include "tests/net/http/server_test_util.h"

namespace evring::net::http {
namespace {

// Bytes that differ from place to place, so that pieces in the wrong order are seen.
std::string Pattern(size_t size) {
  std::string all(size, '\0');
  uint32_t x = 12345;
  for (char& c : all) {
    x = x * 1664525 + 1013904223;
    c = static_cast<char>(x >> 24);
  }
  return all;
}

void WriteFile(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// A tree: root/ is served, outside.txt beside it is not.
class FilesTest : public ::testing::TestWithParam<int> {
 protected:
  FilesTest() {
    const char* base = std::getenv("TEST_TMPDIR");
    std::string name = absl::StrCat(base != nullptr ? base : "/tmp", "/filesXXXXXX");
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    base_ = name;
    root_ = base_ / "root";
    std::filesystem::create_directories(root_ / "sub" / "empty");
    WriteFile(base_ / "outside.txt", "secret");
    WriteFile(root_ / "index.html", "<p>index</p>");
    WriteFile(root_ / "digits.txt", "0123456789");
    WriteFile(root_ / "empty.txt", "");
    WriteFile(root_ / "a b.css", "css");
    WriteFile(root_ / "page.html", "page");
    WriteFile(root_ / "picture.png", "png");
    WriteFile(root_ / "unknown.zzz", "zzz");
    WriteFile(root_ / ".hidden", "hidden");
    WriteFile(root_ / "sub" / "index.html", "sub index");
    big_ = Pattern(10 << 20);
    WriteFile(root_ / "big.bin", big_);
    std::filesystem::create_symlink("../outside.txt", root_ / "link_out.txt");
    std::filesystem::create_symlink(base_ / "outside.txt", root_ / "link_absolute.txt");
    std::filesystem::create_directory_symlink("..", root_ / "link_up");
    std::filesystem::create_symlink("digits.txt", root_ / "link_in.txt");
    EXPECT_EQ(mkfifo((root_ / "fifo").c_str(), 0600), 0);
    auto files = FileServer::Open(root_.string(), "/files/");
    EXPECT_TRUE(files.ok()) << files.status();
    files_ = std::make_unique<FileServer>(*std::move(files));
    server_ = std::make_unique<ServerUnderTest>(GetParam(), ServerOptions(), [this](auto* request, auto* response) {
      return files_->Handle(request, response);
    });
    client_ = std::make_unique<TestClient>(server_->port());
  }
  ~FilesTest() override {
    client_.reset();
    server_->ExpectAllClosed();
    server_.reset();
    std::filesystem::remove_all(base_);
  }

  TestResponse Ask(const std::string& path, const std::string& fields = "") {
    auto response = client_->Ask(Get(path, fields));
    EXPECT_TRUE(response.has_value()) << path;
    return response.value_or(TestResponse());
  }

  std::filesystem::path base_, root_;
  std::string big_;
  std::unique_ptr<FileServer> files_;
  std::unique_ptr<ServerUnderTest> server_;
  std::unique_ptr<TestClient> client_;
};
INSTANTIATE_TEST_SUITE_P(Workers, FilesTest, ::testing::Values(1, 2, 4));

TEST_P(FilesTest, TypesFollowTheExtension) {
  for (const auto& [path, type] :
       {std::pair("/files/page.html", "text/html"), std::pair("/files/a%20b.css", "text/css"),
        std::pair("/files/picture.png", "image/png"), std::pair("/files/unknown.zzz", "application/octet-stream")}) {
    const TestResponse response = Ask(path);
    EXPECT_EQ(response.status, 200) << path;
    EXPECT_EQ(response.header("content-type").substr(0, std::string(type).size()), type);
  }
}

TEST_P(FilesTest, TenMegabytesArriveAsTheyAre) {
  const TestResponse response = Ask("/files/big.bin");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body.size(), big_.size());
  EXPECT_TRUE(response.body == big_);
  EXPECT_EQ(Ask("/files/digits.txt").body, "0123456789");  // the connection goes on
}

TEST_P(FilesTest, EmptyFilesAndHead) {
  EXPECT_EQ(Ask("/files/empty.txt").header("content-length"), "0");
  const auto head = client_->Ask("HEAD /files/big.bin HTTP/1.1\r\nHost: test\r\n\r\n", /*to_head=*/true);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->header("content-length"), std::to_string(big_.size()));
  EXPECT_EQ(Ask("/files/digits.txt").body, "0123456789");
}

TEST_P(FilesTest, NothingOutsideIsServed) {
  for (const char* path : {"/files/../outside.txt",
                           "/files/%2e%2e/outside.txt",
                           "/files/%2E%2E%2Foutside.txt",
                           "/files/..%2foutside.txt",
                           "/files/sub/../../outside.txt",
                           "/files/sub/%2e%2e/%2e%2e/outside.txt",
                           "/files/..%5coutside.txt",
                           "/files//etc/passwd",
                           "/files/%2fetc/passwd",
                           "/files/link_out.txt",
                           "/files/link_absolute.txt",
                           "/files/link_up/outside.txt",
                           "/files/digits.txt%00.html",
                           "/files/.hidden",
                           "/files/fifo",
                           "/files/nothing",
                           "/files/%",
                           "/files/%zz",
                           "/outside.txt",
                           "/",
                           "/files/sub/empty/"}) {
    const TestResponse response = Ask(path);
    EXPECT_TRUE(response.status == 404 || response.status == 400) << path << ": " << response.status;
    EXPECT_EQ(response.body.find("secret"), std::string::npos) << path;
    EXPECT_EQ(response.body.find("root:"), std::string::npos) << path;
  }
  EXPECT_EQ(Ask("/files/link_in.txt").body, "0123456789");  // a link that stays inside is a file like others
}

TEST_P(FilesTest, DirectoriesGiveTheirIndexOrARedirect) {
  EXPECT_EQ(Ask("/files/").body, "<p>index</p>");
  EXPECT_EQ(Ask("/files/sub/").body, "sub index");
  const TestResponse redirect = Ask("/files/sub");
  EXPECT_EQ(redirect.status, 301);
  EXPECT_EQ(redirect.header("location"), "/files/sub/");
}

TEST_P(FilesTest, WhatTheClientHasIsNotSentAgain) {
  const TestResponse first = Ask("/files/digits.txt");
  const std::string etag = first.header("etag");
  ASSERT_FALSE(etag.empty());
  EXPECT_EQ(Ask("/files/digits.txt", absl::StrCat("If-None-Match: ", etag, "\r\n")).status, 304);
  EXPECT_EQ(Ask("/files/digits.txt", absl::StrCat("If-None-Match: \"x\", ", etag, "\r\n")).status, 304);
  EXPECT_EQ(Ask("/files/digits.txt", "If-None-Match: \"x\"\r\n").status, 200);
  const std::string modified = absl::StrCat("If-Modified-Since: ", first.header("last-modified"), "\r\n");
  EXPECT_EQ(Ask("/files/digits.txt", modified).status, 304);
  EXPECT_EQ(Ask("/files/digits.txt", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n").status, 200);
  EXPECT_EQ(Ask("/files/digits.txt", modified + "If-None-Match: \"x\"\r\n").status, 200);  // the tag counts
  WriteFile(root_ / "digits.txt", "something else");
  EXPECT_EQ(Ask("/files/digits.txt", absl::StrCat("If-None-Match: ", etag, "\r\n")).status, 200);
}

TEST_P(FilesTest, RangesGiveParts) {
  for (const auto& [range, part] : {std::pair("0-3", "0123"), std::pair("4-", "456789"), std::pair("-3", "789"),
                                    std::pair("8-100", "89"), std::pair("0-0", "0")}) {
    const TestResponse response = Ask("/files/digits.txt", absl::StrCat("Range: bytes=", range, "\r\n"));
    EXPECT_EQ(response.status, 206) << range;
    EXPECT_EQ(response.body, part);
  }
  EXPECT_EQ(Ask("/files/digits.txt", "Range: bytes=2-5\r\n").header("content-range"), "bytes 2-5/10");
  const TestResponse beyond = Ask("/files/digits.txt", "Range: bytes=10-\r\n");
  EXPECT_EQ(beyond.status, 416);
  EXPECT_EQ(beyond.header("content-range"), "bytes */10");
  const std::string etag = Ask("/files/digits.txt").header("etag");
  EXPECT_EQ(Ask("/files/digits.txt", absl::StrCat("Range: bytes=0-0\r\nIf-Range: ", etag, "\r\n")).status, 206);
  EXPECT_EQ(Ask("/files/digits.txt", "Range: bytes=0-0\r\nIf-Range: \"x\"\r\n").status, 200);
  const TestResponse middle = Ask("/files/big.bin", "Range: bytes=5000000-5999999\r\n");
  EXPECT_TRUE(middle.body == big_.substr(5000000, 1000000));
}

TEST(FileServer, OpenRefusesWhatIsNoDirectory) {
  EXPECT_TRUE(absl::IsNotFound(FileServer::Open("/nothing/here", "/files/").status()));
  EXPECT_FALSE(FileServer::Open("/proc/self/status", "/files/").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(FileServer::Open("/proc", "files/").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(FileServer::Open("/proc", "/files").status()));
}

}  // namespace
}  // namespace evring::net::http

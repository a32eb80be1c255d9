#include "net/http/file_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kevent/errors.h"
#include "net/http/date.h"
#include "net/http/etag.h"
#include "net/http/mime.h"
#include "net/http/range.h"
#include "runtime/blocking.h"
#include "runtime/os/file.h"

namespace evring::net::http {
namespace {

constexpr size_t kPieceBytes = 128 << 10;

struct OpenFile {
  File file;
  uint64_t size = 0;
  int64_t modified_ns = 0;
  bool directory = false;
};

// Blocks as long as the file system does: on a thread of the blocking pool.
absl::StatusOr<OpenFile> OpenBeneath(int directory, const std::string& path) {
  open_how how;
  std::memset(&how, 0, sizeof(how));
  // O_NONBLOCK: opening a FIFO must not wait for its other end.
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  int fd;
  do {
    fd = static_cast<int>(syscall(SYS_openat2, directory, path.empty() ? "." : path.c_str(), &how, sizeof(how)));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));  // EAGAIN: a rename raced with the walk
  if (fd < 0) return kevent::ErrnoToStatus(errno, "open file");
  OpenFile opened;
  opened.file = File(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return kevent::ErrnoToStatus(errno, "fstat", fd);
  opened.directory = S_ISDIR(info.st_mode);
  if (!opened.directory && !S_ISREG(info.st_mode)) return absl::NotFoundError("not a regular file");
  opened.size = static_cast<uint64_t>(info.st_size);
  opened.modified_ns = static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  return opened;
}

Task<absl::StatusOr<OpenFile>> OpenInPool(int directory, std::string path) {
  co_return co_await RunBlocking([directory, file = &path] { return OpenBeneath(directory, *file); });
}

// Whether the client has this version already (RFC 9110 section 13.2.2: If-None-Match before If-Modified-Since).
bool NotModified(const Request& head, const std::string& etag, int64_t modified_seconds) {
  if (head.header("If-None-Match").has_value()) {
    return EtagListMatches(head.headers().Combined("If-None-Match"), etag, EtagComparison::kWeak);
  }
  const auto since = head.header("If-Modified-Since");
  if (!since.has_value()) return false;
  const std::optional<int64_t> seconds = ParseHttpDate(*since, time(nullptr));
  return seconds.has_value() && modified_seconds <= *seconds;
}

Task<absl::Status> SendPlain(ServerResponse* response, StatusCode status) {
  response->set_status(status);
  response->Send("text/plain; charset=utf-8", std::string(ReasonPhrase(status)) + "\n");
  co_return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FileServer> FileServer::Open(const std::string& directory, std::string url_prefix,
                                            FilePathPolicy policy) {
  if (!url_prefix.starts_with('/') || !url_prefix.ends_with('/')) {
    return absl::InvalidArgumentError(absl::StrCat("URL prefix '", url_prefix, "' does not begin and end with '/'"));
  }
  const int fd = open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return kevent::ErrnoToStatus(errno, absl::StrCat("open directory ", directory));
  return FileServer(fd, std::move(url_prefix), policy);
}

Task<absl::Status> FileServer::Handle(ServerRequest* request, ServerResponse* response) const {
  const Request& head = request->head();
  std::string_view below = head.raw_path();
  if (!below.starts_with(url_prefix_)) co_return co_await SendPlain(response, StatusCode::kNotFound);
  below.remove_prefix(url_prefix_.size() - 1);
  absl::StatusOr<std::string> path = RelativeFilePath(below, policy_);
  if (!path.ok()) {
    co_return co_await SendPlain(
        response, absl::IsInvalidArgument(path.status()) ? StatusCode::kBadRequest : StatusCode::kNotFound);
  }
  const bool names_directory = path->empty() || path->back() == '/';
  if (names_directory) path->append("index.html");
  absl::StatusOr<OpenFile> opened = co_await OpenInPool(directory_.get(), *path);
  if (absl::IsResourceExhausted(opened.status())) {
    co_return co_await SendPlain(response, StatusCode::kServiceUnavailable);
  }
  if (absl::IsCancelled(opened.status())) co_return opened.status();
  if (!opened.ok()) co_return co_await SendPlain(response, StatusCode::kNotFound);
  if (opened->directory) {
    // Relative links in its index count from the path with the '/'.
    absl::Status status = response->AddHeader("Location", std::string(head.raw_path()) + "/");
    if (!status.ok()) co_return status;
    co_return co_await SendPlain(response, StatusCode::kMovedPermanently);
  }

  const std::string etag = FileEtag(opened->size, opened->modified_ns);
  const int64_t modified_seconds = opened->modified_ns / 1'000'000'000;
  char modified[kHttpDateBytes];
  FormatHttpDate(modified_seconds, modified);
  for (const auto& [name, value] :
       {std::pair<std::string_view, std::string_view>("ETag", etag),
        std::pair<std::string_view, std::string_view>("Last-Modified", std::string_view(modified, kHttpDateBytes)),
        std::pair<std::string_view, std::string_view>("Accept-Ranges", "bytes")}) {
    if (absl::Status status = response->AddHeader(name, value); !status.ok()) co_return status;
  }
  if (NotModified(head, etag, modified_seconds)) {
    response->set_status(StatusCode::kNotModified);
    response->SendEmpty();
    co_return absl::OkStatus();
  }

  uint64_t offset = 0;
  uint64_t left = opened->size;
  const auto range_value = head.header("Range");
  const auto if_range = head.header("If-Range");
  if (range_value.has_value() && head.method() == Method::kGet && (!if_range.has_value() || *if_range == etag)) {
    const ByteRange range = ParseRange(*range_value, opened->size);
    if (range.kind != ByteRange::Kind::kWhole) {
      absl::Status status = response->AddHeader("Content-Range", ContentRange(range, opened->size));
      if (!status.ok()) co_return status;
    }
    if (range.kind == ByteRange::Kind::kUnsatisfiable) {
      co_return co_await SendPlain(response, StatusCode::kRangeNotSatisfiable);
    }
    if (range.kind == ByteRange::Kind::kPart) {
      response->set_status(StatusCode::kPartialContent);
      offset = range.first;
      left = range.bytes();
    }
  }

  response->Begin(ContentTypeOf(*path), left);
  if (head.method() == Method::kHead) co_return response->End();
  std::vector<std::byte> piece(std::min<uint64_t>(left, kPieceBytes));
  while (left > 0) {
    const std::span<std::byte> buffer = std::span(piece).first(std::min<uint64_t>(left, piece.size()));
    absl::StatusOr<size_t> n = co_await opened->file.ReadAt(buffer, offset);
    if (!n.ok()) co_return n.status();
    if (*n == 0) co_return absl::DataLossError("the file became shorter while it was sent");
    absl::Status status = co_await response->Write({reinterpret_cast<const char*>(buffer.data()), *n});
    if (!status.ok()) co_return status;
    offset += *n;
    left -= *n;
  }
  co_return response->End();
}

}  // namespace evring::net::http

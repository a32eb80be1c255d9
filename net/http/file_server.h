// file_server.h: the files below a directory, as a handler: types by extension, ETag and Last-Modified with the
// requests that ask by them, single ranges, index.html for a directory.
//
// No way out: paths are checked as text (path.h), then opened so that neither ".." nor a symbolic link leads outside
// (openat2 with RESOLVE_BENEATH). What is no regular file, may not be read, or does not exist answers 404 alike.

#ifndef EVRING_NET_HTTP_FILE_SERVER_H_
#define EVRING_NET_HTTP_FILE_SERVER_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "kevent/owned_descriptor.h"
#include "net/http/path.h"
#include "net/http/server.h"
#include "runtime/task.h"

namespace evring::net::http {

class FileServer {
 public:
  // Serves `directory` for the URL paths below `url_prefix`, which begins and ends with '/'. Errors: kNotFound and the
  // like for the directory, kInvalidArgument for the prefix.
  static absl::StatusOr<FileServer> Open(const std::string& directory, std::string url_prefix,
                                         FilePathPolicy policy = {});
  FileServer(FileServer&&) noexcept = default;
  FileServer& operator=(FileServer&&) = delete;

  // Answers GET and HEAD. The server must outlive the task.
  Task<absl::Status> Handle(ServerRequest* request, ServerResponse* response) const;

 private:
  FileServer(int directory, std::string url_prefix, FilePathPolicy policy)
      : directory_(directory), url_prefix_(std::move(url_prefix)), policy_(policy) {}

  kevent::OwnedDescriptor directory_;
  std::string url_prefix_;
  FilePathPolicy policy_;
};

}  // namespace evring::net::http

#endif  // EVRING_NET_HTTP_FILE_SERVER_H_

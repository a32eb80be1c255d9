#include "runtime/os/internal/request.h"

#include <errno.h>

#include <algorithm>

#include "kevent/check.h"
#include "kevent/requests.h"
#include "runtime/io.h"
#include "runtime/worker.h"

namespace evring::internal {
namespace {

// Found out once.
class ProbedOpcodes {
 public:
  const kevent::Opcodes& Of(kevent::Ring* ring) {
    if (!probed_) opcodes_ = kevent::ProbeOpcodes(ring).value_or(kevent::Opcodes());
    probed_ = true;
    return opcodes_;
  }

 private:
  bool probed_ = false;
  kevent::Opcodes opcodes_;
};

class FilledRequest final : public IoOperation<FilledRequest> {
 public:
  FilledRequest(kevent::EventType type, const io_uring_sqe& sqe) : IoOperation(type, std::max(sqe.fd, -1)), sqe_(sqe) {}

 private:
  friend IoOperation;
  void Prepare(io_uring_sqe* sqe) { *sqe = sqe_; }
  int32_t Result(int32_t result, uint32_t) { return result; }

  const io_uring_sqe sqe_;
};

}  // namespace

Task<int32_t> Perform(kevent::EventType type, io_uring_sqe sqe) {
  if (!Serves(sqe.opcode)) co_return -ENOSYS;
  FilledRequest request(type, sqe);
  co_return co_await request;
}

const kevent::Opcodes& ServedOpcodes() {
  Worker* const worker = Worker::Current();
  EVRING_CHECK(worker != nullptr, "what a kernel serves is asked on a worker");
  return worker->Local<ProbedOpcodes>().Of(worker->ring());
}

bool Serves(unsigned opcode) { return ServedOpcodes().test(opcode); }

absl::Status CheckPath(const std::string& path) {
  if (path.find('\0') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError("a path has a NUL in it");
}

}  // namespace evring::internal

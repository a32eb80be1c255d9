// mapped_sync_test.cc: mapped memory that is written back: parts of pages, errors, stops.

#include "runtime/os/mapped_sync.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "kevent/errors.h"
#include "runtime/testing.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring {
namespace {

using namespace evring::testing;

constexpr size_t kBytes = 3 * 4096;

// A mapped file.
class MappedSyncTest : public ::testing::TestWithParam<int> {
 protected:
  MappedSyncTest() : path_(::testing::TempDir() + "/mapped_sync.XXXXXX"), fd_(mkstemp(path_.data())) {
    EVRING_CHECK(fd_ >= 0 && ftruncate(fd_, kBytes) == 0, "a file");
    void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EVRING_CHECK(memory != MAP_FAILED, "a mapping");
    mapping_ = std::span(static_cast<std::byte*>(memory), kBytes);
  }
  ~MappedSyncTest() override {
    munmap(mapping_.data(), kBytes);
    close(fd_);
    unlink(path_.c_str());
  }
  static void Run(Task<> task) { RunOk(std::move(task), WithWorkers(GetParam())); }
  std::span<std::byte> mapping() const { return mapping_; }
  int fd() const { return fd_; }

 private:
  std::string path_;
  const int fd_;
  std::span<std::byte> mapping_;
};
INSTANTIATE_TEST_SUITE_P(Workers, MappedSyncTest, ::testing::Values(1, 2, 4));

// The example of the header.
Task<absl::Status> WriteRecord(std::span<std::byte> mapping, size_t at, std::string record) {
  std::memcpy(mapping.data() + at, record.data(), record.size());
  absl::Status status = co_await SyncMemory(mapping.subspan(at, record.size()));
  co_return status;
}

Task<> Examples(std::span<std::byte> mapping, int fd) {
  // In a page, across the border of two, and up to the end.
  for (const size_t at : {size_t{5}, size_t{4090}, kBytes - 10}) {
    CO_ASSERT_OK(co_await WriteRecord(mapping, at, "0123456789"));
    char text[10];
    EXPECT_EQ(pread(fd, text, sizeof(text), static_cast<off_t>(at)), 10);
    EXPECT_EQ(std::string(text, sizeof(text)), "0123456789");
  }
  CO_ASSERT_OK(co_await SyncMemory(mapping));
  CO_ASSERT_OK(co_await SyncMemory(mapping.first(0)));
}

TEST_P(MappedSyncTest, TheExample) { Run(Examples(mapping(), fd())); }

Task<> NotMapped() {
  // Below what is ever mapped (vm.mmap_min_addr): elsewhere another thread might map something meanwhile.
  const std::span gone(reinterpret_cast<const std::byte*>(uintptr_t{4096}), 4096);
  const absl::Status status = co_await SyncMemory(gone);
  EXPECT_EQ(kevent::StatusErrno(status), ENOMEM) << status;
  EXPECT_NE(status.message().find("msync"), absl::string_view::npos) << status;
}

TEST_P(MappedSyncTest, WhatIsNotMappedIsAnError) { Run(NotMapped()); }

Task<> Cancelled(std::span<std::byte> mapping) {
  const absl::Status status = co_await StartCancelled(SyncMemory(mapping));
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  std::function<Task<absl::Status>()> scenario = [mapping] { return SyncMemory(mapping); };
  CO_ASSERT_OK_AND_ASSIGN(const int points, co_await CancelAtEverySuspension(scenario));
  EXPECT_EQ(points, 1);
}

TEST_P(MappedSyncTest, AStopEndsIt) { Run(Cancelled(mapping())); }

Task<> SyncSimulated(std::span<std::byte> mapping) {
  const absl::Status status = co_await SyncMemory(mapping);
  EXPECT_EQ(kevent::StatusErrno(status), ENOSYS) << status;
}

TEST_P(MappedSyncTest, ASimulatedMachineHasNone) { RunOk(SyncSimulated(mapping()), CalmMachine(GetParam())); }

}  // namespace
}  // namespace evring

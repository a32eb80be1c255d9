// scratch_directory.h: a directory of the test's own, removed with what is in it.

#ifndef EVRING_TESTS_RUNTIME_OS_SCRATCH_DIRECTORY_H_
#define EVRING_TESTS_RUNTIME_OS_SCRATCH_DIRECTORY_H_

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"
#include "kevent/check.h"
#include "runtime/task.h"
#include "tests/runtime/machines.h"
#include "tests/runtime/runtime_test_util.h"

namespace evring::testing {

// Suites derived from this have a directory on this machine, and count descriptors: RealMachines().
class EveryMachineWithDirectory : public EveryMachine {
 protected:
  EveryMachineWithDirectory() {
    directory_ = ::testing::TempDir() + "/os_test.XXXXXX";
    EVRING_CHECK(mkdtemp(directory_.data()) != nullptr, "the test needs a directory");
  }
  ~EveryMachineWithDirectory() override {
    // What a test has made unreadable is made readable again.
    EXPECT_EQ(std::system(("chmod -R u+rwX '" + directory_ + "' && rm -rf '" + directory_ + "'").c_str()), 0);
  }

  const std::string& directory() const { return directory_; }
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  void Make(const std::string& name, std::string_view content = "") const {
    const int fd = open(Path(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ASSERT_GE(fd, 0) << name;
    ASSERT_EQ(write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    close(fd);
  }
  void MakeDirectory(const std::string& name) const { ASSERT_EQ(mkdir(Path(name).c_str(), 0755), 0) << name; }
  bool Exists(const std::string& name) const {
    struct stat info;
    return lstat(Path(name).c_str(), &info) == 0;
  }

  void Run(Task<> task, const RuntimeOptions& with = RuntimeOptions()) {
    const int before = CountIn("fd");
    RunOk(std::move(task), with);
    EXPECT_EQ(CountIn("fd"), before);
  }

 private:
  std::string directory_;
};

}  // namespace evring::testing

#endif  // EVRING_TESTS_RUNTIME_OS_SCRATCH_DIRECTORY_H_

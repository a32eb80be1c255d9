// OwnedDescriptor: it is closed once, by its last owner, and through the kernel of the thread.

#include "kevent/owned_descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kevent/kernel.h"
#include "tests/support/forwarding_kernel.h"

namespace evring::kevent {
namespace {

class ClosingKernel final : public ForwardingKernel {
 public:
  ClosingKernel() { SetCurrent(this); }
  ~ClosingKernel() override { SetCurrent(nullptr); }

  int Close(int fd) override {
    closed.push_back(fd);
    return ForwardingKernel::Close(fd);
  }

  std::vector<int> closed;
};

int OpenSome() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(OwnedDescriptor, IsClosedOnceByItsLastOwner) {
  ClosingKernel kernel;
  const int fd = OpenSome();
  {
    OwnedDescriptor first(fd);
    EXPECT_TRUE(first.valid());
    OwnedDescriptor second(std::move(first));
    EXPECT_FALSE(first.valid());
    OwnedDescriptor third;
    third = std::move(second);
    EXPECT_EQ(third.get(), fd);
    EXPECT_EQ(second.get(), -1);
    EXPECT_TRUE(IsOpen(fd));
  }
  EXPECT_FALSE(IsOpen(fd));
  EXPECT_EQ(kernel.closed, std::vector<int>{fd});
}

TEST(OwnedDescriptor, AssignmentClosesWhatWasThereBefore) {
  ClosingKernel kernel;
  const int before = OpenSome();
  const int after = OpenSome();
  OwnedDescriptor owned(before);
  owned = OwnedDescriptor(after);
  EXPECT_EQ(kernel.closed, std::vector<int>{before});
  OwnedDescriptor* const itself = &owned;
  owned = std::move(*itself);
  EXPECT_EQ(owned.get(), after);
  EXPECT_TRUE(IsOpen(after));
}

TEST(OwnedDescriptor, CloseIsDoneOnceAndReleaseGivesItAway) {
  ClosingKernel kernel;
  OwnedDescriptor owned(OpenSome());
  owned.Close();
  owned.Close();
  EXPECT_FALSE(owned.valid());
  EXPECT_EQ(kernel.closed.size(), 1u);
  const int fd = OpenSome();
  owned = OwnedDescriptor(fd);
  EXPECT_EQ(owned.Release(), fd);
  owned.Close();
  EXPECT_TRUE(IsOpen(fd));
  EXPECT_EQ(kernel.closed.size(), 1u);
  close(fd);
}

TEST(OwnedDescriptorDeathTest, ThatSomebodyElseHasClosedIsAFailedCheck) {
  EXPECT_DEATH(
      {
        OwnedDescriptor owned(OpenSome());
        close(owned.get());
      },
      "the only one to close it");
}

}  // namespace
}  // namespace evring::kevent

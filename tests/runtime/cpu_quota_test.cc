// CgroupCpuQuota on trees of cgroup files made for the test.

#include "runtime/cpu_quota.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace evring {
namespace {

class CpuQuotaTest : public ::testing::Test {
 protected:
  CpuQuotaTest()
      : root_(std::filesystem::path(::testing::TempDir()) /
              ("cpu_quota_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()))) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  ~CpuQuotaTest() override { std::filesystem::remove_all(root_); }

  void SetCpuMax(const std::string& group, const std::string& text) {
    std::filesystem::create_directories(root_.string() + group);
    std::ofstream(root_.string() + group + "/cpu.max") << text;
  }
  int Quota(const std::string& proc_self_cgroup) { return CgroupCpuQuota(proc_self_cgroup, root_.string()); }

  const std::filesystem::path root_;
};

TEST_F(CpuQuotaTest, RoundsUp) {
  SetCpuMax("/a", "150000 100000\n");
  EXPECT_EQ(Quota("0::/a\n"), 2);
  SetCpuMax("/a", "200000 100000\n");
  EXPECT_EQ(Quota("0::/a\n"), 2);
  SetCpuMax("/a", "1 100000\n");
  EXPECT_EQ(Quota("0::/a\n"), 1);
}

TEST_F(CpuQuotaTest, TheLeastOnTheWayToTheRootCounts) {
  SetCpuMax("/a", "300000 100000\n");
  SetCpuMax("/a/b", "max 100000\n");
  SetCpuMax("/a/b/c", "800000 100000\n");
  EXPECT_EQ(Quota("0::/a/b/c\n"), 3);
  EXPECT_EQ(Quota("0::/a/b\n"), 3);
  SetCpuMax("", "100000 50000\n");  // a container sees its own group as the root
  EXPECT_EQ(Quota("0::/a/b/c\n"), 2);
  EXPECT_EQ(Quota("0::/\n"), 2);
}

TEST_F(CpuQuotaTest, NoLimitIsZero) {
  EXPECT_EQ(Quota("0::/\n"), 0);  // no file
  SetCpuMax("/a", "max 100000\n");
  EXPECT_EQ(Quota("0::/a\n"), 0);
  EXPECT_EQ(Quota("0::/gone/deeper\n"), 0);
  EXPECT_EQ(Quota(""), 0);
}

TEST_F(CpuQuotaTest, OnlyTheLineOfVersionTwoCounts) {
  SetCpuMax("/one", "100000 100000\n");
  SetCpuMax("/two", "400000 100000\n");
  EXPECT_EQ(Quota("4:cpu,cpuacct:/one\n1:name=systemd:/one\n"), 0);
  EXPECT_EQ(Quota("4:cpu,cpuacct:/one\n0::/two\n"), 4);
}

TEST_F(CpuQuotaTest, WhatIsNoLimitIsPassedOver) {
  for (const char* text : {"", "\n", "100000", "100000 ", "x 100000", "100000 x", "0 100000", "100000 0", "-1 100000",
                           "100000 -1", "1 2 3", "99999999999999999999 100000"}) {
    SetCpuMax("/a", text);
    EXPECT_EQ(Quota("0::/a\n"), 0) << '"' << text << '"';
  }
  SetCpuMax("/a", "9223372036854775807 100000\n");  // no overflow
  EXPECT_GT(Quota("0::/a\n"), 1000);
}

TEST(CpuQuota, OfThisProcessIsNoNegativeNumber) { EXPECT_GE(CgroupCpuQuota(), 0); }

}  // namespace
}  // namespace evring

#include "runtime/cpu_quota.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace evring {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// "max 100000" or "150000 100000": microseconds per period. 0: no limit.
int ParseCpuMax(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  long quota = 0, period = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[0], &quota) || !absl::SimpleAtoi(words[1], &period)) return 0;
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<long>(quota / period + (quota % period != 0 ? 1 : 0), 1 << 20));
}

}  // namespace

int CgroupCpuQuota() { return CgroupCpuQuota(ReadFile("/proc/self/cgroup"), "/sys/fs/cgroup"); }

int CgroupCpuQuota(const std::string& proc_self_cgroup, const std::string& root) {
  // The line of cgroup v2 is `0::/path`.
  for (absl::string_view line : absl::StrSplit(proc_self_cgroup, '\n')) {
    if (!absl::ConsumePrefix(&line, "0::")) continue;
    int least = 0;
    std::string path(line);
    for (;;) {
      if (const int quota = ParseCpuMax(ReadFile(root + path + "/cpu.max")); quota > 0) {
        least = least == 0 ? quota : std::min(least, quota);
      }
      const size_t slash = path.rfind('/');
      if (slash == std::string::npos) return least;
      path.resize(slash);
    }
  }
  return 0;
}

}  // namespace evring

// differential_test.cc: the simulated kernel answers as the real one does: random programs of calls (program.h)
// are run on both (machine.h), and what can be observed after each step is compared, line by line.
//
// A difference counts if it is still there when the real kernel is given time after each step: a wake-up may be late.
// It is then shrunk, by dropping steps while it stays. In the environment: EVRING_PROGRAM_SEED=n runs that program
// only, and prints what both have answered; EVRING_PROGRAMS=n runs so many.

#include <signal.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kevent/features.h"
#include "kevent/kernel.h"
#include "kevent/multishot_probe.h"
#include "kevent/sanitizer.h"
#include "sim/kernel.h"
#include "tests/sim/machine.h"
#include "tests/sim/program.h"

namespace evring::sim {
namespace {

constexpr uint64_t kPrograms = kevent::kSanitized ? 2'000 : 12'000;
constexpr int kDifferMax = 4;                                           // programs that are reported
constexpr int64_t kPatientNs[] = {2'000'000, 20'000'000, 200'000'000};  // for the real kernel, when its answer differs
constexpr int64_t kSimulatedNs = 50'000'000;
constexpr size_t kSystemFloodBytes = size_t{24} << 20;  // beyond both buffers of a TCP connection, as they grow
constexpr size_t kSimulatedFloodBytes = size_t{200} << 10;

// The kernel that is simulated is of the present: Unix sockets tell how much is left in them since 6.17, and a receive
// reports it (IORING_CQE_F_SOCK_NONEMPTY).
bool IsOfThePresent() {
  utsname name;
  int major = 0;
  int minor = 0;
  if (uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 17);
}

class Pair {
 public:
  Pair() {
    MachineOptions options;
    options.kernel = kevent::SystemKernel();
    options.flood_bytes = kSystemFloodBytes;
    system_ = std::make_unique<Machine>(options);
  }

  Trace OnSystem(const Program& program, int64_t quiet_ns) { return system_->Run(program, ++runs_, quiet_ns); }

  Trace OnSimulated(const Program& program) {
    KernelOptions options;
    options.socket_buffer_bytes = size_t{64} << 10;  // the programs send less, but for floods
    Kernel kernel(options);
    MachineOptions machine_options;
    machine_options.kernel = &kernel;
    machine_options.flood_bytes = kSimulatedFloodBytes;
    Machine machine(machine_options);
    Trace trace = machine.Run(program, ++runs_, kSimulatedNs);
    EXPECT_EQ(kernel.open_descriptors(), 0);
    return trace;
  }

  // Whether they still differ when the real kernel has time, more and more of it: `tries` times as much.
  bool Differ(const Program& program, size_t tries, uint64_t* patient) {
    const Trace simulated = OnSimulated(program);
    if (OnSystem(program, 0) == simulated) return false;
    ++*patient;
    return std::all_of(std::begin(kPatientNs), std::begin(kPatientNs) + tries,
                       [&](int64_t quiet_ns) { return OnSystem(program, quiet_ns) != simulated; });
  }

  Program Shrink(Program program) {
    uint64_t patient = 0;
    for (size_t i = program.size(); i-- > 0;) {
      Program shorter = program;
      shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(i));
      if (Differ(shorter, /*tries=*/1, &patient)) {
        program = std::move(shorter);
        i = std::min(i, program.size());
      }
    }
    return program;
  }

  // Both answers, step by step, up to the first difference or, if `whole`, to the end.
  std::string Compare(const Program& program, bool whole) {
    const Trace real = OnSystem(program, kPatientNs[1]);
    const Trace simulated = OnSimulated(program);
    std::string text;
    for (size_t i = 0; i < std::max(real.size(), simulated.size()); ++i) {
      const std::string r = i < real.size() ? real[i] : " nothing";
      const std::string s = i < simulated.size() ? simulated[i] : " nothing";
      absl::StrAppend(&text, i < program.size() ? program[i].ToString() : std::string("end"), "\n");
      if (r == s) {
        absl::StrAppend(&text, "      both      ", r, "\n");
        continue;
      }
      absl::StrAppend(&text, "  =>  real      ", r, "\n  =>  simulated ", s, "\n");
      if (!whole) break;
    }
    return text;
  }

 private:
  std::unique_ptr<Machine> system_;
  uint64_t runs_ = 0;
};

TEST(Differential, RandomProgramsSeeTheSameKernel) {
  if (!IsOfThePresent()) GTEST_SKIP() << "compared with Linux 6.17 or newer only";
  // A write that nobody will read raises it; the simulated kernel has no signals.
  signal(SIGPIPE, SIG_IGN);
  // Where the real one does not see the end of a multishot receive, there is nothing to compare with.
  const bool multishot_receive = kevent::MultishotReceiveSeesTheEnd();
  Pair pair;
  if (const char* seed = std::getenv("EVRING_PROGRAM_SEED"); seed != nullptr) {
    const Program program = RandomProgram(std::strtoull(seed, nullptr, 10), multishot_receive);
    std::printf("program %s\n%s\n", seed, pair.Compare(program, /*whole=*/true).c_str());
    uint64_t patient = 0;
    EXPECT_FALSE(pair.Differ(program, std::size(kPatientNs), &patient));
    return;
  }
  uint64_t steps = 0;
  uint64_t patient = 0;
  int differ = 0;
  const char* many = std::getenv("EVRING_PROGRAMS");
  const uint64_t programs = many != nullptr ? std::strtoull(many, nullptr, 10) : kPrograms;
  const int64_t start_ns = kevent::SystemKernel()->NowNs();
  for (uint64_t seed = 1; seed <= programs; ++seed) {
    const Program program = RandomProgram(seed, multishot_receive);
    steps += program.size();
    if (!pair.Differ(program, std::size(kPatientNs), &patient)) continue;
    const Program shrunk = pair.Shrink(program);
    ADD_FAILURE() << "program " << seed << " of " << program.size() << " steps; shrunk to " << shrunk.size() << ":\n"
                  << pair.Compare(shrunk, /*whole=*/false) << "again: EVRING_PROGRAM_SEED=" << seed;
    if (++differ == kDifferMax) break;
  }
  const int64_t ms = (kevent::SystemKernel()->NowNs() - start_ns) / 1'000'000;
  std::printf("%llu programs, %llu steps in %lld ms; %llu times the real kernel was given more time\n",
              static_cast<unsigned long long>(programs), static_cast<unsigned long long>(steps),
              static_cast<long long>(ms), static_cast<unsigned long long>(patient));
}

}  // namespace
}  // namespace evring::sim

// compare: measures servers side by side and prints the table. bench/README.md says how to use it and how it measures.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "bench/measure.h"
#include "bench/pinned.h"
#include "bench/report.h"

ABSL_FLAG(std::vector<std::string>, scenario, {"all"},
          "comma-separated: echo, echo_paced, http, http_paced, http_c512, http_depth16, or all");
ABSL_FLAG(int, rounds, 30, "rounds per scenario; each server has one slice of load in each");
ABSL_FLAG(int, generations, 3, "how often the servers are started anew during the rounds");
ABSL_FLAG(absl::Duration, slice, absl::Milliseconds(400), "length of a slice");
ABSL_FLAG(double, busy, 0.8, "paced scenarios: how busy the first server shall be");
ABSL_FLAG(double, rate, 0, "paced scenarios: requests per second instead of --busy");
ABSL_FLAG(int, server_cpu, 0, "CPU that the servers share");
ABSL_FLAG(int, load_cpu, 1, "CPU of the load client");
ABSL_FLAG(bool, count_syscalls, true, "count system calls in a slice of their own at the end (needs root)");
ABSL_FLAG(uint64_t, seed, 1, "of the order of servers and of the paced arrivals");

namespace evring::bench {
namespace {

const std::vector<Scenario>& AllScenarios() {
  static const std::vector<Scenario>& all = *new std::vector<Scenario>{
      {"echo", {Protocol::kEcho, 64, 1}, false},       {"echo_paced", {Protocol::kEcho, 64, 1}, true},
      {"http", {Protocol::kHttp, 64, 1}, false},       {"http_paced", {Protocol::kHttp, 64, 1}, true},
      {"http_c512", {Protocol::kHttp, 512, 1}, false}, {"http_depth16", {Protocol::kHttp, 64, 16}, false},
  };
  return all;
}

absl::StatusOr<std::vector<Scenario>> ChosenScenarios(const std::vector<std::string>& names) {
  std::vector<Scenario> chosen;
  for (const std::string& name : names) {
    const size_t before = chosen.size();
    for (const Scenario& scenario : AllScenarios()) {
      if (name == "all" || name == scenario.name) {
        chosen.push_back(scenario);
      }
    }
    if (chosen.size() == before) {
      return absl::InvalidArgumentError(absl::StrCat("--scenario: there is no '", name, "'"));
    }
  }
  return chosen;
}

// Where a program stands: beside this one in Bazel's tree of run-time files, where `bazel run` was called, or here.
std::string FindProgram(const std::string& path) {
  std::error_code ignored;  // a file that cannot be looked at is not there
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  std::vector<std::filesystem::path> folders = {self.string() + ".runfiles/evring"};
  if (const char* caller = std::getenv("BUILD_WORKING_DIRECTORY")) {
    folders.push_back(caller);
  }
  folders.push_back(std::filesystem::current_path(ignored));
  for (const std::filesystem::path& folder : folders) {
    if (std::filesystem::is_regular_file(folder / path, ignored)) {
      return folder / path;
    }
  }
  return "";
}

// "NAME=PROGRAM ARGUMENTS".
absl::StatusOr<ServerSpec> ParseServer(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  ServerSpec spec = {parts.first, absl::StrSplit(parts.second, ' ', absl::SkipEmpty())};
  if (spec.name.empty() || spec.command.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not NAME=COMMAND"));
  }
  const std::string program = FindProgram(spec.command[0]);
  if (program.empty()) {
    return absl::NotFoundError(absl::StrCat("server ", spec.name, ": there is no program ", spec.command[0]));
  }
  spec.command[0] = program;
  return spec;
}

// The two raw loops, and evring's server where it was built.
absl::StatusOr<std::vector<ServerSpec>> DefaultServers(Protocol protocol) {
  const bool echo = protocol == Protocol::kEcho;
  const std::string raw = echo ? "bench/raw_echo" : "bench/raw_http";
  std::vector<ServerSpec> servers;
  for (const char* const mode : {"multishot", "oneshot"}) {
    absl::StatusOr<ServerSpec> server = ParseServer(absl::StrCat("raw_", mode, "=", raw, " --receive=", mode));
    if (!server.ok()) {
      return server.status();
    }
    servers.push_back(*std::move(server));
  }
  absl::StatusOr<ServerSpec> evring = ParseServer(absl::StrCat(
      "evring=", echo ? "examples/tcp_echo" : "examples/http_server", " --address=127.0.0.1 --port=0 --workers=1"));
  if (evring.ok()) {
    servers.push_back(*std::move(evring));
  }
  return servers;
}

absl::StatusOr<std::vector<ServerSpec>> ServersFor(const Scenario& scenario, const std::vector<char*>& arguments) {
  if (arguments.size() == 1) {
    return DefaultServers(scenario.shape.protocol);
  }
  std::vector<ServerSpec> servers;
  for (size_t i = 1; i < arguments.size(); ++i) {
    absl::StatusOr<ServerSpec> server = ParseServer(arguments[i]);
    if (!server.ok()) {
      return server.status();
    }
    servers.push_back(*std::move(server));
  }
  return servers;
}

absl::Status Compare(const std::vector<char*>& arguments) {
  const absl::StatusOr<std::vector<Scenario>> scenarios = ChosenScenarios(absl::GetFlag(FLAGS_scenario));
  if (!scenarios.ok()) {
    return scenarios.status();
  }
  if (absl::GetFlag(FLAGS_server_cpu) == absl::GetFlag(FLAGS_load_cpu)) {
    return absl::InvalidArgumentError("--server_cpu and --load_cpu must differ: the client never sleeps");
  }
  for (const Scenario& scenario : *scenarios) {
    const absl::StatusOr<std::vector<ServerSpec>> servers = ServersFor(scenario, arguments);
    if (!servers.ok()) {
      return servers.status();
    }
    MeasureOptions options;
    options.rounds = absl::GetFlag(FLAGS_rounds);
    options.generations = absl::GetFlag(FLAGS_generations);
    options.slice = absl::GetFlag(FLAGS_slice);
    options.paced_busy = absl::GetFlag(FLAGS_busy);
    options.rate = absl::GetFlag(FLAGS_rate);
    options.server_cpu = absl::GetFlag(FLAGS_server_cpu);
    options.count_syscalls = absl::GetFlag(FLAGS_count_syscalls);
    options.seed = absl::GetFlag(FLAGS_seed);
    const absl::StatusOr<Measurement> measurement = Measure(scenario, *servers, options);
    if (!measurement.ok()) {
      return absl::Status(measurement.status().code(),
                          absl::StrCat("scenario ", scenario.name, ": ", measurement.status().message()));
    }
    std::fputs(FormatReport(scenario, options, *measurement).c_str(), stdout);
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace evring::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Measures servers side by side: compare [flags] [NAME=COMMAND ...]. Ratios are to the first one, and to the "
      "better "
      "of those whose name begins with \"raw\". Without servers: the raw loops and evring's examples.");
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  const absl::StatusOr<int> code = evring::bench::RunPinned(absl::GetFlag(FLAGS_load_cpu), [&arguments] {
    const absl::Status status = evring::bench::Compare(arguments);
    if (!status.ok()) {
      std::fprintf(stderr, "compare: %s\n", status.ToString().c_str());
    }
    return status.ok() ? 0 : 1;
  });
  if (!code.ok()) {
    std::fprintf(stderr, "compare: %s\n", code.status().ToString().c_str());
  }
  return code.ok() ? *code : 1;
}

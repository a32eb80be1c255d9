// load: puts load on one server for a while and prints what came back. bench/README.md says how to use it.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/load_client.h"

ABSL_FLAG(std::string, protocol, "http", "http or echo");
ABSL_FLAG(std::string, address, "127.0.0.1", "IPv4 address of the server");
ABSL_FLAG(uint16_t, port, 0, "port of the server");
ABSL_FLAG(int, connections, 64, "how many connections");
ABSL_FLAG(int, depth, 1, "pipelined requests in one send");
ABSL_FLAG(double, rate, 0, "requests per second; 0: as many as the server answers");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(2), "how long");
ABSL_FLAG(uint64_t, seed, 1, "of the random gaps between paced requests");

namespace {

int Failed(const absl::Status& status) {
  std::fprintf(stderr, "load: %s\n", status.ToString().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Loads one server over many connections and prints what came back.");
  absl::ParseCommandLine(argc, argv);
  evring::bench::LoadShape shape;
  const std::string protocol = absl::GetFlag(FLAGS_protocol);
  if (protocol != "http" && protocol != "echo") {
    return Failed(absl::InvalidArgumentError("--protocol: http or echo"));
  }
  shape.protocol = protocol == "http" ? evring::bench::Protocol::kHttp : evring::bench::Protocol::kEcho;
  shape.connections = absl::GetFlag(FLAGS_connections);
  shape.depth = absl::GetFlag(FLAGS_depth);
  const absl::StatusOr<std::unique_ptr<evring::bench::LoadClient>> client =
      evring::bench::LoadClient::Connect(shape, absl::GetFlag(FLAGS_address), absl::GetFlag(FLAGS_port));
  if (!client.ok()) {
    return Failed(client.status());
  }
  (*client)->Start(absl::GetFlag(FLAGS_rate), absl::GetFlag(FLAGS_seed));
  const absl::StatusOr<evring::bench::LoadResult> result = (*client)->Advance(absl::GetFlag(FLAGS_duration));
  if (!result.ok()) {
    return Failed(result.status());
  }
  const absl::Status drained = (*client)->Drain();
  if (!drained.ok()) {
    return Failed(drained);
  }
  std::printf("%.0f requests/s, p50 %.1f us, p99 %.1f us, %llu overdue\n",
              static_cast<double>(result->requests) / result->seconds,
              static_cast<double>(result->latency.Quantile(0.5)) * 1e-3,
              static_cast<double>(result->latency.Quantile(0.99)) * 1e-3,
              static_cast<unsigned long long>(result->overdue));
  return 0;
}

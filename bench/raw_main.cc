#include "bench/raw_main.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"

ABSL_FLAG(std::string, address, "127.0.0.1", "IPv4 address to listen on");
ABSL_FLAG(uint16_t, port, 0, "port to listen on; 0: the kernel chooses");
ABSL_FLAG(std::string, receive, "multishot",
          "multishot: one receive per connection into a ring of provided buffers; "
          "oneshot: a receive per request into the connection's buffer, armed after the reply was sent");

namespace evring::bench {

RawOptions ParseRawCommandLine(int argc, char** argv, const char* usage) {
  absl::SetProgramUsageMessage(usage);
  if (absl::ParseCommandLine(argc, argv).size() != 1) {
    std::fprintf(stderr, "%s: takes flags only, see --help\n", program_invocation_short_name);
    std::exit(1);
  }
  RawOptions options;
  const std::string receive = absl::GetFlag(FLAGS_receive);
  if (receive == "multishot") {
    options.receive = ReceiveMode::kMultishot;
  } else if (receive == "oneshot") {
    options.receive = ReceiveMode::kOneshot;
  } else {
    std::fprintf(stderr, "%s: --receive=%s: multishot or oneshot\n", program_invocation_short_name, receive.c_str());
    std::exit(1);
  }
  options.stop_signal = OpenStopSignal();  // before the announcement: whoever reads it may stop us at once
  options.listener = ListenAndAnnounce(absl::GetFlag(FLAGS_address), absl::GetFlag(FLAGS_port));
  return options;
}

}  // namespace evring::bench

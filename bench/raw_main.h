// raw_main.h: the command line that both raw servers share.

#ifndef EVRING_BENCH_RAW_MAIN_H_
#define EVRING_BENCH_RAW_MAIN_H_

#include "bench/raw_ring.h"
#include "bench/raw_server.h"

namespace evring::bench {

struct RawOptions {
  ReceiveMode receive;
  int listener;
  int stop_signal;
};

// Parses --address, --port and --receive and opens the listening socket. Bad flags end the process with exit code 1.
RawOptions ParseRawCommandLine(int argc, char** argv, const char* usage);

// Serves until SIGTERM or SIGINT, then ends the process with exit code 0.
template <typename Server>
[[noreturn]] void RunRawServer(int argc, char** argv, const char* usage) {
  const RawOptions options = ParseRawCommandLine(argc, argv, usage);
  static Server server(options.receive);
  server.Run(options.listener, options.stop_signal);
  _exit(0);  // connections are still with the kernel: nothing may be freed under it (S4 in raw_server.h)
}

}  // namespace evring::bench

#endif  // EVRING_BENCH_RAW_MAIN_H_

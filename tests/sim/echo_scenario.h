// echo_scenario.h: clients that send bytes to an echo server on another host of a simulated network and expect them
// back.

#ifndef EVRING_TESTS_SIM_ECHO_SCENARIO_H_
#define EVRING_TESTS_SIM_ECHO_SCENARIO_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/task.h"
#include "runtime/task_group.h"
#include "sim/random.h"
#include "sim/simulation.h"
#include "tests/sim/accept_loop.h"

namespace evring::sim {

inline SimulationOptions Seeded(uint64_t seed, const FaultRules& faults = FaultRules::None(), int workers = 1) {
  SimulationOptions options;
  options.seed = seed;
  options.faults = faults;
  options.workers = workers;
  return options;
}

inline Task<> Echo(net::Stream stream) {
  std::array<std::byte, 300> buffer;
  for (;;) {
    const absl::StatusOr<size_t> n = co_await stream.Read(buffer);
    if (!n.ok() || *n == 0) co_return;
    const absl::Status status = co_await stream.Write(std::span(buffer).first(*n));
    if (!status.ok()) co_return;
  }
}

// Echoes until the listener is shut down.
inline Task<absl::Status> Serve(net::Listener* listener) {
  co_await AcceptLoop(listener, &Echo);
  co_return absl::OkStatus();
}

struct Tally {
  int whole = 0;
  int failed = 0;
};

// Sends `size` bytes and expects them back: all of them, or an error.
inline Task<> Client(net::SocketAddress address, size_t size, uint64_t seed, Tally* tally) {
  absl::StatusOr<net::Stream> stream = co_await net::Stream::Connect(address);
  if (!stream.ok()) {
    ++tally->failed;
    co_return;
  }
  std::vector<std::byte> sent(size);
  Random random(seed);
  for (std::byte& b : sent) b = static_cast<std::byte>(random.Next());
  absl::Status status = co_await stream->Write(sent);
  if (status.ok()) status = stream->Shutdown(net::Stream::Direction::kSend);
  std::vector<std::byte> received;
  std::array<std::byte, 500> buffer;
  while (status.ok()) {
    const absl::StatusOr<size_t> n = co_await stream->Read(buffer);
    if (!n.ok()) status = n.status();
    if (!n.ok() || *n == 0) break;
    received.insert(received.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*n));
  }
  if (status.ok() && received.size() == size) {
    EXPECT_EQ(received, sent);
    ++tally->whole;
  } else {
    // Cut short, but never altered.
    EXPECT_LE(received.size(), size);
    EXPECT_TRUE(std::equal(received.begin(), received.end(), sent.begin()));
    ++tally->failed;
  }
}

inline Task<Tally> EchoScenario(Random* random, int clients) {
  Tally tally;
  absl::StatusOr<net::Listener> listener = net::Listener::Listen(*net::SocketAddress::Parse("10.0.0.1:80"));
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) co_return tally;
  JoinHandle<absl::Status> server = co_await Spawn(Serve(&*listener));
  const absl::StatusOr<net::SocketAddress> address = listener->socket().LocalAddress();
  {
    TaskGroup group(TaskGroup::OnError::kGoOn);
    for (int i = 0; i < clients; ++i) {
      const auto size = static_cast<size_t>(random->Between(1, 2000));
      const uint64_t content = random->Next();  // named: compilers differ in the order of arguments
      co_await group.Spawn(Client(*address, size, content, &tally));
      if (random->OneIn(3)) static_cast<void>(co_await Sleep(absl::Microseconds(random->Between(0, 2000))));
    }
    const absl::Status joined = co_await group.Join();
    EXPECT_TRUE(joined.ok()) << joined;
  }
  listener->Shutdown();
  const absl::Status served = co_await std::move(server);
  EXPECT_TRUE(served.ok()) << served;
  co_return tally;
}

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_ECHO_SCENARIO_H_

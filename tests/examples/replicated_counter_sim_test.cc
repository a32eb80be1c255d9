// The counter of the guide (docs/guide/simulation.md) in a test of GoogleTest whose body runs on a simulated machine.

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "examples/replicated_counter.h"
#include "gtest/gtest.h"
#include "net/address.h"
#include "net/listener.h"
#include "runtime/task_group.h"
#include "sim/testing.h"

namespace {

using evring::net::Listener;
using evring::net::SocketAddress;
using evring::sim::FaultRules;
using evring::sim::Simulation;
using evring::sim::TestOptions;

SIM_TEST_WITH(Counter, CountsARetriedAdditionOnce, TestOptions().Seeds(300).Faults(FaultRules::Storm())) {
  const SocketAddress address = *SocketAddress::Parse("10.0.0.1:70");
  CO_ASSERT_OK_AND_ASSIGN(Listener listener, Listener::Listen(address));
  counter::Replica replica({}, /*remembers=*/true);
  evring::TaskGroup server;
  co_await server.Spawn(replica.Serve(&listener));
  int64_t sum = 0;
  for (int number = 1; number <= 10; ++number) {
    const int64_t amount = Simulation::Current()->random()->Between(1, 100);
    EXPECT_TRUE((co_await counter::AskUntilDone(address, absl::StrCat("add me ", number, " ", amount))).ok());
    sum += amount;
  }
  listener.Shutdown();
  CO_ASSERT_OK(co_await server.Join());
  EXPECT_EQ(replica.total(), sum);
}

}  // namespace

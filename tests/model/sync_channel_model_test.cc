// The algorithm of Channel in all interleavings of senders, receivers, stops and a close: each value that got in comes
// out once, in order, with what was done before; one that did not is still with its sender; nobody waits for ever.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/sync/internal/channel_core.h"
#include "tests/model/explorer.h"
#include "tests/model/model_atomics.h"
#include "tests/model/model_test.h"
#include "tests/model/sync_host.h"

namespace evring {
namespace {

using model::Check;
using model::Execution;

// Where a value has been moved from there is a null pointer. What it points to was written by the sender, without a
// lock.
using Value = std::unique_ptr<model::Plain<int>>;
using Core = internal::ChannelCore<Value, model::SyncHost>;
using SendNode = internal::Suspension<Core, Core::SendNode>;
using ReceiveNode = internal::Suspension<Core, Core::ReceiveNode>;

struct State {
  explicit State(size_t capacity) : channel(capacity) {}

  Core channel;
  model::SyncTask tasks[4];
  std::vector<int> sent;      // in the order of their sending, if there is one sender
  std::vector<int> received;  // in the order of their receipt, if there is one receiver
  int not_sent = 0;
  int not_received = 0;

  void Send(int task, int n) {
    auto value = std::make_unique<model::Plain<int>>();
    value->Set(n);
    SendNode node(&channel, &value);
    const bool ok = model::Await(&tasks[task], &channel, &node) == SendNode::State::kGranted;
    Check((value == nullptr) == ok, "taken if it was sent, else still there");
    if (ok) {
      sent.push_back(n);
    } else {
      ++not_sent;
    }
  }
  void Receive(int task) {
    ReceiveNode node(&channel);
    if (model::Await(&tasks[task], &channel, &node) == ReceiveNode::State::kGranted) {
      received.push_back(node.value->Get());
    } else {
      ++not_received;
    }
  }
  // Takes out what is left.
  void Drain() {
    for (;;) {
      Core::Room room;
      if (channel.TryReceive(&room) != Core::Answer::kDone) return;
      received.push_back(room.value->Get());
    }
  }
  bool EachOnce() const {
    for (const int n : sent) {
      int times = 0;
      for (const int m : received) times += n == m ? 1 : 0;
      if (times != 1) return false;
    }
    return sent.size() == received.size();
  }
};

State* Make(Execution& run, size_t capacity, int not_sent_max, int not_received_max) {
  auto* s = run.Make<State>(capacity);
  run.Name(&s->channel, "channel");
  for (int i = 0; i < 4; ++i) run.Name(&s->tasks[i], "task " + std::to_string(i));
  run.Finally([=] {
    s->Drain();
    Check(s->channel.idle(), "nobody waits");
    Check(s->EachOnce(), "each that was sent came out once");
    Check(s->not_sent <= not_sent_max && s->not_received <= not_received_max, "only what was stopped or closed");
  });
  return s;
}

template <size_t kCapacity>
void OneToOne(Execution& run) {
  State* s = Make(run, kCapacity, 0, 0);
  run.Thread("sender", [=] {
    s->Send(0, 1);
    s->Send(0, 2);
  });
  run.Thread("receiver", [=] {
    s->Receive(1);
    s->Receive(1);
    Check(s->received == std::vector<int>{1, 2}, "in order");
  });
}

template <size_t kCapacity>
void TwoToTwo(Execution& run) {
  State* s = Make(run, kCapacity, 0, 0);
  for (int i = 0; i < 2; ++i) {
    run.Thread("sender " + std::to_string(i), [=] { s->Send(i, i); });
    run.Thread("receiver " + std::to_string(i), [=] { s->Receive(2 + i); });
  }
}

// A value that is taken makes room for the next, though nobody receives that.
void RoomIsPassedOn(Execution& run) {
  State* s = Make(run, 1, 0, 0);
  run.Thread("sender", [=] {
    s->Send(0, 1);
    s->Send(0, 2);
  });
  run.Thread("receiver", [=] { s->Receive(1); });
}

// Nobody is on the other side: the stop is what ends the wait, at whatever moment it comes.
template <size_t kCapacity>
void StopAlone(Execution& run) {
  State* s = Make(run, kCapacity, 1, 1);
  run.Thread("sender", [=] {
    for (size_t i = 0; i < kCapacity; ++i) s->Send(0, 1);
    s->Send(1, 2);
    if (kCapacity != 0) s->Receive(2);
    s->Receive(3);
  });
  run.Thread("stop", [=] {
    s->tasks[1].RequestStop();
    s->tasks[3].RequestStop();
  });
}

// The value was received in spite of the stop, or it is not in between: then the channel is closed on the sender.
template <size_t kCapacity>
void StopOfAReceiver(Execution& run) {
  State* s = Make(run, kCapacity, 1, 1);
  run.Thread("sender", [=] { s->Send(0, 1); });
  run.Thread("receiver", [=] {
    s->Receive(1);
    if (s->not_received != 0) s->channel.Close();
  });
  run.Thread("stop", [=] { s->tasks[1].RequestStop(); });
}

// One of the two is received; the other waits, is stopped, or finds the channel closed.
template <size_t kCapacity>
void StopOfASender(Execution& run) {
  State* s = Make(run, kCapacity, 1, 0);
  run.Thread("sender 0", [=] { s->Send(0, 1); });
  run.Thread("sender 1", [=] { s->Send(1, 2); });
  run.Thread("receiver", [=] {
    s->Receive(2);
    s->channel.Close();
  });
  run.Thread("stop of 1", [=] { s->tasks[1].RequestStop(); });
}

// Everybody is told, or done.
template <size_t kCapacity>
void CloseAgainstBoth(Execution& run) {
  State* s = Make(run, kCapacity, 2, 1);
  run.Thread("sender", [=] {
    s->Send(0, 1);
    s->Send(0, 2);
  });
  run.Thread("receiver", [=] { s->Receive(1); });
  run.Thread("closer", [=] { s->channel.Close(); });
}

template <size_t kCapacity>
void CloseAgainstStop(Execution& run) {
  State* s = Make(run, kCapacity, 1, 1);
  run.Thread("sender", [=] { s->Send(0, 1); });
  run.Thread("receiver", [=] { s->Receive(1); });
  run.Thread("closer", [=] { s->channel.Close(); });
  run.Thread("stop of both", [=] {
    s->tasks[1].RequestStop();
    s->tasks[0].RequestStop();
  });
}

template <size_t kCapacity>
void Add(std::vector<model::Scenario>* all) {
  const std::string suffix = "With" + std::to_string(kCapacity);
  const model::Options bounded = {.preemptions = 2, .stale_reads = 0};
  all->push_back({"OneToOne" + suffix, {}, OneToOne<kCapacity>});
  all->push_back({"TwoToTwo" + suffix, bounded, TwoToTwo<kCapacity>});
  all->push_back({"StopAlone" + suffix, {}, StopAlone<kCapacity>});
  all->push_back({"StopOfAReceiver" + suffix, {}, StopOfAReceiver<kCapacity>});
  all->push_back({"StopOfASender" + suffix, bounded, StopOfASender<kCapacity>});
  all->push_back({"CloseAgainstBoth" + suffix, bounded, CloseAgainstBoth<kCapacity>});
  all->push_back({"CloseAgainstStop" + suffix, bounded, CloseAgainstStop<kCapacity>});
}

std::vector<model::Scenario> Scenarios() {
  std::vector<model::Scenario> all;
  Add<0>(&all);
  Add<1>(&all);
  all.push_back({"RoomIsPassedOn", {}, RoomIsPassedOn});
  return all;
}

class SyncChannelModel : public testing::TestWithParam<model::Scenario> {};

TEST_P(SyncChannelModel, EachValueComesOutOnce) { model::ExpectHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Scenarios, SyncChannelModel, testing::ValuesIn(Scenarios()), model::NameOfScenario);

}  // namespace
}  // namespace evring

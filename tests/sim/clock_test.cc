// clock_test.cc: time by hand (sim/clock.h): it stands still while it is paused, an advance does what is due at its own
// instant and in order, and everything that waits for it ends as it should; what cannot be asked for is an error, and a
// run that waits for time that nobody advances is reported.
//
// Most cases run with many seeds, on one to four workers, calm, with the faults of every day and in a storm. The clock
// is compared to the nanosecond.

#include "sim/clock.h"

#include <time.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "kevent/event.h"
#include "kevent/kevent.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/stream.h"
#include "runtime/context.h"
#include "runtime/current_deadline.h"
#include "runtime/interval.h"
#include "runtime/os/event_wait.h"
#include "runtime/placement.h"
#include "runtime/runtime.h"
#include "runtime/shield.h"
#include "runtime/sleep.h"
#include "runtime/spawn.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/event.h"
#include "runtime/task_group.h"
#include "runtime/timeout.h"
#include "runtime/wall_clock.h"
#include "sim/simulation.h"
#include "sim/testing.h"
#include "tests/sim/echo_scenario.h"

namespace evring::sim {
namespace {

absl::Time Now() { return Simulation::Current()->Now(); }

// Seed n: 1 + n % 4 workers, and by turns no faults, those of every day and a storm.
SimulationOptions OfSeed(SimulationOptions options) {
  options.workers = 1 + static_cast<int>(options.seed % 4);
  if (options.seed % 3 == 1) options.faults = FaultRules::Everyday();
  if (options.seed % 3 == 2) options.faults = FaultRules::Storm();
  return options;
}

void OnMachines(uint64_t seeds, Task<> (*body)()) {
  static_cast<void>(RunSeeds(TestOptions().Seeds(seeds), [body](const SimulationOptions& given) {
    SimulationOptions options = given;
    options.faults = FaultRules::None();
    Simulation simulation(OfSeed(options));
    simulation.Run(body());
  }));
}

// --- Paused

Task<> Increment(int* n) {
  co_await Yield();
  ++*n;
}

Task<> WorkOnAllWorkers(int* done) {
  for (int i = 0; i < 4 * WorkerCount(); ++i) {
    co_await ResumeOn(i % WorkerCount());
    JoinHandle<> child = co_await Spawn(Increment(done));
    co_await std::move(child);
  }
}

Task<> StandsStill() {
  const absl::Time before = Now();
  EXPECT_GT(Now(), before) << "until it is paused each look at it takes a moment";
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  int done = 0;
  co_await WorkOnAllWorkers(&done);
  EXPECT_EQ(done, 4 * WorkerCount());
  EXPECT_EQ(Now(), start) << "tasks take no time";
  CO_ASSERT_OK(ResumeTime());
  CO_ASSERT_OK(co_await Sleep(absl::Hours(1)));
  EXPECT_GE(Now() - start, absl::Hours(1));
}

TEST(Clock, StandsStillWhileItIsPaused) { OnMachines(240, &StandsStill); }

Task<> SleepAndNote(absl::Duration d, absl::Time* woken) {
  const absl::Status slept = co_await Sleep(d);
  EXPECT_TRUE(slept.ok()) << slept;
  *woken = Now();
}

Task<> Nests() {
  const absl::Time never;
  CO_ASSERT_OK(PauseTime());
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  absl::Time woken = never;
  JoinHandle<> sleeper = co_await Spawn(SleepAndNote(absl::Seconds(1), &woken));
  CO_ASSERT_OK(ResumeTime());
  CO_ASSERT_OK(co_await Advance(absl::Milliseconds(999)));
  EXPECT_EQ(woken, never);
  EXPECT_EQ(Now(), start + absl::Milliseconds(999)) << "it is paused still";
  CO_ASSERT_OK(ResumeTime());
  co_await std::move(sleeper);
  EXPECT_GE(woken, start + absl::Seconds(1));
  EXPECT_TRUE(absl::IsFailedPrecondition(ResumeTime()));
}

TEST(Clock, GoesOnWhenEveryPauseIsOver) { OnMachines(120, &Nests); }

// --- Advanced

struct Note {
  int who;
  absl::Duration when;
  bool operator==(const Note&) const = default;
};

// One worker runs at a time, so a vector will do.
using Notes = std::vector<Note>;

Task<> SleepAgainAndAgain(int who, absl::Time start, absl::Duration d, int times, Notes* notes) {
  for (int i = 0; i < times; ++i) {
    const absl::Status slept = co_await Sleep(d);
    if (!slept.ok()) co_return;
    notes->push_back({who, Now() - start});
  }
}

Task<> TickAgainAndAgain(int who, absl::Time start, absl::Duration period, int times, Notes* notes) {
  absl::StatusOr<Interval> every = Interval::Create(period);
  CO_ASSERT_OK(every);
  for (int i = 0; i < times; ++i) {
    const absl::StatusOr<IntervalTick> tick = co_await every->Tick();
    if (!tick.ok()) co_return;
    EXPECT_EQ(tick->missed, 0);
    notes->push_back({who, Now() - start});
  }
}

Task<absl::Status> Nothing() { co_return co_await Sleep(absl::InfiniteDuration()); }

Task<> TimeOut(int who, absl::Time start, absl::Duration d, Notes* notes) {
  const absl::Status status = co_await WithTimeout(d, Nothing());
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  notes->push_back({who, Now() - start});
}

Task<> DoesWhatIsDue() {
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  Notes notes;
  TaskGroup group;
  co_await group.Spawn(SleepAgainAndAgain(1, start, absl::Minutes(7), 10, &notes));
  co_await group.Spawn(TickAgainAndAgain(2, start, absl::Minutes(20), 10, &notes));
  co_await group.Spawn(SleepAgainAndAgain(3, start, absl::Minutes(59) + absl::Nanoseconds(1), 1, &notes));
  co_await group.Spawn(TimeOut(4, start, absl::Seconds(90), &notes));
  co_await group.Spawn(SleepAgainAndAgain(5, start, absl::Hours(24), 1, &notes));
  CO_ASSERT_OK(co_await Advance(absl::Minutes(59)));
  EXPECT_EQ(Now(), start + absl::Minutes(59));
  Notes expected = {{4, absl::Seconds(90)}, {1, absl::Minutes(7)},  {1, absl::Minutes(14)}, {2, absl::Minutes(20)},
                    {1, absl::Minutes(21)}, {1, absl::Minutes(28)}, {1, absl::Minutes(35)}, {2, absl::Minutes(40)},
                    {1, absl::Minutes(42)}, {1, absl::Minutes(49)}, {1, absl::Minutes(56)}};
  EXPECT_TRUE(notes == expected) << notes.size() << " notes";

  CO_ASSERT_OK(co_await Advance(absl::Nanoseconds(1)));
  expected.push_back({3, absl::Minutes(59) + absl::Nanoseconds(1)});
  EXPECT_TRUE(notes == expected) << notes.size() << " notes";
  CO_ASSERT_OK(co_await Advance(absl::Minutes(1) - absl::Nanoseconds(2)));
  EXPECT_TRUE(notes == expected) << "nothing is early by a nanosecond: " << notes.size() << " notes";
  CO_ASSERT_OK(co_await Advance(absl::Nanoseconds(1)));
  expected.push_back({2, absl::Minutes(60)});
  EXPECT_TRUE(notes == expected) << notes.size() << " notes";
  group.RequestStop();
  CO_ASSERT_OK(co_await group.Join());
  EXPECT_EQ(Now(), start + absl::Hours(1)) << "a stop takes no time";
}

TEST(Clock, AnAdvanceDoesWhatIsDueAtItsInstantAndInOrder) { OnMachines(240, &DoesWhatIsDue); }

// A timer wakes a task, which goes through all workers, with a child on each of them, and sends what another waits for.
Task<> WakeTheOthers(Channel<int>* channel, absl::Time due) {
  const absl::Status slept = co_await Sleep(absl::Hours(1));
  EXPECT_TRUE(slept.ok()) << slept;
  int done = 0;
  co_await WorkOnAllWorkers(&done);
  EXPECT_EQ(Now(), due);
  const absl::Status sent = co_await channel->Send(done);
  EXPECT_TRUE(sent.ok()) << sent;
}

Task<> Receive(Channel<int>* channel, int* got) {
  const absl::StatusOr<int> n = co_await channel->Receive();
  EXPECT_TRUE(n.ok()) << n.status();
  *got = n.value_or(-1);
}

Task<> TheCallerIsLast() {
  CO_ASSERT_OK(PauseTime());
  Channel<int> channel(0);
  int got = 0;
  JoinHandle<> receiver = co_await Spawn(Receive(&channel, &got));
  JoinHandle<> sender = co_await Spawn(WakeTheOthers(&channel, Now() + absl::Hours(1)));
  CO_ASSERT_OK(co_await Advance(absl::Hours(1)));
  EXPECT_EQ(got, 4 * WorkerCount()) << "all that needs no time has been done";
  EXPECT_TRUE(receiver.done());
  EXPECT_TRUE(sender.done());
  co_await std::move(receiver);
  co_await std::move(sender);

  // By no time: what is ready runs, and no more.
  int done = 0;
  JoinHandle<> ready = co_await Spawn(WorkOnAllWorkers(&done));
  CO_ASSERT_OK(co_await Advance(absl::ZeroDuration()));
  EXPECT_TRUE(ready.done());
  EXPECT_EQ(done, 4 * WorkerCount());
  co_await std::move(ready);
}

TEST(Clock, WhoAdvancesGoesOnWhenAllThatWasMadeReadyHasRun) { OnMachines(360, &TheCallerIsLast); }

// In the kernel, by its wall clock.
Task<absl::Status> WaitForAFarTime() {
  kevent_timer timer = {};
  timer.clock = CLOCK_REALTIME;
  timer.absolute = 1;
  timer.first.tv_sec = 4'000'000'000;
  kevent::Event event;
  event.type = kevent::EventType::kTimer;
  event.payload = reinterpret_cast<uintptr_t>(&timer);
  co_return (co_await WaitForEvent(event)).status();
}

// Messages between workers that are late, each by up to a millisecond, are not waited for: those on their way when time
// is paused come then, and later ones at once. Nor does a clock move by itself.
TEST(Clock, WorkersWakeEachOtherWhileItIsPaused) {
  const Exploration exploration = RunSeeds(TestOptions().Seeds(120), [](const SimulationOptions& given) {
    SimulationOptions options = given;
    options.workers = 2 + static_cast<int>(options.seed % 3);
    options.faults = FaultRules::None();
    options.faults[Fault::kLateWake].ppm = 1'000'000;
    options.faults[Fault::kClockJump].ppm = 100'000;
    options.faults[Fault::kClockSet].ppm = 100'000;
    Simulation simulation(options);
    simulation.Run([]() -> Task<> {
      int done = 0;
      std::vector<JoinHandle<>> started;
      CO_ASSERT_OK(co_await Sleep(absl::Seconds(1)));  // the others wait by then
      for (int i = 0; i < 4; ++i) started.push_back(co_await Spawn(WorkOnAllWorkers(&done)));
      JoinHandle<absl::Status> far = co_await Spawn(WaitForAFarTime());
      for (int i = 0; i < 8; ++i) co_await Yield();
      CO_ASSERT_OK(PauseTime());
      const absl::Time start = Now();
      const absl::Time wall = WallNow();
      for (int i = 0; i < 4; ++i) started.push_back(co_await Spawn(WorkOnAllWorkers(&done)));
      for (JoinHandle<>& task : started) co_await std::move(task);
      EXPECT_EQ(done, 8 * 4 * WorkerCount());
      EXPECT_EQ(Now(), start);
      EXPECT_EQ(WallNow(), wall);
      far.RequestStop();
      EXPECT_TRUE(absl::IsCancelled(co_await std::move(far)));
    }());
  });
  if (exploration.seeds > 1) {
    EXPECT_GE(exploration.injected, exploration.seeds) << "messages that are late";
  }
}

Task<> AdvanceAndNote(int who, absl::Time start, absl::Duration d, Notes* notes) {
  const absl::Status advanced = co_await Advance(d);
  EXPECT_TRUE(advanced.ok()) << advanced;
  notes->push_back({who, Now() - start});
}

Task<> SeveralAdvance() {
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  Notes notes;
  JoinHandle<> sleeper = co_await Spawn(SleepAgainAndAgain(0, start, absl::Minutes(30), 2, &notes));
  CO_ASSERT_OK(co_await Advance(absl::ZeroDuration()));  // one by one, so that the order is known
  JoinHandle<> hour = co_await Spawn(AdvanceAndNote(1, start, absl::Hours(1), &notes));
  JoinHandle<> half = co_await Spawn(AdvanceAndNote(2, start, absl::Minutes(30), &notes));
  co_await std::move(half);
  EXPECT_EQ(Now(), start + absl::Minutes(30));
  JoinHandle<> other_half = co_await Spawn(AdvanceAndNote(3, start, absl::Minutes(30), &notes));
  co_await std::move(other_half);
  co_await std::move(hour);
  co_await std::move(sleeper);
  EXPECT_EQ(Now(), start + absl::Hours(1)) << "they share the clock";
  const Notes expected = {{0, absl::Minutes(30)},
                          {2, absl::Minutes(30)},
                          {0, absl::Minutes(60)},
                          {1, absl::Minutes(60)},
                          {3, absl::Minutes(60)}};
  EXPECT_TRUE(notes == expected);
  CO_ASSERT_OK(ResumeTime());
}

TEST(Clock, SeveralWhoAdvanceShareIt) { OnMachines(240, &SeveralAdvance); }

Task<> ResumesMeanwhile() {
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  Notes notes;
  JoinHandle<> hour = co_await Spawn(AdvanceAndNote(1, start, absl::Hours(1), &notes));
  CO_ASSERT_OK(co_await Advance(absl::Minutes(10)));
  CO_ASSERT_OK(ResumeTime());
  CO_ASSERT_OK(co_await Sleep(absl::Minutes(10)));
  EXPECT_TRUE(notes.empty());
  co_await std::move(hour);
  EXPECT_GE(Now(), start + absl::Hours(1));
  EXPECT_LT(Now(), start + absl::Hours(1) + absl::Minutes(5)) << "a storm's jumps may come on top";
}

TEST(Clock, AnAdvanceGoesOnWhenTimeIsResumed) { OnMachines(120, &ResumesMeanwhile); }

// --- What takes time, and is no timer

Task<absl::StatusOr<net::Stream>> AcceptOne(net::Listener* listener) { co_return co_await listener->Accept(); }

Task<> ReadOne(net::Stream* stream, bool* read) {
  std::array<std::byte, 1> byte = {};
  const absl::StatusOr<size_t> n = co_await stream->Read(byte);
  EXPECT_TRUE(n.ok()) << n.status();
  *read = true;
}

SIM_TEST_WITH(ClockAndNetwork, WhatIsOnItsWayWaitsToo, TestOptions().Seeds(40).Faults(FaultRules::None()).Workers(2)) {
  const net::SocketAddress address = *net::SocketAddress::Parse("10.0.0.1:80");
  CO_ASSERT_OK_AND_ASSIGN(net::Listener listener, net::Listener::Listen(address));
  JoinHandle<absl::StatusOr<net::Stream>> accepting = co_await Spawn(AcceptOne(&listener));
  CO_ASSERT_OK_AND_ASSIGN(net::Stream near,
                          co_await net::Stream::Connect(address, *net::SocketAddress::Parse("10.0.0.2:0")));
  CO_ASSERT_OK_AND_ASSIGN(net::Stream far, co_await std::move(accepting));
  Network::Link slow;
  slow.latency_min_ns = slow.latency_max_ns = absl::ToInt64Nanoseconds(absl::Seconds(1));
  Simulation::Current()->network()->SetLink("10.0.0.1", "10.0.0.2", slow);
  CO_ASSERT_OK(PauseTime());
  bool read = false;
  JoinHandle<> reader = co_await Spawn(ReadOne(&far, &read));
  const std::array<std::byte, 1> byte = {};
  CO_ASSERT_OK(co_await near.Write(byte));
  CO_ASSERT_OK(co_await Advance(absl::Milliseconds(999)));
  EXPECT_FALSE(read);
  CO_ASSERT_OK(co_await Advance(absl::Milliseconds(2)));
  EXPECT_TRUE(read);
  co_await std::move(reader);
}

// --- The end of a wait

Task<absl::Status> AdvanceBy(absl::Duration d) { co_return co_await Advance(d); }

Task<> StopAfter(absl::Duration d, JoinHandle<absl::Status>* handle) {
  const absl::Status slept = co_await Sleep(d);
  EXPECT_TRUE(slept.ok()) << slept;
  handle->RequestStop();
}

Task<> AStopEndsIt() {
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  JoinHandle<absl::Status> advancing = co_await Spawn(AdvanceBy(absl::Hours(1)));
  JoinHandle<> stopper = co_await Spawn(StopAfter(absl::Minutes(10), &advancing));
  co_await std::move(stopper);
  const absl::Status status = co_await std::move(advancing);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(Now(), start + absl::Minutes(10)) << "the clock stays where it has come to";

  // A timeout, which is a stop as well, is time like any other.
  const absl::Status timed_out = co_await WithTimeout(absl::Minutes(1), AdvanceBy(absl::Hours(1)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(timed_out)) << timed_out;
  EXPECT_EQ(Now(), start + absl::Minutes(11));

  // Nothing of them is left: who advances next is alone.
  CO_ASSERT_OK(co_await Advance(absl::Minutes(1)));
  EXPECT_EQ(Now(), start + absl::Minutes(12));
  (co_await evring::internal::CurrentContextAwaiter())->RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await Advance(absl::Hours(1)))) << "at once";
  EXPECT_EQ(Now(), start + absl::Minutes(12));
}

TEST(Clock, AStopEndsAnAdvanceWhereTheClockIs) { OnMachines(360, &AStopEndsIt); }

// The shutdown may come first.
Task<> AdvanceAlong() {
  const absl::Status status = co_await Advance(absl::Hours(1));
  EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
}

Task<> AdvanceShielded(bool* ended) {
  const absl::Status status = co_await Shielded(AdvanceBy(absl::Hours(1)));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(absl::IsFailedPrecondition(PauseTime())) << "the first task has ended";
  *ended = true;
}

// The first task leaves time paused, and two that advance it: one that the shutdown stops, and one that it does not.
TEST(Clock, TheEndOfTheFirstTaskResumesIt) {
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    bool ended = false;
    Simulation simulation(OfSeed(options));
    simulation.Run([](bool* done) -> Task<> {
      CO_ASSERT_OK(PauseTime());
      SpawnDetached(AdvanceShielded(done));
      SpawnDetached(AdvanceAlong());
      CO_ASSERT_OK(co_await Advance(absl::ZeroDuration()));  // until it waits
    }(&ended));
    EXPECT_TRUE(ended) << "seed " << seed;
  }
}

// --- The wall clock

Task<absl::Time> AskedDeadline() { co_return co_await CurrentDeadline(); }

Task<> SleepUntilAndNote(absl::Time until, absl::Time* woken) {
  const absl::Status slept = co_await SleepUntil(until);
  EXPECT_TRUE(slept.ok()) << slept;
  *woken = Now();
}

Task<> TheWallClock() {
  const absl::Time never;
  EXPECT_EQ(absl::ToCivilDay(WallNow(), absl::UTCTimeZone()), absl::CivilDay(2026, 1, 1));
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  const absl::Time wall = WallNow();
  EXPECT_EQ(WallNow(), wall) << "it stands still, too";

  absl::Time woken = never;
  JoinHandle<> hour = co_await Spawn(SleepUntilAndNote(wall + absl::Hours(1), &woken));
  const absl::StatusOr<absl::Time> deadline = co_await WithDeadline(wall + absl::Hours(1), AskedDeadline());
  CO_ASSERT_OK(deadline);
  EXPECT_EQ(*deadline, wall + absl::Hours(1));
  const absl::Status status = co_await WithDeadline(wall + absl::Minutes(1), AdvanceBy(absl::Minutes(2)));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_EQ(WallNow(), wall + absl::Minutes(1));

  CO_ASSERT_OK(SetWallClock(wall + absl::Hours(24)));
  EXPECT_EQ(WallNow(), wall + absl::Hours(24));
  EXPECT_EQ(Now(), start + absl::Minutes(1));
  CO_ASSERT_OK(co_await Advance(absl::Minutes(59) - absl::Nanoseconds(1)));
  EXPECT_EQ(woken, never) << "it was turned into monotonic time before the clock was set";
  CO_ASSERT_OK(co_await Advance(absl::Nanoseconds(1)));
  EXPECT_EQ(woken, start + absl::Hours(1));
  co_await std::move(hour);

  JoinHandle<> next = co_await Spawn(SleepUntilAndNote(wall + absl::Hours(25), &woken));
  CO_ASSERT_OK(co_await Advance(absl::Minutes(1)));
  EXPECT_EQ(woken, start + absl::Hours(1) + absl::Minutes(1)) << "a day was passed over";
  co_await std::move(next);
}

TEST(Clock, TimesOfTheWallClockAreTheMachines) { OnMachines(120, &TheWallClock); }

// --- The same seed

Task<> Everything() {
  co_await DoesWhatIsDue();
  CO_ASSERT_OK(ResumeTime());
  co_await SeveralAdvance();
  co_await ResumesMeanwhile();
}

TEST(Clock, TheSameSeedIsTheSameRun) {
  for (uint64_t seed = 1; seed <= 48; ++seed) {
    uint64_t digest = 0;
    for (int run = 0; run < 2; ++run) {
      SimulationOptions options;
      options.seed = seed;
      Simulation simulation(OfSeed(options));
      simulation.Run(Everything());
      if (run == 1) {
        EXPECT_EQ(simulation.report().digest, digest) << "seed " << seed;
      }
      digest = simulation.report().digest;
    }
  }
}

// --- Misuse

Task<> Misuse() {
  EXPECT_TRUE(absl::IsFailedPrecondition(ResumeTime()));
  const absl::Status early = co_await Advance(absl::Seconds(1));
  EXPECT_TRUE(absl::IsFailedPrecondition(early));
  EXPECT_EQ(early.message(), "advance: time is not paused");
  CO_ASSERT_OK(PauseTime());
  const absl::Time start = Now();
  const absl::Status back = co_await Advance(-absl::Seconds(1));
  EXPECT_TRUE(absl::IsInvalidArgument(back));
  EXPECT_EQ(back.message(), "advance: by -1s");
  EXPECT_TRUE(absl::IsInvalidArgument(co_await Advance(absl::InfiniteDuration())));
  EXPECT_TRUE(absl::IsInvalidArgument(co_await Advance(-absl::InfiniteDuration())));
  const absl::Status far = co_await Advance(absl::Hours(24 * 365 * 80));
  EXPECT_TRUE(absl::IsInvalidArgument(far));
  EXPECT_NE(far.message().find("the clock does not count on by"), absl::string_view::npos) << far;
  EXPECT_EQ(Now(), start);
  const absl::Time wall = WallNow();
  for (const absl::Time time : {absl::InfinitePast(), absl::InfiniteFuture(), absl::UnixEpoch() - absl::Nanoseconds(1),
                                absl::UnixEpoch() + absl::Hours(24 * 366 * 145)}) {
    const absl::Status set = SetWallClock(time);
    EXPECT_TRUE(absl::IsInvalidArgument(set)) << set;
  }
  EXPECT_EQ(WallNow(), wall);
  CO_ASSERT_OK(co_await Advance(absl::Hours(24 * 365 * 70)));
  EXPECT_EQ(Now(), start + absl::Hours(24 * 365 * 70));
  CO_ASSERT_OK(co_await Advance(absl::Nanoseconds(1) / 4));
  EXPECT_EQ(Now(), start + absl::Hours(24 * 365 * 70) + absl::Nanoseconds(1)) << "no less than was asked for";
}

TEST(Clock, WhatCannotBeAskedForIsAnError) { OnMachines(24, &Misuse); }

Task<> Outside() {
  const absl::Status advanced = co_await Advance(absl::Seconds(1));
  for (const absl::Status& status : {PauseTime(), ResumeTime(), SetWallClock(WallNow()), advanced}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_NE(status.message().find("not in a task on a simulated machine"), absl::string_view::npos) << status;
  }
}

TEST(Clock, OutsideOfASimulationThereIsNone) {
  EXPECT_TRUE(absl::IsFailedPrecondition(PauseTime()));
  EXPECT_TRUE(absl::IsFailedPrecondition(ResumeTime()));
  EXPECT_TRUE(evring::Run(Outside()).ok());
}

// --- Runs that cannot go on

Task<> WaitForTime() {
  CO_ASSERT_OK(PauseTime());
  static_cast<void>(co_await Sleep(absl::Minutes(5)));
}

// A stop takes along what the clock was to go on for.
Task<> WaitAfterAStop() {
  CO_ASSERT_OK(PauseTime());
  JoinHandle<absl::Status> advancing = co_await Spawn(AdvanceBy(absl::Hours(1)));
  CO_ASSERT_OK(co_await Advance(absl::ZeroDuration()));
  advancing.RequestStop();
  EXPECT_TRUE(absl::IsCancelled(co_await std::move(advancing)));
  static_cast<void>(co_await Sleep(absl::Minutes(5)));
}

Task<> WaitForNothing() {
  CO_ASSERT_OK(PauseTime());
  CO_ASSERT_OK(co_await Advance(absl::Minutes(5)));
  Event event;
  static_cast<void>(co_await event.Wait());
}

Task<> WaitByLooking() {
  CO_ASSERT_OK(PauseTime());
  for (const absl::Time start = Now(); Now() < start + absl::Seconds(1);) {
  }
}

Task<> AdvanceForEver() {
  CO_ASSERT_OK(PauseTime());
  for (;;) CO_ASSERT_OK(co_await Advance(absl::ZeroDuration()));
}

void RunOn(int workers, Task<> task) {
  SimulationOptions options = Seeded(3);
  options.workers = workers;
  options.calls_max = 10'000;
  Simulation simulation(options);
  simulation.Run(std::move(task));
}

TEST(ClockDeathTest, AWaitForTimeThatNobodyAdvancesIsReported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (int workers : {1, 3}) {
    constexpr char kReport[] =
        "every worker waits, and time is paused: what is next would come in 5m, but nobody advances or resumes it"
        "(.|\n)*seed 3(.|\n)*time is paused";
    EXPECT_DEATH(RunOn(workers, WaitForTime()), kReport);
    EXPECT_DEATH(RunOn(workers, WaitAfterAStop()), kReport);
    EXPECT_DEATH(RunOn(workers, WaitForNothing()), "nothing will ever happen(.|\n)*seed 3");
  }
}

TEST(ClockDeathTest, ARunThatGoesOnForEverIsReported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunOn(1, WaitByLooking()), "it looks at the time for ever, which is paused(.|\n)*seed 3");
  EXPECT_DEATH(RunOn(1, AdvanceForEver()), "it goes on for ever(.|\n)*seed 3");
}

}  // namespace
}  // namespace evring::sim

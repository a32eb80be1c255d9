// The explorer against small programs whose outcomes are known: the litmus tests of the C++ memory model, counts of
// interleavings that can be computed by hand, and each kind of failure that it reports.

#include "tests/model/explorer.h"

#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "kevent/check.h"
#include "tests/model/model_atomics.h"

namespace evring::model {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kAcqRel = std::memory_order_acq_rel;

using Atomic = ModelAtomic<int>;
using Outcomes = std::set<std::vector<int>>;

// Two atomics, and what up to four loads saw.
struct Two {
  Atomic x{0};
  Atomic y{0};
  int r[4] = {};
};

// Explores threads over a Two; returns what r was at the end of the schedules.
Outcomes OutcomesOf(const std::vector<std::function<void(Two*)>>& threads, int registers, Options options = {},
                    Result* result_out = nullptr) {
  Outcomes outcomes;
  const Result result = Explore(options, [&](Execution& run) {
    Two* two = run.Make<Two>();
    for (size_t i = 0; i < threads.size(); ++i) {
      run.Thread("thread " + std::to_string(i), [&, two, i] { threads[i](two); });
    }
    run.Finally([&, two] { outcomes.insert(std::vector<int>(two->r, two->r + registers)); });
  });
  EXPECT_TRUE(result.complete) << result.ToString();
  if (result_out != nullptr) *result_out = result;
  return outcomes;
}

TEST(Explorer, StoreBufferingIsSeenWithEveryOrderButReadModifyWrites) {
  const Outcomes loads = OutcomesOf({[](Two* t) {
                                       t->x.store(1, kRelease);
                                       t->r[0] = t->y.load(kAcquire);
                                     },
                                     [](Two* t) {
                                       t->y.store(1, kRelease);
                                       t->r[1] = t->x.load(kAcquire);
                                     }},
                                    2);
  EXPECT_EQ(loads, (Outcomes{{0, 0}, {0, 1}, {1, 0}, {1, 1}}));
}

// The Dekker that idle.h rests on: a read-modify-write of one word between the store and the load.
TEST(Explorer, ReadModifyWritesOfOneWordForbidStoreBuffering) {
  struct State {
    Atomic x{0}, y{0}, word{0};
    int r[2] = {};
  };
  for (const bool strong : {true, false}) {
    Outcomes outcomes;
    const auto order = strong ? kAcqRel : kRelaxed;
    const Result result = Explore({}, [&](Execution& run) {
      State* s = run.Make<State>();
      run.Thread("a", [s, order] {
        s->x.store(1, kRelaxed);
        s->word.fetch_add(0, order);
        s->r[0] = s->y.load(kRelaxed);
      });
      run.Thread("b", [s, order] {
        s->y.store(1, kRelaxed);
        s->word.fetch_add(0, order);
        s->r[1] = s->x.load(kRelaxed);
      });
      run.Finally([&outcomes, s] { outcomes.insert({s->r[0], s->r[1]}); });
    });
    EXPECT_TRUE(result.complete);
    EXPECT_EQ(outcomes.count({0, 0}), strong ? 0u : 1u);
    EXPECT_EQ(outcomes.size(), strong ? 3u : 4u);
  }
}

TEST(Explorer, MessagePassingNeedsReleaseAndAcquire) {
  for (const auto store : {kRelease, kRelaxed}) {
    for (const auto load : {kAcquire, kRelaxed}) {
      const Outcomes outcomes = OutcomesOf({[=](Two* t) {
                                              t->x.store(1, kRelaxed);
                                              t->y.store(1, store);
                                            },
                                            [=](Two* t) {
                                              t->r[0] = t->y.load(load);
                                              t->r[1] = t->x.load(kRelaxed);
                                            }},
                                           2);
      const bool ordered = store == kRelease && load == kAcquire;
      EXPECT_EQ(outcomes.count({1, 0}), ordered ? 0u : 1u);
      EXPECT_EQ(outcomes.size(), ordered ? 3u : 4u);
    }
  }
}

TEST(Explorer, IndependentReadersMayDisagree) {
  const auto reader = [](Atomic Two::* first, Atomic Two::* second, int r) {
    return [=](Two* t) {
      t->r[r] = (t->*first).load(kAcquire);
      t->r[r + 1] = (t->*second).load(kAcquire);
    };
  };
  const Outcomes outcomes =
      OutcomesOf({[](Two* t) { t->x.store(1, kRelease); }, [](Two* t) { t->y.store(1, kRelease); },
                  reader(&Two::x, &Two::y, 0), reader(&Two::y, &Two::x, 2)},
                 4);
  EXPECT_EQ(outcomes.size(), 16u);
  EXPECT_TRUE(outcomes.count({1, 0, 1, 0}));
}

TEST(Explorer, ReadsOfOneAtomicDoNotGoBack) {
  const Outcomes outcomes = OutcomesOf({[](Two* t) {
                                          t->x.store(1, kRelaxed);
                                          t->x.store(2, kRelaxed);
                                        },
                                        [](Two* t) {
                                          t->r[0] = t->x.load(kRelaxed);
                                          t->r[1] = t->x.load(kRelaxed);
                                        }},
                                       2);
  EXPECT_EQ(outcomes, (Outcomes{{0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 2}, {2, 2}}));
}

TEST(Explorer, ReadModifyWritesLoseNothing) {
  Result result;
  const auto add = [](Two* t) {
    t->x.fetch_add(1, kRelaxed);
    t->x.fetch_add(1, kRelaxed);
  };
  OutcomesOf({[add](Two* t) {
                add(t);
                t->r[0] = 1;
              },
              add},
             1, {}, &result);
  EXPECT_EQ(result.schedules, 6u) << "C(4, 2) orders of four dependent steps: " << result.ToString();
}

TEST(Explorer, ReleaseSequenceGoesThroughReadModifyWrites) {
  const auto run = [](bool store_in_between) {
    return OutcomesOf({[](Two* t) {
                         t->x.store(1, kRelaxed);
                         t->y.store(1, kRelease);
                       },
                       [=](Two* t) {
                         if (store_in_between) {
                           if (t->y.load(kRelaxed) == 1) t->y.store(2, kRelaxed);
                         } else {
                           int one = 1;
                           t->y.compare_exchange_strong(one, 2, kRelaxed, kRelaxed);
                         }
                       },
                       [](Two* t) {
                         t->r[0] = t->y.load(kAcquire);
                         t->r[1] = t->x.load(kRelaxed);
                       }},
                      2);
  };
  EXPECT_EQ(run(false).count({2, 0}), 0u);
  EXPECT_EQ(run(true).count({2, 0}), 1u);
}

TEST(Explorer, CompareExchangeFailsOnAnOutdatedValueAndSucceedsOnTheLastOnly) {
  const Outcomes outcomes = OutcomesOf({[](Two* t) { t->x.store(1, kRelaxed); },
                                        [](Two* t) {
                                          int one = 1;
                                          t->r[0] = t->x.compare_exchange_strong(one, 5, kRelaxed, kRelaxed) ? 1 : 0;
                                          t->r[1] = one;
                                        }},
                                       2);
  EXPECT_EQ(outcomes, (Outcomes{{0, 0}, {1, 1}}));
}

TEST(Explorer, WeakCompareExchangeFailsForNoReasonAsOftenAsAllowed) {
  const std::vector<std::function<void(Two*)>> threads = {[](Two* t) {
    int zero = 0;
    t->r[0] = t->x.compare_exchange_weak(zero, 5, kRelaxed, kRelaxed) ? 1 : 0;
    t->r[1] = t->x.compare_exchange_weak(zero, 5, kRelaxed, kRelaxed) ? 1 : 0;
  }};
  EXPECT_EQ(OutcomesOf(threads, 2), (Outcomes{{1, 0}}));
  EXPECT_EQ(OutcomesOf(threads, 2, {.spurious_failures = 1}), (Outcomes{{1, 0}, {0, 1}}));
}

TEST(Explorer, IndependentThreadsTakeOneSchedule) {
  struct State {
    Atomic a{0}, b{0}, c{0};
  };
  const Result result = Explore({}, [](Execution& run) {
    State* s = run.Make<State>();
    const auto hammer = [](Atomic* atomic) {
      for (int i = 0; i < 5; ++i) atomic->fetch_add(1, kAcqRel);
    };
    run.Thread("a", [=] { hammer(&s->a); });
    run.Thread("b", [=] { hammer(&s->b); });
    run.Thread("c", [=] { hammer(&s->c); });
  });
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.schedules, 1u);
}

// A schedule that the reduction by persistent sets (Flanagan and Godefroid, POPL 2005) loses once sleep sets are added:
// a failed compare-and-swap, a store between two reads of one thread and one of another.
TEST(Explorer, ReductionKeepsTheSecondReaderBehindTheWriter) {
  const std::vector<std::function<void(Two*)>> threads = {[](Two* t) {
                                                            int one = 1;
                                                            t->x.compare_exchange_strong(one, 7, kAcqRel, kRelaxed);
                                                            t->x.load(kRelaxed);
                                                            t->x.store(12, kRelaxed);
                                                          },
                                                          [](Two* t) {
                                                            t->y.store(2, kRelease);
                                                            t->r[0] = t->x.load(kAcquire);
                                                            t->r[1] = t->x.load(kRelaxed);
                                                          },
                                                          [](Two* t) {
                                                            t->r[2] = t->x.load(kRelaxed);
                                                            t->r[3] = t->x.load(kAcquire);
                                                          }};
  const Outcomes outcomes = OutcomesOf(threads, 4, {.stale_reads = 0});
  EXPECT_EQ(outcomes, OutcomesOf(threads, 4, {.preemptions = 20, .stale_reads = 0}));
  EXPECT_TRUE(outcomes.count({12, 12, 0, 0}));
}

// The reduction against the plain search, over programs made up at random: the same outcomes.
TEST(Explorer, ReductionLosesNoOutcome) {
  uint64_t reduced_schedules = 0, all_schedules = 0;
  for (uint32_t program = 50; program < 66; ++program) {
    SCOPED_TRACE(testing::Message() << "seed " << program);
    uint32_t seed = program * 2654435761u;
    const auto random = [&seed](uint32_t n) {
      seed = seed * 1664525 + 1013904223;
      return (seed >> 16) % n;
    };
    struct Action {
      uint32_t kind, x, value;
    };
    std::vector<std::vector<Action>> threads(3);
    for (auto& actions : threads) {
      for (int i = 0; i < 2; ++i) actions.push_back({random(6), random(2), 1 + random(2)});
    }
    struct State {
      Atomic atomics[2];
      ModelMutex mutex;
      Event event;
      std::vector<int> seen[3];
    };
    const auto outcomes = [&](Options options, uint64_t* schedules) {
      std::set<std::vector<std::vector<int>>> all;
      const Result result = Explore(options, [&](Execution& run) {
        State* s = run.Make<State>();
        for (size_t t = 0; t < threads.size(); ++t) {
          run.Thread(std::to_string(t), [&, s, t] {
            for (const Action& action : threads[t]) {
              Atomic& a = s->atomics[action.x];
              const int value = static_cast<int>(action.value);
              switch (action.kind) {
                case 0:
                  a.store(value, kRelease);
                  break;
                case 1:
                case 2:
                  s->seen[t].push_back(a.load(action.kind == 1 ? kAcquire : kRelaxed));
                  break;
                case 3:
                  s->seen[t].push_back(a.fetch_add(value, kAcqRel));
                  break;
                case 4: {
                  int expected = value - 1;
                  s->seen[t].push_back(a.compare_exchange_strong(expected, 7, kAcqRel, kRelaxed));
                  break;
                }
                case 5:
                  s->mutex.lock();
                  s->seen[t].push_back(a.load(kRelaxed));
                  a.store(value + 10, kRelaxed);
                  s->mutex.unlock();
                  break;
              }
            }
            if (t == 0) s->event.Post();
            if (t == 1 && s->event.Wait()) s->seen[t].push_back(s->atomics[0].load(kRelaxed));
          });
        }
        run.Finally([&, s] {
          const std::vector<int> last = {s->atomics[0].load(kRelaxed), s->atomics[1].load(kRelaxed)};
          all.insert({s->seen[0], s->seen[1], s->seen[2], last});
        });
      });
      EXPECT_TRUE(result.complete) << result.ToString();
      *schedules += result.schedules + result.redundant;
      return all;
    };
    const auto reduced = outcomes({.stale_reads = 1}, &reduced_schedules);
    EXPECT_TRUE(reduced == outcomes({.preemptions = 20, .stale_reads = 1}, &all_schedules)) << reduced.size();
  }
  std::printf("%llu schedules instead of %llu\n", static_cast<unsigned long long>(reduced_schedules),
              static_cast<unsigned long long>(all_schedules));
  EXPECT_LT(reduced_schedules * 4, all_schedules);
}

TEST(Explorer, PreemptionBoundIsABound) {
  const auto add_twice = [](Two* t) {
    const int seen = t->x.load(kRelaxed);
    t->x.store(seen + 1, kRelaxed);
    t->r[0] = 1;
  };
  Result none, one;
  OutcomesOf({add_twice, add_twice}, 1, {.preemptions = 0, .stale_reads = 0}, &none);
  OutcomesOf({add_twice, add_twice}, 1, {.preemptions = 1, .stale_reads = 0}, &one);
  EXPECT_EQ(none.schedules, 2u);  // one thread after the other
  EXPECT_EQ(one.schedules, 4u);   // and each of them interrupted in the middle
}

TEST(Explorer, PlainVariableHandedOverByReleaseAndAcquireIsNoRace) {
  struct State {
    Plain<int> data;
    Atomic flag{0};
  };
  for (const bool ordered : {true, false}) {
    const Result result = Explore({}, [&](Execution& run) {
      State* s = run.Make<State>();
      s->data.Set(1);
      run.Thread("writer", [=] {
        s->data.Set(2);
        s->flag.store(1, ordered ? kRelease : kRelaxed);
      });
      run.Thread("reader", [=] {
        if (s->flag.load(kAcquire) == 1) Check(s->data.Get() == 2, "the data came along");
      });
      run.Finally([=] { Check(s->data.Get() == 2, "Finally sees everything"); });
    });
    EXPECT_EQ(result.complete, ordered) << result.ToString();
    ASSERT_EQ(result.failure.has_value(), !ordered);
    if (!ordered) {
      EXPECT_NE(result.failure->what.find("data race"), std::string::npos) << result.failure->what;
    }
  }
}

TEST(Explorer, ReadFollowedByUnorderedWriteIsARace) {
  const Result result = Explore({}, [](Execution& run) {
    auto* data = run.Make<Plain<int>>(0);
    auto* pause = run.Make<Atomic>(0);
    run.Thread("reader", [=] {
      pause->load(kRelaxed);
      data->Get();
    });
    run.Thread("writer", [=] {
      pause->load(kRelaxed);
      data->Set(1);
    });
  });
  EXPECT_TRUE(result.failure.has_value());
}

TEST(Explorer, MutexExcludesAndOrders) {
  struct State {
    ModelMutex mutex;
    Plain<int> data;
  };
  const Result result = Explore({}, [](Execution& run) {
    State* s = run.Make<State>();
    for (const char* name : {"a", "b", "c"}) {
      run.Thread(name, [=] {
        s->mutex.lock();
        s->data.Set(s->data.Get() + 1);
        s->mutex.unlock();
      });
    }
    run.Finally([=] { Check(s->data.Get() == 3, "three additions"); });
  });
  EXPECT_TRUE(result.complete) << result.ToString();
  EXPECT_EQ(result.schedules, 6u) << "3! orders: " << result.ToString();
}

TEST(Explorer, DeadlockIsFoundWithItsTrace) {
  struct State {
    ModelMutex a, b;
  };
  const Result result = Explore({}, [](Execution& run) {
    State* s = run.Make<State>();
    const auto take = [](ModelMutex* first, ModelMutex* second) {
      first->lock();
      second->lock();
      second->unlock();
      first->unlock();
    };
    run.Thread("ab", [=] { take(&s->a, &s->b); });
    run.Thread("ba", [=] { take(&s->b, &s->a); });
  });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_EQ(result.failure->what, "all threads are blocked");
  EXPECT_NE(result.failure->trace.find("lock"), std::string::npos) << result.failure->trace;
}

TEST(Explorer, EventIsStoredAndCarriesWhatWasDoneBefore) {
  struct State {
    Event event;
    Plain<int> data;
  };
  const Result result = Explore({}, [](Execution& run) {
    State* s = run.Make<State>();
    run.Thread("poster", [=] {
      s->data.Set(1);
      s->event.Post();
    });
    run.Thread("waiter", [=] {
      Check(s->event.Wait(), "posted");
      Check(s->data.Get() == 1, "visible");
      Check(!s->event.Wait(), "ended by WhenAllBlocked");
    });
    run.WhenAllBlocked([=] { return s->data.Get() == 1; });
  });
  EXPECT_TRUE(result.complete) << result.ToString();
}

TEST(Explorer, AFailedScheduleIsReplayedFromItsText) {
  const auto scenario = [](Execution& run) {
    Two* t = run.Make<Two>();
    run.Name(t, "two");
    const auto add = [t] {
      const int seen = t->x.load(kRelaxed);
      t->x.store(seen + 1, kRelaxed);
    };
    run.Thread("a", add);
    run.Thread("b", add);
    run.Finally([t] { Check(t->x.load(kRelaxed) == 2, "two additions"); });
  };
  const Result found = Explore({}, scenario);
  ASSERT_TRUE(found.failure.has_value());
  EXPECT_NE(found.failure->trace.find("explorer_test.cc"), std::string::npos) << found.failure->trace;
  EXPECT_NE(found.failure->trace.find("two+0"), std::string::npos) << found.failure->trace;
  const Result replayed = Explore({.replay = found.failure->schedule}, scenario);
  ASSERT_TRUE(replayed.failure.has_value());
  EXPECT_EQ(replayed.schedules, 1u);
  EXPECT_EQ(replayed.failure->trace, found.failure->trace);
}

TEST(Explorer, AFailedCheckOfTheSetUpOrOfTheEndIsAFailure) {
  for (const bool at_the_end : {false, true}) {
    const Result result = Explore({}, [=](Execution& run) {
      Two* t = run.Make<Two>();
      run.Thread("a", [t] { t->x.load(kRelaxed); });
      run.Finally([] { Check(false, "the end"); });
      if (!at_the_end) Check(false, "the set-up");
    });
    ASSERT_TRUE(result.failure.has_value());
    EXPECT_EQ(result.failure->what, at_the_end ? "the end" : "the set-up");
    EXPECT_FALSE(result.complete);
  }
}

// A failed EVRING_CHECK of the code under test ends the schedule, not the process.
TEST(Explorer, AFailedInvariantIsAFailure) {
  const Result result = Explore({}, [](Execution& run) {
    Two* t = run.Make<Two>();
    run.Thread("a", [t] { EVRING_CHECK(t->x.fetch_add(1, kRelaxed) == 0, "the first"); });
    run.Thread("b", [t] { EVRING_CHECK(t->x.fetch_add(1, kRelaxed) == 0, "the first"); });
  });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_NE(result.failure->what.find("check failed"), std::string::npos) << result.failure->what;
}

TEST(Explorer, EndlessScheduleIsAFailure) {
  const Result result = Explore({.steps_max = 50}, [](Execution& run) {
    auto* flag = run.Make<Atomic>(0);
    run.Thread("spins", [=] {
      while (flag->load(kRelaxed) == 0) {
      }
    });
  });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_EQ(result.failure->what, "the schedule does not end");
}

// What lives on the stacks of schedules that are broken off is destroyed. (LeakSanitizer sees it too.)
TEST(Explorer, BrokenOffSchedulesUnwind) {
  int alive = 0;
  struct Counted {
    explicit Counted(int* n) : n(n) { ++*n; }
    ~Counted() { --*n; }
    int* n;
  };
  const Result result = Explore({}, [&alive](Execution& run) {
    Two* t = run.Make<Two>();
    // A slot: one thread fills it if it is empty, the others empty it if it is full.
    const auto use = [=, &alive](int value, int times) {
      Counted counted(&alive);
      const std::string text(100, 'x');
      for (int i = 0; i < times; ++i) {
        if ((t->x.load(kRelaxed) == 0) == (value != 0)) t->x.exchange(value, kAcqRel);
      }
    };
    run.Thread("a", [=] { use(1, 3); });
    run.Thread("b", [=] { use(0, 2); });
    run.Thread("c", [=] { use(0, 2); });
    run.Finally([&alive] { Check(alive == 0, "all ended"); });
  });
  EXPECT_TRUE(result.complete) << result.ToString();
  EXPECT_GT(result.redundant, 0u) << "this program is meant to have some: " << result.ToString();
  EXPECT_EQ(alive, 0);
}

// The same for a schedule that fails with threads in the middle of things.
TEST(Explorer, FailedSchedulesUnwind) {
  int alive = 0;
  const Result result = Explore({}, [&alive](Execution& run) {
    auto* mutex = run.Make<ModelMutex>();
    auto* event = run.Make<Event>();
    const auto body = [=, &alive](bool waits) {
      const std::string text(100, 'x');
      std::lock_guard lock(*mutex);
      ++alive;
      if (waits) static_cast<void>(event->Wait());
      Check(!text.empty() && alive < 2, "the second fails");
    };
    run.Thread("a", [=] { body(false); });
    run.Thread("b", [=] { body(true); });
  });
  ASSERT_TRUE(result.failure.has_value());
}

TEST(Explorer, AMutantIsTheCodeWithOneAccessChanged) {
  const auto scenario = [](Execution& run) {
    Two* t = run.Make<Two>();
    run.Thread("writer", [t] {
      t->x.store(1, kRelaxed);
      t->y.store(1, kRelease);
    });
    run.Thread("reader", [t] {
      if (t->y.load(kAcquire) == 1) Check(t->x.load(kRelaxed) == 1, "seen");
    });
    run.Finally([t] { Check(t->x.load(kRelaxed) == 1 && t->y.load(kRelaxed) == 1, "written"); });
  };
  const Result result = Explore({}, scenario);
  ASSERT_TRUE(result.complete) << result.ToString();
  ASSERT_EQ(result.sites.size(), 4u);
  for (const Site& site : result.sites) {
    for (const Change change : {Change::kDropAcquire, Change::kDropRelease, Change::kNoWrite}) {
      const Mutant mutant{.site = site, .change = change};
      const bool applies = change == Change::kNoWrite       ? site.op == Op::kStore
                           : change == Change::kDropAcquire ? site.order == kAcquire
                                                            : site.order == kRelease;
      EXPECT_EQ(Explore({.mutant = mutant}, scenario).failure.has_value(), applies) << mutant.ToString();
    }
  }
}

}  // namespace
}  // namespace evring::model

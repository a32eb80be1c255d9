// accesses.cc: what an access does, and what it may see.

#include <exception>

#include "kevent/check.h"
#include "tests/model/engine.h"

namespace evring::model {

int Engine::NewLocation(uint64_t value, const void* address) {
  EVRING_CHECK(phase_ == Phase::kSetup, "a scenario makes its atomics before its threads run");
  const int location = memory_.NewLocation(value);
  locations_.emplace_back().address = address;
  return location;
}

Reply Engine::Perform(Request request) {
  for (const std::memory_order order : {request.order, request.failure}) {
    EVRING_CHECK(order != std::memory_order_seq_cst && order != std::memory_order_consume,
                 "the model knows relaxed, acquire, release and acq_rel");
  }
  NoteSite(request);
  if (IsMutant(request)) {
    request = Mutated(request);
    const Change change = options_.mutant->change;
    const bool read_modify_write = request.op == Op::kReadModifyWrite || request.op == Op::kCompareExchange;
    if (change == Change::kNoWrite && request.op == Op::kStore) return Reply();
    if (read_modify_write && (change == Change::kNoWrite || change == Change::kTwoSteps)) {
      Request half = request;
      half.op = Op::kLoad;
      half.order = OrderOf(Acquires(request.order), false);
      Reply reply = Perform(half);
      reply.done = request.op == Op::kReadModifyWrite || reply.value == request.expected;
      if (change == Change::kNoWrite || !reply.done) return reply;
      half.op = Op::kStore;
      half.order = OrderOf(false, Releases(request.order));
      if (request.op == Op::kReadModifyWrite) half.operand = request.compute(reply.value, request.operand);
      Perform(half);
      return reply;
    }
  }
  const bool decided = running_ != kSetupThread && (phase_ == Phase::kStarting || phase_ == Phase::kRunning);
  if (decided) Announce(request);
  if (phase_ == Phase::kAbandoning && std::uncaught_exceptions() == 0) throw Abandoned();
  if (phase_ == Phase::kDraining) {
    if (request.op == Op::kWait) return Reply{.value = 0, .done = false};
    if (!Runnable(request)) throw Abandoned();
  }
  return Execute(request);
}

Reply Engine::Execute(const Request& request) {
  memory_.Step(running_);
  const int location = request.location;
  const int last = memory_.Last(location);
  Step step{.thread = running_, .request = request, .reply = {}, .written = 0, .wrote = false, .stale = 0};
  switch (request.op) {
    case Op::kLoad: {
      const int store = ChooseStore(location);
      step.reply.value = memory_.Value(location, store);
      NoteRead(location, store, Acquires(request.order), &step);
      break;
    }
    case Op::kStore:
      NoteWrite(location, request.operand, Releases(request.order), -1, &step);
      break;
    case Op::kReadModifyWrite:
      step.reply.value = memory_.Value(location, last);
      NoteRead(location, last, Acquires(request.order), &step);
      NoteWrite(location, request.compute(step.reply.value, request.operand), Releases(request.order), last, &step);
      break;
    case Op::kCompareExchange:
      step.reply = CompareExchange(request, &step);
      break;
    case Op::kPost:
      if (phase_ == Phase::kRunning) path_[depth_ - 1].enables = memory_.Value(location, last) == 0;
      NoteWrite(location, 1, true, last, &step);
      break;
    case Op::kWait:
      NoteRead(location, last, true, &step);
      NoteWrite(location, 0, false, -1, &step);
      break;
    case Op::kLock:
    case Op::kUnlock: {
      int& held_by = locations_[location].held_by;
      EVRING_CHECK(held_by == (request.op == Op::kLock ? kNoThread : running_), "a mutex is unlocked by its holder");
      held_by = request.op == Op::kLock ? running_ : kNoThread;
      NoteRead(location, last, true, &step);
      NoteWrite(location, 0, true, last, &step);
      break;
    }
  }
  if (running_ != kSetupThread) steps_.push_back(step);
  FinishStep(request, step.wrote);
  return step.reply;
}

// The outcomes: what the last store decides, failing on an outdated value, failing for no reason.
Reply Engine::CompareExchange(const Request& request, Step* step) {
  const int location = request.location;
  const int last = memory_.Last(location);
  const bool no_compare = IsMutant(request) && options_.mutant->change == Change::kNoCompare;
  const bool equal = no_compare || memory_.Value(location, last) == request.expected;
  std::array<int, 64> stores;
  int choices = 0;
  stores[choices++] = last;
  if (!no_compare && phase_ == Phase::kRunning) {
    for (int i = last - 1; i >= memory_.OldestReadable(running_, location) && choices < 63; --i) {
      if (memory_.Value(location, i) != request.expected && MayReadStale(location, i)) stores[choices++] = i;
    }
    if (equal && request.weak && threads_[running_].spurious_failures < options_.spurious_failures) {
      stores[choices++] = last;
    }
  }
  const int choice = Choose(choices);
  const int store = stores[choice];
  const uint64_t value = memory_.Value(location, store);
  if (choice == 0 && equal) {
    NoteRead(location, last, Acquires(request.order), step);
    NoteWrite(location, request.operand, Releases(request.order), last, step);
    return {.value = value, .done = true};
  }
  if (value == request.expected) ++threads_[running_].spurious_failures;
  NoteRead(location, store, Acquires(request.failure), step);
  return {.value = value, .done = false};
}

int Engine::ChooseStore(int location) {
  const int last = memory_.Last(location);
  if (phase_ != Phase::kRunning || running_ == kSetupThread) return last;
  std::array<int, 64> stores;
  int choices = 0;
  stores[choices++] = last;
  for (int i = last - 1; i >= memory_.OldestReadable(running_, location) && choices < 64; --i) {
    if (MayReadStale(location, i)) stores[choices++] = i;
  }
  return stores[Choose(choices)];
}

// A thread sees a store some time: it may read the same outdated one twice, not forever.
bool Engine::MayReadStale(int location, int store) {
  const Location::Stale& stale = locations_[location].stale[running_];
  if (stale.store == store && stale.times >= 2) return false;
  return options_.stale_reads == Options::kUnlimited || threads_[running_].stale_reads < options_.stale_reads;
}

void Engine::NoteRead(int location, int store, bool acquire, Step* step) {
  step->stale = memory_.Last(location) - store;
  if (step->stale > 0) {
    ++threads_[running_].stale_reads;
    Location::Stale& stale = locations_[location].stale[running_];
    stale = {.store = store, .times = stale.store == store ? stale.times + 1 : 1};
  }
  memory_.Read(running_, location, store, acquire);
}

void Engine::NoteWrite(int location, uint64_t value, bool release, int sequence, Step* step) {
  step->wrote = true;
  step->written = value;
  memory_.Write(running_, location, value, release, sequence);
}

void Engine::PlainAccess(internal::PlainState* state, bool write, const std::source_location& where) {
  if (phase_ == Phase::kAbandoning) return;
  const View& view = memory_.ViewOf(running_);
  const auto unordered = [&](int thread, uint16_t step) { return thread != running_ && view.Steps(thread) <= step; };
  bool race = state->writer >= 0 && unordered(state->writer, state->written_at);
  for (int i = 0; write && i < kClocks; ++i) race |= state->read_by[i] && unordered(i, state->read_at[i]);
  if (write) {
    state->writer = running_;
    state->written_at = view.Steps(running_);
  } else {
    state->read_by[running_] = true;
    state->read_at[running_] = view.Steps(running_);
  }
  if (race) {
    Fail("data race at " + FileOf(where) + ":" + std::to_string(where.line()) + " by " +
         (running_ == kSetupThread ? std::string("Finally") : run_->threads_[running_].first));
  }
}

// --- Mutants
// -----------------------------------------------------------------------------------------------------------

bool Engine::IsMutant(const Request& request) const {
  return options_.mutant && options_.mutant->site == SiteOf(request);
}

// The orders that remain; the other changes are made where the access is.
Request Engine::Mutated(const Request& request) const {
  Request mutated = request;
  if (options_.mutant->change == Change::kDropAcquire) mutated.order = OrderOf(false, Releases(request.order));
  if (options_.mutant->change == Change::kDropAcquireOnFailure) mutated.failure = std::memory_order_relaxed;
  if (options_.mutant->change == Change::kDropRelease) mutated.order = OrderOf(Acquires(request.order), false);
  return mutated;
}

void Engine::NoteSite(const Request& request) {
  if (options_.mutant || phase_ == Phase::kSetup || phase_ == Phase::kFinal) return;
  const Site site = SiteOf(request);
  for (const Site& known : result_.sites) {
    if (known == site) return;
  }
  result_.sites.push_back(site);
}

}  // namespace evring::model

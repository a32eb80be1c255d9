// trace.cc: what people read: failures, traces, sites, results.

#include <cstring>
#include <sstream>
#include <string_view>
#include <tuple>
#include <utility>

#include "tests/model/engine.h"

namespace evring::model {

namespace {

const char* NameOf(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    default:
      return "?";
  }
}

const char* NameOf(Op op) {
  switch (op) {
    case Op::kLoad:
      return "load";
    case Op::kStore:
      return "store";
    case Op::kReadModifyWrite:
      return "read_modify_write";
    case Op::kCompareExchange:
      return "compare_exchange";
    case Op::kPost:
      return "post";
    case Op::kWait:
      return "wait";
    case Op::kLock:
      return "lock";
    case Op::kUnlock:
      return "unlock";
  }
  return "?";
}

const char* NameOf(Change change) {
  switch (change) {
    case Change::kNone:
      return "unchanged";
    case Change::kDropAcquire:
      return "without acquire";
    case Change::kDropAcquireOnFailure:
      return "without acquire on failure";
    case Change::kDropRelease:
      return "without release";
    case Change::kNoWrite:
      return "without its write";
    case Change::kTwoSteps:
      return "in two steps";
    case Change::kNoCompare:
      return "without the compare";
  }
  return "?";
}

bool HasOrder(Op op) { return op <= Op::kCompareExchange; }

}  // namespace

std::string FileOf(const std::source_location& where) {
  const std::string path = where.file_name();
  return path.substr(path.rfind('/') + 1);
}

void Engine::Fail(std::string what) {
  NoteFailure(std::move(what));
  throw Abandoned();
}

void Engine::NoteFailure(std::string what) {
  if (failed_) return;  // the first is the cause
  failed_ = true;
  result_.failure = Failure{.what = std::move(what), .schedule = Schedule(), .trace = Trace()};
}

std::string Engine::Schedule() const {
  std::ostringstream out;
  for (int i = 0; i < depth_; ++i) {
    out << (i == 0 ? "" : " ") << path_[i].thread;
    if (path_[i].choice != 0) out << ":" << path_[i].choice;
  }
  return std::move(out).str();
}

std::string Engine::NameOfValue(uint64_t value) const {
  for (const Execution::Named& named : run_->names_) {
    if (named.address == value) return named.name;
  }
  return std::to_string(static_cast<int64_t>(value));
}

std::string Engine::NameOfLocation(int location) const {
  const auto address = reinterpret_cast<uintptr_t>(locations_[location].address);
  for (const Execution::Named& named : run_->names_) {
    if (address >= named.address && address - named.address < named.size) {
      return named.name + "+" + std::to_string(address - named.address);
    }
  }
  return "#" + std::to_string(location);
}

std::string Engine::Trace() const {
  std::ostringstream out;
  int last = kNoThread;
  for (const Step& step : steps_) {
    if (step.thread != last) out << run_->threads_[step.thread].first << "\n";
    last = step.thread;
    const Site site = SiteOf(step.request);
    out << "  " << site.ToString() << " of " << NameOfLocation(step.request.location);
    const bool reads = step.request.op != Op::kStore && HasOrder(step.request.op);
    if (reads) out << " = " << NameOfValue(step.reply.value);
    if (step.stale > 0) out << " (outdated by " << step.stale << ")";
    if (step.request.op == Op::kCompareExchange && !step.wrote) out << " failed";
    if (step.wrote && HasOrder(step.request.op)) out << " <- " << NameOfValue(step.written);
    out << "\n";
  }
  for (int i = 0; i < thread_count_; ++i) {
    if (threads_[i].finished || phase_ == Phase::kSetup || phase_ == Phase::kStarting) continue;
    const Request& pending = threads_[i].pending;
    const Site site = SiteOf(pending);
    if (i != running_) out << run_->threads_[i].first << "\n  then " << site.ToString() << "\n";
  }
  return std::move(out).str();
}

bool operator==(const Site& a, const Site& b) {
  return a.where.line() == b.where.line() && a.where.column() == b.where.column() && a.op == b.op &&
         a.order == b.order &&
         (a.where.file_name() == b.where.file_name() || std::strcmp(a.where.file_name(), b.where.file_name()) == 0);
}

bool operator<(const Site& a, const Site& b) {
  const auto key = [](const Site& s) {
    return std::tuple(std::string_view(s.where.file_name()), s.where.line(), s.where.column(), s.op, s.order);
  };
  return key(a) < key(b);
}

// From "T* ns::RunQueue<T, kCapacity, Atomics>::StealInto(RunQueue&) [with T = ...]".
std::string Site::Function() const {
  const std::string name = where.function_name();
  int angles = 0;
  size_t end = 0;
  while (end < name.size() && (name[end] != '(' || angles != 0)) {
    angles += name[end] == '<' ? 1 : name[end] == '>' ? -1 : 0;
    ++end;
  }
  const size_t start = name.find_last_of(": *&", end == 0 ? 0 : end - 1);
  return name.substr(start == std::string::npos ? 0 : start + 1, end - (start == std::string::npos ? 0 : start + 1));
}

std::string Site::ToString() const {
  std::string text = FileOf(where) + ":" + std::to_string(where.line()) + " " + Function() + ": " + NameOf(op);
  if (HasOrder(op)) text += std::string("(") + NameOf(order) + ")";
  return text;
}

std::string Mutant::ToString() const { return site.ToString() + " " + NameOf(change); }

std::string Result::ToString() const {
  std::ostringstream out;
  out << schedules << " schedules, " << redundant << " broken off, " << steps << " steps, the longest " << depth
      << (complete ? ", complete" : ", not complete") << "\n";
  if (failure) {
    out << "FAILED: " << failure->what << "\nschedule: " << failure->schedule << "\n" << failure->trace;
  }
  return std::move(out).str();
}

}  // namespace evring::model

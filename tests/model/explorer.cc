#include "tests/model/explorer.h"

#include <cstdio>
#include <cstdlib>

#include "kevent/check.h"
#include "tests/model/engine.h"

namespace evring::model {

Result Explore(const Options& options, const std::function<void(Execution&)>& scenario) {
  return Engine(options, scenario).Explore();
}

void Check(bool ok, const char* what) {
  EVRING_CHECK(engine != nullptr, "model::Check is for scenarios");
  if (!ok) engine->Fail(what);
}

namespace internal {

int NewLocation(uint64_t value, const void* address) {
  EVRING_CHECK(engine != nullptr, "the atomics of the model live within a scenario");
  return engine->NewLocation(value, address);
}
Reply Perform(const Request& request) { return engine->Perform(request); }
void PlainAccess(PlainState* state, bool write, const std::source_location& where) {
  engine->PlainAccess(state, write, where);
}

}  // namespace internal

}  // namespace evring::model

namespace evring::kevent {

// In place of kevent/check.cc: a check that fails in the code under test is a finding of the explorer.
void CheckFailed(const char* file, int line, const char* condition, const char* text) {
  const std::string what =
      std::string(file) + ":" + std::to_string(line) + ": check failed: " + condition + ": " + text;
  if (model::engine != nullptr) model::engine->Fail(what);
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

}  // namespace evring::kevent

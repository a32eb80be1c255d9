// traces.h: what the real and the simulated kernel have answered to the steps of one random program.

#ifndef EVRING_TESTS_SIM_TRACES_H_
#define EVRING_TESTS_SIM_TRACES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace evring::sim {

// A line for each step, and perhaps some behind them.
using Trace = std::vector<std::string>;

// What `on_real(patience_ns)` answers: as `simulated`, or, with all the patience there is, otherwise.
template <class OnReal>
Trace WithPatience(std::span<const int64_t> patience_ns, const Trace& simulated, OnReal on_real) {
  Trace real;
  for (const int64_t ns : patience_ns) {
    real = on_real(ns);
    if (real == simulated) break;
  }
  return real;
}

// The steps and the answers of the real kernel as far as the first that is another one; there both. `behind`: what is
// said of a line behind the steps.
template <class Step>
std::string Difference(const std::vector<Step>& program, const Trace& real, const Trace& simulated,
                       absl::string_view behind = "") {
  std::string text;
  for (size_t i = 0; i < real.size(); ++i) {
    const std::string step = i < program.size() ? program[i].ToString() : std::string(behind);
    absl::StrAppend(&text, i, " ", step, "\n   ", real[i], "\n");
    if (i < simulated.size() && real[i] == simulated[i]) continue;
    absl::StrAppend(&text, "   simulated: ", i < simulated.size() ? simulated[i] : "nothing", "\n");
    break;
  }
  return text;
}

}  // namespace evring::sim

#endif  // EVRING_TESTS_SIM_TRACES_H_

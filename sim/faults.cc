#include "sim/faults.h"

namespace evring::sim {

const char* FaultName(Fault fault) {
  static constexpr std::array<const char*, kFaults> kNames = {
      "short-receive", "short-send",  "receive-error",  "send-error",   "accept-error",  "connect-error",
      "reset",         "no-buffers",  "multishot-ends", "cancel-loses", "enter-refused", "interrupted",
      "late-wake",     "deferred",    "slow",           "short-file",   "file-error",    "clock-jump",
      "bind-error",    "futex-error", "spurious-wake",  "clock-set",    "event-lost"};
  return kNames[static_cast<size_t>(fault)];
}

FaultRules FaultRules::Everyday() {
  FaultRules rules;
  rules[Fault::kShortReceive].ppm = 150'000;
  rules[Fault::kShortSend].ppm = 150'000;
  rules[Fault::kNoBuffers].ppm = 50'000;
  rules[Fault::kMultishotEnds].ppm = 50'000;
  rules[Fault::kCancelLoses].ppm = 300'000;
  rules[Fault::kInterrupted].ppm = 20'000;
  rules[Fault::kLateWake].ppm = 100'000;
  rules[Fault::kDeferred].ppm = 200'000;
  rules[Fault::kSlow].ppm = 50'000;
  rules[Fault::kShortFile].ppm = 100'000;
  rules[Fault::kSpuriousWake].ppm = 50'000;
  return rules;
}

FaultRules FaultRules::Storm() {
  FaultRules rules = Everyday();
  rules[Fault::kReceiveError].ppm = 4'000;
  rules[Fault::kSendError].ppm = 4'000;
  rules[Fault::kAcceptError].ppm = 50'000;
  rules[Fault::kConnectError].ppm = 50'000;
  rules[Fault::kReset].ppm = 4'000;
  rules[Fault::kEnterRefused].ppm = 10'000;
  rules[Fault::kFileError].ppm = 10'000;
  rules[Fault::kClockJump].ppm = 500;
  rules[Fault::kBindError].ppm = 50'000;
  rules[Fault::kFutexError].ppm = 10'000;
  rules[Fault::kClockSet].ppm = 5'000;
  rules[Fault::kEventLost].ppm = 10'000;
  return rules;
}

bool Faults::Happens(Fault fault) {
  const FaultRule& rule = rules_[fault];
  if (rule.ppm == 0 || !on_ || !random_.Chance(rule.ppm)) return false;
  uint64_t& count = counts_[static_cast<size_t>(fault)];
  if (count == rule.max) return false;
  ++count;
  const uint64_t number = next_++;
  if (!choice_.Has(number)) return false;
  injected_.push_back(Injection{number, fault});
  return true;
}

}  // namespace evring::sim

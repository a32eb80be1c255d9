// random.h: the numbers that a seed decides: the same sequence with every compiler.

#ifndef EVRING_SIM_RANDOM_H_
#define EVRING_SIM_RANDOM_H_

#include <cstddef>
#include <cstdint>

namespace evring::sim {

// SplitMix64. One sequence for each thing that is decided (`stream`), so that one more decision here does not move all
// those elsewhere. Seeds are mixed: else that of the next seed would be this one without its first number.
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0) : state_(Mix(seed + Mix(stream))) {}

  uint64_t Next() { return Mix(state_ += 0x9e3779b97f4a7c15u); }
  // In [0, n); n > 0.
  uint64_t Below(uint64_t n) { return Next() % n; }
  // In [min, max].
  int64_t Between(int64_t min, int64_t max) {
    return min + static_cast<int64_t>(Below(static_cast<uint64_t>(max - min) + 1));
  }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  // With a probability of `ppm` millionths.
  bool Chance(uint32_t ppm) { return Below(1'000'000) < ppm; }

 private:
  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

}  // namespace evring::sim

#endif  // EVRING_SIM_RANDOM_H_

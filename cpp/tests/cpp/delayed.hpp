// The sequences with loops between any two of their instructions; with UNARMED they lack the store that arms them.
#ifndef DELAYED_HPP
#define DELAYED_HPP

#include <cstddef>
#include <cstdint>

constexpr std::size_t places = 16;
// Turns of the loop at each place.
extern "C" {
[[gnu::visibility("hidden")]] inline volatile std::uint32_t test_turns[places] = {};
}

// Loops that keep the flags: they also stand between a comparison and its branch.
#if defined(__x86_64__)
#define DYNM_TEST_DELAY(place) \
  "movl test_turns + 4 * " #place "(%%rip), %%ecx\n77:\njrcxz 78f\nleaq -1(%%rcx), %%rcx\njmp 77b\n78:\n"
#define DYNM_TEST_CLOBBERS , "rcx"
#elif defined(__aarch64__)
#define DYNM_TEST_DELAY(place)                                                          \
  "adrp x9, test_turns\nadd x9, x9, :lo12:test_turns\nldr w9, [x9, #4 * " #place "]\n" \
  "77:\ncbz w9, 78f\nsub w9, w9, #1\nb 77b\n78:\n"
#define DYNM_TEST_CLOBBERS , "x9"
#endif
#ifdef UNARMED
#define DYNM_TEST_ARM(instruction) ""
#else
#define DYNM_TEST_ARM(instruction) instruction
#endif
#include "dyn_metrics/sequences.hpp"

// Marsaglia's xorshift: enough to be different each time.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t below(std::uint64_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % limit;
  }

 private:
  std::uint64_t state_;
};

// One place gets another delay, most others none: whatever is preempted is preempted there.
inline void change_a_delay(Random& random) {
  const std::uint32_t longest[] = {0, 20, 1'000, 30'000};
  const std::uint32_t turns = longest[random.below(4)];
  for (volatile std::uint32_t& place : test_turns) {
    const bool is_long = random.below(places) == 0;
    place = is_long ? turns : static_cast<std::uint32_t>(random.below(3));
  }
}

#endif

// The sequences on rseq areas that the test supplies: they run on every machine, under emulators too. With DELAYED,
// loops stand between their instructions; with UNARMED, they lack the store that arms them. Needs no library.
#include <cstring>
#include <initializer_list>
#include <limits>

#ifdef DELAYED
#include "delayed.hpp"
#endif
#include "check.hpp"
#include "dyn_metrics/sequences.hpp"

using namespace dyn_metrics::detail;

namespace {

// As the kernel defines it.
struct alignas(32) Area {
  std::uint32_t cpu_id_start = 1;  // what nobody should look at
  std::uint32_t cpu_id = 0;
  std::uint64_t rseq_cs = 0;
  std::uint32_t flags = 0;
  std::uint32_t rest[3] = {};
};

// As the kernel defines it, but for the alignment, which the test checks.
struct Descriptor {
  std::uint32_t version, flags;
  std::uint64_t start, length, abort;
};

#if defined(__x86_64__)
[[maybe_unused]] constexpr std::uint32_t signature = DYNM_RSEQ_SIGNATURE_X86_64;
#else
[[maybe_unused]] constexpr std::uint32_t signature = DYNM_RSEQ_SIGNATURE_AARCH64;
#endif

std::int64_t thread_pointer() {
  std::int64_t pointer;
#if defined(__x86_64__)
  __asm__("movq %%fs:0, %0" : "=r"(pointer));
#else
  __asm__("mrs %0, tpidr_el0" : "=r"(pointer));
#endif
  return pointer;
}

// Three CPUs, of which the second has no block; blocks of four words.
struct Bench {
  Area area;
  std::uint64_t words[2][4] = {};
  std::size_t entries[3] = {reinterpret_cast<std::size_t>(words[0]), 0, reinterpret_cast<std::size_t>(words[1])};
  // As dynm_metric_cells() gives them, with the first word at byte 8 of each block.
  dynm_cells cells{entries, 0, nullptr, nullptr};

  Place place(std::uint32_t word) {
    const auto rseq = reinterpret_cast<std::int64_t>(&area) - thread_pointer();
    const Place packed = Place::of({entries, std::uint64_t{8} << DYNM_CELLS_OFFSET_SHIFT | 3, nullptr, nullptr}, word);
    return {rseq, packed.entries, packed.cpus, packed.byte_offset};
  }
  void on(std::uint32_t cpu) { *const_cast<volatile std::uint32_t*>(&area.cpu_id) = cpu; }
  double number(int block, int word) const {
    double number;
    std::memcpy(&number, &words[block][word], sizeof number);
    return number;
  }
};

// Where the packed word says that things are.
void places_are_unpacked_as_documented() {
  const std::uint64_t packed = std::uint64_t{0xffffff60} << 32 | std::uint64_t{0xfff8} << 16 | 0xffff;
  const Place place = Place::of({nullptr, packed, nullptr, nullptr}, 258);
  CHECK(place.rseq == -0xa0 && place.cpus == 0xffff && place.byte_offset == 0xfff8 + 8 * 258);
}

void an_update_reaches_its_word_and_no_other(Bench& bench) {
  const double infinity = std::numeric_limits<double>::infinity();
  bench.on(0);
  CHECK(sequence_add_u64(bench.place(0), 5) && sequence_add_u64(bench.place(0), ~std::uint64_t{0}));
  CHECK(sequence_add_one(bench.place(0)) && sequence_add_f64(bench.place(2), 1.5));
  CHECK(sequence_add_f64(bench.place(2), 0.25) && sequence_add_f64(bench.place(2), -4.0));
  bench.on(2);
  CHECK(sequence_add_one(bench.place(0)) && sequence_add_f64(bench.place(1), infinity));
  volatile std::uint64_t large = std::uint64_t{1} << 40;
  CHECK(sequence_add_u64(bench.place(2), large) && sequence_add_u64(bench.place(2), 0x7fffffff));
  CHECK(bench.words[0][0] == 0 && bench.words[0][1] == 5 && bench.words[0][2] == 0 && bench.number(0, 3) == -2.25);
  CHECK(bench.words[1][0] == 0 && bench.words[1][1] == 1 && bench.number(1, 2) == infinity);
  CHECK(bench.words[1][3] == (std::uint64_t{1} << 40) + 0x7fffffff);
}

void without_block_or_cpu_the_update_is_left_to_the_caller(Bench& bench) {
  // No block; beyond the table; a number no kernel gives; registration failed; unregistered.
  for (std::uint32_t cpu : {1u, 3u, 4u, 8191u, 1u << 31, ~1u, ~0u}) {
    bench.on(cpu);
    CHECK(!sequence_add_u64(bench.place(0), 1) && !sequence_add_one(bench.place(0)));
    CHECK(!sequence_add_f64(bench.place(1), 1.0));
  }
  for (const auto& block : bench.words) {
    for (std::uint64_t word : block) CHECK(word == 0);
  }
}

#ifndef UNARMED
// The descriptor that the last sequence has armed.
const Descriptor& armed(Bench& bench) {
  const std::uint64_t address = *const_cast<volatile std::uint64_t*>(&bench.area.rseq_cs);
  CHECK(address != 0 && address % 32 == 0);
  bench.area.rseq_cs = 0;
  return *reinterpret_cast<const Descriptor*>(address);
}

// What the kernel checks before it restarts a section, and otherwise kills the process.
void each_sequence_arms_a_descriptor_that_the_kernel_accepts(Bench& bench) {
  std::uint64_t starts[4] = {};
  bench.on(0);
  for (int kind = 0; kind < 4; kind++) {
    if (kind == 0) CHECK(sequence_add_one(bench.place(0)));
    if (kind == 1) CHECK(sequence_add_u64(bench.place(0), 3));
    if (kind == 2) CHECK(sequence_add_f64(bench.place(1), 3.0));
    if (kind == 3) CHECK((bench.on(1), !sequence_add_one(bench.place(0)))); /* armed also when it is then left */
    const Descriptor& descriptor = armed(bench);
    CHECK(descriptor.version == 0 && descriptor.flags == 0);
    CHECK(descriptor.length >= 8 && descriptor.length < 1000);
    CHECK(descriptor.abort - descriptor.start >= descriptor.length); /* as unsigned: before or behind the section */
    std::uint32_t before;
    std::memcpy(&before, reinterpret_cast<const char*>(descriptor.abort) - 4, 4);
    CHECK(before == signature);
    starts[kind] = descriptor.start;
    for (int other = 0; other < kind; other++) CHECK(starts[other] != starts[kind]); /* sections of their own */
  }
}
#endif

}  // namespace

int main() {
  places_are_unpacked_as_documented();
#ifdef DELAYED
  Random random(7);
  constexpr int rounds = 200;
#else
  constexpr int rounds = 1;
#endif
  for (int round = 0; round < rounds; round++) {
#ifdef DELAYED
    change_a_delay(random);
#endif
    Bench updates, without;
    an_update_reaches_its_word_and_no_other(updates);
    without_block_or_cpu_the_update_is_left_to_the_caller(without);
#ifndef UNARMED
    Bench descriptors;
    each_sequence_arms_a_descriptor_that_the_kernel_accepts(descriptors);
#else
    CHECK(updates.area.rseq_cs == 0);
#endif
  }
  return 0;
}

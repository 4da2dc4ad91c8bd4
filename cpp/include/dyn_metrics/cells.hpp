// cells.hpp: where the numbers of a series are, and how they are updated without a call into the library.
//
// For dyn_metrics.hpp, not for applications. What it relies on is the contract of dynm_cells, dynm_buckets and
// dynm_gauge_cell, level DYNM_ABI_LEVEL. Any thread may use any object at the same time, in signal handlers and forked
// children, too. All updates are relaxed.
#ifndef DYN_METRICS_CELLS_HPP
#define DYN_METRICS_CELLS_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../dyn_metrics.h"
#include "sequences.hpp"

// Before atomic instructions became part of aarch64, compilers call functions of their own for them: not in the middle
// of what is inlined, which would save registers for that.
#if defined(__aarch64__) && !defined(__ARM_FEATURE_ATOMICS)
#define DYNM_SHARED_INLINE [[gnu::noinline]]
#else
#define DYNM_SHARED_INLINE [[gnu::always_inline]]
#endif

namespace dyn_metrics::detail {

// Adds x to a double that others change, too.
DYNM_SHARED_INLINE inline void add_double(std::uint64_t* word, double x) noexcept {
  std::uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED), sum;
  do {
    double value;
    std::memcpy(&value, &seen, sizeof value);
    value += x;
    std::memcpy(&sum, &value, sizeof sum);
  } while (!__atomic_compare_exchange_n(word, &seen, sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

// The words of a counter, tally or histogram: a word is a u64 or a double, see dynm_cells. One that is default-made, or
// made of a metric of another type or NULL, drops what is added.
class Cells {
 public:
  constexpr Cells() noexcept = default;
  explicit Cells(const dynm_metric* metric) noexcept { dynm_metric_cells(metric, DYNM_ABI_LEVEL, &raw_); }

  // Adds 1 to a word that is a u64. Requires: a word that the series has; here and below.
  [[gnu::always_inline]] void add_one(std::uint32_t word) const noexcept {
#if DYNM_HAVE_SEQUENCES
    if (__builtin_expect(raw_.packed != 0, 1)) {
      if (!sequence_add_one(Place::of(raw_, word))) add_u64_cold(raw_.cold, word, 1);
      return;
    }
#endif
    add_u64_shared(word, 1);
  }

  // Adds n to a word that is a u64, which wraps.
  [[gnu::always_inline]] void add_u64(std::uint32_t word, std::uint64_t n) const noexcept {
#if DYNM_HAVE_SEQUENCES
    if (__builtin_expect(raw_.packed != 0, 1)) {
      if (!sequence_add_u64(Place::of(raw_, word), n)) add_u64_cold(raw_.cold, word, n);
      return;
    }
#endif
    add_u64_shared(word, n);
  }

  // Adds x to a word that is a double.
  [[gnu::always_inline]] void add_f64(std::uint32_t word, double x) const noexcept {
#if DYNM_HAVE_SEQUENCES
    if (__builtin_expect(raw_.packed != 0, 1)) {
      if (!sequence_add_f64(Place::of(raw_, word), x)) add_f64_cold(raw_.cold, word, x);
      return;
    }
#endif
    add_f64_shared(word, x);
  }

  // Adds 1 to the word bucket and x to the word sum: add_one() and add_f64(), with nothing to keep across a call in
  // between.
  [[gnu::always_inline]] void observe(std::uint32_t bucket, std::uint32_t sum, double x) const noexcept {
#if DYNM_HAVE_SEQUENCES
    if (__builtin_expect(raw_.packed != 0, 1)) {
      if (!sequence_add_one(Place::of(raw_, bucket))) return observe_cold(raw_.cold, bucket, sum, x);
      if (!sequence_add_f64(Place::of(raw_, sum), x)) add_f64_cold(raw_.cold, sum, x);
      return;
    }
#endif
    observe_shared(bucket, sum, x);
  }

  // Counts a value that an update left out; why is a dynm_dropped.
  void dropped(std::uint32_t why) const noexcept { dynm_cells_dropped(&raw_, why); }

 private:
  // Adds in the block that all CPUs share: where there is no restartable sequence. Without that block the library is
  // asked: the series may be of a registry that is no segment.
  DYNM_SHARED_INLINE void add_u64_shared(std::uint32_t word, std::uint64_t n) const noexcept {
    if (__builtin_expect(raw_.shared == nullptr, 0)) return add_u64_cold(raw_.cold, word, n);
    __atomic_fetch_add(raw_.shared + word, n, __ATOMIC_RELAXED);
  }
  [[gnu::always_inline]] void add_f64_shared(std::uint32_t word, double x) const noexcept {
    if (__builtin_expect(raw_.shared == nullptr, 0)) return add_f64_cold(raw_.cold, word, x);
    add_double(raw_.shared + word, x);
  }
  DYNM_SHARED_INLINE void observe_shared(std::uint32_t bucket, std::uint32_t sum, double x) const noexcept {
    if (__builtin_expect(raw_.shared == nullptr, 0)) return observe_cold(raw_.cold, bucket, sum, x);
    __atomic_fetch_add(raw_.shared + bucket, 1, __ATOMIC_RELAXED);
    add_double(raw_.shared + sum, x);
  }

  // Where this CPU has no block yet, or there are no blocks at all. Only what the library needs is handed over, in a
  // register: handles whose address is never taken need no memory.
  [[gnu::cold, gnu::noinline]] static void add_u64_cold(const void* cold, std::uint32_t word,
                                                        std::uint64_t n) noexcept {
    const dynm_cells cells = {nullptr, 0, nullptr, cold};
    dynm_cells_add_u64_cold(&cells, word, n);
  }
  [[gnu::cold, gnu::noinline]] static void add_f64_cold(const void* cold, std::uint32_t word, double x) noexcept {
    const dynm_cells cells = {nullptr, 0, nullptr, cold};
    dynm_cells_add_f64_cold(&cells, word, x);
  }
  [[gnu::cold, gnu::noinline]] static void observe_cold(const void* cold, std::uint32_t bucket, std::uint32_t sum,
                                                        double x) noexcept {
    add_u64_cold(cold, bucket, 1);
    add_f64_cold(cold, sum, x);
  }

  dynm_cells raw_{};
};

// How a histogram finds the bucket of a value. A default-made one has the bucket +Inf alone.
class Buckets {
 public:
  constexpr Buckets() noexcept = default;
  explicit Buckets(const dynm_metric* metric) noexcept {
    if (dynm_metric_buckets(metric, DYNM_ABI_LEVEL, &raw_) != DYNM_OK) raw_ = {};
  }

  // The word of the bucket that value, which is not NaN, belongs to: the first whose bound is not below it.
  [[gnu::always_inline]] std::uint32_t find(double value) const noexcept {
    if (__builtin_expect(raw_.below == nullptr, 0)) return count_below(value);
    std::int64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    std::int64_t cell = (bits >> raw_.shift) - raw_.first;
    cell = cell < 0 ? 0 : cell;
    cell = cell > raw_.last ? raw_.last : cell;
    const std::uint32_t below = raw_.below[cell];
    return below + static_cast<std::uint32_t>(raw_.padded[below] < value);
  }

  // The word of the sum.
  std::uint32_t sum_word() const noexcept { return raw_.bound_count + 1; }
  // How many bounds there are, without +Inf.
  std::uint32_t bound_count() const noexcept { return raw_.bound_count; }
  // The bounds.
  const double* bounds() const noexcept { return raw_.padded; }

 private:
  std::uint32_t count_below(double value) const noexcept {
    std::uint32_t count = 0;
    for (std::uint32_t bound = 0; bound < raw_.bound_count; bound++) count += raw_.padded[bound] < value;
    return count;
  }

  dynm_buckets raw_{};
};

// Where this process's value of a gauge is. Each function is false when it did nothing, and the C function of the
// metric must: at the first update and the first after a fork, for another representation than the value's, in modes
// that need more than the value. A representation is a DYNM_REPRESENTATION_.
class GaugeCell {
 public:
  constexpr GaugeCell() noexcept = default;
  explicit GaugeCell(const dynm_metric* metric) noexcept {
    if (dynm_metric_gauge_cell(metric, DYNM_ABI_LEVEL, &raw_) != DYNM_OK) raw_ = {};
  }

  // Stores a value's 64 bits.
  [[gnu::always_inline]] bool store(std::uint32_t representation, std::uint64_t bits) const noexcept {
    std::size_t word;
    if (!find(representation, word)) return false;
    __atomic_store_n(value(word), bits, __ATOMIC_RELAXED);
    return true;
  }

  // Adds to a value that is an integer or nanoseconds; negative numbers as two's complement.
  [[gnu::always_inline]] bool add(std::uint32_t representation, std::uint64_t n) const noexcept {
    std::size_t word;
    if (representation == DYNM_REPRESENTATION_FLOAT || !find(representation, word)) return false;
    __atomic_fetch_add(value(word), n, __ATOMIC_RELAXED);
    return true;
  }

  // Adds to a value that is a double. Requires: no NaN, which the C function counts.
  [[gnu::always_inline]] bool add_f64(double x) const noexcept {
    std::size_t word;
    if (!find(DYNM_REPRESENTATION_FLOAT, word)) return false;
    add_double(value(word), x);
    return true;
  }

  // Reads the value's 64 bits.
  [[gnu::always_inline]] bool load(std::uint32_t representation, std::uint64_t& bits) const noexcept {
    std::size_t word;
    if (!find(representation, word)) return false;
    bits = __atomic_load_n(value(word), __ATOMIC_RELAXED);
    return true;
  }

 private:
  // The word that leads to the value; false when it doesn't.
  [[gnu::always_inline]] bool find(std::uint32_t representation, std::size_t& word) const noexcept {
    if (__builtin_expect(raw_.own == nullptr, 0)) return false;
    word = __atomic_load_n(raw_.own, __ATOMIC_ACQUIRE);
    return __builtin_expect((word & DYNM_GAUGE_FLAGS) == (DYNM_GAUGE_PLAIN | representation), 1);
  }

  [[gnu::always_inline]] static std::uint64_t* value(std::size_t word) noexcept {
    return reinterpret_cast<std::uint64_t*>((word & ~std::size_t{DYNM_GAUGE_FLAGS}) + DYNM_HALF_VALUE);
  }

  dynm_gauge_cell raw_{};
};

}  // namespace dyn_metrics::detail

#undef DYNM_SHARED_INLINE

#endif  // DYN_METRICS_CELLS_HPP

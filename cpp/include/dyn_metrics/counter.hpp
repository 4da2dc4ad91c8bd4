// counter.hpp: counters.
#ifndef DYN_METRICS_COUNTER_HPP
#define DYN_METRICS_COUNTER_HPP

#include "handle.hpp"
#include "time.hpp"

namespace dyn_metrics {

/// A total of whole events that only grows. Copies are the same counter; copying is cheap, destruction does nothing.
///
/// Every update: Requires: nothing. Guarantees: one restartable add in this CPU's cell, made inline, or an atomic one;
/// relaxed; the total over all processes grows by it, whatever happens to this one; errno stays. Threads: any, any
/// process. Signals: yes. After fork: yes. Cost: a nanosecond or less, no system call once the CPU has its cell.
/// Errors: none.
class Counter {
 public:
  /// Adds 1. As every update.
  [[gnu::always_inline]] void inc() const noexcept { cells_.add_one(0); }

  /// Adds n events; the total wraps at 2^64. Requires: not less than 0, since C++ makes a huge number of such an int. As
  /// every update.
  [[gnu::always_inline]] void inc_by(std::uint64_t n) const noexcept { cells_.add_u64(0, n); }
  /// The same.
  void add(std::uint64_t n) const noexcept { inc_by(n); }

  /// The total over all processes, as far as it was counted in whole events.
  ///
  /// Guarantees: relaxed reads, no point in time; never falls. Threads: any. Signals: no. Cost: a read for each CPU.
  std::uint64_t value() const noexcept { return static_cast<std::uint64_t>(detail::value_of(metric_).integer); }

  DYN_METRICS_HANDLE(Counter, DYNM_COUNTER_U64);
  explicit Counter(const dynm_metric* metric) noexcept : metric_(metric), cells_(metric) {}
  detail::Cells cells_;
};

/// A total of fractional amounts that only grows. Updates: as Counter's.
class FloatCounter {
 public:
  /// Adds 1. As every update.
  [[gnu::always_inline]] void inc() const noexcept { cells_.add_f64(0, 1.0); }

  /// Adds `amount`. Negative, infinite and NaN amounts are dropped and counted (dyn_metrics_updates_dropped_total). As
  /// every update.
  [[gnu::always_inline]] void inc_by(double amount) const noexcept {
    // Doubles from +0 to the largest finite one are the lowest as bits: one comparison.
    if (__builtin_expect(detail::bits_of(amount) < detail::infinity_bits, 1)) {
      cells_.add_f64(0, amount);
    } else {
      drop(amount);
    }
  }
  /// The same.
  void add(double amount) const noexcept { inc_by(amount); }

  /// The total over all processes, as far as it was counted in doubles. Threads, Signals, Cost: as Counter::value().
  double value() const noexcept { return detail::value_of(metric_).number; }

  DYN_METRICS_HANDLE(FloatCounter, DYNM_COUNTER_F64);
  explicit FloatCounter(const dynm_metric* metric) noexcept : metric_(metric), cells_(metric) {}
  [[gnu::cold, gnu::noinline]] void drop(double amount) const noexcept {
    if (amount == 0.0) return;
    const bool is_nan = detail::is_nan(amount) || amount > 0.0;
    cells_.dropped(is_nan ? DYNM_DROPPED_NAN : DYNM_DROPPED_NEGATIVE);
  }
  detail::Cells cells_;
};

/// A total of time that only grows: counted in nanoseconds, exposed in seconds. Updates: as Counter's.
class DurationCounter {
 public:
  /// Adds `duration`, of any representation and period, at most 292 years; the total wraps at 584 years. Negative,
  /// infinite and NaN durations are dropped and counted. As every update.
  template <class Rep, class Period>
  void inc_by(std::chrono::duration<Rep, Period> duration) const noexcept {
    const std::int64_t nanoseconds = detail::nanoseconds(duration);
    if (__builtin_expect(nanoseconds > 0 && !detail::is_infinite(duration), 1)) {
      cells_.add_u64(0, static_cast<std::uint64_t>(nanoseconds));
    } else {
      drop(detail::seconds(duration));
    }
  }
  /// The same.
  template <class Rep, class Period>
  void add(std::chrono::duration<Rep, Period> duration) const noexcept {
    inc_by(duration);
  }

  /// Runs `work`, adds the time it took, also when it throws, and returns what it returns. Errors: what it throws.
  template <class Work>
  decltype(auto) time(Work&& work) const noexcept(noexcept(std::forward<Work>(work)())) {
    return detail::timed(*this, std::forward<Work>(work));
  }

  /// The total over all processes, as far as it was counted as time. Threads, Signals, Cost: as Counter::value().
  std::chrono::nanoseconds value() const noexcept {
    return std::chrono::nanoseconds(detail::value_of(metric_).integer);
  }

  DYN_METRICS_HANDLE(DurationCounter, DYNM_COUNTER_NS);
  friend class ScopedTimer<DurationCounter>;
  explicit DurationCounter(const dynm_metric* metric) noexcept : metric_(metric), cells_(metric) {}
  void observe_time(detail::Clock::duration elapsed) const noexcept { inc_by(elapsed); }
  [[gnu::cold, gnu::noinline]] void drop(double seconds) const noexcept {
    const bool is_nan = detail::is_nan(seconds) || detail::bits_of(seconds) == detail::infinity_bits;
    if (is_nan || seconds < 0.0) cells_.dropped(is_nan ? DYNM_DROPPED_NAN : DYNM_DROPPED_NEGATIVE);
  }
  detail::Cells cells_;
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_COUNTER_HPP

// histogram.hpp: histograms and tallies.
#ifndef DYN_METRICS_HISTOGRAM_HPP
#define DYN_METRICS_HISTOGRAM_HPP

#include "handle.hpp"
#include "time.hpp"

namespace dyn_metrics {

/// Counts of observations by upper bound, and their sum. Copies are the same histogram; copying is cheap, destruction
/// does nothing.
///
/// Every update: Requires: nothing. Guarantees: a look into a table and two restartable adds in this CPU's cells, made
/// inline, or atomic ones; relaxed; the +Inf bucket always equals the count, and the sum may trail by what is in
/// flight; errno stays. Threads: any, any process. Signals: yes. After fork: yes. Cost: some nanoseconds, no system
/// call once the CPU has its cells. Errors: none.
class Histogram {
 public:
  /// Observes `value`, in the unit of the metric. A value equal to a bound belongs to that bound's bucket; NaN is
  /// dropped and counted; infinite values count in their bucket and stay out of the sum. As every update.
  [[gnu::always_inline]] void observe(double value) const noexcept {
    if (__builtin_expect(!detail::is_finite(value), 0)) return observe_odd(value, 1);
    cells_.observe(buckets_.find(value), buckets_.sum_word(), value);
  }

  /// Observes a duration, of any representation and period, in seconds. As every update.
  template <class Rep, class Period>
  void observe(std::chrono::duration<Rep, Period> duration) const noexcept {
    observe(detail::seconds(duration));
  }

  /// Observes `value` `count` times at once; where their sum is infinite, it is left out. As every update.
  void observe_n(double value, std::uint64_t count) const noexcept {
    const double sum = value * static_cast<double>(count);
    if (!detail::is_finite(sum) || count == 0) return observe_odd(value, count);
    cells_.add_u64(buckets_.find(value), count);
    cells_.add_f64(buckets_.sum_word(), sum);
  }

  /// Runs `work`, observes the seconds it took, also when it throws, and returns what it returns. Errors: what it
  /// throws.
  template <class Work>
  decltype(auto) time(Work&& work) const noexcept(noexcept(std::forward<Work>(work)())) {
    return detail::timed(*this, std::forward<Work>(work));
  }

  /// Observations of all processes.
  ///
  /// Guarantees: relaxed reads, no point in time. Threads: any. Signals: no. Cost: a read for each CPU and bucket.
  std::uint64_t count() const noexcept { return detail::value_of(metric_).count; }

  /// Sum of the observations of all processes. Guarantees, Threads, Signals, Cost: as count().
  double sum() const noexcept { return detail::value_of(metric_).sum; }

  /// Observations of all processes in each bucket, not cumulative; the last one is +Inf's. Guarantees, Threads,
  /// Signals, Cost: as count(), and memory. Errors: std::bad_alloc.
  std::vector<std::uint64_t> buckets() const {
    std::vector<std::uint64_t> counts(std::size_t{buckets_.bound_count()} + 1);
    ::dynm_histogram_buckets(metric_, counts.data(), counts.size(), nullptr);
    return counts;
  }

  /// Upper bounds, without +Inf. Threads: any. Signals: no. Cost: memory. Errors: std::bad_alloc.
  std::vector<double> bounds() const {
    return std::vector<double>(buckets_.bounds(), buckets_.bounds() + buckets_.bound_count());
  }

  DYN_METRICS_HANDLE(Histogram, DYNM_HISTOGRAM);
  friend class ScopedTimer<Histogram>;
  explicit Histogram(const dynm_metric* metric) noexcept : metric_(metric), cells_(metric), buckets_(metric) {}
  void observe_time(detail::Clock::duration elapsed) const noexcept { observe(elapsed); }
  [[gnu::cold, gnu::noinline]] void observe_odd(double value, std::uint64_t count) const noexcept {
    if (detail::is_nan(value)) {
      cells_.dropped(DYNM_DROPPED_NAN);
    } else if (count > 0) {
      cells_.add_u64(buckets_.find(value), count);
      cells_.dropped(DYNM_DROPPED_INFINITE);
    }
  }
  detail::Cells cells_;
  detail::Buckets buckets_;
};

/// Count and sum of observations: a summary without quantiles. Updates: as Histogram's, without the table.
class Tally {
 public:
  /// Observes `value`. NaN is dropped and counted; infinite values count and stay out of the sum; negative ones are
  /// allowed (the sum is no counter then). As every update.
  [[gnu::always_inline]] void observe(double value) const noexcept {
    if (__builtin_expect(!detail::is_finite(value), 0)) return observe_odd(value);
    cells_.observe(0, 1, value);
  }

  /// Observes a duration, of any representation and period, in seconds. As every update.
  template <class Rep, class Period>
  void observe(std::chrono::duration<Rep, Period> duration) const noexcept {
    observe(detail::seconds(duration));
  }

  /// Runs `work`, observes the seconds it took, also when it throws, and returns what it returns. Errors: what it
  /// throws.
  template <class Work>
  decltype(auto) time(Work&& work) const noexcept(noexcept(std::forward<Work>(work)())) {
    return detail::timed(*this, std::forward<Work>(work));
  }

  /// Observations of all processes. Guarantees, Threads, Signals, Cost: as Histogram::count().
  std::uint64_t count() const noexcept { return detail::value_of(metric_).count; }

  /// Sum of the observations of all processes. Guarantees, Threads, Signals, Cost: as Histogram::count().
  double sum() const noexcept { return detail::value_of(metric_).sum; }

  DYN_METRICS_HANDLE(Tally, DYNM_TALLY);
  friend class ScopedTimer<Tally>;
  explicit Tally(const dynm_metric* metric) noexcept : metric_(metric), cells_(metric) {}
  void observe_time(detail::Clock::duration elapsed) const noexcept { observe(elapsed); }
  [[gnu::cold, gnu::noinline]] void observe_odd(double value) const noexcept {
    const bool is_nan = detail::is_nan(value);
    if (!is_nan) cells_.add_one(0);
    cells_.dropped(is_nan ? DYNM_DROPPED_NAN : DYNM_DROPPED_INFINITE);
  }
  detail::Cells cells_;
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_HISTOGRAM_HPP

// gauge.hpp: gauges.
#ifndef DYN_METRICS_GAUGE_HPP
#define DYN_METRICS_GAUGE_HPP

#include "handle.hpp"
#include "time.hpp"

namespace dyn_metrics {

/// A whole number that goes up and down. Each process has its own; the Mode says how they combine. Copies are the same
/// gauge; copying is cheap, destruction does nothing.
///
/// Every update: Requires: nothing. Guarantees: set is one store in this process's cell, add and its kin one atomic
/// addition, made inline; relaxed; in modes most_recent a call, which keeps the time, too; errno stays. The first
/// update, and the first after a fork, claims the cell. Threads: any. Signals: yes. After fork: yes, on a gauge of the
/// child's own. Cost: set a nanosecond or less, add an atomic addition; no system call once the process has its cell.
/// Errors: none.
class Gauge {
 public:
  /// Sets this process's value. As every update.
  void set(std::int64_t value) const noexcept {
    if (!cell_.store(DYNM_REPRESENTATION_INTEGER, static_cast<std::uint64_t>(value))) set_cold(value);
  }

  /// Adds n; wraps at 2^63. As every update.
  void add(std::int64_t n) const noexcept {
    if (!cell_.add(DYNM_REPRESENTATION_INTEGER, static_cast<std::uint64_t>(n))) add_cold(n);
  }
  /// The same.
  void inc_by(std::int64_t n) const noexcept { add(n); }
  /// Subtracts n; wraps. As every update.
  void sub(std::int64_t n) const noexcept { add(static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(n))); }
  /// Adds 1. As every update.
  void inc() const noexcept { add(1); }
  /// Subtracts 1. As every update.
  void dec() const noexcept { add(-1); }

  /// Adds 1 until the guard is destroyed. As every update.
  [[nodiscard]] InProgress<Gauge> track() const noexcept { return InProgress<Gauge>(*this); }

  /// This process's value; 0 while it has set none. Threads: any. Signals: yes. Cost: a read. Errors: none.
  std::int64_t value() const noexcept {
    std::uint64_t bits;
    if (cell_.load(DYNM_REPRESENTATION_INTEGER, bits)) return static_cast<std::int64_t>(bits);
    return detail::value_of(metric_).integer;
  }

  DYN_METRICS_HANDLE(Gauge, DYNM_GAUGE_I64);
  explicit Gauge(const dynm_metric* metric) noexcept : metric_(metric), cell_(metric) {}
  [[gnu::cold, gnu::noinline]] void set_cold(std::int64_t value) const noexcept {
    ::dynm_gauge_set_i64(metric_, value);
  }
  [[gnu::cold, gnu::noinline]] void add_cold(std::int64_t n) const noexcept { ::dynm_gauge_add_i64(metric_, n); }
  detail::GaugeCell cell_;
};

/// A fractional number that goes up and down. Updates: as Gauge's; adding takes a compare and exchange.
///
/// The first handle that a process updates in a series decides whether its cell holds whole numbers, fractions or
/// nanoseconds; what others set or add there is rounded to that.
class FloatGauge {
 public:
  /// Sets this process's value. As every update.
  void set(double value) const noexcept {
    if (!cell_.store(DYNM_REPRESENTATION_FLOAT, detail::bits_of(value))) set_cold(value);
  }

  /// Adds `amount`; NaN is dropped and counted. As every update.
  void add(double amount) const noexcept {
    if (detail::is_nan(amount) || !cell_.add_f64(amount)) add_cold(amount);
  }
  /// The same.
  void inc_by(double amount) const noexcept { add(amount); }
  /// Subtracts `amount`. As every update.
  void sub(double amount) const noexcept { add(-amount); }
  /// Adds 1. As every update.
  void inc() const noexcept { add(1.0); }
  /// Subtracts 1. As every update.
  void dec() const noexcept { add(-1.0); }

  /// Sets this process's value to the time, in seconds since 1970. As every update.
  void set_to_current_time() const noexcept {
    set(detail::seconds(std::chrono::system_clock::now().time_since_epoch()));
  }

  /// Adds 1 until the guard is destroyed. As every update.
  [[nodiscard]] InProgress<FloatGauge> track() const noexcept { return InProgress<FloatGauge>(*this); }

  /// This process's value; 0 while it has set none. Threads: any. Signals: yes. Cost: a read. Errors: none.
  double value() const noexcept {
    std::uint64_t bits;
    if (cell_.load(DYNM_REPRESENTATION_FLOAT, bits)) return detail::double_of(bits);
    return detail::value_of(metric_).number;
  }

  DYN_METRICS_HANDLE(FloatGauge, DYNM_GAUGE_F64);
  explicit FloatGauge(const dynm_metric* metric) noexcept : metric_(metric), cell_(metric) {}
  [[gnu::cold, gnu::noinline]] void set_cold(double value) const noexcept { ::dynm_gauge_set_f64(metric_, value); }
  [[gnu::cold, gnu::noinline]] void add_cold(double amount) const noexcept { ::dynm_gauge_add_f64(metric_, amount); }
  detail::GaugeCell cell_;
};

/// A duration that goes up and down, exposed in seconds, at most 292 years. Updates: as Gauge's; durations may be of
/// any representation and period, and negative; NaN is 0.
class DurationGauge {
 public:
  /// Sets this process's value. As every update.
  template <class Rep, class Period>
  void set(std::chrono::duration<Rep, Period> value) const noexcept {
    const std::int64_t nanoseconds = detail::nanoseconds(value);
    if (!cell_.store(DYNM_REPRESENTATION_NANOSECONDS, static_cast<std::uint64_t>(nanoseconds))) set_cold(nanoseconds);
  }

  /// Adds `amount`; wraps. As every update.
  template <class Rep, class Period>
  void add(std::chrono::duration<Rep, Period> amount) const noexcept {
    add_nanoseconds(static_cast<std::uint64_t>(detail::nanoseconds(amount)));
  }
  /// The same.
  template <class Rep, class Period>
  void inc_by(std::chrono::duration<Rep, Period> amount) const noexcept {
    add(amount);
  }
  /// Subtracts `amount`; wraps. As every update.
  template <class Rep, class Period>
  void sub(std::chrono::duration<Rep, Period> amount) const noexcept {
    add_nanoseconds(0 - static_cast<std::uint64_t>(detail::nanoseconds(amount)));
  }

  /// This process's value; 0 while it has set none. Threads: any. Signals: yes. Cost: a read. Errors: none.
  std::chrono::nanoseconds value() const noexcept {
    std::uint64_t bits;
    if (cell_.load(DYNM_REPRESENTATION_NANOSECONDS, bits)) {
      return std::chrono::nanoseconds(static_cast<std::int64_t>(bits));
    }
    return std::chrono::nanoseconds(detail::value_of(metric_).integer);
  }

  DYN_METRICS_HANDLE(DurationGauge, DYNM_GAUGE_NS);
  explicit DurationGauge(const dynm_metric* metric) noexcept : metric_(metric), cell_(metric) {}
  void add_nanoseconds(std::uint64_t nanoseconds) const noexcept {
    if (!cell_.add(DYNM_REPRESENTATION_NANOSECONDS, nanoseconds)) add_cold(static_cast<std::int64_t>(nanoseconds));
  }
  [[gnu::cold, gnu::noinline]] void set_cold(std::int64_t nanoseconds) const noexcept {
    ::dynm_gauge_set_ns(metric_, nanoseconds);
  }
  [[gnu::cold, gnu::noinline]] void add_cold(std::int64_t nanoseconds) const noexcept {
    ::dynm_gauge_add_ns(metric_, nanoseconds);
  }
  detail::GaugeCell cell_;
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_GAUGE_HPP

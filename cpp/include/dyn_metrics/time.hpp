// time.hpp: durations as metrics hold them, and timers.
#ifndef DYN_METRICS_TIME_HPP
#define DYN_METRICS_TIME_HPP

#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

namespace dyn_metrics {

namespace detail {

// The bits of a double, which are looked at where NaN and infinity matter: -ffast-math believes that there are none.
inline std::uint64_t bits_of(double value) noexcept {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline double double_of(std::uint64_t bits) noexcept {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline constexpr std::uint64_t infinity_bits = std::uint64_t{0x7ff} << 52;

// Without its sign, a finite double is below infinity as bits, and NaN above.
inline bool is_finite(double value) noexcept { return bits_of(value) << 1 < infinity_bits << 1; }
inline bool is_nan(double value) noexcept { return bits_of(value) << 1 > infinity_bits << 1; }

// Seconds of a duration.
template <class Rep, class Period>
constexpr double seconds(std::chrono::duration<Rep, Period> duration) noexcept {
  return std::chrono::duration<double>(duration).count();
}

// Nanoseconds of a duration, cut to those of 292 years; NaN is 0. Fractional counts are rounded to the nearest, since
// few decimals are doubles; of whole ones what is below a nanosecond is left out.
template <class Rep, class Period>
std::int64_t nanoseconds(std::chrono::duration<Rep, Period> duration) noexcept {
  using Factor = std::ratio_divide<Period, std::nano>;
  using Most = std::numeric_limits<std::int64_t>;
  if constexpr (std::is_same_v<Period, std::nano> && std::is_integral_v<Rep> && std::is_signed_v<Rep> &&
                sizeof(Rep) <= sizeof(std::int64_t)) {
    return duration.count();
  } else {
    const double all = std::chrono::duration<double, std::nano>(duration).count();
    if (is_nan(all)) return 0;
    // 2^63 is a double; its neighbours are far enough away for what the conversion to double has rounded.
    if (all >= 9223372036854775808.0) return Most::max();
    if (all <= -9223372036854775808.0) return Most::min();
    if constexpr (std::is_floating_point_v<Rep> || (Factor::num != 1 && Factor::den != 1)) {
      const auto whole = static_cast<std::int64_t>(all);
      const double rest = all - static_cast<double>(whole);
      return whole + (rest >= 0.5) - (rest <= -0.5);
    } else {
      return std::chrono::duration_cast<std::chrono::duration<std::int64_t, std::nano>>(duration).count();
    }
  }
}

// Whether a duration is above all others; its sign is looked at elsewhere. By its bits, which -ffast-math leaves alone.
template <class Rep, class Period>
bool is_infinite(std::chrono::duration<Rep, Period> duration) noexcept {
  if constexpr (!std::is_floating_point_v<Rep>) return false;
  return bits_of(static_cast<double>(duration.count())) == infinity_bits;
}

// The clock of all timers.
using Clock = std::chrono::steady_clock;

}  // namespace detail

/// Measures the time until it is stopped or destroyed, and hands it to its metric: a Histogram, a Tally (in seconds) or
/// a DurationCounter.
///
///     ScopedTimer timer(latency);
///
/// Clock: steady_clock, read without a system call. Requires: used by one thread at a time. Guarantees: no function
/// throws or allocates; an exception that leaves the scope is measured, too. After fork: parent and child measure both.
template <class M>
class [[nodiscard]] ScopedTimer {
 public:
  /// Starts. Keeps a copy of the handle.
  explicit ScopedTimer(const M& metric) noexcept : metric_(metric), start_(detail::Clock::now()) {}
  /// Takes over what the other measures, which has then nothing to do any more.
  ScopedTimer(ScopedTimer&& other) noexcept
      : metric_(other.metric_), start_(other.start_), running_(std::exchange(other.running_, false)) {}
  ScopedTimer& operator=(ScopedTimer&&) = delete;
  ~ScopedTimer() { stop(); }

  /// Stops, hands over the time and returns it; after stop() or cancel() it does nothing and returns 0.
  std::chrono::nanoseconds stop() noexcept {
    if (!std::exchange(running_, false)) return std::chrono::nanoseconds::zero();
    const auto elapsed = detail::Clock::now() - start_;
    metric_.observe_time(elapsed);
    return elapsed;
  }

  /// Stops without handing over anything.
  void cancel() noexcept { running_ = false; }

 private:
  M metric_;
  detail::Clock::time_point start_;
  bool running_ = true;
};

/// Adds 1 to a gauge as long as it is there: work in progress. From Gauge::track() and FloatGauge::track().
///
/// Guarantees: no function throws or allocates. After fork: a child that destroys its copy takes 1 from a gauge of its
/// own.
template <class G>
class [[nodiscard]] InProgress {
 public:
  /// Adds 1. Keeps a copy of the handle.
  explicit InProgress(const G& gauge) noexcept : gauge_(gauge) { gauge_.inc(); }
  /// Takes over from the other, which has then nothing to do any more.
  InProgress(InProgress&& other) noexcept : gauge_(other.gauge_), running_(std::exchange(other.running_, false)) {}
  InProgress& operator=(InProgress&&) = delete;
  ~InProgress() { finish(); }

  /// Takes the 1 away before the end; once.
  void finish() noexcept {
    if (std::exchange(running_, false)) gauge_.dec();
  }

 private:
  G gauge_;
  bool running_ = true;
};

namespace detail {

// Runs `work`, and hands its time to `metric` also when it throws.
template <class M, class Work>
decltype(auto) timed(const M& metric, Work&& work) noexcept(noexcept(std::forward<Work>(work)())) {
  const ScopedTimer<M> timer(metric);
  return std::forward<Work>(work)();
}

}  // namespace detail

}  // namespace dyn_metrics

#endif  // DYN_METRICS_TIME_HPP

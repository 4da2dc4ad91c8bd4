// Updates through handles as applications inline them, for a look at their instructions.
#include <dyn_metrics.hpp>

using namespace dyn_metrics;

extern "C" void inc(const Counter& counter) { counter.inc(); }
extern "C" void inc_by(const Counter& counter, std::uint64_t n) { counter.inc_by(n); }
extern "C" void inc_float(const FloatCounter& counter, double amount) { counter.inc_by(amount); }
extern "C" void inc_time(const DurationCounter& counter, std::int64_t n) { counter.inc_by(std::chrono::nanoseconds(n)); }
extern "C" void set(const Gauge& gauge, std::int64_t value) { gauge.set(value); }
extern "C" void add(const Gauge& gauge, std::int64_t value) { gauge.add(value); }
extern "C" void set_float(const FloatGauge& gauge, double value) { gauge.set(value); }
extern "C" void observe(const Histogram& histogram, double value) { histogram.observe(value); }
extern "C" void observe_tally(const Tally& tally, double value) { tally.observe(value); }
// For comparison: it does call.
extern "C" double value(const FloatCounter& counter) { return counter.value(); }

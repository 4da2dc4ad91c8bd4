// Updates as applications inline them, for a look at their instructions.
#include "dyn_metrics/cells.hpp"

using namespace dyn_metrics::detail;

extern "C" void inc(const Cells& cells) { cells.add_one(0); }
extern "C" void add(const Cells& cells, std::uint64_t n) { cells.add_u64(0, n); }
extern "C" void add_f64(const Cells& cells, double x) { cells.add_f64(0, x); }
extern "C" bool set(const GaugeCell& gauge, std::uint64_t bits) { return gauge.store(1, bits); }
extern "C" void observe(const Cells& cells, const Buckets& buckets, double value) {
  cells.observe(buckets.find(value), buckets.sum_word(), value);
}

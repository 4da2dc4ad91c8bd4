// What two translation units of the same program inline: each has copies of these functions, of which one stays.
#ifndef CELLS_TEST_HPP
#define CELLS_TEST_HPP

#include "dyn_metrics/cells.hpp"

using dyn_metrics::detail::Buckets;
using dyn_metrics::detail::Cells;
using dyn_metrics::detail::GaugeCell;

[[gnu::noinline]] inline void count(const Cells& cells, std::uint64_t n) {
  cells.add_one(0);
  cells.add_u64(0, n);
}

[[gnu::noinline]] inline void observe(const Cells& cells, const Buckets& buckets, double value) {
  cells.add_one(buckets.find(value));
  cells.add_f64(buckets.sum_word(), value);
}

void count_elsewhere(const Cells& cells, std::uint64_t n);
void observe_elsewhere(const Cells& cells, const Buckets& buckets, double value);

#endif

// ours.cpp: dyn-metrics, by the header's handles.
#include <dyn_metrics.hpp>

#include "op.hpp"

namespace bench {

namespace {

using dyn_metrics::Counter;
using dyn_metrics::Family;
using dyn_metrics::FloatCounter;
using dyn_metrics::Gauge;
using dyn_metrics::Histogram;
using dyn_metrics::Options;
using dyn_metrics::Registry;

Contender labelled(const char* name, Op op, const Input& input, const Family<Counter>& family) {
  if (op == Op::counter_labels_static) {
    return repeating(name, family, [](const auto& held) { held.with(BENCH_MODEL, BENCH_STATUS).inc(); });
  }
  return going_over(name, input.pairs(op), family,
                    [](const auto& held, const Pair& pair) { held.with(pair[0], pair[1]).inc(); });
}

}  // namespace

std::vector<Contender> ours(const char* name, Op op, const Input& input, const char* segment) {
  using dyn_metrics::SegmentOptions;
  const Registry registry = Registry::open(SegmentOptions().path(segment).max_series_per_family(most_series));
  Options options(std::string("bench_") + name_of(op), "What a bench counts");
  switch (op) {
    case Op::counter_inc:
      return {repeating(name, registry.create<Counter>(options), [](const Counter& held) { held.inc(); })};
    case Op::counter_inc_by:
      return {repeating(name, Fed<Counter, std::uint64_t>{registry.create<Counter>(options), 7},
                        [](const auto& held) { held.metric.inc_by(held.value); })};
    case Op::counter_inc_f64:
      return {repeating(name, Fed<FloatCounter, double>{registry.create<FloatCounter>(options), 1.5},
                        [](const auto& held) { held.metric.inc_by(held.value); })};
    case Op::gauge_set:
      return {repeating(name, Fed<Gauge, std::int64_t>{registry.create<Gauge>(options), 7},
                        [](const auto& held) { held.metric.set(held.value); })};
    case Op::hist_observe:
      return {going_over(name, input.values, registry.create<Histogram>(options.bounds(input.bounds)),
                         [](const Histogram& held, double value) { held.observe(value); })};
    default: return {labelled(name, op, input, registry.family<Counter>(options, {model_label, status_label}))};
  }
}

}  // namespace bench

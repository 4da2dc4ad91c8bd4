// ours_by_calls.cpp: dyn-metrics, by the functions of libdyn_metrics.so, as C has them.
#include <dyn_metrics.h>

#include <cstdio>
#include <cstdlib>

#include "op.hpp"

namespace bench {

namespace {

constexpr const char* name = "dyn-metrics-calls";

void check(dynm_status status) {
  if (status == DYNM_OK) return;
  std::fprintf(stderr, "%s\n", dynm_last_error());
  std::exit(1);
}

const dynm_registry* opened(const char* segment) {
  dynm_segment_options options = dynm_segment_options_init();
  options.path = segment;
  options.max_series_per_family = most_series;
  const dynm_registry* registry;
  check(dynm_open(&options, &registry));
  return registry;
}

const dynm_metric* registered(const dynm_registry* registry, const dynm_metric_options& options) {
  const dynm_metric* metric;
  check(dynm_register(registry, &options, &metric));
  return metric;
}

struct Labelled {
  const dynm_family* family;

  void inc(const char* model, std::size_t model_len, const char* status, std::size_t status_len) const {
    const dynm_str values[] = {{model, model_len}, {status, status_len}};
    const dynm_metric* metric;
    dynm_family_with_str(family, values, 2, &metric);
    dynm_counter_inc(metric);
  }
};

Contender labelled(Op op, const Input& input, const dynm_registry* registry, const dynm_metric_options& options) {
  const char* labels[] = {model_label, status_label};
  Labelled family;
  check(dynm_register_family(registry, &options, labels, 2, &family.family));
  if (op == Op::counter_labels_static) {
    return repeating(name, family, [](const Labelled& held) {
      held.inc(BENCH_MODEL, sizeof BENCH_MODEL - 1, BENCH_STATUS, sizeof BENCH_STATUS - 1);
    });
  }
  return going_over(name, input.pairs(op), family, [](const Labelled& held, const Pair& pair) {
    held.inc(pair[0].data(), pair[0].size(), pair[1].data(), pair[1].size());
  });
}

}  // namespace

std::vector<Contender> ours_by_calls(Op op, const Input& input, const char* segment) {
  const dynm_registry* registry = opened(segment);
  const std::string metric_name = std::string("bench_calls_") + name_of(op);
  const auto options = [&](dynm_type type) { return dynm_metric_options_init(type, metric_name.c_str(), ""); };
  const auto metric = [&](dynm_type type) { return registered(registry, options(type)); };
  using Metric = const dynm_metric*;
  switch (op) {
    case Op::counter_inc:
      return {repeating(name, metric(DYNM_COUNTER_U64), [](Metric held) { dynm_counter_inc(held); })};
    case Op::counter_inc_by:
      return {repeating(name, Fed<Metric, std::uint64_t>{metric(DYNM_COUNTER_U64), 7},
                        [](const auto& held) { dynm_counter_add_u64(held.metric, held.value); })};
    case Op::counter_inc_f64:
      return {repeating(name, Fed<Metric, double>{metric(DYNM_COUNTER_F64), 1.5},
                        [](const auto& held) { dynm_counter_add_f64(held.metric, held.value); })};
    case Op::gauge_set:
      return {repeating(name, Fed<Metric, std::int64_t>{metric(DYNM_GAUGE_I64), 7},
                        [](const auto& held) { dynm_gauge_set_i64(held.metric, held.value); })};
    case Op::hist_observe: {
      dynm_metric_options with_bounds = options(DYNM_HISTOGRAM);
      with_bounds.bounds = input.bounds.data();
      with_bounds.bound_count = input.bounds.size();
      return {going_over(name, input.values, registered(registry, with_bounds),
                         [](Metric held, double value) { dynm_observe(held, value); })};
    }
    default: return {labelled(op, input, registry, options(DYNM_COUNTER_U64))};
  }
}

}  // namespace bench

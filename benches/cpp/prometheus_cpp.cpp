// prometheus_cpp.cpp: prometheus-cpp; nothing where it isn't installed.
#include "op.hpp"

#if __has_include(<prometheus/registry.h>)
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace bench {

namespace {

constexpr const char* name = "prometheus-cpp";

// Never freed: handles are references into it.
prometheus::Registry& registry() {
  static auto* const registry = new prometheus::Registry();
  return *registry;
}

using Counters = prometheus::Family<prometheus::Counter>*;

Contender labelled(Op op, const Input& input, Counters family) {
  if (op == Op::counter_labels_static) {
    return repeating(name, family, [](Counters held) {
      held->Add({{model_label, BENCH_MODEL}, {status_label, BENCH_STATUS}}).Increment();
    });
  }
  return going_over(name, input.pairs(op), family, [](Counters held, const Pair& pair) {
    held->Add({{model_label, pair[0]}, {status_label, pair[1]}}).Increment();
  });
}

}  // namespace

std::vector<Contender> prometheus_cpp(Op op, const Input& input) {
  using namespace prometheus;
  const std::string metric = std::string("bench_") + name_of(op);
  const auto counters = [&] { return &BuildCounter().Name(metric).Register(registry()); };
  switch (op) {
    case Op::counter_inc:
      return {repeating(name, &counters()->Add({}), [](Counter* held) { held->Increment(); })};
    case Op::counter_inc_by:
    case Op::counter_inc_f64:
      return {repeating(name, Fed<Counter*, double>{&counters()->Add({}), op == Op::counter_inc_by ? 7 : 1.5},
                        [](const auto& held) { held.metric->Increment(held.value); })};
    case Op::gauge_set: {
      Gauge& gauge = BuildGauge().Name(metric).Register(registry()).Add({});
      return {repeating(name, Fed<Gauge*, double>{&gauge, 7}, [](const auto& held) { held.metric->Set(held.value); })};
    }
    case Op::hist_observe: {
      Histogram& histogram = BuildHistogram().Name(metric).Register(registry()).Add({}, input.bounds);
      return {going_over(name, input.values, &histogram,
                         [](Histogram* held, double value) { held->Observe(value); })};
    }
    default: return {labelled(op, input, counters())};
  }
}

}  // namespace bench

#else

namespace bench {

std::vector<Contender> prometheus_cpp(Op, const Input&) { return {}; }

}  // namespace bench

#endif

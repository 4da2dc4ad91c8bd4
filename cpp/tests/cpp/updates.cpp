// Only updates: what such an object asks of other libraries is looked at.
#include <dyn_metrics.hpp>

using namespace dyn_metrics;

void update(const Counter& counter, const FloatCounter& amount, const Histogram& histogram, const Gauge& gauge) {
  counter.inc();
  counter.inc_by(2);
  amount.inc_by(0.5);
  histogram.observe(0.25);
  gauge.set(3);
  gauge.add(2);
}

#ifdef WHOLE_PROGRAM
int main(int, char** argv) {
  const Registry registry = Registry::open(argv[1]);
  const Counter counter = registry.counter("updates_total");
  update(counter, registry.float_counter("updates_amount_total"), registry.histogram("updates_seconds"),
         registry.gauge("updates_running"));
  return counter.value() == 3 ? 0 : 1;
}
#endif

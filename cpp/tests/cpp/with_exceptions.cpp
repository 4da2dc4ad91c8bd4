// The other half of no_exceptions.cpp.
#include <dyn_metrics.hpp>

#include "check.hpp"

using namespace dyn_metrics;

Counter counted_elsewhere(const Registry& registry);

Counter counted_elsewhere(const Registry& registry) {
  bool threw = false;
  try {
    registry.visit([](const FamilyView&, const SeriesView&) { throw 1; });
  } catch (int) {
    threw = true;
  }
  try {
    registry.gauge("9");
  } catch (const Error& error) {
    threw = threw && error.status() == DYNM_NAME;
  }
  CHECK(threw);
  const Counter counter = registry.counter("elsewhere_total");
  counter.inc();
  return counter;
}

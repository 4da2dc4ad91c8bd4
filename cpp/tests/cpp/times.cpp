// What updates through handles cost, beside an atomic addition: the least of many slices of each, in turns.
//
//     times SEGMENT SLICES
//
// Compile with -O2, as applications are, and let nothing else run; ratios travel further than nanoseconds.
#include <dyn_metrics.hpp>

#include <algorithm>
#include <cstdio>
#include <string>

#include "check.hpp"

using namespace dyn_metrics;

constexpr int times = 100000;

template <class Update>
static void slice(double& least, const Update& update) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; i++) update(i);
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  least = std::min(least, took.count() / times);
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  const Registry registry = Registry::open(argv[1]);
  const auto counter = registry.counter("c_total");
  const auto amount = registry.float_counter("amount_total");
  const auto gauge = registry.gauge("g");
  const auto histogram = registry.histogram("h_seconds");
  const auto family = registry.family<Counter>(Options("by_labels_total"), {"model", "status"});
  const auto histograms = registry.family<Histogram>(Options("by_labels_seconds"), {"model", "status"});
  const std::string model = "llama-3-70b", status = "success";
  std::uint64_t word = 0;
  struct {
    const char* name;
    double least = 1e9;
  } found[] = {{"fetch_add"}, {"inc"}, {"inc_by double"}, {"set"}, {"gauge inc"}, {"observe"}, {"with inc"},
               {"with literals inc"}, {"with observe"}};
  for (int i = 0; i < std::atoi(argv[2]); i++) {
    slice(found[0].least, [&](int) { __atomic_fetch_add(&word, 1, __ATOMIC_RELAXED); });
    slice(found[1].least, [&](int) { counter.inc(); });
    slice(found[2].least, [&](int) { amount.inc_by(0.5); });
    slice(found[3].least, [&](int n) { gauge.set(n); });
    slice(found[4].least, [&](int) { gauge.inc(); });
    slice(found[5].least, [&](int n) { histogram.observe(n * 1e-4); });
    slice(found[6].least, [&](int) { family.with(model, status).inc(); });
    slice(found[7].least, [&](int) { family.with("llama-3-70b", "success").inc(); });
    slice(found[8].least, [&](int) { histograms.with(model, status).observe(0.5); });
  }
  for (const auto& [name, least] : found) std::printf("%-18s %6.2f ns %6.2f\n", name, least, least / found[0].least);
  return 0;
}

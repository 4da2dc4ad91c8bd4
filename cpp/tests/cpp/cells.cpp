// Updates of cells without a call:
//
//     cells SEGMENT          threads update inline and by call on the same series: totals are exact
//     cells SEGMENT times    prints what an update costs: the least of 15 slices of each, in ns
#include "cells.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "check.h"

namespace {

constexpr int times = 20'000;

dynm_cells raw_cells(const dynm_metric* metric) {
  dynm_cells cells;
  OK(dynm_metric_cells(metric, DYNM_ABI_LEVEL, &cells));
  return cells;
}

void work(const dynm_metric* counter, const dynm_metric* histogram, const dynm_metric* spent) {
  const Cells cells(counter), observed(histogram), fraction(spent);
  const Buckets buckets(histogram);
  for (int i = 0; i < times; i++) {
    count(cells, 2);
    count_elsewhere(cells, std::uint64_t{1} << 40);
    OK(dynm_counter_inc(counter));
    fraction.add_f64(0, 0.5);
    OK(dynm_counter_add_f64(spent, 0.25));
    const double value = 0.005 * (i % 300);
    observed.observe(buckets.find(value), buckets.sum_word(), value);
    observe_elsewhere(observed, buckets, value);
    OK(dynm_observe(histogram, value));
  }
}

void threads_that_update_inline_and_by_call_lose_nothing(const dynm_registry* registry) {
  constexpr int all = 4;
  const dynm_metric* const counter = metric_of(registry, DYNM_COUNTER_U64, "inline_total");
  const dynm_metric* const histogram = metric_of(registry, DYNM_HISTOGRAM, "inline_seconds");
  const dynm_metric* const spent = metric_of(registry, DYNM_COUNTER_F64, "inline_fraction_total");
  std::vector<std::thread> threads;
  for (int n = 0; n < all; n++) threads.emplace_back(work, counter, histogram, spent);
  for (std::thread& thread : threads) thread.join();
  const std::int64_t each = 1 + 2 + 1 + (std::int64_t{1} << 40) + 1;
  CHECK(value_of(counter).integer == all * times * each);
  CHECK(value_of(spent).number == all * times * 0.75);
  std::uint64_t found[5];
  OK(dynm_histogram_buckets(histogram, found, 5, nullptr));
  for (std::uint64_t bucket : found) CHECK(bucket % 3 == 0); /* all ways find the same bucket */
  CHECK(value_of(histogram).count == 3 * all * times && found[0] > 0 && found[1] > 0 && found[4] > 0);
  double sum = 0;
  for (int i = 0; i < times; i++) sum += 3 * all * (0.005 * (i % 300));
  CHECK(std::abs(value_of(histogram).sum - sum) < 1e-6 * sum);
}

/* Without rseq, and where none is compiled in, in the words that all CPUs share; else in none of them. */
void updates_go_where_they_should(const dynm_registry* registry) {
  const dynm_metric* const tally = metric_of(registry, DYNM_TALLY, "places");
  const Cells cells(tally);
  const dynm_cells raw = raw_cells(tally);
  cells.add_one(0); /* the first one gives the CPU its block, by way of the shared one */
  cells.add_f64(1, 0.5);
  const std::uint64_t before = *raw.shared;
  for (int i = 0; i < 1000; i++) cells.add_one(0);
  CHECK(value_of(tally).count == 1001 && value_of(tally).sum == 0.5);
  const bool has_sequences = DYNM_HAVE_SEQUENCES && raw.packed != 0;
  CHECK(has_sequences ? *raw.shared - before < 500 : *raw.shared - before == 1000);
}

void buckets_are_the_library_s(const dynm_registry* registry) {
  const double negative[] = {-1.0, 0.0, 2.0};
  dynm_metric_options options = dynm_metric_options_init(DYNM_HISTOGRAM, "negative", "Without a table");
  const dynm_metric* metric;
  options.bounds = negative;
  options.bound_count = 3;
  OK(dynm_register(registry, &options, &metric));
  const Buckets counted(metric), table(metric_of(registry, DYNM_HISTOGRAM, "inline_seconds")), none;
  CHECK(counted.bound_count() == 3 && counted.sum_word() == 4 && counted.bounds()[1] == 0.0);
  CHECK(counted.find(-2.0) == 0 && counted.find(-1.0) == 0 && counted.find(0.5) == 2 && counted.find(3.0) == 3);
  CHECK(table.bound_count() == 4 && table.sum_word() == 5);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(table.find(-infinity) == 0 && table.find(0.001) == 0 && table.find(0.0010001) == 1 && table.find(1.0) == 3);
  CHECK(table.find(1.5) == 4 && table.find(infinity) == 4);
  CHECK(none.find(1.0) == 0 && none.sum_word() == 1 && none.bound_count() == 0);
}

void gauges_are_stored_once_they_have_their_cell(const dynm_registry* registry) {
  const dynm_metric* const gauge = metric_of(registry, DYNM_GAUGE_I64, "inline_gauge");
  const GaugeCell cell(gauge), none(metric_of(registry, DYNM_COUNTER_U64, "inline_total"));
  std::uint64_t bits = 7;
  CHECK(!cell.store(DYNM_REPRESENTATION_INTEGER, 1) && !cell.load(DYNM_REPRESENTATION_INTEGER, bits) && bits == 7);
  OK(dynm_gauge_set_i64(gauge, 5));
  CHECK(cell.store(DYNM_REPRESENTATION_INTEGER, 11) && cell.add(DYNM_REPRESENTATION_INTEGER, ~std::uint64_t{0}));
  CHECK(value_of(gauge).integer == 10 && cell.load(DYNM_REPRESENTATION_INTEGER, bits) && bits == 10);
  CHECK(!cell.store(DYNM_REPRESENTATION_FLOAT, 1) && !cell.add(DYNM_REPRESENTATION_FLOAT, 1));
  CHECK(!none.store(DYNM_REPRESENTATION_INTEGER, 1) && !GaugeCell().add(DYNM_REPRESENTATION_INTEGER, 1));
  const pid_t child = fork();
  if (child == 0) _exit(cell.store(DYNM_REPRESENTATION_INTEGER, 9) ? 1 : 0);
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0 && value_of(gauge).integer == 10);
}

void what_has_no_cells_drops(const dynm_registry* registry) {
  for (const Cells& cells : {Cells(), Cells(nullptr), Cells(metric_of(registry, DYNM_GAUGE_I64, "inline_gauge"))}) {
    cells.add_one(0);
    cells.add_u64(3, 2);
    cells.add_f64(1, 2.5);
    cells.dropped(DYNM_DROPPED_NAN);
  }
  dynm_metric_options options = dynm_metric_options_init(DYNM_TALLY, nullptr, nullptr);
  const dynm_metric* const own = dynm_private(&options);
  Cells(own).add_u64(0, 3);
  Cells(own).add_f64(1, 2.5);
  CHECK(value_of(own).count == 3 && value_of(own).sum == 2.5);
}

double now() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/* The least time of an update, in ns. */
template <class Update>
double cost(Update update) {
  double least = 1e9;
  for (int slice = 0; slice < 15; slice++) {
    const double start = now();
    for (int i = 0; i < 10 * times; i++) update(i);
    least = std::min(least, (now() - start) / (10 * times));
  }
  return least;
}

void costs(const dynm_registry* registry) {
  const dynm_metric* const histogram = metric_of(registry, DYNM_HISTOGRAM, "timed_seconds");
  const Cells counter(metric_of(registry, DYNM_COUNTER_U64, "timed_total")), observed(histogram);
  const Cells spent(metric_of(registry, DYNM_COUNTER_F64, "timed_fraction_total"));
  const Buckets buckets(histogram);
  static std::uint64_t word;
  const double values[] = {0.0005, 0.05, 0.5, 0.005};
  const double atomic = cost([](int) { __atomic_fetch_add(&word, 1, __ATOMIC_RELAXED); });
  const double costs[] = {cost([&](int) { counter.add_one(0); }), cost([&](int i) { counter.add_u64(0, i); }),
                          cost([&](int) { spent.add_f64(0, 0.5); }), cost([&](int i) {
                            observed.observe(buckets.find(values[i % 4]), buckets.sum_word(), values[i % 4]);
                          })};
  const char* const names[] = {"add_one", "add_u64", "add_f64", "observe"};
  printf("fetch_add %.2f ns\n", atomic);
  for (int i = 0; i < 4; i++) printf("%s %.2f ns, %.2f of fetch_add\n", names[i], costs[i], costs[i] / atomic);
}

}  // namespace

int main(int argc, char** argv) {
  CHECK(argc >= 2);
  const dynm_registry* const registry = open_at(argv[1]);
  if (argc > 2) {
    costs(registry);
    return 0;
  }
  threads_that_update_inline_and_by_call_lose_nothing(registry);
  updates_go_where_they_should(registry);
  buckets_are_the_library_s(registry);
  gauges_are_stored_once_they_have_their_cell(registry);
  what_has_no_cells_drops(registry);
  return 0;
}

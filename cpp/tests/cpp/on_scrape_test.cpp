// Values that are computed when somebody asks.
#include <atomic>
#include <cmath>
#include <memory>
#include <stdexcept>

#include "support.hpp"

namespace {

using namespace dyn_metrics;
using namespace std::chrono_literals;
using tests::Directory;
using tests::page_of;
using tests::sample;

// Asks until a sample is as wanted: who asks waits for a bounded time, and a thread may take longer to start.
template <class Wanted>
double wait_for(const Registry& registry, const std::string& name, const Wanted& wanted) {
  for (int n = 0; n < 1000; n++) {
    const std::string page = page_of(registry);
    if (tests::count_samples(page, name) == 0) continue;
    const double seen = sample(page, name);
    if (wanted(seen)) return seen;
  }
  ADD_FAILURE() << name << ": waited in vain";
  return 0;
}

void wait_for_value(const Registry& registry, const std::string& name, double value) {
  wait_for(registry, name, [value](double seen) { return seen == value; });
}

TEST(OnScrape, CallbacksRunBeforeEachPageUntilTheyEnd) {
  const Directory directory;
  const Registry registry = Registry::open(directory.file("s"));
  const Gauge depth = registry.gauge("depth");
  auto runs = std::make_shared<std::atomic<int>>(0);
  OnScrape callback = on_scrape(registry, [depth, runs] { depth.set(++*runs); });
  const auto later = [&](double than) { return wait_for(registry, "depth", [than](double seen) { return seen > than; }); };
  const double seen = later(later(0));
  OnScrape moved = std::move(callback);
  later(seen);
  moved.end();
  while (runs.use_count() > 1) std::this_thread::sleep_for(1ms);  // what it owned is destroyed, after a run that is under way
  const int last = *runs;
  EXPECT_EQ(sample(page_of(registry), "depth"), last);
  EXPECT_EQ(sample(page_of(registry), "depth"), last);
}

TEST(OnScrape, GaugesAndCountersTakeFunctions) {
  const Directory directory;
  const Registry registry = Registry::open(directory.file("s"));
  const Gauge whole = registry.gauge("g");
  const FloatGauge fraction = registry.float_gauge("f");
  const DurationGauge span = registry.duration_gauge("d_seconds");
  const Counter total = registry.counter("c_total");
  set_function(whole, [] { return 1; });
  set_function(whole, [] { return 7; });
  set_function(fraction, [] { return 0.5; });
  set_function(span, [] { return 250ms; });
  set_function(total, [n = 0]() mutable { return n += 3; });
  wait_for_value(registry, "g", 7);
  wait_for_value(registry, "f", 0.5);
  wait_for_value(registry, "d_seconds", 0.25);
  wait_for(registry, "c_total", [](double seen) { return seen >= 9; });
  EXPECT_EQ(std::fmod(sample(page_of(registry), "c_total"), 3), 0) << "what the total has grown by";
  EXPECT_TRUE(clear_function(total));
  EXPECT_FALSE(clear_function(total));
  EXPECT_EQ(try_set_function(Gauge(), [] { return 1; }).status(), DYNM_NOT_FOUND);
  EXPECT_EQ(try_on_scrape(Registry(), [] {}).status(), DYNM_NULL);
}

TEST(OnScrape, WhatThrowsOrHangsHarmsNobody) {
  const Directory directory;
  const Registry registry = Registry::open(directory.file("s"));
  std::atomic<bool> go{false};
  auto ended = std::make_shared<int>(0);
  const OnScrape throws = on_scrape(registry, [] { throw std::runtime_error("on purpose"); });
  OnScrape hangs = on_scrape(registry, [&go, ended] {
    while (!go) std::this_thread::sleep_for(1ms);
  });
  const Gauge runs = registry.gauge("runs");
  set_function(runs, [n = 0]() mutable { return ++n; });
  while (runs.value() < 3) page_of(registry);
  hangs.end();
  EXPECT_EQ(ended.use_count(), 2) << "it still runs";
  go = true;
  while (ended.use_count() > 1) std::this_thread::sleep_for(1ms);
}

TEST(OnScrape, AForkedChildHasItsOwnOnly) {
  const Directory directory;
  const Registry registry = Registry::open(directory.file("s"));
  const Gauge parents = registry.gauge("parents");
  const Gauge childs = registry.gauge("childs");
  set_function(parents, [] { return 1; });
  const pid_t child = fork();
  if (child == 0) {
    set_function(childs, [] { return 2; });
    wait_for_value(registry, "childs", 2);
    _exit(parents.value() == 0 && childs.value() == 2 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  wait_for_value(registry, "parents", 1);
}

}  // namespace

// Values that are computed when somebody asks.
#include <atomic>
#include <memory>
#include <stdexcept>

#include "support.hpp"

namespace {

using namespace dyn_metrics;
using namespace std::chrono_literals;
using tests::Directory;
using tests::page_of;
using tests::sample;

TEST(OnScrape, CallbacksRunBeforeEachPageUntilTheyEnd) {
  const Directory directory;
  const Registry registry = Registry::open(directory.file("s"));
  const Gauge depth = registry.gauge("depth");
  auto runs = std::make_shared<std::atomic<int>>(0);
  OnScrape callback = on_scrape(registry, [depth, runs] { depth.set(++*runs); });
  EXPECT_EQ(sample(page_of(registry), "depth"), 1);
  EXPECT_EQ(sample(page_of(registry), "depth"), 2);
  OnScrape moved = std::move(callback);
  EXPECT_EQ(sample(page_of(registry), "depth"), 3);
  moved.end();
  EXPECT_EQ(sample(page_of(registry), "depth"), 3);
  EXPECT_EQ(runs.use_count(), 1) << "what it owned is destroyed";
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
  for (int run = 1; run < 4; ++run) {
    const std::string page = page_of(registry);
    EXPECT_EQ(sample(page, "g"), 7);
    EXPECT_EQ(sample(page, "f"), 0.5);
    EXPECT_EQ(sample(page, "d_seconds"), 0.25);
    EXPECT_EQ(sample(page, "c_total"), 3 * run);
  }
  EXPECT_TRUE(clear_function(total));
  EXPECT_FALSE(clear_function(total));
  EXPECT_EQ(sample(page_of(registry), "c_total"), 9);
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
    const std::string page = page_of(registry);
    _exit(parents.value() == 0 && childs.value() == 2 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  page_of(registry);
  EXPECT_EQ(parents.value(), 1);
}

}  // namespace

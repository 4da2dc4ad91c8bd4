// Nothing is lost: threads, processes, signal handlers and forked children on the same series.
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <set>

#include "support.hpp"

namespace {

using namespace dyn_metrics;
using namespace std::chrono_literals;
using tests::Directory;
using tests::Gate;
using tests::in_threads;
using tests::page_of;
using tests::sample;
using tests::scaled;

// One metric of every type that is updated, registered by whoever makes it.
struct Every {
  explicit Every(const std::string& path) : registry(Registry::open(path)) {}

  // One of each update; sums are exact, whatever the order.
  void update() const {
    counter.inc();
    float_counter.inc_by(0.25);
    duration_counter.inc_by(2ms);
    tally.observe(0.5);
    histogram.observe(0.75);
    histogram.observe_n(2.0, 3);
    gauge.add(2);
    float_gauge.add(0.125);
    duration_gauge.add(4ms);
    family.with("llama", "ok").inc();
    state_set.set("ready");
  }

  // What the page must hold after so many updates, by processes of which all live.
  void expect(std::uint64_t updates) const {
    const std::string page = page_of(registry);
    const auto n = static_cast<double>(updates);
    EXPECT_EQ(sample(page, "c_total"), n);
    EXPECT_EQ(sample(page, "fc_total"), 0.25 * n);
    EXPECT_DOUBLE_EQ(sample(page, "dc_seconds_total"), 0.002 * n);
    EXPECT_EQ(sample(page, "t_sum"), 0.5 * n);
    EXPECT_EQ(sample(page, "t_count"), n);
    EXPECT_EQ(sample(page, "h_bucket{le=\"1\"}"), n);
    EXPECT_EQ(sample(page, "h_bucket{le=\"+Inf\"}"), 4 * n);
    EXPECT_EQ(sample(page, "h_sum"), 6.75 * n);
    EXPECT_EQ(sample(page, "g"), 2 * n);
    EXPECT_EQ(sample(page, "fg"), 0.125 * n);
    EXPECT_DOUBLE_EQ(sample(page, "dg_seconds"), 0.004 * n);
    EXPECT_EQ(sample(page, "f_total{model=\"llama\",status=\"ok\"}"), n);
    EXPECT_EQ(sample(page, "s{s=\"ready\"}"), 1);
    for (const char* name : {"c_total", "fc_total", "t_count", "h_count", "g", "fg", "f_total"}) {
      EXPECT_EQ(tests::count_samples(page, name), 1) << name;
    }
  }

  Registry registry;
  Counter counter = registry.counter("c_total");
  FloatCounter float_counter = registry.float_counter("fc_total");
  DurationCounter duration_counter = registry.duration_counter("dc_seconds_total");
  Tally tally = registry.tally("t");
  Histogram histogram = registry.histogram("h", "", {0.5, 1});
  Gauge gauge = registry.gauge("g");
  FloatGauge float_gauge = registry.float_gauge("fg");
  DurationGauge duration_gauge = registry.duration_gauge("dg_seconds");
  Family<Counter> family = registry.family<Counter>(Options("f_total"), {"model", "status"});
  StateSet state_set = registry.state_set("s", "", {"starting", "ready"});
};

TEST(Counting, ThreadsLoseNothing) {
  const Directory directory;
  const Every every(directory.file("s"));
  const auto times = scaled(20000);
  in_threads(4, [&](int) {
    for (std::uint64_t i = 0; i < times; i++) every.update();
  });
  every.expect(4 * times);
}

TEST(Counting, ThreadsThatRegisterAtTheSameTimeShareTheirSeries) {
  const Directory directory;
  const auto path = directory.file("s");
  const auto times = scaled(2000);
  in_threads(6, [&](int) {
    const Every mine(path);
    for (std::uint64_t i = 0; i < times; i++) mine.update();
  });
  Every(path).expect(6 * times);
}

TEST(Counting, ProcessesLoseNothingAndShareTheirSeries) {
  const Directory directory;
  const auto path = directory.file("s");
  const auto times = scaled(10000);
  Gate done;
  std::vector<pid_t> children;
  for (int number = 0; number < 3; number++) {
    // Each opens for itself: this process has not.
    children.push_back(tests::spawn([&] {
      const Every mine(path);
      in_threads(2, [&](int) {
        for (std::uint64_t i = 0; i < times; i++) mine.update();
      });
      done.wait();  // gauges count as long as their processes live
    }));
  }
  const Every mine(path);
  for (std::uint64_t i = 0; i < times; i++) mine.update();
  while (mine.counter.value() < 7 * times) std::this_thread::yield();
  // The counter is the first of the updates: the last thread of each child may be at the others.
  const char* const last = "f_total{model=\"llama\",status=\"ok\"}";
  while (sample(page_of(mine.registry), last) < 7.0 * times) std::this_thread::yield();
  EXPECT_EQ(sample(page_of(mine.registry), "dyn_metrics_processes{segment=\"" + path + "\"}"), 4);
  done.open();
  for (const pid_t child : children) tests::expect_success(child);
  const std::string page = page_of(mine.registry);
  EXPECT_EQ(sample(page, "c_total"), 7.0 * times);
  EXPECT_EQ(sample(page, "h_sum"), 6.75 * 7 * times);
  EXPECT_EQ(sample(page, "fc_total"), 0.25 * 7 * times);
}

TEST(Counting, AFamilyGivesEveryThreadTheSameSeries) {
  const Directory directory;
  const auto registry = Registry::open(directory.file("s"));
  const auto family = registry.family<Counter>(Options("f_total"), {"number"});
  const auto times = scaled(20);
  constexpr int series = 200;
  const auto value = [](int number) { return std::string(number % 2 * 60, 'x') + std::to_string(number); };
  std::vector<std::set<const dynm_metric*>> seen(series);
  std::mutex lock;
  in_threads(4, [&](int thread) {
    for (std::uint64_t i = 0; i < times * series; i++) {
      const int number = static_cast<int>(i + thread * 50) % series;
      const auto counter = family.with(value(number));
      counter.inc();
      const std::lock_guard<std::mutex> guard(lock);
      seen[number].insert(counter.raw());
    }
  });
  const std::string page = page_of(registry);
  EXPECT_EQ(tests::count_samples(page, "f_total"), series);
  for (int number = 0; number < series; number++) {
    EXPECT_EQ(seen[number].size(), 1U);
    EXPECT_EQ(sample(page, "f_total{number=\"" + value(number) + "\"}"), 4.0 * times);
  }
}

TEST(Counting, WhatOneThreadRemovesAnotherCountsAnew) {
  const Directory directory;
  const auto registry = Registry::open(directory.file("s"));
  const auto family = registry.family<Counter>(Options("f_total"), {"number"});
  const auto held = family.with("1");
  held.inc_by(5);
  const std::string long_value(300, 'x');
  family.with(long_value).inc_by(2);
  EXPECT_TRUE(family.remove("1"));
  EXPECT_FALSE(family.remove("1"));
  EXPECT_TRUE(registry.remove("f_total", {{"number", long_value}}));
  EXPECT_FALSE(family.find("1").has_value());
  held.inc_by(100);
  EXPECT_EQ(tests::count_samples(page_of(registry), "f_total"), 0);
  family.with("1").inc();
  family.with(long_value).inc();
  EXPECT_EQ(family.with("1").value(), 1U);
  EXPECT_EQ(family.with(long_value).value(), 1U);
  EXPECT_EQ(family.try_remove("1", "2").status(), DYNM_LABELS);
  const auto times = scaled(2000);
  in_threads(3, [&](int thread) {
    for (std::uint64_t i = 0; i < times; i++) {
      const std::string value = std::to_string(i % 20);
      if (thread == 0 && i % 4 == 0) {
        family.remove(value);
      } else {
        family.with(value).inc();
      }
    }
  });
  // Whatever happened meanwhile, what is found now is what everybody sees.
  for (int number = 0; number < 20; number++) {
    const auto counter = family.with(std::to_string(number));
    const auto before = counter.value();
    counter.inc();
    EXPECT_EQ(sample(page_of(registry), "f_total{number=\"" + std::to_string(number) + "\"}"), before + 1.0);
  }
}

// What the handler updates: the same series as the code that it interrupts.
const Every* interrupted = nullptr;
std::atomic<std::uint64_t> handled{0};

TEST(Counting, SignalHandlersMayUpdateWhatTheyInterrupt) {
  const Directory directory;
  const Every every(directory.file("s"));
  every.update();  // registers the family's series
  interrupted = &every;
  struct sigaction action = {};
  action.sa_handler = [](int) {
    const int before = errno;
    interrupted->counter.inc();
    interrupted->float_counter.inc_by(0.25);
    interrupted->histogram.observe(0.75);
    interrupted->gauge.add(2);
    handled.fetch_add(1);
    if (errno != before) std::abort();
  };
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  const auto times = scaled(20000);
  std::atomic<bool> done{false};
  const pthread_t target = pthread_self();
  std::thread sender([&] {
    while (!done) {
      const auto before = handled.load();
      pthread_kill(target, SIGUSR1);
      while (handled.load() == before) std::this_thread::yield();
    }
  });
  std::uint64_t updated = 1;
  while (updated <= times || handled < 100) {
    every.update();
    updated++;
  }
  done = true;
  // The sender may wait for one more: joining is interrupted by it.
  sender.join();
  const double n = static_cast<double>(updated), handler = static_cast<double>(handled.load());
  const std::string page = page_of(every.registry);
  EXPECT_EQ(sample(page, "c_total"), n + handler);
  EXPECT_EQ(sample(page, "fc_total"), 0.25 * (n + handler));
  EXPECT_EQ(sample(page, "h_sum"), 6.75 * n + 0.75 * handler);
  EXPECT_EQ(sample(page, "g"), 2 * (n + handler));
}

}  // namespace

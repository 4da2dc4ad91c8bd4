// Forked children: what they inherit counts, what belongs to a process is their own.
#include <signal.h>
#include <sys/prctl.h>

#include "support.hpp"

namespace {

using namespace dyn_metrics;
using namespace std::chrono_literals;
using tests::Directory;
using tests::Gate;
using tests::page_of;
using tests::sample;
using tests::spawn;

TEST(Fork, AChildCountsThroughItsParentsHandles) {
  const Directory directory;
  const auto registry = Registry::open(directory.file("s"));
  const auto counter = registry.counter("c_total");
  const auto histogram = registry.histogram("h", "", {1});
  const auto family = registry.family<Counter>(Options("f_total"), {"who"});
  counter.inc();
  family.with("parent").inc();
  const pid_t child = spawn([&] {
    counter.inc_by(5);
    histogram.observe(0.5);
    family.with("parent").inc();  // remembered before the fork
    family.with("child").inc();   // registered by the child
    registry.counter("late_total").inc();
    EXPECT_EQ(counter.value(), 6U);
  });
  tests::expect_success(child);
  const std::string page = page_of(registry);
  EXPECT_EQ(sample(page, "c_total"), 6);
  EXPECT_EQ(sample(page, "h_count"), 1);
  EXPECT_EQ(sample(page, "f_total{who=\"parent\"}"), 2);
  EXPECT_EQ(sample(page, "f_total{who=\"child\"}"), 1);
  EXPECT_EQ(sample(page, "late_total"), 1);
  EXPECT_EQ(family.with("child").value(), 1U);
}

TEST(Fork, AChildHasGaugesAndStatesOfItsOwn) {
  const Directory directory;
  const auto path = directory.file("s");
  const auto registry = Registry::open(path);
  const auto gauge = registry.gauge("g");
  const auto states = registry.state_set("s", "", {"a", "b"});
  gauge.set(40);
  states.set("a");
  Gate is_set, done;
  const pid_t child = spawn([&] {
    EXPECT_EQ(gauge.value(), 0) << "the parent's value is not its own";
    EXPECT_FALSE(states.is_on("a"));
    gauge.add(2);
    states.set("b");
    EXPECT_EQ(gauge.value(), 2);
    is_set.open();
    done.wait();
  });
  is_set.wait();
  const std::string both = page_of(registry);
  EXPECT_EQ(sample(both, "g"), 42);
  EXPECT_EQ(sample(both, "dyn_metrics_processes{segment=\"" + path + "\"}"), 2);
  EXPECT_EQ(gauge.value(), 40);
  EXPECT_TRUE(states.is_on("a"));
  done.open();
  tests::expect_success(child);
}

TEST(Fork, TimersAndWorkInProgressRunOnInBoth) {
  const Directory directory;
  const auto registry = Registry::open(directory.file("s"));
  const auto latency = registry.histogram("h");
  const auto running = registry.gauge("g");
  {
    const ScopedTimer timer(latency);
    const auto guard = running.track();
    tests::expect_success(spawn([&] {
      { ScopedTimer own(latency); }
      { const auto inner = running.track(); }
      EXPECT_EQ(running.value(), 0);
    }));
    EXPECT_EQ(running.value(), 1);
  }
  EXPECT_EQ(running.value(), 0);
  EXPECT_EQ(latency.count(), 2U) << "the child has ended without destructors";
}

TEST(Fork, AChildCountsOnWhenItsParentIsKilled) {
  const Directory directory;
  const auto path = directory.file("s");
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // the grandchild becomes our child
  Gate parent_is_dead, done;
  const pid_t parent = spawn([&] {
    const auto registry = Registry::open(path);
    const auto counter = registry.counter("c_total");
    const auto gauge = registry.gauge("g");
    counter.inc();
    gauge.set(40);
    spawn([&] {
      parent_is_dead.wait();
      counter.inc_by(10);
      gauge.set(2);
      registry.counter("late_total").inc();
      done.wait();
    });
    done.wait();
  });
  const auto registry = Registry::open(path);
  const auto page_has = [&](const char* name, double value) {
    const std::string page = page_of(registry);
    return tests::count_samples(page, name) == 1 && sample(page, name) == value;
  };
  while (!page_has("g", 40)) std::this_thread::yield();
  kill(parent, SIGKILL);
  ASSERT_EQ(waitpid(parent, nullptr, 0), parent);
  parent_is_dead.open();
  while (!page_has("late_total", 1)) std::this_thread::yield();
  EXPECT_EQ(sample(page_of(registry), "c_total"), 11);
  // Whether an owner lives is asked once a second.
  while (!page_has("g", 2)) std::this_thread::sleep_for(20ms);
  done.open();
  tests::expect_success(-1);
  while (!page_has("g", 0)) std::this_thread::sleep_for(20ms);
  EXPECT_EQ(sample(page_of(registry), "c_total"), 11);
}

}  // namespace

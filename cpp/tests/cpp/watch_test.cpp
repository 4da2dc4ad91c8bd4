// Callbacks on changes and thresholds.
#include <dyn_metrics/watch.hpp>

#include <condition_variable>
#include <mutex>
#include <stdexcept>

#include "support.hpp"

namespace {

using namespace dyn_metrics;
using namespace std::chrono_literals;
using tests::Directory;

// Longer than anything takes that is not broken.
constexpr auto long_time = 60s;

// What callbacks have told.
class Told {
 public:
  void add(const Event& event) {
    const std::lock_guard lock(mutex_);
    values_.push_back(event.value().value_or(-1));
    for (const Label& label : event.labels()) last_label_ = std::string(label.value);
    more_.notify_all();
  }
  // Waits until a value was told; others may come before.
  bool wait_for(double value) {
    std::unique_lock lock(mutex_);
    return more_.wait_for(lock, long_time, [&] { return !values_.empty() && values_.back() == value; });
  }
  std::size_t calls() {
    const std::lock_guard lock(mutex_);
    return values_.size();
  }
  std::string last_label() {
    const std::lock_guard lock(mutex_);
    return last_label_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<double> values_;
  std::string last_label_;
};

TEST(Watch, AHandleAndAFamilyAreWatchedWhoeverWrites) {
  const Directory directory;
  const auto registry = Registry::open(directory.file("s"));
  const auto family = registry.family<Counter>(Options("c_total"), {"model"});
  Told one, all;
  auto first = on_change(registry, family.with("a"), [&](const Event& event) { one.add(event); });
  auto second = on_change(registry, Watched("c_total").matching("model", "b"), [&](const Event& event) { all.add(event); });
  tests::expect_success(tests::spawn([&] {
    family.with("a").inc_by(3);
    family.with("b").inc_by(4);
  }));
  EXPECT_TRUE(one.wait_for(3));
  EXPECT_TRUE(all.wait_for(4));
  EXPECT_EQ(all.last_label(), "b");
  EXPECT_TRUE(first.cancel(long_time));
  Subscription moved = std::move(second);
  EXPECT_EQ(moved.counts().calls, all.calls());
  EXPECT_TRUE(moved.cancel(long_time) && moved.cancel());
}

TEST(Watch, AThresholdIsToldOfAtOnceAndExceptionsAreCounted) {
  const Directory directory;
  const auto registry = Registry::open(directory.file("s"));
  const auto gauge = registry.gauge("g");
  gauge.set(20);
  Told told;
  const auto held = std::make_shared<int>(0);
  auto subscription = on_threshold(registry, gauge, Threshold::above(10).hysteresis(5), [&told, held](const Event& event) {
    told.add(event);
    throw std::runtime_error("on purpose");
  });
  EXPECT_TRUE(told.wait_for(20));
  EXPECT_TRUE(subscription.cancel(long_time));
  EXPECT_EQ(subscription.exceptions(), 1U);
  EXPECT_EQ(held.use_count(), 1) << "what the callback held is destroyed";
}

TEST(Watch, WhatAFunctionGivesIsWatchedAndBadInputIsRefused) {
  const Directory directory;
  const auto registry = Registry::open(directory.file("s"));
  std::atomic<int> value{0};
  Told told;
  std::atomic<double> old{-1};
  auto subscription = on_change(
      registry, Watched::computed("answer", [&]() -> std::optional<double> { return value.load(); }),
      [&](const Event& event) {
        old = event.old_value().value_or(-2);
        told.add(event);
      });
  value = 42;
  EXPECT_TRUE(told.wait_for(42));
  EXPECT_TRUE(subscription.cancel(long_time));
  EXPECT_EQ(old, 0);
  EXPECT_EQ(Subscription::make(registry, Watched("x_total"), nullptr, nullptr).status(), DYNM_NULL);
  EXPECT_EQ(try_on_change(registry, "9 x", [](const Event&) {}).status(), DYNM_NAME);
  EXPECT_EQ(try_on_change(registry, "x_total", nullptr).status(), DYNM_NULL);
  EXPECT_THROW(on_threshold(registry, "x", Threshold::below(1).hysteresis(-1), [](const Event&) {}), Error);
}

}  // namespace

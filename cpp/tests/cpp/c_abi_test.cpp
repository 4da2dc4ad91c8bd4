// The C functions, as C++ programs call them.
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using tests::Directory;
using tests::open_at;
using tests::page_of;
using tests::sample;
using tests::scaled;

const dynm_metric* metric_of(const dynm_registry* registry, std::uint32_t type, const char* name) {
  dynm_metric_options options = dynm_metric_options_init(type, name, "A metric");
  const double bounds[] = {0.1, 1.0};
  if (type == DYNM_HISTOGRAM) {
    options.bounds = bounds;
    options.bound_count = 2;
  }
  const dynm_metric* metric;
  EXPECT_EQ(dynm_register(registry, &options, &metric), DYNM_OK) << dynm_last_error();
  return metric;
}

TEST(CAbi, ThreadsLoseNothing) {
  const Directory directory;
  const auto* registry = open_at(directory.file("s"));
  const auto* counter = metric_of(registry, DYNM_COUNTER_U64, "c_total");
  const auto* histogram = metric_of(registry, DYNM_HISTOGRAM, "h");
  const auto times = scaled(100000);
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; number++) {
    threads.emplace_back([&, number] {
      for (std::uint64_t i = 0; i < times; i++) {
        dynm_counter_inc(counter);
        dynm_observe(histogram, number < 2 ? 0.0625 : 0.5);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const auto page = page_of(registry);
  EXPECT_EQ(sample(page, "c_total"), 4.0 * times);
  EXPECT_EQ(sample(page, "h_bucket{le=\"0.1\"}"), 2.0 * times);
  EXPECT_EQ(sample(page, "h_count"), 4.0 * times);
  EXPECT_EQ(sample(page, "h_sum"), (0.0625 + 0.5) * 2 * times);
}

TEST(CAbi, ThreadsThatRegisterTheSameGetTheSame) {
  const Directory directory;
  const auto path = directory.file("s");
  const dynm_metric* found[8];
  std::vector<std::thread> threads;
  for (auto& metric : found) {
    threads.emplace_back([&] { metric = metric_of(open_at(path), DYNM_COUNTER_U64, "c_total"); });
  }
  for (auto& thread : threads) thread.join();
  for (const auto* metric : found) EXPECT_EQ(metric, found[0]);
}

TEST(CAbi, AForkedChildCountsThroughItsParentsHandles) {
  const Directory directory;
  const auto* registry = open_at(directory.file("s"));
  const auto* counter = metric_of(registry, DYNM_COUNTER_U64, "c_total");
  const auto* gauge = metric_of(registry, DYNM_GAUGE_I64, "g");
  dynm_gauge_set_i64(gauge, 40);
  dynm_counter_inc(counter);
  const auto work = [&] {
    EXPECT_EQ(dynm_counter_add_u64(counter, 5), DYNM_OK);
    EXPECT_EQ(dynm_gauge_set_i64(gauge, 2), DYNM_OK);
    const auto page = page_of(registry);
    EXPECT_EQ(sample(page, "c_total"), 6);
    EXPECT_EQ(sample(page, "g"), 42);  // while both live
  };
  tests::expect_success(tests::spawn(work));
  EXPECT_EQ(sample(page_of(registry), "c_total"), 6);
}

TEST(CAbi, BadInputGivesAStatusAndAMessage) {
  const Directory directory;
  const auto* registry = open_at(directory.file("s"));
  EXPECT_EQ(dynm_counter_inc(nullptr), DYNM_NULL);
  EXPECT_EQ(dynm_gauge_set_i64(metric_of(registry, DYNM_COUNTER_U64, "c_total"), 1), DYNM_WRONG_TYPE);
  const dynm_metric* metric;
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "\xff", nullptr);
  EXPECT_EQ(dynm_register(registry, &options, &metric), DYNM_UTF8);
  EXPECT_NE(std::string(dynm_last_error()).find("encode it as UTF-8"), std::string::npos) << dynm_last_error();
  EXPECT_EQ(dynm_registry_close(registry), DYNM_OK);
  EXPECT_EQ(dynm_registry_close(registry), DYNM_CLOSED);
}

}  // namespace

// A writer in Rust and one in C++, each with a copy of the library of its own, on the same series: in one process,
// which is one writer, and in two.
#include <dlfcn.h>

#include "support.hpp"

namespace {

using namespace dyn_metrics;
using tests::Directory;
using tests::Gate;
using tests::page_of;
using tests::sample;
using tests::scaled;

// The shared object of rust_half.rs, which is never unloaded.
class Rust {
 public:
  Rust() : handle_(dlopen(DYN_METRICS_RUST_HALF, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) std::cerr << dlerror() << std::endl, std::abort();
  }
  void open(const std::string& path) const { function<void(const char*)>("rust_open")(path.c_str()); }
  void make_newer(const std::string& path) const { function<void(const char*)>("rust_make_newer")(path.c_str()); }
  void count(std::uint64_t times, double observed, const char* model) const {
    function<void(std::uint64_t, double, const char*)>("rust_count")(times, observed, model);
  }
  void set(std::int64_t value) const { function<void(std::int64_t)>("rust_set")(value); }
  std::int64_t gauge() const { return function<std::int64_t()>("rust_gauge")(); }

 private:
  template <class F>
  F* function(const char* name) const {
    void* const found = dlsym(handle_, name);
    if (found == nullptr) std::abort();
    return reinterpret_cast<F*>(found);
  }
  void* handle_;
};

// The same metrics in C++.
struct Cpp {
  explicit Cpp(const std::string& path) : registry(Registry::open(path)) {}
  void count(std::uint64_t times, double observed, std::string_view model) const {
    for (std::uint64_t i = 0; i < times; i++) {
      counter.inc();
      histogram.observe(observed);
      family.with(model).inc();
    }
  }

  Registry registry;
  Counter counter = registry.counter("both_total");
  Gauge gauge = registry.create<Gauge>(Options("both_gauge").mode(Mode::live_all));
  Histogram histogram = registry.histogram("both_seconds", "", {0.1, 1.0});
  Family<Counter> family = registry.family<Counter>(Options("both_by_model_total"), {"model"});
};

// What the page must hold when each half has counted so often, Rust 0.0625 and C++ 5.
void expect_totals(const Cpp& cpp, std::uint64_t each) {
  const double n = static_cast<double>(each);
  const std::string page = page_of(cpp.registry);
  EXPECT_EQ(sample(page, "both_total"), 2 * n);
  EXPECT_EQ(sample(page, "both_seconds_bucket{le=\"0.1\"}"), n);
  EXPECT_EQ(sample(page, "both_seconds_bucket{le=\"1\"}"), n);
  EXPECT_EQ(sample(page, "both_seconds_count"), 2 * n);
  EXPECT_EQ(sample(page, "both_seconds_sum"), 5.0625 * n);
  EXPECT_EQ(sample(page, "both_by_model_total{model=\"llama\"}"), 2 * n);
  EXPECT_EQ(tests::count_samples(page, "both_total"), 1);
  EXPECT_EQ(tests::count_samples(page, "both_seconds_count"), 1);
  EXPECT_EQ(tests::count_samples(page, "both_by_model_total"), 1);
  EXPECT_EQ(cpp.counter.value(), 2 * each);
}

TEST(Together, RustAndCppInOneProcessAreOneWriter) {
  const Directory directory;
  const auto path = directory.file("s");
  const Rust rust;
  rust.open(path);
  const Cpp cpp(path);
  const auto times = scaled(50000);
  tests::in_threads(4, [&](int number) {
    if (number % 2 == 0) {
      rust.count(times, 0.0625, "llama");
    } else {
      cpp.count(times, 5.0, "llama");
    }
  });
  expect_totals(cpp, 2 * times);

  // One slot, one cell: each sees at once what the other has set. The first update finds the cell.
  cpp.gauge.set(0);
  for (int value = 1; value < 100; value += 2) {
    rust.set(value);
    EXPECT_EQ(cpp.gauge.value(), value);
    cpp.gauge.set(value + 1);
    EXPECT_EQ(rust.gauge(), value + 1);
  }
  cpp.gauge.add(5);
  EXPECT_EQ(rust.gauge(), 105);
  const std::string page = page_of(cpp.registry);
  EXPECT_EQ(sample(page, "dyn_metrics_processes{segment=\"" + path + "\"}"), 1);
  EXPECT_EQ(tests::count_samples(page, "both_gauge"), 1);
  EXPECT_EQ(sample(page, "both_gauge{pid=\"" + std::to_string(getpid()) + "\"}"), 105);
}

TEST(Together, GaugesThatBothHalvesReachAtTheSameTimeHaveOneCell) {
  const Directory directory;
  const Rust rust;
  const auto path = directory.file("s");
  rust.open(path);
  const Cpp cpp(path);
  // In each child both halves claim a slot and a cell for it, at the same time.
  for (int round = 0; round < 30; round++) {
    tests::expect_success(tests::spawn([&] {
      tests::in_threads(2, [&](int number) { number == 0 ? rust.set(7) : cpp.gauge.set(7); });
      const std::string page = page_of(cpp.registry);
      EXPECT_EQ(sample(page, "dyn_metrics_processes{segment=\"" + path + "\"}"), 2) << "the parent and this one";
      EXPECT_EQ(tests::count_samples(page, "both_gauge"), 1);
      EXPECT_EQ(sample(page, "both_gauge{pid=\"" + std::to_string(getpid()) + "\"}"), 7);
      cpp.gauge.add(1);
      EXPECT_EQ(rust.gauge(), 8);
    }));
  }
}

TEST(Together, RustAndCppInTwoProcessesAddUp) {
  const Directory directory;
  const auto path = directory.file("s");
  const auto times = scaled(50000);
  Gate counted, done;
  const pid_t child = tests::spawn([&] {
    const Rust rust;
    rust.open(path);
    rust.count(times, 0.0625, "llama");
    rust.set(3);
    counted.open();
    done.wait();
  });
  const Cpp cpp(path);
  cpp.count(times, 5.0, "llama");
  cpp.gauge.set(4);
  counted.wait();
  expect_totals(cpp, times);
  const std::string page = page_of(cpp.registry);
  EXPECT_EQ(sample(page, "dyn_metrics_processes{segment=\"" + path + "\"}"), 2);
  EXPECT_EQ(tests::count_samples(page, "both_gauge"), 2);
  EXPECT_EQ(sample(page, "both_gauge{pid=\"" + std::to_string(child) + "\"}"), 3);
  EXPECT_EQ(sample(page, "both_gauge{pid=\"" + std::to_string(getpid()) + "\"}"), 4);
  done.open();
  tests::expect_success(child);
  expect_totals(cpp, times);
}

TEST(Together, ASegmentOfANewerVersionIsRefusedAndNothingCrashes) {
  const Directory directory;
  const auto path = directory.file("newer");
  Rust().make_newer(path);
  const auto opened = Registry::try_open(path);
  EXPECT_EQ(opened.status(), DYNM_NEWER_SEGMENT);
  EXPECT_NE(std::string(opened.message()).find("install a libdyn_metrics as new as"), std::string::npos);
  EXPECT_THROW(Registry::open(path), SegmentError);
  const auto counter = opened.value().try_counter("c_total");
  EXPECT_EQ(counter.status(), DYNM_NULL);
  counter.value().inc();  // and the program goes on
  EXPECT_EQ(counter.value().value(), 1U);
}

}  // namespace

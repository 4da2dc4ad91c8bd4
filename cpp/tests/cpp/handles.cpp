// Every update and getter of every handle, by what it leaves in the segment.
#include <dyn_metrics/testing.hpp>

#include <array>
#include <cerrno>
#include <limits>
#include <thread>
#include <type_traits>

#include "check.hpp"

using namespace dyn_metrics;
using namespace std::chrono_literals;
using testing::FakeRegistry;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class... Handles>
constexpr bool are_cheap = ((std::is_trivially_copyable_v<Handles> && std::is_trivially_destructible_v<Handles> &&
                             std::is_nothrow_default_constructible_v<Handles>) && ...);
static_assert(are_cheap<Counter, FloatCounter, DurationCounter, Gauge, FloatGauge, DurationGauge, Histogram, Tally,
                        StateSet, Info, Family<Counter>>);
static_assert(noexcept(Counter().inc()) && noexcept(Histogram().observe(1.0)) && noexcept(Gauge().set(1)));

// What the segment has counted for a reason.
static double dropped(const FakeRegistry& registry, std::string_view why) {
  const std::string page = registry.exposition();
  const std::size_t at = page.find(why);
  CHECK(at != std::string::npos);
  return std::strtod(page.c_str() + page.find('}', at) + 1, nullptr);
}

static void counters(const FakeRegistry& registry) {
  const Counter counter = registry.counter("c_total", "Events");
  counter.inc();
  counter.inc_by(2);
  counter.add(std::uint64_t{1} << 60);
  CHECK(counter.value() == (std::uint64_t{1} << 60) + 3);
  const Counter copy = counter;
  copy.inc();
  CHECK(counter.value() == (std::uint64_t{1} << 60) + 4);

  const FloatCounter amount = registry.float_counter("amount_total", "Amounts");
  amount.inc();
  amount.inc_by(0.5);
  amount.add(0.25);
  for (double odd : {-1.0, nan, infinity, -infinity, -0.0}) amount.add(odd);
  CHECK(amount.value() == 1.75 && registry.value("amount_total") == 1.75);
  CHECK(dropped(registry, "reason=\"nan\"") == 2 && dropped(registry, "reason=\"negative\"") == 2);
}

static void durations(const FakeRegistry& registry) {
  const DurationCounter spent = registry.duration_counter("spent_seconds_total", "Time");
  spent.inc_by(1ns);
  spent.inc_by(1ms);
  spent.add(2h);
  spent.add(std::chrono::duration<double>(0.5));
  spent.add(std::chrono::duration<std::uint64_t, std::nano>(1));
  spent.add(std::chrono::duration<long, std::pico>(2999));
  spent.add(std::chrono::duration<int, std::ratio<1001, 30000>>(30000));
  CHECK(spent.value() == 2h + 1001s + 501ms + 4ns);
  // As many nanoseconds as were meant, though few of these are doubles.
  for (int n = 1; n <= 10000; n++) {
    using detail::nanoseconds;
    CHECK(nanoseconds(std::chrono::duration<double>(n * 1e-6)) == n * std::int64_t{1000});
    CHECK(nanoseconds(std::chrono::duration<double, std::milli>(n)) == n * std::int64_t{1000000});
    CHECK(nanoseconds(std::chrono::duration<double, std::nano>(-n)) == -n);
  }
  spent.add(-1ns);
  spent.add(std::chrono::duration<double>(nan));
  spent.add(std::chrono::duration<double>(infinity));
  spent.add(std::chrono::duration<float, std::micro>(-std::numeric_limits<float>::infinity()));
  spent.add(std::chrono::duration<double>(1e-12));  // nothing, and no fault
  CHECK(spent.value() == 2h + 1001s + 501ms + 4ns);
  CHECK(dropped(registry, "reason=\"nan\"") == 4 && dropped(registry, "reason=\"negative\"") == 4);
  CHECK(spent.time([] { return 7; }) == 7 && spent.value() > 2h + 1001s + 501ms + 4ns);

  // Cut to what fits, without undefined behaviour.
  const DurationGauge gauge = registry.duration_gauge("most_seconds", "Time");
  constexpr auto most = std::chrono::nanoseconds::max();
  gauge.set(std::chrono::hours::max());
  CHECK(gauge.value() == most);
  gauge.set(std::chrono::duration<double>(infinity));
  CHECK(gauge.value() == most);
  gauge.set(std::chrono::duration<std::uint64_t, std::nano>(~std::uint64_t{0}));
  CHECK(gauge.value() == most);
  gauge.set(std::chrono::duration<float>(-1e30F));
  CHECK(gauge.value() == std::chrono::nanoseconds::min());
  gauge.set(std::chrono::duration<double>(nan));
  CHECK(gauge.value() == 0ns);
}

static void gauges(const FakeRegistry& registry) {
  const Gauge gauge = registry.gauge("g", "Number");
  CHECK(gauge.value() == 0);
  gauge.set(-5);
  gauge.inc();
  gauge.add(10);
  gauge.inc_by(1);
  gauge.sub(3);
  gauge.dec();
  CHECK(gauge.value() == 3 && registry.value("g") == 3);
  gauge.set(0);
  gauge.sub(std::numeric_limits<std::int64_t>::min());
  CHECK(gauge.value() == std::numeric_limits<std::int64_t>::min());

  const FloatGauge level = registry.float_gauge("level", "Level");
  level.set(0.5);
  level.add(1.0);
  level.inc_by(0.25);
  level.sub(0.5);
  level.inc();
  level.dec();
  level.add(nan);
  CHECK(level.value() == 1.25 && registry.value("level") == 1.25);
  level.set_to_current_time();
  CHECK(level.value() > 1.7e9);

  const DurationGauge span = registry.duration_gauge("span_seconds", "Time");
  span.set(1s);
  span.add(500ms);
  span.inc_by(1ns);
  span.sub(2s);
  CHECK(span.value() == -500ms + 1ns);

  const auto newest = registry.create<Gauge>(Options("newest", "Number").mode(Mode::live_most_recent));
  newest.set(4);
  newest.add(3);
  CHECK(newest.value() == 7 && registry.value("newest") == 7);
}

static void observations(const FakeRegistry& registry) {
  const Histogram histogram = registry.histogram("h_seconds", "Time", {0.1, 1, 10});
  for (double value : {-1.0, 0.1, 0.2, 1.0, 9.0, 11.0, infinity, -infinity, nan}) histogram.observe(value);
  histogram.observe(200ms);
  histogram.observe_n(2.0, 3);
  histogram.observe_n(2.0, 0);
  histogram.observe_n(std::numeric_limits<double>::max(), 2);  // finite, but not their sum
  CHECK((histogram.buckets() == std::vector<std::uint64_t>{3, 3, 4, 4}));
  CHECK(registry.buckets("h_seconds") == histogram.buckets());
  CHECK(histogram.count() == 14 && registry.count("h_seconds") == 14u);
  CHECK(histogram.sum() > 26.49 && histogram.sum() < 26.51 && registry.sum("h_seconds") == histogram.sum());
  CHECK((histogram.bounds() == std::vector<double>{0.1, 1, 10}));
  CHECK(dropped(registry, "event=\"infinite\"") == 3);
  // Bounds that no table is made for.
  const Histogram odd = registry.histogram("odd", "Number", {-1, 0, 1});
  for (double value : {-2.0, -1.0, -0.5, 0.0, 2.0}) odd.observe(value);
  CHECK((odd.buckets() == std::vector<std::uint64_t>{2, 2, 0, 1}));
  CHECK(registry.histogram("usual_seconds", "Time").bounds().size() == 11);

  const Tally tally = registry.tally("t", "Sizes");
  for (double value : {1.5, -0.5, nan, infinity}) tally.observe(value);
  tally.observe(250ms);
  CHECK(tally.count() == 4 && tally.sum() == 1.25);
  CHECK(registry.count("t") == 4u && registry.sum("t") == 1.25);
}

static void timers(const FakeRegistry& registry) {
  const Histogram histogram = registry.histogram("timed_seconds", "Time");
  const Tally tally = registry.tally("timed", "Time");
  { ScopedTimer timer(histogram); }
  {
    ScopedTimer timer(tally);
    std::this_thread::sleep_for(1ms);
    CHECK(timer.stop() >= 1ms && timer.stop() == 0ns);
  }
  {
    ScopedTimer timer(histogram);
    ScopedTimer moved = std::move(timer);
    moved.cancel();
  }
  CHECK(histogram.count() == 1 && tally.count() == 1 && tally.sum() >= 0.001 && tally.sum() < 1000);
  int n = 0;
  int& same = histogram.time([&]() -> int& { return n; });
  CHECK(&same == &n && histogram.count() == 2);
  tally.time([] {});
  try {
    histogram.time([] { throw 5; });
    CHECK(false);
  } catch (int thrown) {
    CHECK(thrown == 5 && histogram.count() == 3);
  }
  const Gauge gauge = registry.gauge("in_progress", "Requests");
  {
    const auto first = gauge.track();
    auto second = gauge.track();
    auto third = std::move(second);
    CHECK(gauge.value() == 2);
    third.finish();
    third.finish();
    CHECK(gauge.value() == 1);
  }
  CHECK(gauge.value() == 0);
  const FloatGauge level = registry.float_gauge("in_progress_too", "Requests");
  {
    const auto guard = level.track();
    CHECK(level.value() == 1.0);
  }
  CHECK(level.value() == 0.0);
}

static void states(const FakeRegistry& registry) {
  const StateSet state = registry.state_set("s", "State", {"starting", "ready", "draining"});
  CHECK((state.states() == std::vector<std::string_view>{"starting", "ready", "draining"}));
  CHECK(state.set("ready") && state.enable("draining") && state.is_on("ready") && !state.is_on("starting"));
  CHECK(registry.is_on("s", "draining") == true && registry.is_on("s", "starting") == false);
  CHECK(state.disable("ready") && !state.is_on("ready") && state.is_on("draining"));
  CHECK(!state.set("rea") && !state.enable("unknown") && !state.disable("") && !state.is_on("unknown"));
  const Info info = registry.info("build_info", "Build", {{"version", "1.2"}, {"commit", "abc"}});
  CHECK(info.raw() != nullptr && registry.value("build_info", {{"commit", "abc"}, {"version", "1.2"}}) == 1);
}

// Default-made handles work, and each counts alone.
static void private_ones() {
  const Counter a, b;
  a.inc();
  CHECK(a.value() == 1 && b.value() == 0 && !describe(a)->name.size());
  const FloatCounter amount;
  amount.add(0.5);
  const DurationCounter spent;
  spent.add(1s);
  const Gauge gauge;
  gauge.set(3);
  gauge.inc();
  const FloatGauge level;
  level.set(1.5);
  level.add(1.0);
  const DurationGauge span;
  span.set(-1s);
  const Histogram histogram;
  histogram.observe(0.3);
  const Tally tally;
  tally.observe(0.3);
  const StateSet state;
  CHECK(!state.set("ready") && state.states().empty());
  CHECK(amount.value() == 0.5 && spent.value() == 1s && gauge.value() == 4 && level.value() == 2.5);
  CHECK(span.value() == -1s && histogram.count() == 1 && histogram.buckets()[6] == 1 && tally.sum() == 0.3);
}

int main() {
  const FakeRegistry registry;
  errno = 77;
  private_ones();
  counters(registry);
  durations(registry);
  gauges(registry);
  observations(registry);
  timers(registry);
  states(registry);
  const Counter counter = registry.counter("c_total", "Events");
  errno = 77;
  counter.inc();
  CHECK(errno == 77);
  return 0;
}

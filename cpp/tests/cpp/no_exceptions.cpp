// The header without exceptions and run-time type information; linked with with_exceptions.cpp.
#include <dyn_metrics/system.hpp>
#include <dyn_metrics/testing.hpp>

#include <thread>

#include "check.hpp"

#ifdef __cpp_exceptions
#error "compile with -fno-exceptions"
#endif

using namespace dyn_metrics;

Counter counted_elsewhere(const Registry& registry);

int main() {
  testing::FakeRegistry fake;
  const Registry& registry = fake;
  CHECK(Registry::try_root().ok() && Registry::try_open(registry.path()).ok());
  const auto child = registry.try_child("a_", {{"zone", "1"}}).value();
  child.try_counter("c_total", "Events")->inc();
  child.try_float_counter("amount_total")->add(0.5);
  child.try_duration_counter("spent_seconds_total")->time([] {});
  child.try_gauge("g")->set(3);
  child.try_float_gauge("level")->set(0.5);
  child.try_duration_gauge("span_seconds")->set(std::chrono::seconds(2));
  child.try_tally("t")->observe(1);
  child.try_histogram("h")->observe(1);
  CHECK(child.try_info("i", "", {{"a", "b"}}).ok() && child.try_state_set("s", "", {"a"})->set("a"));
  const auto family = child.try_family<Counter>(Options("f_total"), {"a"}).value();
  family.with("x").inc();
  CHECK(child.try_create<Histogram>(Options("bad").bounds({})).status() == DYNM_BOUNDS);
  CHECK(fake.value("a_c_total", {{"zone", "1"}}) == 1 && fake.value("a_span_seconds", {{"zone", "1"}}) == 2);
  CHECK(fake.value("a_f_total", {{"zone", "1"}, {"a", "x"}}) == 1 && fake.is_on("a_s", "a", {{"zone", "1"}}) == true);
  std::size_t series = 0;
  CHECK(registry.try_visit([&](const FamilyView&, const SeriesView&) { series++; }).ok() && series == 11);
  CHECK(registry.try_visit_families([](const FamilyView&) { return false; }).ok());
  CHECK(registry.try_render().ok() && Registry().try_render().status() == DYNM_NULL);
  const auto server = health::System::try_start(health::SystemOptions().registry(registry).host("127.0.0.1").port(0));
  CHECK(server.ok() && server->try_check("failing", [] { return health::Outcome::failed("cold"); }).ok());
  while (server->report(health::Probe::health).find("\"reason\": \"cold\"") == std::string::npos) std::this_thread::yield();
  counted_elsewhere(registry).inc();
  CHECK(registry.try_counter("elsewhere_total")->value() == 2);
  return 0;
}

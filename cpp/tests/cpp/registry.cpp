// Opening, registration, families, reading, and what goes wrong with them: registry DIRECTORY, with DYN_METRICS_SHM.
#include <sys/wait.h>
#include <unistd.h>

#include <dyn_metrics.hpp>

#include <array>
#include <map>

#include "check.hpp"

using namespace dyn_metrics;

// What `call` throws, which must be an Error with this status, whose message holds this text.
template <class Call>
static void fails(Status status, std::string_view text, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.status() == status && holds(error.what(), text)) return;
    std::fprintf(stderr, "found %s: %s\n", status_name(error.status()).data(), error.what());
  }
  std::fprintf(stderr, "expected %s: %.*s\n", status_name(status).data(), static_cast<int>(text.size()), text.data());
  std::exit(1);
}

static void opening(const std::string& directory) {
  const auto options = SegmentOptions()
                           .path(directory + "/options")
                           .role("tester")
                           .process_label("host", "a")
                           .common_label("zone", "1")
                           .allow_uid(1000)
                           .max_bytes(std::uint64_t{1} << 20)
                           .mode(0600)
                           .group(static_cast<std::uint32_t>(getgid()))
                           .max_series_per_family(100)
                           .processes(8);
  const Registry registry = Registry::open(options);
  CHECK(registry.path() == directory + "/options" && registry.prefix().empty() && registry.labels().empty());
  registry.counter("c_total").inc();
  CHECK(holds(registry.render(), "c_total{zone=\"1\"} 1\n"));
  fails(DYNM_IN_USE, "expected none", [&] { Registry::open(SegmentOptions(options).fresh()); });
  CHECK(!holds(Registry::open(SegmentOptions(options).fresh().force()).render(), "c_total{"));
  fails(DYNM_IO, directory, [&] { Registry::open(directory + "/none/segment"); });
  fails(DYNM_OPTION, "path", [&] { Registry::open(""); });
  fails(DYNM_OPTION, "NUL", [&] { Registry::open(std::string_view("a\0b", 3)); });
  fails(DYNM_OPTION, "max_bytes", [&] { Registry::open(SegmentOptions(options).max_bytes(1)); });
  fails(DYNM_OPTION, "role", [&] { Registry::open(SegmentOptions(options).role(std::string(129, 'x'))); });
  fails(DYNM_OPTION, "processes", [&] { Registry::open(SegmentOptions(options).processes(5000)); });
  fails(DYNM_OPTION, "mode", [&] { Registry::open(SegmentOptions(options).mode(0100)); });
  const Registry small = Registry::open(SegmentOptions().path(directory + "/small").max_series_per_family(1));
  const auto family = small.family<Counter>(Options("f_total"), {"a"});
  CHECK(family.with("1").raw() != family.with("2").raw() && family.with("2").raw() == family.with("3").raw());
  fails(DYNM_LABELS, "zone", [&] { Registry::open(SegmentOptions(options).common_label("zone", "2")); });
  fails(DYNM_OPTION, "role: found a NUL", [&] { Registry::open(SegmentOptions(options).role({"a\0b", 3})); });
  CHECK(Registry::root().path() == std::getenv("DYN_METRICS_SHM") && Registry::root().raw() == Registry::root().raw());
}

// The last copy closes; what came from it works on.
static void closing(const std::string& directory) {
  const dynm_registry* raw;
  Counter counter;
  Family<Counter> family;
  {
    Registry registry = Registry::open(directory + "/closing");
    Registry copy = registry;
    raw = registry.raw();
    counter = registry.counter("c_total");
    family = registry.family<Counter>(Options("f_total"), {"a"});
    Registry moved = std::move(registry);
    CHECK(moved.raw() == raw && copy.raw() == raw);
    fails(DYNM_NULL, "registry is NULL", [&] { registry.counter("d_total"); });
    copy = moved.child("x_");
    CHECK(moved.counter("c_total").raw() == counter.raw());
  }
  dynm_registry_description description = {};
  description.struct_size = sizeof description;
  CHECK(dynm_registry_describe(raw, &description) == DYNM_CLOSED);
  counter.inc();
  family.with("new").inc();
  const Registry registry = Registry::open(directory + "/closing");
  CHECK(registry.counter("c_total").value() == 1 && registry.family<Counter>(Options("f_total"), {"a"}).find("new"));
  const Registry none;
  CHECK(none.path().empty() && none.labels().empty() && none.raw() == nullptr);
  fails(DYNM_NULL, "", [&] { none.render(); });
}

static void children(const Registry& registry) {
  const Registry child = registry.child("engine_", {{"zone", "1"}}).child("router_", {{"model", "llama"}});
  CHECK(child.prefix() == "engine_router_" && child.labels().size() == 2 && child.labels()[0].name == "zone");
  child.counter("requests_total").inc();
  const auto whole = Options("engine_router_requests_total").label("model", "llama").label("zone", "1");
  CHECK(registry.create<Counter>(whole).value() == 1);
  fails(DYNM_NAME, "prefix", [&] { registry.child("9"); });
  fails(DYNM_LABELS, "twice", [&] { child.child("", {{"zone", "2"}}); });
  fails(DYNM_OPTION, "NUL", [&] { registry.child(std::string_view("\0", 1)); });
}

static void options(const Registry& registry) {
  const auto wait = registry.create<Histogram>(Options("wait_seconds", "Time a request waits")
                                                   .unit("seconds")
                                                   .label("queue", "a")
                                                   .bounds(exponential_bounds(0.001, 10, 4))
                                                   .level(3)
                                                   .shared());
  const auto found = describe(wait);
  CHECK(found && found->name == "wait_seconds" && found->help == "Time a request waits" && found->unit == "seconds");
  CHECK(found->kind == Kind::histogram && found->type == DYNM_HISTOGRAM && found->level == 3);
  CHECK((found->labels == std::vector<Label>{{"queue", "a"}}) && found->bounds.size() == 4 && found->states.empty());
  CHECK(found->bounds[0] == 0.001 && found->bounds[2] > 0.0999 && found->bounds[2] < 0.1001);
  CHECK((linear_bounds(1, 2, 3) == std::vector<double>{1, 3, 5}));
  const auto all = registry.create<Gauge>(Options("all").mode(Mode::all).keep_dead(2));
  CHECK(describe(all)->mode == Mode::all && describe(registry.gauge("sum"))->mode == Mode::live_sum);
  const pid_t child = fork();
  if (child == 0) {
    all.set(7);
    _exit(0);
  }
  CHECK(child > 0 && waitpid(child, nullptr, 0) == child);
  CHECK(holds(registry.render(), "all{pid=\"" + std::to_string(child) + "\"} 7\n"));
  dynm_cells shared, own;
  CHECK(dynm_metric_cells(wait.raw(), DYNM_ABI_LEVEL, &shared) == DYNM_OK && shared.packed == 0);
  CHECK(dynm_metric_cells(registry.counter("own_total").raw(), DYNM_ABI_LEVEL, &own) == DYNM_OK);
  CHECK((own.packed == 0) == (update_path() != "rseq"));
  const auto state = registry.create<StateSet>(Options("state").states({"a", "b"}).mode(Mode::live_max));
  CHECK(describe(state)->states.size() == 2 && describe(state)->mode == Mode::live_max);
  CHECK(describe(Info())->name.empty() && describe(Info())->kind == Kind::info);
}

static void refusals(const Registry& registry) {
  registry.counter("taken_total", "A counter");
  fails(DYNM_CONFLICT, "expected gauge", [&] { registry.gauge("taken_total"); });
  fails(DYNM_NAME, "9", [&] { registry.counter("9"); });
  fails(DYNM_OPTION, "unit", [&] { registry.create<Counter>(Options("c_total").unit("seconds")); });
  fails(DYNM_OPTION, "bounds", [&] { registry.create<Counter>(Options("c_total").bounds({1})); });
  fails(DYNM_OPTION, "level", [&] { registry.create<Counter>(Options("c_total").level(256)); });
  fails(DYNM_BOUNDS, "ascending", [&] { registry.histogram("h", "", {2, 1}); });
  fails(DYNM_BOUNDS, "empty", [&] { registry.create<Histogram>(Options("h").bounds({})); });
  fails(DYNM_BOUNDS, "states", [&] { registry.state_set("s", "", {"a", "a"}); });
  fails(DYNM_LABELS, "twice", [&] { registry.family<Counter>(Options("c_total").label("a", "1"), {"a"}); });
  fails(DYNM_UTF8, "help", [&] { registry.counter("c_total", "\xff"); });
  fails(DYNM_OPTION, "name: found a NUL", [&] { registry.counter(std::string_view("a\0b", 3)); });
  fails(DYNM_OPTION, "labels: found a NUL", [&] { registry.info("i", "", {{"a", std::string_view("\0", 1)}}); });
  fails(DYNM_OPTION, "states: found a NUL", [&] { registry.state_set("s", "", {std::string("\0", 1)}); });
  fails(DYNM_OPTION, "names: found a NUL", [&] {
    registry.family<Counter>(Options("f_total"), {std::string("\0", 1)});
  });
  // A handle of a refused registration works; the segment doesn't see it.
  const Result<Histogram> result = registry.try_histogram("taken_total", "", {1, 2});
  CHECK(!result && !result.ok() && result.status() == DYNM_CONFLICT && holds(result.message(), "taken_total"));
  result->observe(1.5);
  CHECK(result.value().count() == 1 && (*result).buckets() == (std::vector<std::uint64_t>{0, 1, 0}));
  const Result<StateSet> states = registry.try_state_set("taken_total", "", {"a", "b"});
  CHECK(!states && states->set("b") && states->is_on("b") && !states->is_on("a"));
  auto family = registry.try_family<Counter>(Options("taken_total").label("le\n", ""), {"a"}).value();
  family.with("x").inc();
  family.with("y").inc();
  CHECK(family.with("z").value() == 2 && !family.find("x") && family.try_with("x").status() == DYNM_NULL);
  CHECK(registry.counter("taken_total").value() == 0);
  // Not even the message could be copied, or there is nothing wrong.
  CHECK(registry.try_counter("fine_total").message()[0] == '\0' && registry.try_counter("fine_total").or_throw().value() == 0);
  bool is_of_the_segment = false;
  try {
    Registry::open("/dev/shm");
  } catch (const SegmentError& error) {
    is_of_the_segment = error.status() == DYNM_NOT_SEGMENT;
  }
  CHECK(is_of_the_segment);
}

static void families(const Registry& registry) {
  const auto family = registry.family<Counter>(Options("requests_total", "Requests"), {"model", "status"});
  const std::string model = "llama", status = "ok";
  family.with("llama", "ok").inc();
  family.with(model, status).inc();
  family.with({"llama", "ok"}).inc();
  family.with({model, std::string_view(status)}).inc();
  family.with(std::vector<std::string>{model, status}).inc();
  family.with(std::array<std::string_view, 2>{model, status}).inc();
  family.with_labels({{"status", "ok"}, {"model", "llama"}}).inc();
  CHECK(family.try_with("llama", "ok")->value() == 7 && family.try_with({"llama", "ok"})->value() == 7);
  CHECK(family.try_with(std::vector<std::string>{"llama", "ok"})->value() == 7);
  CHECK(family.try_with_labels({{"model", "llama"}, {"status", "ok"}})->value() == 7);
  CHECK(family.find("llama", "ok")->value() == 7 && family.find({"llama", "ok"})->value() == 7);
  CHECK(!family.find("llama", "bad") && !family.find({"llama"}) && !family.find(std::vector<std::string>{"a", "b"}));
  CHECK(registry.family<Counter>(Options("requests_total", "Requests"), {"model", "status"}).with(model, status).raw() ==
        family.with(model, status).raw());
  // A text ends where it ends.
  family.with("llama", std::string_view("o\0k", 3)).inc();
  CHECK(!family.find(std::string_view("llama\0", 6), "ok") && family.find("llama", std::string_view("o\0k", 3)));
  // Registered by another program, and not asked for here.
  const auto other = registry.family<Counter>(Options("requests_total", "Requests"), {"status", "model"});
  other.with("late", "gpt").inc();
  CHECK(family.find("gpt", "late")->value() == 1);
  // Wrong ones are one private handle.
  CHECK(family.try_with("llama").status() == DYNM_LABELS && family.try_with("a", "b", "c").status() == DYNM_LABELS);
  CHECK(family.try_with(std::vector<std::string>(1000, "x")).status() == DYNM_LABELS);
  CHECK(family.try_with_labels({{"model", "llama"}, {"model", "gpt"}}).status() == DYNM_LABELS);
  CHECK(family.try_with_labels({{"model", "llama"}}).status() == DYNM_LABELS);
  const auto odd = family.try_with_labels({{"modell", "x"}, {"status", "ok"}});
  CHECK(odd.status() == DYNM_LABELS && holds(odd.message(), "found modell status, expected model status"));
  CHECK(family.try_with("\xff", "ok").status() == DYNM_UTF8);
  family.with("llama").inc();
  family.with_labels({{"nothing", "x"}}).inc();
  CHECK(family.with("a", "b", "c").value() == 2 && family.with("a", "b", "c").raw() == family.with("d").raw());
  // Many, and long ones.
  for (int i = 0; i < 500; i++) family.with(std::to_string(i), std::string(100, 'x')).inc();
  for (int i = 0; i < 500; i++) CHECK(family.with(std::to_string(i), std::string(100, 'x')).value() == 1);
  const auto wide = registry.family<Gauge>(Options("wide"), {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"});
  wide.with("1", "2", "3", "4", "5", "6", "7", "8", "9", "10").set(5);
  CHECK(wide.with({"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}).value() == 5);
}

// At the limit look-ups get one series, and are counted; those that were there keep their own.
static void limit(const Registry& registry) {
  const auto family = registry.family<Counter>(Options("limited_total").max_series(2), {"a"});
  for (const char* value : {"1", "2", "3", "4", "3", "5", "3", "1", "5"}) family.with(value).inc();
  CHECK(family.with("1").value() == 2 && family.with("2").value() == 1 && family.with("3").value() == 6);
  CHECK(family.with("__overflow__").value() == 6 && family.with("3").raw() == family.with("9").raw());
  const std::string page = registry.render();
  CHECK(holds(page, "limited_total{a=\"__overflow__\"} 6\n"));
}

// A family that finds its segment replaced, at its next new series, counts in the new one; also what it remembers.
// Registered again it counts in the new one at once, whatever it remembers.
static void replacement(const std::string& directory) {
  const auto options = SegmentOptions().path(directory + "/replaced");
  const Registry registry = Registry::open(options);
  const auto family = registry.family<Counter>(Options("moving_total"), {"a"});
  family.with("old").inc();
  const Options again("again_total");
  registry.family<Counter>(again, {"a"}).with("old").inc();
  const Registry fresh = Registry::open(SegmentOptions(options).fresh().force());
  registry.family<Counter>(again, {"a"}).with("old").inc();
  family.with("new").inc();
  family.with("old").inc();
  const std::string page = fresh.render();
  CHECK(holds(page, "again_total{a=\"old\"} 1\n"));
  CHECK(holds(page, "moving_total{a=\"new\"} 1\n") && holds(page, "moving_total{a=\"old\"} 1\n"));
}

static void reading(const Registry& registry) {
  registry.histogram("seen_seconds", "Help", {1}).observe(0.5);
  const auto state = registry.state_set("seen_state", "", {"a", "b"});
  state.set("b");
  std::size_t families = 0, series = 0;
  registry.visit_families([&](const FamilyView& family) { families += family.name().empty() ? 0 : 1; });
  registry.visit([&](const FamilyView& family, const SeriesView& one) {
    series++;
    if (family.name() == "seen_seconds") {
      CHECK(family.help() == "Help" && family.unit().empty() && family.kind() == Kind::histogram && family.level() == 0);
      CHECK(family.series_count() == 1 && family.bounds() == std::vector<double>{1} && !family.registrant().empty());
      CHECK(one.count() == 1 && one.sum() == 0.5 && (one.buckets() == std::vector<std::uint64_t>{1, 0}));
      CHECK(one.labels().empty() && !one.label("le") && one.value() == 0 && one.states() == 0);
    }
    if (family.name() == "seen_state") CHECK(one.states() == 2 && family.states().size() == 2);
    if (family.name() == "seen_state") CHECK(family.mode() == Mode::live_most_recent);
    if (family.name() == "requests_total") CHECK(one.label("model") && one.labels().size() == 2);
  });
  CHECK(families > 10 && series > 500);
  std::size_t visits = 0;
  registry.visit([&](const FamilyView&, const SeriesView&) { return ++visits < 3; });
  registry.visit_families([&](const FamilyView&) { return ++visits < 5; });
  CHECK(visits == 5);
  try {
    registry.visit([](const FamilyView&, const SeriesView&) { throw std::map<int, int>{{1, 2}}; });
    CHECK(false);
  } catch (const std::map<int, int>& thrown) {
    CHECK(thrown.at(1) == 2);
  }
  CHECK(registry.try_visit([](const FamilyView&, const SeriesView&) {}).ok());
  CHECK(Registry().try_visit_families([](const FamilyView&) {}).status() == DYNM_NULL);
  CHECK(Registry().try_render().status() == DYNM_NULL);
  fails(DYNM_NULL, "", [] { Registry().try_visit([](const FamilyView&, const SeriesView&) {}).or_throw(); });
  CHECK(holds(version(), ".") && (holds(update_path(), "rseq") || holds(update_path(), "shared")));
  CHECK(status_name(DYNM_FULL) == "DYNM_FULL");
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  const std::string directory = argv[1];
  opening(directory);
  closing(directory);
  const Registry registry = Registry::open(directory + "/registry");
  children(registry);
  options(registry);
  refusals(registry);
  families(registry);
  limit(registry);
  replacement(directory);
  reading(registry);
  return 0;
}

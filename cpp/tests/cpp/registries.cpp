// Registries of every kind, levels and structs of metrics in C++: registries DIRECTORY, with DYN_METRICS_SHM.
#include <dyn_metrics.hpp>

#include <cmath>

#include "check.hpp"

using namespace dyn_metrics;

struct CacheMetrics : Metrics {
  explicit CacheMetrics(const Registry& registry) : Metrics(registry) {}
  Counter hits = metric<Counter>(Options("hits_total", "Hits"));
};

struct EngineMetrics : Metrics {
  explicit EngineMetrics(const Registry& registry) : Metrics(registry, "engine_", {{"zone", "a"}}) {}
  Family<Counter> requests = family<Counter>(Options("requests_total", "Requests"), {"model"});
  FloatCounter cost = metric<FloatCounter>(Options("cost_total", "Cost"));
  DurationCounter busy = metric<DurationCounter>(Options("busy_seconds_total", "Busy").unit("seconds"));
  Gauge queued = metric<Gauge>(Options("queued", "Waiting"));
  FloatGauge load = metric<FloatGauge>(Options("load", "Load"));
  DurationGauge age = metric<DurationGauge>(Options("age_seconds", "Age"));
  Histogram latency = metric<Histogram>(Options("latency_seconds", "Latency").bounds({0.5, 1}).level(2));
  Tally sizes = metric<Tally>(Options("size_bytes", "Sizes"));
  StateSet state = metric<StateSet>(Options("state", "State").states({"on", "off"}));
  CacheMetrics cache{registry().child("cache_")};
};

// Every inline update, over and over: nothing of it may care what is behind.
static void work(const EngineMetrics& engine) {
  for (int i = 0; i < 3; i++) engine.requests.with("llama").inc();
  engine.requests.with("mistral").inc_by(2);
  engine.cost.inc_by(0.25);
  engine.cost.inc_by(-1);
  engine.cost.inc_by(std::nan(""));
  engine.busy.inc_by(std::chrono::milliseconds(1500));
  engine.queued.set(7);
  engine.queued.add(2);
  engine.queued.dec();
  engine.load.set(2.5);
  engine.load.add(-1);
  engine.age.set(std::chrono::milliseconds(500));
  for (const double value : {0.25, 0.75, 5.0, std::nan(""), HUGE_VAL}) engine.latency.observe(value);
  engine.sizes.observe(3);
  engine.state.set("off");
  engine.cache.hits.inc();
}

static void kinds() {
  for (const char* kind : {"null", "prometheus", "shm"}) {
    const Registry registry = Registry::of_kind(kind).child("kinds_");
    CHECK(registry.kind() == kind && (registry.path().empty() == (registry.kind() != "shm")));
    const EngineMetrics engine(registry), again(registry);
    CHECK(engine.ok() && engine.cache.ok() && engine.message().empty());
    engine.or_throw();
    work(engine);
    again.requests.with("llama").inc();
    const std::string text = registry.prometheus_format_str();
    if (registry.kind() == "null") {
      CHECK(text.empty() && engine.requests.with("llama").value() == 0 && engine.queued.value() == 0);
      CHECK(engine.latency.bounds().size() == 2 && engine.latency.count() == 0 && !engine.state.is_on("off"));
      continue;
    }
    for (const char* line : {
             "engine_requests_total{model=\"llama\",zone=\"a\"} 4\n",
             "engine_requests_total{model=\"mistral\",zone=\"a\"} 2\n",
             "engine_cost_total{zone=\"a\"} 0.25\n",
             "engine_busy_seconds_total{zone=\"a\"} 1.5\n",
             "engine_queued{zone=\"a\"} 8\n",
             "engine_load{zone=\"a\"} 1.5\n",
             "engine_age_seconds{zone=\"a\"} 0.5\n",
             "engine_latency_seconds_bucket{zone=\"a\",le=\"1\"} 2\n",
             "engine_latency_seconds_sum{zone=\"a\"} 6\n",
             "engine_latency_seconds_count{zone=\"a\"} 4\n",
             "engine_size_bytes_sum{zone=\"a\"} 3\n",
             "engine_cache_hits_total{zone=\"a\"} 1\n",
         }) {
      if (!holds(text, line)) std::fprintf(stderr, "%s: no %s in\n%s", kind, line, text.c_str());
      CHECK(holds(text, line));
    }
    CHECK(engine.requests.with("llama").value() == 4 && engine.queued.value() == 8 && engine.latency.count() == 4);
    CHECK(engine.cost.value() == 0.25 && engine.state.is_on("off") && !engine.state.is_on("on"));
    CHECK(!holds(registry.with_max_level(1).prometheus_format_str(), "latency_seconds"));
  }
  CHECK(Registry::try_of_kind("influx").status() == DYNM_OPTION);
  CHECK(Registry::null().kind() == "null" && Registry::from_env().kind() == "shm");
  CHECK(Registry::null().try_with_max_level(256).status() == DYNM_OPTION && Registry().kind().empty());
}

static void levels(const std::string& directory) {
  const auto runtime = DistributedRuntime::of(Registry::open(directory + "/levels"), Scheme().worker_id("w"));
  const auto component = runtime.namespace_("my-model/7b").component("backend");
  const Endpoint endpoint = component.endpoint("generate");
  CHECK(endpoint.name() == "generate" && component.name() == "backend" && endpoint.labels().size() == 4);
  endpoint.create_counter("cost_total", "Cost", {{"model", "m"}}).inc_by(0.5);
  endpoint.create_intcounter_vec("requests_total", "Requests", {"model"}).with("m").inc();
  endpoint.create_histogram("latency_seconds", "Latency", {}, {1}).observe(0.5);
  endpoint.create_histogram_vec("wait_seconds", "Wait", {"queue"}).with("in").observe(0.5);
  endpoint.create_stateset("state", "State", {}, {"on"}).set("on");
  endpoint.create_stateset_vec("states", "States", {"part"}, {"on"}).with("a").set("on");
  endpoint.create_gauge("load", "Load").set(1.5);
  endpoint.create_durationcounter("busy_seconds", "Busy").inc_by(std::chrono::seconds(2));
  endpoint.create_info("build_info", "Build", {{"version", "1"}});
  endpoint.create_tally("size_bytes", "Size").observe(3);
  const std::string text = runtime.prometheus_format_str();
  const std::string of = R"(component="backend",endpoint="generate",)", end = R"(namespace="my-model/7b",)";
  CHECK(holds(text, "dynamo_cost_total{" + of + R"(model="m",)" + end + "worker_id=\"w\"} 0.5\n"));
  CHECK(holds(text, "dynamo_requests_total{" + of + R"(model="m",)" + end + "worker_id=\"w\"} 1\n"));
  CHECK(holds(text, "dynamo_busy_seconds{" + of + end + "worker_id=\"w\"} 2\n"));
  CHECK(component.prometheus_metrics_fmt() == text);
  CHECK(runtime.try_child("x_", {{"endpoint", "mine"}}).status() == DYNM_LABELS);
  CHECK(endpoint.try_create_counter("c_total", "", {{"component", "mine"}}).status() == DYNM_LABELS);
  CHECK(DistributedRuntime::try_of(Registry()).status() == DYNM_NULL);
  CHECK(DistributedRuntime::try_of(runtime, Scheme().prefix("a b")).status() == DYNM_NAME);
  CHECK(Namespace().try_component("c").status() == DYNM_NULL);
  const auto upstream = DistributedRuntime::root(Scheme::upstream()).namespace_("n");
  CHECK(upstream.prefix() == "dynamo_component_" && upstream.labels()[0].name == "dynamo_namespace");
}

// The forms that don't throw, which all others call.
static void without_exceptions(const std::string& directory) {
  const Registry null = Registry::try_null().value();
  CHECK(Registry::try_from_env().value().kind() == "shm" && null.try_prometheus_format_str().value().empty());
  const auto runtime = DistributedRuntime::try_of(Registry::open(directory + "/try")).value();
  const Endpoint endpoint =
      runtime.try_namespace_("n").value().try_component("c").value().try_endpoint("e").value();
  CHECK(endpoint.try_create_histogram("h", "", {{"a", "b"}}, {2, 1}).status() == DYNM_BOUNDS);
  CHECK(endpoint.try_create_histogram_vec("h", "", {"1a"}, {1}).status() == DYNM_NAME);
  CHECK(endpoint.try_create_stateset("s", "", {}, {"a", "a"}).status() == DYNM_BOUNDS);
  CHECK(endpoint.try_create_stateset_vec("s", "", {"component"}, {"a"}).status() == DYNM_LABELS);
  CHECK(endpoint.try_create_histogram("h", "", {}, {1}).ok() && endpoint.try_prometheus_format_str().ok());
  CHECK(Registry().try_prometheus_format_str().status() == DYNM_NULL);
}

struct Quoted : Metrics {
  explicit Quoted(const Registry& registry) : Metrics(registry) {}
  FloatGauge odd = metric<FloatGauge>(Options("odd", "A \"quoted\"\n\\ é").label("b", "2").mode(Mode::live_max));
};

struct Broken : Metrics {
  explicit Broken(const Registry& registry) : Metrics(registry, "broken_") {}
  Counter fine = metric<Counter>(Options("fine_total"));
  Counter wrong = metric<Counter>(Options("a b"));
  Histogram bounds = metric<Histogram>(Options("h").bounds({2, 1}));
};

static void structs() {
  const std::vector<Declaration> all = declared<EngineMetrics>();
  CHECK(all.size() == 9 && all[0].name == "engine_requests_total" && all[0].label_names[0] == "model");
  CHECK(all[2].unit == "seconds" && all[6].kind == Kind::histogram && all[6].bounds.size() == 2 && all[6].level == 2);
  CHECK(all[8].kind == Kind::state_set && all[3].kind == Kind::gauge && all[3].help == "Waiting");
  const std::string json = declared_json<EngineMetrics>();
  CHECK(holds(json, "{\"metrics\":[\n{\"name\":\"engine_requests_total\",\"help\":\"Requests\",\"unit\":\"\","));
  CHECK(holds(json, "\"type\":\"counter\",\"labels\":{\"zone\""));
  CHECK(holds(json, "\"labels\":{\"zone\":\"a\"},\"label_names\":[\"model\"],\"buckets\":[]"));
  CHECK(holds(json, "\"buckets\":[0.5,1],\"states\":[],\"mode\":null,\"level\":2}"));
  CHECK(holds(json, "\"states\":[\"on\",\"off\"],\"mode\":\"livemostrecent\",\"level\":0}\n]}\n"));
  std::fputs((json + declared_json<Quoted>()).c_str(), stdout);
  const Broken broken(Registry::null());
  CHECK(!broken.ok() && broken.status() == DYNM_NAME && holds(broken.message(), "broken_a b: "));
  broken.wrong.inc();
  broken.bounds.observe(1);
  CHECK(broken.wrong.value() == 1 && broken.fine.value() == 0);
  try {
    broken.or_throw();
    CHECK(false);
  } catch (const Error& error) {
    CHECK(error.status() == DYNM_NAME);
  }
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  kinds();
  levels(argv[1]);
  without_exceptions(argv[1]);
  structs();
}

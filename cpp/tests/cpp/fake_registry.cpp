// What third parties do with FakeRegistry: fake_registry [TMPDIR]
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dyn_metrics/testing.hpp>

#include "check.hpp"

using namespace dyn_metrics;
using testing::FakeRegistry;

// A component as somebody has it: takes a Registry&, and may keep a copy.
class Engine {
 public:
  explicit Engine(Registry& registry)
      : registry_(registry.child("engine_", {{"model", "llama"}})),
        requests_(registry_.family<Counter>(Options("requests_total", "Requests"), {"status"})),
        latency_(registry_.histogram("latency_seconds", "Time", {0.1, 1})) {}
  void run() const {
    requests_.with("ok").inc();
    latency_.observe(0.5);
  }
  // Registers late, and goes on without when it can't.
  bool count_errors() const {
    const Result<Counter> errors = registry_.try_counter("errors_total", "Errors");
    errors.value().inc();
    return errors.ok();
  }
  Counter status(const char* name) const { return requests_.with(name); }

 private:
  Registry registry_;
  Family<Counter> requests_;
  Histogram latency_;
};

static void counted() {
  FakeRegistry registry;
  const Engine engine(registry);
  engine.run();
  engine.run();
  CHECK(registry.has("engine_requests_total", {{"status", "ok"}, {"model", "llama"}}));
  CHECK(registry.value("engine_requests_total", {{"model", "llama"}, {"status", "ok"}}) == 2);
  CHECK(registry.count("engine_latency_seconds", {{"model", "llama"}}) == 2u);
  CHECK(registry.sum("engine_latency_seconds", {{"model", "llama"}}) == 1.0);
  CHECK((registry.buckets("engine_latency_seconds", {{"model", "llama"}}) == std::vector<std::uint64_t>{0, 2, 0}));
  CHECK(holds(registry.exposition(), "engine_requests_total{model=\"llama\",status=\"ok\"} 2\n"));
  // Not there, or of another type, or with other labels.
  CHECK(!registry.has("engine_requests_total") && !registry.has("requests_total"));
  CHECK(!registry.has("engine_requests_total", {{"model", "llama"}}));
  CHECK(!registry.has("engine_requests_total", {{"model", "llama"}, {"status", "bad"}}));
  CHECK(!registry.value("engine_latency_seconds", {{"model", "llama"}}) && !registry.count("engine_requests_total"));
  CHECK(!registry.buckets("none") && !registry.sum("none") && !registry.is_on("none", "a"));
  // Another one sees nothing of it; a child process is seen.
  const FakeRegistry other;
  CHECK(!other.has("engine_requests_total", {{"model", "llama"}, {"status", "ok"}}) && other.path() != registry.path());
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    engine.run();
    std::exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(registry.value("engine_requests_total", {{"model", "llama"}, {"status", "ok"}}) == 3);
}

static void refused() {
  FakeRegistry registry;
  const Engine engine(registry);
  registry.fail_registrations(DYNM_CONFLICT);
  CHECK(!engine.count_errors());
  CHECK(registry.try_gauge("g").status() == DYNM_CONFLICT && holds(registry.try_gauge("g").message(), "FakeRegistry"));
  CHECK(registry.try_family<Counter>(Options("f_total"), {"a"}).status() == DYNM_CONFLICT);
  const Histogram histogram = registry.try_histogram("h", "", {1, 2}).value();
  histogram.observe(1.5);
  CHECK((histogram.buckets() == std::vector<std::uint64_t>{0, 1, 0}) && !registry.has("h"));
  bool threw = false;
  try {
    Engine another(registry);
  } catch (const Error& error) {
    threw = error.status() == DYNM_CONFLICT;
  }
  CHECK(threw);
  engine.status("new").inc();
  CHECK(registry.value("engine_requests_total", {{"status", "new"}, {"model", "llama"}}) == 1);
  registry.allow_registrations();
  CHECK(engine.count_errors() && registry.value("engine_errors_total", {{"model", "llama"}}) == 1);
}

static void full() {
  FakeRegistry registry(SegmentOptions().max_bytes(std::uint64_t{1} << 20));
  const Engine engine(registry);
  engine.run();
  registry.fill();
  CHECK(!engine.count_errors() && registry.try_gauge("g").status() == DYNM_FULL);
  engine.status("unseen").inc();
  CHECK(!registry.has("engine_requests_total", {{"status", "unseen"}, {"model", "llama"}}));
  engine.run();
  CHECK(registry.value("engine_requests_total", {{"status", "ok"}, {"model", "llama"}}) == 2);
}

// Gone at the end, but not with a child that has a copy.
static void removed(const char* expected) {
  std::string path;
  Counter counter;
  {
    const FakeRegistry registry;
    path = registry.path();
    CHECK(holds(path, expected));
    struct stat found;
    CHECK(stat(path.c_str(), &found) == 0);
    const pid_t child = fork();
    if (child == 0) {
      registry.~FakeRegistry();
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0 && stat(path.c_str(), &found) == 0);
    counter = registry.counter("c_total");
  }
  struct stat found;
  CHECK(stat(path.c_str(), &found) != 0 && stat(path.substr(0, path.rfind('/')).c_str(), &found) != 0);
  counter.inc();
}

int main(int argc, char** argv) {
  counted();
  refused();
  full();
  removed(argc > 1 ? argv[1] : "/dev/shm");
  bool threw = false;
  try {
    FakeRegistry wrong(SegmentOptions().max_bytes(1));
  } catch (const Error& error) {
    threw = error.status() == DYNM_OPTION;
  }
  CHECK(threw);
  return 0;
}

// Updates of every kind between two marks that a tracer sees: steady SEGMENT TIMES WARM_UP(yes|no)
#include <dyn_metrics.hpp>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>

#include "check.hpp"

using namespace dyn_metrics;

namespace {

struct Everything {
  explicit Everything(const Registry& registry)
      : counter(registry.counter("steady_total")),
        amount(registry.float_counter("steady_amount_total")),
        spent(registry.duration_counter("steady_spent_seconds_total")),
        tally(registry.tally("steady_tally")),
        histogram(registry.histogram("steady_seconds")),
        gauge(registry.gauge("steady_gauge")),
        level(registry.float_gauge("steady_level")),
        span(registry.duration_gauge("steady_span_seconds")),
        family(registry.family<Counter>(Options("steady_requests_total"), {"model", "status"})) {}

  void update(long i) const {
    counter.inc();
    counter.inc_by(2);
    amount.inc_by(0.5);
    spent.inc_by(std::chrono::microseconds(1));
    tally.observe(0.25);
    histogram.observe(static_cast<double>(i % 4) * 0.01);
    gauge.set(3);
    gauge.add(2);
    level.set(0.5);
    level.add(0.5);
    span.add(std::chrono::nanoseconds(1));
    family.with(model, i % 2 == 0 ? "ok" : "error").inc();
    family.with(long_model, "ok").inc();
    family.with({"llama", "ok"}).inc();
  }

  Counter counter;
  FloatCounter amount;
  DurationCounter spent;
  Tally tally;
  Histogram histogram;
  Gauge gauge;
  FloatGauge level;
  DurationGauge span;
  Family<Counter> family;
  std::string model = "meta-llama/Llama-3.1-8B-Instruct", long_model = std::string(100, 'm');
};

void on_every_cpu(const Everything& all) {
  cpu_set_t allowed, one;
  CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    all.update(0);
    all.update(1);
  }
  CHECK(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

void mark(int fd, std::string_view text) { CHECK(::write(fd, text.data(), text.size()) > 0); }

}  // namespace

int main(int argc, char** argv) {
  CHECK(argc == 4);
  const Everything all(Registry::open(argv[1]));
  const long times = std::atol(argv[2]);
  const int fd = ::open("/dev/null", O_WRONLY);
  if (std::string_view(argv[3]) == "yes") on_every_cpu(all);
  mark(fd, "steady state begins");
  for (long i = 0; i < times; i++) all.update(i);
  mark(fd, "steady state ends");
  CHECK(all.counter.value() >= 3 * static_cast<std::uint64_t>(times));
  return 0;
}

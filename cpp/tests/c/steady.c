/* Updates of every kind between two marks that a tracer sees: steady SEGMENT TIMES WARM_UP(yes|no) */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "check.h"

struct everything {
  const dynm_metric *counter, *amount, *spent, *tally, *histogram, *gauge, *level, *span, *state;
};

static struct everything register_all(const dynm_registry *registry) {
  struct everything all;
  all.counter = metric_of(registry, DYNM_COUNTER_U64, "both_total");
  all.amount = metric_of(registry, DYNM_COUNTER_F64, "both_amount_total");
  all.spent = metric_of(registry, DYNM_COUNTER_NS, "both_spent_seconds_total");
  all.tally = metric_of(registry, DYNM_TALLY, "both_tally");
  all.histogram = metric_of(registry, DYNM_HISTOGRAM, "both_seconds");
  all.gauge = metric_of(registry, DYNM_GAUGE_I64, "both_gauge");
  all.level = metric_of(registry, DYNM_GAUGE_F64, "both_level");
  all.span = metric_of(registry, DYNM_GAUGE_NS, "both_span_seconds");
  all.state = metric_of(registry, DYNM_STATE_SET, "both_state");
  return all;
}

static void update(const struct everything *all, long i) {
  OK(dynm_counter_inc(all->counter));
  OK(dynm_counter_add_u64(all->counter, 2));
  OK(dynm_counter_add_f64(all->amount, 0.5));
  OK(dynm_counter_add_ns(all->spent, 1000));
  OK(dynm_observe(all->tally, 0.25));
  OK(dynm_observe(all->histogram, (double)(i % 4) * 0.01));
  OK(dynm_gauge_set_i64(all->gauge, 3));
  OK(dynm_gauge_add_i64(all->gauge, 2));
  OK(dynm_gauge_set_f64(all->level, 0.5));
  OK(dynm_gauge_add_f64(all->level, 0.5));
  OK(dynm_gauge_add_ns(all->span, 1));
  OK(dynm_state_switch(all->state, "ready", (int)(i & 1)));
}

static void on_every_cpu(const struct everything *all) {
  cpu_set_t allowed, one;
  int cpu;
  CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    update(all, 0);
  }
  CHECK(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

static void mark(int fd, const char *text) { CHECK(write(fd, text, strlen(text)) > 0); }

int main(int argc, char **argv) {
  struct everything all;
  long i, times;
  int fd = open("/dev/null", O_WRONLY);
  CHECK(argc == 4);
  times = atol(argv[2]);
  all = register_all(open_at(argv[1]));
  if (strcmp(argv[3], "yes") == 0) on_every_cpu(&all);
  mark(fd, "steady state begins");
  for (i = 0; i < times; i++) update(&all, i);
  mark(fd, "steady state ends");
  return 0;
}

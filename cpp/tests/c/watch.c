/* Callbacks on changes and thresholds: watch SEGMENT */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* What callbacks have told. */
struct told {
  pthread_mutex_t lock;
  pthread_cond_t more;
  int calls, destroyed;
  double old_value, value;
  uint32_t has_old, has_value;
  char name[64], labels[64];
  const dynm_subscription *own;
  int cancels, computes;
};

static struct told *told_new(void) {
  struct told *told = calloc(1, sizeof *told);
  pthread_mutex_init(&told->lock, NULL);
  pthread_cond_init(&told->more, NULL);
  return told;
}

static void tell(void *user, const dynm_event *event) {
  struct told *told = user;
  CHECK(event->struct_size == sizeof *event && event->time_unix_ns > 0);
  pthread_mutex_lock(&told->lock);
  told->calls++;
  told->old_value = event->old_value;
  told->value = event->value;
  told->has_old = event->has_old;
  told->has_value = event->has_value;
  snprintf(told->name, sizeof told->name, "%s", event->name);
  told->labels[0] = 0;
  if (event->label_count > 0)
    snprintf(told->labels, sizeof told->labels, "%s=%s", event->labels[0].name, event->labels[0].value);
  if (told->cancels) OK(dynm_subscription_cancel(told->own, UINT64_MAX / 2));
  pthread_cond_broadcast(&told->more);
  pthread_mutex_unlock(&told->lock);
}

static void destroy(void *user) {
  struct told *told = user;
  pthread_mutex_lock(&told->lock);
  told->destroyed++;
  pthread_cond_broadcast(&told->more);
  pthread_mutex_unlock(&told->lock);
}

static int32_t compute(void *user, double *value) {
  struct told *told = user;
  pthread_mutex_lock(&told->lock);
  *value = ++told->computes / 2;
  pthread_mutex_unlock(&told->lock);
  return *value > 0;
}

/* Waits until a value was told, or until `user` was destroyed; a minute at most. */
static void wait_for(struct told *told, double value, int destroyed) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += 60;
  pthread_mutex_lock(&told->lock);
  while (destroyed ? told->destroyed < destroyed : !(told->calls > 0 && told->has_value && told->value == value))
    CHECK(pthread_cond_timedwait(&told->more, &told->lock, &end) == 0);
  pthread_mutex_unlock(&told->lock);
}

static void changes(const dynm_registry *registry) {
  const dynm_metric *gauge = metric_of(registry, DYNM_GAUGE_F64, "depth");
  struct told *one = told_new(), *family = told_new();
  const dynm_subscription *first, *second;
  dynm_watch_counts counts = {.struct_size = sizeof counts};
  dynm_watched watched = dynm_watched_init();
  const dynm_label labels[] = {{"model", "a"}};
  watched.metric = gauge;
  OK(dynm_on_change(registry, &watched, tell, one, destroy, &first));
  watched = dynm_watched_init();
  watched.name = "later_total";
  watched.labels = labels;
  watched.label_count = 1;
  OK(dynm_on_change(registry, &watched, tell, family, destroy, &second));
  OK(dynm_gauge_set_f64(gauge, 2.5));
  wait_for(one, 2.5, 0);
  CHECK(strcmp(one->name, "depth") == 0 && one->labels[0] == 0);

  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "later_total", "");
    const dynm_metric *counter;
    struct told *own = told_new();
    const dynm_subscription *third;
    options.labels = labels;
    options.label_count = 1;
    OK(dynm_subscription_cancel(first, 0)); /* the parent's goes on */
    OK(dynm_register(registry, &options, &counter));
    watched.labels = NULL;
    watched.label_count = 0;
    OK(dynm_on_change(registry, &watched, tell, own, destroy, &third));
    OK(dynm_counter_add_u64(counter, 7));
    wait_for(own, 7, 0);
    OK(dynm_subscription_cancel(third, UINT64_MAX / 2));
    CHECK(own->destroyed == 1 && one->destroyed == 0);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  wait_for(family, 7, 0);
  CHECK(strcmp(family->labels, "model=a") == 0);
  OK(dynm_gauge_set_f64(gauge, 3.5));
  wait_for(one, 3.5, 0);
  CHECK(one->has_old && one->old_value == 2.5);
  OK(dynm_subscription_cancel(first, UINT64_MAX / 2));
  OK(dynm_subscription_cancel(second, UINT64_MAX / 2));
  CHECK(one->destroyed == 1 && family->destroyed == 1);
  OK(dynm_subscription_counts(first, &counts));
  CHECK(counts.calls == (uint64_t)one->calls && counts.running_ns == 0);
}

static void thresholds(const dynm_registry *registry) {
  const dynm_metric *gauge = metric_of(registry, DYNM_GAUGE_I64, "level");
  struct told *told = told_new(), *computed = told_new();
  dynm_watched watched = dynm_watched_init();
  OK(dynm_gauge_set_i64(gauge, 20));
  watched.metric = gauge;
  told->cancels = 1;
  pthread_mutex_lock(&told->lock);
  OK(dynm_on_threshold(registry, &watched, DYNM_ABOVE, 10, 2, tell, told, destroy, &told->own));
  pthread_mutex_unlock(&told->lock);
  wait_for(told, 0, 1);
  CHECK(told->value == 20 && told->calls == 1);

  const dynm_subscription *own;
  watched = dynm_watched_init();
  watched.name = "answer";
  watched.compute = compute;
  OK(dynm_on_threshold(registry, &watched, DYNM_ABOVE, 2, 0, tell, computed, destroy, &own));
  wait_for(computed, 3, 0);
  CHECK(strcmp(computed->name, "answer") == 0);
  OK(dynm_subscription_cancel(own, UINT64_MAX / 2));
}

static void bad_input(const dynm_registry *registry) {
  struct told *told = told_new();
  const dynm_subscription *none;
  dynm_watch_counts counts = {0};
  dynm_watched watched = dynm_watched_init();
  FAILS(dynm_on_change(registry, &watched, tell, told, destroy, &none), DYNM_NULL, "watched.name is NULL");
  watched.name = "x_total";
  FAILS(dynm_on_change(NULL, &watched, tell, told, destroy, &none), DYNM_NULL, "registry");
  FAILS(dynm_on_change(registry, NULL, tell, told, destroy, &none), DYNM_NULL, "watched");
  FAILS(dynm_on_change(registry, &watched, NULL, told, destroy, &none), DYNM_NULL, "callback");
  FAILS(dynm_on_change(registry, &watched, tell, told, destroy, NULL), DYNM_NULL, "subscription");
  FAILS(dynm_on_threshold(registry, &watched, 3, 1, 0, tell, told, destroy, &none), DYNM_OPTION, "side: found 3");
  FAILS(dynm_on_threshold(registry, &watched, DYNM_BELOW, NAN, 0, tell, told, destroy, &none), DYNM_OPTION, "limit");
  FAILS(dynm_on_threshold(registry, &watched, DYNM_BELOW, 1, -1, tell, told, destroy, &none), DYNM_OPTION, "-1");
  watched.metric = metric_of(registry, DYNM_GAUGE_I64, "level");
  FAILS(dynm_on_change(registry, &watched, tell, told, destroy, &none), DYNM_OPTION, "a metric alone");
  CHECK(none == NULL && told->destroyed == 9 && told->calls == 0);
  FAILS(dynm_subscription_cancel(NULL, 0), DYNM_NULL, "subscription");
  FAILS(dynm_subscription_counts((const dynm_subscription *)registry, &counts), DYNM_WRONG_TYPE, "dynm_subscription");
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  const dynm_registry *registry = open_at(argv[1]);
  changes(registry);
  thresholds(registry);
  bad_input(registry);
  return 0;
}

/* Registries of every kind, levels of a hierarchy, thresholds: registries DIRECTORY [PLUGIN], with DYN_METRICS_SHM. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

static char path[4096];

/* Text of a registry; to be freed. */
static char *format(const dynm_registry *registry) {
  char *text;
  size_t length;
  OK(dynm_registry_format(registry, &text, &length));
  CHECK(strlen(text) == length);
  return text;
}

static int shows(const dynm_registry *registry, const char *line) {
  char *text = format(registry);
  const int found = strstr(text, line) != NULL;
  dynm_free(text);
  return found;
}

static const dynm_registry *child_of(const dynm_registry *parent, const char *prefix) {
  const dynm_registry *child;
  OK(dynm_registry_child(parent, prefix, NULL, 0, &child));
  return child;
}

/* A registry of each type of metric, updated in every way; what can be read back is `expected` or nothing. */
static void count(const dynm_registry *registry, int is_null) {
  const dynm_metric *whole = metric_of(registry, DYNM_COUNTER_U64, "whole_total");
  const dynm_metric *parts = metric_of(registry, DYNM_COUNTER_F64, "parts_total");
  const dynm_metric *gauge = metric_of(registry, DYNM_GAUGE_F64, "load");
  const dynm_metric *histogram = metric_of(registry, DYNM_HISTOGRAM, "latency_seconds");
  const dynm_metric *tally = metric_of(registry, DYNM_TALLY, "size_bytes");
  const dynm_metric *state = metric_of(registry, DYNM_STATE_SET, "state");
  OK(dynm_counter_inc(whole));
  OK(dynm_counter_add_u64(whole, 4));
  OK(dynm_counter_add_f64(parts, 0.5));
  OK(dynm_gauge_set_f64(gauge, 2.5));
  OK(dynm_observe(histogram, 0.05));
  OK(dynm_observe(histogram, 5));
  OK(dynm_observe(tally, 3));
  CHECK(value_of(whole).integer == (is_null ? 0 : 5));
  CHECK(value_of(parts).number == (is_null ? 0 : 0.5));
  CHECK(value_of(gauge).number == (is_null ? 0 : 2.5));
  CHECK(value_of(histogram).count == (is_null ? 0U : 2U) && value_of(histogram).sum == (is_null ? 0 : 5.05));
  CHECK(value_of(tally).sum == (is_null ? 0 : 3));
  CHECK(metric_of(registry, DYNM_COUNTER_U64, "whole_total") == whole && state != NULL);
  CHECK(shows(registry, "whole_total 5\n") == !is_null);
}

static void kinds(const char *directory) {
  const char *names[] = {"null", "prometheus", "shm"};
  for (int i = 0; i < 3; i++) {
    const dynm_registry *registry, *same;
    OK(dynm_registry_of_kind(names[i], &registry));
    OK(dynm_registry_of_kind(names[i], &same));
    CHECK(registry == same && strcmp(dynm_registry_kind(registry), names[i]) == 0);
    count(child_of(registry, "kinds_"), i == 0);
    char *text;
    OK(dynm_render(registry, &text, NULL));
    CHECK((strstr(text, "kinds_whole_total 5\n") != NULL) == (i > 0));
    dynm_free(text);
    OK(dynm_registry_close(registry));
    OK(dynm_registry_close(same));
    CHECK(strcmp(dynm_registry_kind(registry), "") == 0);
  }
  const dynm_registry *registry, *null;
  FAILS(dynm_registry_of_kind("influx", &registry), DYNM_OPTION, "found \"influx\", expected shm");
  CHECK(registry == NULL && strcmp(dynm_registry_kind(NULL), "") == 0);
  FAILS(dynm_registry_of_kind("\xff", &registry), DYNM_UTF8, "kind");
  OK(dynm_registry_of_kind("null", &null));
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "a b", "");
  const dynm_metric *metric;
  FAILS(dynm_register(null, &options, &metric), DYNM_NAME, "a b");
  FAILS(dynm_visit(null, NULL, NULL), DYNM_NULL, "visitor");
  setenv("DYN_METRICS_REGISTRY", "null", 1);
  OK(dynm_registry_of_kind(NULL, &registry));
  CHECK(registry == null);
  setenv("DYN_METRICS_REGISTRY", "shm", 1);
  OK(dynm_registry_of_kind(NULL, &registry));
  CHECK(strcmp(dynm_registry_kind(registry), "shm") == 0);
  unsetenv("DYN_METRICS_REGISTRY");
  (void)directory;
}

/* Metrics of the null registry are objects of their type, bounds and states: no memory for each. */
static void nothing_grows(void) {
  const dynm_registry *null;
  const dynm_family *family;
  const dynm_metric *first, *next;
  const char *names[] = {"n"};
  OK(dynm_registry_of_kind("null", &null));
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "many_total", "");
  OK(dynm_register_family(null, &options, names, 1, &family));
  for (int i = 0; i < 1000; i++) {
    char text[16];
    const char *values[] = {text};
    snprintf(text, sizeof text, "%d", i);
    OK(dynm_family_with(family, values, 1, &next));
    if (i == 0) first = next;
    CHECK(next == first);
  }
}

static void levels(const dynm_registry *home) {
  const dynm_registry *runtime, *same, *space, *component, *endpoint, *wrong;
  const dynm_label labels[] = {{"worker_id", "w1"}}, reserved[] = {{"dynamo_component", "mine"}};
  OK(dynm_runtime(home, DYNM_SCHEME_UPSTREAM, NULL, labels, 1, &runtime));
  OK(dynm_runtime(home, DYNM_SCHEME_UPSTREAM, NULL, labels, 1, &same));
  CHECK(runtime == same);
  OK(dynm_namespace(runtime, "my-model/7b", &space));
  OK(dynm_component(space, "backend", &component));
  OK(dynm_endpoint(component, "generate", &endpoint));
  OK(dynm_counter_inc(metric_of(endpoint, DYNM_COUNTER_U64, "requests_total")));
  CHECK(shows(runtime, "dynamo_component_requests_total{dynamo_component=\"backend\",dynamo_endpoint=\"generate\","
                       "dynamo_namespace=\"my-model/7b\",worker_id=\"w1\"} 1\n"));
  FAILS(dynm_registry_child(runtime, "x_", reserved, 1, &wrong), DYNM_LABELS, "dynamo_component");
  CHECK(wrong == NULL);
  FAILS(dynm_endpoint(space, "generate", &wrong), DYNM_WRONG_TYPE, "expected the level above");
  FAILS(dynm_namespace(home, "n", &wrong), DYNM_WRONG_TYPE, "no namespace");
  FAILS(dynm_namespace(runtime, NULL, &wrong), DYNM_NULL, "name");
  FAILS(dynm_runtime(home, 2, NULL, NULL, 0, &wrong), DYNM_OLD_LIBRARY, "0x2");
  FAILS(dynm_runtime(home, 0, "a b", NULL, 0, &wrong), DYNM_NAME, "a b");
  OK(dynm_runtime(NULL, 0, "mine_", NULL, 0, &runtime));
  OK(dynm_namespace(runtime, "", &space));
  OK(dynm_counter_inc(metric_of(space, DYNM_COUNTER_U64, "requests_total")));
  CHECK(shows(runtime, "\nmine_requests_total "));
  OK(dynm_registry_close(endpoint));
  FAILS(dynm_endpoint(endpoint, "generate", &wrong), DYNM_CLOSED, "closed");
}

static void thresholds(const dynm_registry *home) {
  const dynm_registry *some, *wrong;
  for (uint32_t level = 0; level < 3; level++) {
    char name[32];
    const dynm_metric *metric;
    snprintf(name, sizeof name, "level_%u_total", level);
    dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, name, "");
    options.level = level;
    OK(dynm_register(home, &options, &metric));
    OK(dynm_counter_inc(metric));
  }
  OK(dynm_registry_with_max_level(home, 1, &some));
  CHECK(shows(some, "level_0_total 1\n") && shows(some, "level_1_total 1\n") && !shows(some, "\nlevel_2_total"));
  CHECK(shows(home, "level_2_total 1\n") && !shows(child_of(some, "level_"), "\nlevel_2_total"));
  FAILS(dynm_registry_with_max_level(home, 256, &wrong), DYNM_OPTION, "found 256, expected 0 to 255");
}

/* The sample plugin: its options, the text behind the question mark, are a comment that it shows first. */
static void plugins(const char *object) {
  const dynm_registry *one, *same, *other;
  char name[4096];
  snprintf(name, sizeof name, "plugin:%s?one", object);
  OK(dynm_registry_of_kind(name, &one));
  OK(dynm_registry_of_kind(name, &same));
  snprintf(name, sizeof name, "plugin:%s?other", object);
  OK(dynm_registry_of_kind(name, &other));
  CHECK(one == same && one != other && shows(one, "# one\n") && shows(other, "# other\n"));
  count(child_of(one, "kinds_"), 0);
  levels(child_of(one, "levels_"));
  thresholds(one);
  FAILS(dynm_registry_of_kind("plugin:/none.so", &other), DYNM_OPTION, "/none.so: plugin: found no file");
}

int main(int argc, char **argv) {
  CHECK(argc == 2 || argc == 3);
  kinds(argv[1]);
  nothing_grows();
  const dynm_registry *prometheus;
  OK(dynm_registry_of_kind("prometheus", &prometheus));
  snprintf(path, sizeof path, "%s/levels", argv[1]);
  levels(open_at(path));
  levels(child_of(prometheus, "levels_"));
  snprintf(path, sizeof path, "%s/thresholds", argv[1]);
  thresholds(open_at(path));
  thresholds(prometheus);
  if (argc == 3) plugins(argv[2]);
  return 0;
}

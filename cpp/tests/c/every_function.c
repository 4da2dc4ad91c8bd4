/* Every function, with good input; threads and a forked child: every_function SEGMENT */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static int runs, ends;

static void counters(const dynm_registry *registry) {
  const dynm_metric *whole = metric_of(registry, DYNM_COUNTER_U64, "c_total");
  const dynm_metric *fraction = metric_of(registry, DYNM_COUNTER_F64, "f_total");
  const dynm_metric *spent = metric_of(registry, DYNM_COUNTER_NS, "t_seconds_total");
  CHECK(whole == metric_of(registry, DYNM_COUNTER_U64, "c_total"));
  CHECK(whole != metric_of(registry, DYNM_COUNTER_F64, "c_total"));
  OK(dynm_counter_inc(whole));
  OK(dynm_counter_add_u64(whole, 41));
  OK(dynm_counter_inc(fraction));
  OK(dynm_counter_add_f64(fraction, 0.5));
  OK(dynm_counter_add_f64(fraction, -1.0));
  OK(dynm_counter_add_ns(spent, 1500000000));
  CHECK(value_of(whole).integer == 42 && value_of(whole).number == 42.0);
  CHECK(value_of(fraction).number == 1.5 && value_of(fraction).integer == 0);
  CHECK(value_of(spent).integer == 1500000000 && value_of(spent).number == 1.5);
}

static void gauges(const dynm_registry *registry) {
  const dynm_metric *whole = metric_of(registry, DYNM_GAUGE_I64, "g");
  const dynm_metric *fraction = metric_of(registry, DYNM_GAUGE_F64, "gf");
  const dynm_metric *span = metric_of(registry, DYNM_GAUGE_NS, "gt_seconds");
  OK(dynm_gauge_set_i64(whole, -7));
  OK(dynm_gauge_add_i64(whole, 4));
  OK(dynm_gauge_set_f64(fraction, 1.25));
  OK(dynm_gauge_add_f64(fraction, 0.25));
  OK(dynm_gauge_set_ns(span, -2000000000));
  OK(dynm_gauge_add_ns(span, 500000000));
  CHECK(value_of(whole).integer == -3);
  CHECK(value_of(fraction).number == 1.5);
  CHECK(value_of(span).number == -1.5 && value_of(span).integer == -1500000000);
}

static void observations(const dynm_registry *registry) {
  const dynm_metric *tally = metric_of(registry, DYNM_TALLY, "tally");
  const dynm_metric *histogram = metric_of(registry, DYNM_HISTOGRAM, "h_seconds");
  uint64_t buckets[5];
  size_t needed = 0;
  OK(dynm_observe(tally, 2.5));
  OK(dynm_observe(tally, 0.5));
  CHECK(value_of(tally).count == 2 && value_of(tally).sum == 3.0);
  OK(dynm_observe(histogram, 0.01));
  OK(dynm_observe(histogram, 7.0));
  OK(dynm_observe_n(histogram, 0.5, 3));
  CHECK(value_of(histogram).count == 5);
  OK(dynm_histogram_buckets(histogram, NULL, 0, &needed));
  CHECK(needed == 5);
  OK(dynm_histogram_buckets(histogram, buckets, 5, NULL));
  CHECK(buckets[0] == 0 && buckets[1] == 1 && buckets[2] == 0 && buckets[3] == 3 && buckets[4] == 1);
}

static void states(const dynm_registry *registry) {
  const dynm_metric *set = metric_of(registry, DYNM_STATE_SET, "state");
  OK(dynm_state_set(set, "starting"));
  OK(dynm_state_switch(set, "ready", 1));
  CHECK(value_of(set).states == 3);
  OK(dynm_state_switch(set, "starting", 0));
  CHECK(value_of(set).states == 2);
}

static void description(const dynm_registry *registry) {
  dynm_description found;
  dynm_metric_options options = dynm_metric_options_init(DYNM_GAUGE_F64, "used_bytes", "Memory in use");
  const dynm_label labels[] = {{"zone", "a"}, {"device", "0"}};
  const dynm_metric *metric;
  options.unit = "bytes";
  options.mode = DYNM_MODE_MAX;
  options.level = 3;
  options.max_series = 5;
  options.labels = labels;
  options.label_count = 2;
  OK(dynm_register(registry, &options, &metric));
  memset(&found, 0, sizeof found);
  found.struct_size = sizeof found;
  OK(dynm_metric_describe(metric, &found));
  CHECK(found.metric_type == DYNM_GAUGE_F64 && found.kind == DYNM_KIND_GAUGE && found.mode == DYNM_MODE_MAX);
  CHECK(found.level == 3 && strcmp(found.name, "used_bytes") == 0 && strcmp(found.help, "Memory in use") == 0);
  CHECK(strcmp(found.unit, "bytes") == 0 && found.label_count == 2);
  CHECK(strcmp(found.labels[0].name, "device") == 0 && strcmp(found.labels[1].value, "a") == 0);
  OK(dynm_metric_describe(metric_of(registry, DYNM_HISTOGRAM, "h_seconds"), &found));
  CHECK(found.bound_count == 4 && found.bounds[3] == 1.0 && found.mode == 0);
  OK(dynm_metric_describe(metric_of(registry, DYNM_STATE_SET, "state"), &found));
  CHECK(found.state_count == 2 && strcmp(found.states[1], "ready") == 0);
}

static void families(const dynm_registry *registry) {
  const char *names[] = {"model", "status"};
  const char *values[] = {"llama", "ok"};
  const char *others[] = {"llama", "failed"};
  const dynm_str same[] = {{"llama!", 5}, {"ok", 2}};
  const dynm_family *family, *again;
  const dynm_metric *metric, *found;
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "by_model_total", "By model");
  OK(dynm_register_family(registry, &options, names, 2, &family));
  OK(dynm_register_family(registry, &options, names, 2, &again));
  CHECK(family == again);
  OK(dynm_family_with(family, values, 2, &metric));
  OK(dynm_counter_add_u64(metric, 5));
  OK(dynm_family_with_str(family, same, 2, &found));
  CHECK(metric == found);
  OK(dynm_family_find(family, values, 2, &found));
  CHECK(metric == found);
  FAILS(dynm_family_find(family, others, 2, &found), DYNM_NOT_FOUND, "no series");
  CHECK(found == NULL);
  FAILS(dynm_family_with(family, values, 1, &found), DYNM_LABELS, "found 1 label values, expected 2");
  OK(dynm_family_close(family));
  OK(dynm_family_close(family));
  FAILS(dynm_family_close(family), DYNM_CLOSED, "register it again");
  FAILS(dynm_family_with(family, values, 2, &found), DYNM_CLOSED, "closed");
  OK(dynm_counter_inc(metric)); /* its series go on */
  OK(dynm_register_family(registry, &options, names, 2, &again));
  CHECK(family == again);
}

static void removal(const dynm_registry *registry) {
  const char *names[] = {"worker"};
  const char *values[] = {"7"};
  const dynm_str texts[] = {{"7", 1}};
  const dynm_label labels[] = {{"worker", "7"}};
  const dynm_family *family;
  const dynm_metric *metric, *again, *known;
  const uint64_t *removals;
  uint64_t number = 0;
  int32_t removed = 7;
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "removed_total", "Comes and goes");
  OK(dynm_register_family(registry, &options, names, 1, &family));
  OK(dynm_family_remove(family, texts, 1, &removed));
  CHECK(removed == 0);
  OK(dynm_family_look_up(family, texts, 1, &metric, &number));
  OK(dynm_family_removals(family, number, &removals));
  CHECK(number == 1 && *removals == 0);
  FAILS(dynm_family_removals(family, 99, &removals), DYNM_NOT_FOUND, "another segment");
  CHECK(removals == NULL);
  OK(dynm_family_removals(family, number, &removals));
  OK(dynm_counter_add_u64(metric, 5));
  OK(dynm_is_removed(metric, &removed));
  CHECK(removed == 0);
  OK(dynm_family_remove(family, texts, 1, &removed));
  CHECK(removed == 1 && *removals == 1);
  OK(dynm_is_removed(metric, &removed));
  CHECK(removed == 1);
  FAILS(dynm_family_find(family, values, 1, &known), DYNM_NOT_FOUND, "no series");
  OK(dynm_family_look_up(family, texts, 1, &again, &number));
  CHECK(again != metric && number == 1);
  OK(dynm_counter_inc(metric)); /* counts for nobody */
  OK(dynm_remove(registry, "removed_total", labels, 1, &removed));
  CHECK(removed == 1);
  OK(dynm_remove(registry, "removed_total", labels, 1, &removed));
  CHECK(removed == 0);
  OK(dynm_family_close(family));
}

static void children(const dynm_registry *registry) {
  const dynm_label prod = {"namespace", "prod"}, router = {"component", "router"};
  const dynm_registry *service, *component, *same;
  dynm_registry_description found;
  dynm_description metric;
  OK(dynm_registry_child(registry, "dynamo_", &prod, 1, &service));
  OK(dynm_registry_child(service, "router_", &router, 1, &component));
  OK(dynm_registry_child(service, "router_", &router, 1, &same));
  CHECK(component == same);
  memset(&found, 0, sizeof found);
  found.struct_size = sizeof found;
  OK(dynm_registry_describe(component, &found));
  CHECK(strcmp(found.prefix, "dynamo_router_") == 0 && found.label_count == 2 && found.path[0] == '/');
  memset(&metric, 0, sizeof metric);
  metric.struct_size = sizeof metric;
  OK(dynm_metric_describe(metric_of(component, DYNM_COUNTER_U64, "requests_total"), &metric));
  CHECK(strcmp(metric.name, "dynamo_router_requests_total") == 0 && metric.label_count == 2);
  FAILS(dynm_registry_child(service, "", &prod, 1, &same), DYNM_LABELS, "namespace");
  FAILS(dynm_registry_child(service, "no spaces", NULL, 0, &same), DYNM_NAME, "prefix");
  OK(dynm_registry_close(service));
  OK(dynm_counter_inc(metric_of(component, DYNM_COUNTER_U64, "requests_total")));
  OK(dynm_registry_close(component));
  OK(dynm_registry_close(component));
  FAILS(dynm_registry_close(component), DYNM_CLOSED, "open it again");
}

struct seen {
  int families, series, stop_after;
  double by_model;
  uint64_t bucket;
};

static int32_t look(void *user, const dynm_family_view *family, const dynm_series_view *series) {
  struct seen *seen = (struct seen *)user;
  if (series == NULL) {
    CHECK(family->struct_size == sizeof *family);
    return ++seen->families == seen->stop_after;
  }
  seen->series++;
  CHECK(series->struct_size == sizeof *series && series->value.struct_size == sizeof series->value);
  if (strcmp(family->name, "by_model_total") == 0) {
    CHECK(series->label_count == 2 && strcmp(series->labels[0].value, "llama") == 0);
    seen->by_model += series->value.number;
  }
  if (strcmp(family->name, "h_seconds") == 0) {
    CHECK(family->kind == DYNM_KIND_HISTOGRAM && family->bound_count == 4 && series->bucket_count == 5);
    seen->bucket = series->buckets[3];
  }
  if (strcmp(family->name, "state") == 0) {
    CHECK(family->state_count == 2 && series->value.states == 2);
  }
  return 0;
}

static void reading(const dynm_registry *registry) {
  struct seen all = {0, 0, 0, 0.0, 0}, few = {0, 0, 2, 0.0, 0};
  char *text;
  size_t length;
  OK(dynm_visit(registry, look, &all));
  CHECK(all.by_model == 6.0 && all.bucket == 3);
  CHECK(all.families == 14 && all.series == 12); /* used_bytes was never set, removed_total has no series */
  OK(dynm_visit(registry, look, &few));
  CHECK(few.families == 2);
  OK(dynm_render(registry, &text, &length));
  CHECK(strlen(text) == length && strstr(text, "\nc_total 42\n") != NULL);
  CHECK(strstr(text, "h_seconds_bucket{le=\"+Inf\"} 5\n") != NULL);
  dynm_free(text);
  OK(dynm_render(registry, &text, NULL));
  dynm_free(text);
  dynm_free(NULL);
}

static int32_t count_run(void *user) {
  dynm_gauge_set_i64((const dynm_metric *)user, ++runs);
  return runs == 1 ? 0 : 1; /* what it sets counts all the same */
}

static int32_t half(void *user, double *value) {
  (void)user;
  *value = 0.5;
  return 0;
}

static void note_end(void *user) {
  CHECK(user == &ends);
  ends++;
}

static void asked(const dynm_registry *registry) {
  const dynm_metric *gauge = metric_of(registry, DYNM_GAUGE_I64, "asked");
  const dynm_metric *fraction = metric_of(registry, DYNM_GAUGE_F64, "asked_ratio");
  char *text;
  size_t id = 0;
  OK(dynm_on_scrape(registry, count_run, (void *)gauge, NULL, &id));
  OK(dynm_set_function(fraction, half, &ends, note_end));
  for (int run = 0; run < 2; run++) {
    OK(dynm_render(registry, &text, NULL));
    dynm_free(text);
  }
  CHECK(value_of(gauge).integer == 2 && value_of(fraction).number == 0.5 && ends == 0);
  OK(dynm_on_scrape_end(id));
  CHECK(dynm_on_scrape_end(id) == DYNM_NOT_FOUND);
  OK(dynm_set_function(fraction, half, &ends, note_end));
  OK(dynm_set_function(fraction, NULL, NULL, NULL));
  CHECK(dynm_set_function(fraction, NULL, NULL, NULL) == DYNM_NOT_FOUND);
  OK(dynm_render(registry, &text, NULL));
  dynm_free(text);
  CHECK(runs == 2 && ends == 2);
}

static void hot(const dynm_registry *registry) {
  const dynm_metric *counter = metric_of(registry, DYNM_COUNTER_U64, "hot_total");
  const dynm_metric *tally = metric_of(registry, DYNM_TALLY, "hot_tally");
  const dynm_metric *gauge = metric_of(registry, DYNM_GAUGE_I64, "hot_gauge");
  dynm_cells cells, sums;
  dynm_buckets buckets;
  dynm_gauge_cell cell;
  OK(dynm_metric_cells(counter, DYNM_ABI_LEVEL, &cells));
  OK(dynm_metric_cells(tally, DYNM_ABI_LEVEL, &sums));
  dynm_cells_add_u64_cold(&cells, 0, 3);
  dynm_cells_add_u64_cold(&cells, 1, 3); /* beyond: ignored */
  dynm_cells_add_f64_cold(&sums, 1, 2.5);
  dynm_cells_dropped(&sums, DYNM_DROPPED_NAN);
  CHECK(value_of(counter).integer == 3 && value_of(tally).sum == 2.5);
  if (cells.packed != 0) { /* by way of the cold path this CPU has got its cell */
    size_t cpu, found = 0;
    for (cpu = 0; cpu < (cells.packed & DYNM_CELLS_LENGTH_MASK); cpu++) found += cells.entries[cpu] != 0;
    CHECK(found > 0);
    CHECK(strcmp(dynm_update_path(), "rseq") == 0);
  }
  OK(dynm_metric_buckets(metric_of(registry, DYNM_HISTOGRAM, "h_seconds"), DYNM_ABI_LEVEL, &buckets));
  CHECK(buckets.bound_count == 4 && buckets.padded[0] == 0.001 && buckets.below != NULL && buckets.below[0] == 0);
  OK(dynm_metric_gauge_cell(gauge, DYNM_ABI_LEVEL, &cell));
  CHECK(*cell.own == 0);
  OK(dynm_gauge_set_i64(gauge, 1));
  CHECK((*cell.own & DYNM_GAUGE_FLAGS) == (DYNM_GAUGE_PLAIN | DYNM_REPRESENTATION_INTEGER));
  *(int64_t *)((*cell.own & ~(size_t)DYNM_GAUGE_FLAGS) + DYNM_HALF_VALUE) = 11;
  CHECK(value_of(gauge).integer == 11);
}

static void *count(void *registry) {
  const dynm_metric *metric = NULL;
  int i;
  for (i = 0; i < 1000; i++) {
    metric = metric_of((const dynm_registry *)registry, DYNM_COUNTER_U64, "threads_total");
    OK(dynm_counter_inc(metric));
  }
  return (void *)metric;
}

static void threads(const dynm_registry *registry) {
  pthread_t thread[4];
  void *metric[4];
  int i;
  for (i = 0; i < 4; i++) CHECK(pthread_create(&thread[i], NULL, count, (void *)registry) == 0);
  for (i = 0; i < 4; i++) CHECK(pthread_join(thread[i], &metric[i]) == 0);
  CHECK(metric[0] == metric[1] && metric[1] == metric[2] && metric[2] == metric[3]);
  CHECK(value_of((const dynm_metric *)metric[0]).integer == 4000);
}

/* A child counts into the same counters, and gets gauges of its own. */
static void forked(const dynm_registry *registry) {
  const dynm_metric *counter = metric_of(registry, DYNM_COUNTER_U64, "forked_total");
  const dynm_metric *gauge = metric_of(registry, DYNM_GAUGE_I64, "forked_gauge");
  dynm_gauge_cell cell;
  int status;
  pid_t child;
  OK(dynm_gauge_set_i64(gauge, 5));
  OK(dynm_metric_gauge_cell(gauge, DYNM_ABI_LEVEL, &cell));
  CHECK(*cell.own != 0);
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(*cell.own == 0);
    OK(dynm_counter_inc(counter));
    OK(dynm_gauge_set_i64(gauge, 7));
    OK(dynm_counter_inc(metric_of(registry, DYNM_COUNTER_U64, "child_total")));
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(value_of(counter).integer == 1 && value_of(gauge).integer == 5);
  CHECK(value_of(metric_of(registry, DYNM_COUNTER_U64, "child_total")).integer == 1);
}

static void composites(const dynm_registry *registry) {
  const char *const queues[] = {"a", "b"};
  const dynm_matcher matchers[] = {{"queue", queues, 2, DYNM_MATCH_ONE_OF, 0}, {"queue", NULL, 0, DYNM_MATCH_ANY, 0}};
  const dynm_matcher wrong = {"queue", NULL, 0, 9, 0};
  dynm_composite_options options = dynm_composite_options_init("max", "composed_depth");
  const dynm_composite *composite;
  uint32_t reading = 99;
  double value = 99;
  OK(dynm_composite_open(registry, &options, &composite));
  OK(dynm_composite_read(composite, &reading, &value));
  CHECK(reading == DYNM_READING_UNKNOWN && value == 0);
  OK(dynm_gauge_set_i64(metric_of(registry, DYNM_GAUGE_I64, "composed_depth"), 7));
  OK(dynm_composite_sample(composite));
  OK(dynm_composite_read(composite, &reading, NULL));
  OK(dynm_composite_read(composite, &reading, &value));
  CHECK(reading == DYNM_READING_VALUE && value == 7);
  OK(dynm_composite_close(composite));
  FAILS(dynm_composite_read(composite, &reading, &value), DYNM_CLOSED, "was closed");
  FAILS(dynm_composite_sample(composite), DYNM_CLOSED, "was closed");
  OK(dynm_composite_close(composite));
  FAILS(dynm_composite_read(NULL, &reading, &value), DYNM_NULL, "the composite is NULL");
  FAILS(dynm_composite_close((const dynm_composite *)registry), DYNM_WRONG_TYPE, "no dynm_composite");
  options.matchers = matchers;
  options.matcher_count = 2;
  FAILS(dynm_composite_open(registry, &options, &composite), DYNM_OPTION, "label: found queue");
  CHECK(composite == NULL);
  options.matchers = &wrong;
  options.matcher_count = 1;
  FAILS(dynm_composite_open(registry, &options, &composite), DYNM_OPTION, "found kind 9");
  options.matcher_count = 0;
  options.flags = DYNM_SET_WINDOW;
  FAILS(dynm_composite_open(registry, &options, &composite), DYNM_OPTION, "found 0 s");
  options.flags = 64;
  FAILS(dynm_composite_open(registry, &options, &composite), DYNM_OLD_LIBRARY, "unknown bits 0x40");
  options.flags = 0;
  options.path = "/dev/shm/there-is-no-such-segment";
  FAILS(dynm_composite_open(registry, &options, &composite), DYNM_OPTION, "expected one of them");
  OK(dynm_composite_open(NULL, &options, &composite));
  OK(dynm_composite_read(composite, &reading, &value));
  CHECK(reading == DYNM_READING_UNKNOWN);
  OK(dynm_composite_close(composite));
}

static void about(void) {
  CHECK(dynm_abi_version() == DYNM_ABI_LEVEL && strchr(dynm_version(), '.') != NULL);
  CHECK(dynm_has_feature("render") == 1 && dynm_has_feature("flight") == 0 && dynm_has_feature(NULL) == 0);
  CHECK(strcmp(dynm_status_name(DYNM_FULL), "DYNM_FULL") == 0);
  CHECK(strcmp(dynm_status_name(1234), "unknown status") == 0);
  CHECK(strncmp(dynm_update_path(), "rseq", 4) == 0 || strncmp(dynm_update_path(), "shared: ", 8) == 0);
}

int main(int argc, char **argv) {
  const dynm_registry *registry, *root, *again;
  CHECK(argc == 2);
  CHECK(dynm_last_error()[0] == '\0');
  registry = open_at(argv[1]);
  CHECK(registry == open_at(argv[1]));
  OK(dynm_registry_close(registry));
  counters(registry);
  gauges(registry);
  observations(registry);
  states(registry);
  CHECK(value_of(metric_of(registry, DYNM_INFO, "build_info")).number == 1.0);
  description(registry);
  families(registry);
  removal(registry);
  children(registry);
  reading(registry);
  hot(registry);
  asked(registry);
  threads(registry);
  forked(registry);
  composites(registry);
  about();
  OK(dynm_root(&root)); /* the test has set DYN_METRICS_SHM */
  OK(dynm_root(&again));
  CHECK(root == again);
  OK(dynm_registry_close(root));
  OK(dynm_counter_inc(metric_of(root, DYNM_COUNTER_U64, "root_total")));
  OK(dynm_registry_close(registry));
  return 0;
}

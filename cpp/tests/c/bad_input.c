/* Every kind of bad input gives a status and a message: bad_input DIRECTORY SEGMENT_OF_A_NEWER_VERSION */
#include "check.h"

static void nulls(void) {
  const dynm_registry *registry;
  const dynm_family *family;
  const dynm_metric *metric;
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "x_total", "");
  dynm_value value = dynm_value_init();
  dynm_description description = {0};
  dynm_registry_description described = {0};
  dynm_cells cells;
  dynm_buckets buckets;
  dynm_gauge_cell cell;
  uint64_t number = 7;
  const uint64_t *removals = &number;
  int32_t removed = 7;
  char *text;
  FAILS(dynm_open(NULL, NULL), DYNM_NULL, "registry is NULL");
  FAILS(dynm_root(NULL), DYNM_NULL, "registry is NULL");
  FAILS(dynm_registry_child(NULL, "a_", NULL, 0, &registry), DYNM_NULL, "dynm_open");
  FAILS(dynm_registry_close(NULL), DYNM_NULL, "the registry is NULL");
  FAILS(dynm_registry_describe(NULL, &described), DYNM_NULL, "the registry is NULL");
  FAILS(dynm_register(NULL, &options, &metric), DYNM_NULL, "the registry is NULL");
  FAILS(dynm_register_family(NULL, &options, NULL, 0, &family), DYNM_NULL, "the registry is NULL");
  FAILS(dynm_register(NULL, NULL, &metric), DYNM_NULL, "the registry is NULL");
  CHECK(metric == NULL);
  CHECK(dynm_private(NULL) == NULL && strstr(dynm_last_error(), "options is NULL") != NULL);
  FAILS(dynm_family_with(NULL, NULL, 0, &metric), DYNM_NULL, "the family is NULL");
  CHECK(metric == NULL);
  FAILS(dynm_family_with_str(NULL, NULL, 0, &metric), DYNM_NULL, "the family is NULL");
  FAILS(dynm_family_look_up(NULL, NULL, 0, &metric, &number), DYNM_NULL, "the family is NULL");
  FAILS(dynm_family_look_up(NULL, NULL, 0, &metric, NULL), DYNM_NULL, "number is NULL");
  CHECK(metric == NULL && number == 0);
  FAILS(dynm_family_find(NULL, NULL, 0, &metric), DYNM_NULL, "the family is NULL");
  FAILS(dynm_family_remove(NULL, NULL, 0, &removed), DYNM_NULL, "the family is NULL");
  FAILS(dynm_family_removals(NULL, 1, &removals), DYNM_NULL, "the family is NULL");
  FAILS(dynm_remove(NULL, "x_total", NULL, 0, &removed), DYNM_NULL, "the registry is NULL");
  FAILS(dynm_remove(NULL, "x_total", NULL, 0, NULL), DYNM_NULL, "removed is NULL");
  FAILS(dynm_is_removed(NULL, &removed), DYNM_NULL, "the metric is NULL");
  CHECK(removed == 0 && removals == NULL);
  FAILS(dynm_family_close(NULL), DYNM_NULL, "the family is NULL");
  FAILS(dynm_counter_inc(NULL), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_counter_add_u64(NULL, 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_counter_add_f64(NULL, 1.0), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_counter_add_ns(NULL, 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_observe(NULL, 1.0), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_observe_n(NULL, 1.0, 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_gauge_set_i64(NULL, 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_gauge_set_f64(NULL, 1.0), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_gauge_set_ns(NULL, 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_gauge_add_i64(NULL, 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_gauge_add_f64(NULL, 1.0), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_gauge_add_ns(NULL, 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_state_set(NULL, "a"), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_state_switch(NULL, "a", 1), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_metric_value(NULL, &value), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_histogram_buckets(NULL, NULL, 0, NULL), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_metric_describe(NULL, &description), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_metric_cells(NULL, 1, &cells), DYNM_NULL, "the metric is NULL");
  CHECK(cells.packed == 0 && cells.shared == NULL && cells.cold == NULL);
  dynm_cells_add_u64_cold(&cells, 0, 1);
  dynm_cells_add_f64_cold(&cells, 0, 1.0);
  dynm_cells_dropped(&cells, 5);
  dynm_cells_add_u64_cold(NULL, 0, 1);
  dynm_cells_add_f64_cold(NULL, 0, 1.0);
  dynm_cells_dropped(NULL, 99);
  FAILS(dynm_metric_buckets(NULL, 1, &buckets), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_metric_gauge_cell(NULL, 1, &cell), DYNM_NULL, "the metric is NULL");
  FAILS(dynm_visit(NULL, NULL, NULL), DYNM_NULL, "the registry is NULL");
  FAILS(dynm_on_scrape(NULL, NULL, NULL, NULL, NULL), DYNM_NULL, "the registry is NULL");
  FAILS(dynm_on_scrape_end(0), DYNM_NOT_FOUND, "no such on-scrape callback");
  FAILS(dynm_set_function(NULL, NULL, NULL, NULL), DYNM_NULL, "NULL");
  FAILS(dynm_render(NULL, &text, NULL), DYNM_NULL, "the registry is NULL");
  CHECK(text == NULL);
}

static void wrong_types(const dynm_registry *registry) {
  const dynm_metric *counter = metric_of(registry, DYNM_COUNTER_U64, "c_total");
  const dynm_metric *gauge = metric_of(registry, DYNM_GAUGE_F64, "g");
  const dynm_metric *set = metric_of(registry, DYNM_STATE_SET, "s");
  dynm_cells cells;
  dynm_gauge_cell cell;
  dynm_value value = {0, 0, 0, 0, 0, 0};
  FAILS(dynm_counter_inc(gauge), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_counter_add_f64(counter, 1.0), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_counter_add_ns(counter, 1), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_observe(counter, 1.0), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_gauge_set_i64(gauge, 1), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_gauge_add_ns(gauge, 1), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_state_set(counter, "a"), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_histogram_buckets(counter, NULL, 0, NULL), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_metric_cells(gauge, 1, &cells), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_metric_gauge_cell(set, 1, &cell), DYNM_WRONG_TYPE, "another type");
  FAILS(dynm_counter_inc((const dynm_metric *)registry), DYNM_WRONG_TYPE, "no dynm_metric");
  FAILS(dynm_registry_close((const dynm_registry *)counter), DYNM_WRONG_TYPE, "no dynm_registry");
  FAILS(dynm_counter_inc((const dynm_metric *)((const char *)counter + 1)), DYNM_WRONG_TYPE, "no dynm_metric");
  FAILS(dynm_state_set(set, "stopped"), DYNM_NOT_FOUND, "expected one of [\"starting\", \"ready\"]");
  FAILS(dynm_state_set(set, NULL), DYNM_NULL, "state is NULL");
  FAILS(dynm_metric_value(counter, &value), DYNM_OPTION, "struct_size is 0");
  FAILS(dynm_metric_value(counter, NULL), DYNM_NULL, "value is NULL");
}

/* What could not be registered works all the same, unless its type is not known. */
static void check_private(const dynm_metric *metric, const dynm_metric_options *options) {
  dynm_description description;
  dynm_value value = dynm_value_init();
  description.struct_size = sizeof description;
  if (options->metric_type == 0 || options->struct_size != sizeof *options) {
    CHECK(metric == NULL && dynm_private(options) == NULL);
    return;
  }
  OK(dynm_metric_describe(metric, &description));
  CHECK(description.metric_type == options->metric_type && description.name[0] == '\0');
  CHECK(description.label_count == 0 && description.help[0] == '\0' && description.unit[0] == '\0');
  CHECK((description.bound_count > 0) == (options->metric_type == DYNM_HISTOGRAM));
  OK(dynm_metric_value(metric, &value));
}

#define REFUSED(change, status, text)                                                       \
  do {                                                                                      \
    dynm_metric_options options = dynm_metric_options_init(DYNM_HISTOGRAM, "bad_h", "Bad"); \
    const dynm_metric *metric = (const dynm_metric *)&options;                              \
    change;                                                                                 \
    FAILS(dynm_register(registry, &options, &metric), status, text);                        \
    check_private(metric, &options);                                                        \
  } while (0)

static void options_of_metrics(const dynm_registry *registry) {
  const double unsorted[] = {1.0, 0.5};
  const dynm_label odd = {"model", "\xff\xfe"}, twice[] = {{"a", "1"}, {"a", "2"}}, half = {"a", NULL};
  REFUSED(options.name = NULL, DYNM_NULL, "options.name is NULL");
  REFUSED(options.name = "a\xff", DYNM_UTF8, "not UTF-8 at 1");
  REFUSED(options.name = "two words", DYNM_NAME, "two words");
  REFUSED(options.help = "\xc3\x28", DYNM_UTF8, "options.help");
  REFUSED(options.unit = "seconds", DYNM_OPTION, "unit");
  REFUSED((options.bounds = unsorted, options.bound_count = 2), DYNM_BOUNDS, "hold 1 before 0.5");
  REFUSED((options.bounds = unsorted, options.bound_count = 0), DYNM_BOUNDS, "are empty");
  REFUSED(options.bound_count = 3, DYNM_NULL, "options.bounds is NULL");
  REFUSED((options.bounds = unsorted, options.bound_count = SIZE_MAX), DYNM_OPTION, "no list");
  REFUSED((options.labels = &odd, options.label_count = 1), DYNM_UTF8, "options.labels");
  REFUSED((options.labels = twice, options.label_count = 2), DYNM_LABELS, "twice");
  REFUSED((options.labels = &half, options.label_count = 1), DYNM_NULL, "options.labels is NULL");
  REFUSED(options.metric_type = 0, DYNM_OPTION, "metric_type: found 0");
  REFUSED(options.metric_type = DYNM_COUNTER_U64; options.mode = DYNM_MODE_MAX, DYNM_OPTION, "mode");
  REFUSED(options.metric_type = DYNM_GAUGE_I64; options.mode = 11, DYNM_OPTION, "mode: found 11");
  REFUSED(options.level = 256, DYNM_OPTION, "level: found 256");
  REFUSED(options.flags = 0x80, DYNM_OLD_LIBRARY, "unknown bits");
  REFUSED(options.struct_size = 0, DYNM_OPTION, "struct_size is 0");
  REFUSED(options.struct_size = 1u << 30, DYNM_OPTION, "struct_size is 1073741824");
  REFUSED(options.metric_type = DYNM_STATE_SET, DYNM_BOUNDS, "states");
  (void)metric_of(registry, DYNM_GAUGE_I64, "bad_h");
  REFUSED((void)0, DYNM_CONFLICT, "registered by ");
}

/* A header of the future has more options; an older library serves it as long as they are not used. */
static void newer_headers(const dynm_registry *registry, const char *path) {
  struct {
    dynm_metric_options known;
    const char *new_option;
  } metric = {dynm_metric_options_init(DYNM_COUNTER_U64, "future_total", "From the future"), NULL};
  struct {
    dynm_value known;
    uint64_t more;
  } value;
  dynm_segment_options options = dynm_segment_options_init();
  const dynm_registry *opened;
  const dynm_metric *made;
  dynm_cells cells;
  metric.known.struct_size = sizeof metric;
  OK(dynm_register(registry, &metric.known, &made));
  metric.new_option = "x";
  FAILS(dynm_register(registry, &metric.known, &made), DYNM_OLD_LIBRARY, "install one as new as the header");
  OK(dynm_counter_inc(made));
  CHECK(value_of(made).integer == 1); /* a private one */
  metric.known.struct_size = offsetof(dynm_metric_options, labels); /* and one of the past has fewer */
  OK(dynm_register(registry, &metric.known, &made));
  value.known.struct_size = sizeof value;
  value.more = 7;
  OK(dynm_metric_value(made, &value.known));
  CHECK(value.more == 7 && value.known.struct_size == sizeof value);
  options.path = path;
  options.abi_level = DYNM_ABI_LEVEL + 1;
  FAILS(dynm_open(&options, &opened), DYNM_OLD_LIBRARY, "ABI level 2");
  CHECK(opened == NULL);
  FAILS(dynm_metric_cells(made, DYNM_ABI_LEVEL + 1, &cells), DYNM_OLD_LIBRARY, "ABI level 2");
  options.abi_level = DYNM_ABI_LEVEL;
  options.flags = 0x80;
  FAILS(dynm_open(&options, &opened), DYNM_OLD_LIBRARY, "unknown bits");
}

static void segments(const char *directory, const char *newer) {
  dynm_segment_options options = dynm_segment_options_init();
  const dynm_registry *registry;
  options.path = newer;
  FAILS(dynm_open(&options, &registry), DYNM_NEWER_SEGMENT, "install a libdyn_metrics as new as");
  CHECK(registry == NULL);
  options.path = directory;
  FAILS(dynm_open(&options, &registry), DYNM_NOT_SEGMENT, "found a directory");
  options.path = "\xff";
  FAILS(dynm_open(&options, &registry), DYNM_UTF8, "options.path");
  options.path = "/dev/shm/none/such";
  FAILS(dynm_open(&options, &registry), DYNM_IO, "found no directory");
  options.max_bytes = 1;
  FAILS(dynm_open(&options, &registry), DYNM_OPTION, "max_bytes");
}

static void after_close(const dynm_registry *registry) {
  const dynm_metric *metric = metric_of(registry, DYNM_COUNTER_U64, "c_total"), *none;
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "x_total", "");
  const dynm_registry *child;
  dynm_registry_description description;
  char *text;
  description.struct_size = sizeof description;
  OK(dynm_registry_close(registry));
  FAILS(dynm_registry_close(registry), DYNM_CLOSED, "open it again");
  FAILS(dynm_register(registry, &options, &none), DYNM_CLOSED, "closed");
  OK(dynm_counter_inc(none));
  FAILS(dynm_registry_child(registry, "a_", NULL, 0, &child), DYNM_CLOSED, "closed");
  FAILS(dynm_registry_describe(registry, &description), DYNM_CLOSED, "closed");
  FAILS(dynm_render(registry, &text, NULL), DYNM_CLOSED, "closed");
  OK(dynm_counter_inc(metric));
}

int main(int argc, char **argv) {
  char path[4096];
  const dynm_registry *registry;
  CHECK(argc == 3);
  snprintf(path, sizeof path, "%s/bad", argv[1]);
  nulls();
  registry = open_at(path);
  wrong_types(registry);
  options_of_metrics(registry);
  newer_headers(registry, path);
  segments(argv[1], argv[2]);
  FAILS(dynm_visit(registry, NULL, NULL), DYNM_NULL, "visitor is NULL");
  FAILS(dynm_on_scrape(registry, NULL, NULL, NULL, NULL), DYNM_NULL, "callback is NULL");
  after_close(registry);
  registry = open_at(path);
  remove(path);
  FAILS(dynm_visit(registry, (dynm_visitor)0, NULL), DYNM_NULL, "visitor");
  return 0;
}

/* Metrics that could not be registered work, for this process alone: private_metrics SEGMENT */
#include "check.h"

enum { OWN = 4096 };

static const double bounds[] = {1.0, 2.0};
static const char *const states[] = {"starting", "ready"};

static dynm_metric_options options_of(uint32_t type) {
  dynm_metric_options options = dynm_metric_options_init(type, NULL, NULL);
  if (type == DYNM_HISTOGRAM) {
    options.bounds = bounds;
    options.bound_count = 2;
  }
  if (type == DYNM_STATE_SET) {
    options.states = states;
    options.state_count = 2;
  }
  return options;
}

/* Takes every update of its type, and keeps it. */
static void use(const dynm_metric *metric, uint32_t type) {
  switch (type) {
    case DYNM_COUNTER_U64:
      OK(dynm_counter_add_u64(metric, 3));
      CHECK(value_of(metric).integer == 3);
      break;
    case DYNM_COUNTER_F64:
      OK(dynm_counter_add_f64(metric, 0.5));
      CHECK(value_of(metric).number == 0.5);
      break;
    case DYNM_COUNTER_NS:
      OK(dynm_counter_add_ns(metric, 5));
      CHECK(value_of(metric).integer == 5);
      break;
    case DYNM_TALLY:
      OK(dynm_observe(metric, 2.5));
      CHECK(value_of(metric).count == 1 && value_of(metric).sum == 2.5);
      break;
    case DYNM_GAUGE_I64:
      OK(dynm_gauge_set_i64(metric, 5));
      OK(dynm_gauge_add_i64(metric, -7));
      CHECK(value_of(metric).integer == -2);
      break;
    case DYNM_GAUGE_F64:
      OK(dynm_gauge_set_f64(metric, 1.5));
      CHECK(value_of(metric).number == 1.5);
      break;
    case DYNM_GAUGE_NS:
      OK(dynm_gauge_set_ns(metric, -5));
      CHECK(value_of(metric).integer == -5);
      break;
    case DYNM_HISTOGRAM: {
      uint64_t buckets[4];
      size_t needed = 0;
      OK(dynm_observe(metric, 1.5));
      OK(dynm_histogram_buckets(metric, buckets, 4, &needed));
      CHECK(needed == 3 && buckets[0] == 0 && buckets[1] == 1 && buckets[2] == 0);
      break;
    }
    case DYNM_INFO:
      CHECK(value_of(metric).number == 1.0);
      break;
    default:
      OK(dynm_state_set(metric, "ready"));
      CHECK(value_of(metric).states == 2);
      FAILS(dynm_state_set(metric, "stopped"), DYNM_NOT_FOUND, "stopped");
  }
}

static void every_type(const dynm_registry *registry) {
  uint32_t type;
  for (type = DYNM_COUNTER_U64; type <= DYNM_STATE_SET; type++) {
    dynm_metric_options options = options_of(type);
    const dynm_metric *asked = dynm_private(&options), *other = dynm_private(&options), *refused;
    use(asked, type);
    CHECK((other == asked) == (type == DYNM_INFO));
    use(other, type);
    options.name = "not a name";
    CHECK(dynm_register(registry, &options, &refused) == DYNM_NAME);
    use(refused, type);
  }
}

static void series_of_families(const dynm_registry *registry) {
  const char *names[] = {"a"}, *values[] = {"x", "y"}, *odd[] = {"\xff"};
  const dynm_str text = {"\xff", 1}, known = {"x", 1}, other = {"y", 1};
  uint64_t number = 7;
  int tries;
  dynm_metric_options options = options_of(DYNM_HISTOGRAM);
  const dynm_family *family;
  const dynm_metric *metric;
  options.name = "h";
  options.max_series = 1;
  OK(dynm_register_family(registry, &options, names, 1, &family));
  CHECK(dynm_family_with(family, values, 2, &metric) == DYNM_LABELS);
  use(metric, DYNM_HISTOGRAM);
  CHECK(dynm_family_with(family, odd, 1, &metric) == DYNM_UTF8);
  use(metric, DYNM_HISTOGRAM);
  CHECK(dynm_family_with_str(family, &text, 1, &metric) == DYNM_UTF8);
  use(metric, DYNM_HISTOGRAM);
  CHECK(dynm_family_find(family, values, 1, &metric) == DYNM_NOT_FOUND && metric == NULL);
  CHECK(dynm_family_look_up(family, &text, 1, &metric, &number) == DYNM_UTF8 && number == 0);
  use(metric, DYNM_HISTOGRAM);
  for (tries = 0; tries < 2 * OWN; tries++) {
    const dynm_metric *again;
    CHECK(dynm_family_look_up(family, &text, 1, &again, &number) == DYNM_UTF8 && again == metric);
  }
  CHECK(dynm_private(&options) != dynm_private(&options)); /* such look-ups leave the others theirs */
  OK(dynm_family_look_up(family, &known, 1, &metric, &number));
  CHECK(number == 1);
  OK(dynm_family_look_up(family, &other, 1, &metric, &number));
  CHECK(number == 0); /* the series that stands for all beyond the limit */
  OK(dynm_family_close(family));
  CHECK(dynm_family_with(family, values, 1, &metric) == DYNM_CLOSED);
  use(metric, DYNM_HISTOGRAM);
  CHECK(dynm_family_find(family, values, 1, &metric) == DYNM_CLOSED && metric == NULL);
}

/* Where the segment is full: what is registered stays, all else goes on alone. */
static void full_segment(const char *path) {
  dynm_segment_options segment = dynm_segment_options_init();
  const dynm_registry *registry;
  const dynm_metric *metric;
  char name[32];
  int made;
  segment.path = path;
  segment.max_bytes = 1 << 20;
  OK(dynm_open(&segment, &registry));
  for (made = 0; made < 100000; made++) {
    dynm_metric_options options = options_of(DYNM_COUNTER_U64);
    dynm_status status;
    snprintf(name, sizeof name, "c%d_total", made);
    options.name = name;
    status = dynm_register(registry, &options, &metric);
    if (status != DYNM_OK) {
      CHECK(status == DYNM_FULL);
      use(metric, DYNM_COUNTER_U64);
      return;
    }
  }
  CHECK(!"the segment is full at some time");
}

/* More than a process gets share one for each type: memory stays what it is. */
static void beyond_the_limit(void) {
  const dynm_metric *before = NULL;
  uint32_t type;
  int asked;
  for (asked = 0; asked < OWN; asked++) {
    dynm_metric_options options = options_of(DYNM_COUNTER_U64);
    CHECK(dynm_private(&options) != NULL);
  }
  for (type = DYNM_COUNTER_U64; type <= DYNM_STATE_SET; type++) {
    dynm_metric_options options = options_of(type);
    const dynm_metric *one = dynm_private(&options);
    CHECK(one == dynm_private(&options) && one != before && one != NULL);
    if (type <= DYNM_COUNTER_F64) OK(dynm_counter_inc(one));
    (void)value_of(one);
    before = one;
  }
}

int main(int argc, char **argv) {
  char path[4096];
  const dynm_registry *registry;
  CHECK(argc == 2);
  registry = open_at(argv[1]);
  every_type(registry);
  series_of_families(registry);
  snprintf(path, sizeof path, "%s.full", argv[1]);
  full_segment(path);
  beyond_the_limit();
  dynm_pin(NULL);
  dynm_pin((const void *)registry);
  dynm_pin((const void *)&bounds);
  return 0;
}

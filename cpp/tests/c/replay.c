/* Replays tests/data/conformance/script.txt with the C functions; the README there says what a replayer does. */
#include <inttypes.h>
#include <math.h>

#include "check.h"

#define MOST_FIELDS 320
#define MOST_HANDLES 512

/* What a name in the script stands for: one of the three. */
typedef struct handle {
  char name[64];
  const dynm_registry *registry;
  const dynm_family *family;
  const dynm_metric *metric;
  uint32_t type;
} handle;

static handle handles[MOST_HANDLES];
static size_t handle_count;
static int line_number;

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "line %d: %s: %s; last error: %s\n", line_number, what, detail, dynm_last_error());
  exit(1);
}

static handle *find_handle(const char *name) {
  for (size_t i = 0; i < handle_count; i++) {
    if (strcmp(handles[i].name, name) == 0) return &handles[i];
  }
  return NULL;
}

static handle *known(const char *name) {
  handle *found = find_handle(name);
  if (found == NULL) fail("no handle", name);
  return found;
}

/* The handle of this name, new or to be made anew. */
static handle *fresh(const char *name) {
  handle *found = find_handle(name);
  if (found == NULL) {
    if (handle_count == MOST_HANDLES || strlen(name) >= sizeof found->name) fail("no room for", name);
    found = &handles[handle_count++];
  }
  memset(found, 0, sizeof *found);
  strcpy(found->name, name);
  return found;
}

static const char *const type_names[] = {
    "",      "counter",     "float_counter",  "duration_counter", "tally", "gauge",
    "float_gauge", "duration_gauge", "histogram", "info", "state_set"};
static const char *const mode_names[] = {"",        "all", "liveall", "min",        "livemin",       "max",
                                         "livemax", "sum", "livesum", "mostrecent", "livemostrecent"};

static uint32_t number_of(const char *const *names, size_t count, const char *name) {
  for (uint32_t i = 1; i < count; i++) {
    if (strcmp(names[i], name) == 0) return i;
  }
  fail("unknown", name);
  return 0;
}

#define NUMBER_OF(names, name) number_of(names, sizeof names / sizeof names[0], name)

/* What the options of a step say. */
typedef struct described {
  dynm_metric_options options;
  dynm_label labels[64];
  const char *names[64], *states[MOST_FIELDS];
  double bounds[300];
  size_t name_count;
} described;

static void set_bounds(described *d, char *text) {
  d->options.bounds = d->bounds;
  for (char *next = text; *next != 0;) {
    d->bounds[d->options.bound_count++] = strtod(next, &next);
    if (*next == ',') next++;
  }
}

static void set_label(described *d, char *text) {
  char *value = strchr(text, '=');
  if (value == NULL) fail("label without a value", text);
  *value++ = 0;
  d->labels[d->options.label_count++] = (dynm_label){text, value};
}

static void set_option(described *d, char *field) {
  char *text = strchr(field, '=');
  if (text == NULL) fail("no option", field);
  *text++ = 0;
  if (strcmp(field, "help") == 0) d->options.help = text;
  else if (strcmp(field, "unit") == 0) d->options.unit = text;
  else if (strcmp(field, "mode") == 0) d->options.mode = NUMBER_OF(mode_names, text);
  else if (strcmp(field, "level") == 0) d->options.level = (uint32_t)strtoul(text, NULL, 10);
  else if (strcmp(field, "max_series") == 0) d->options.max_series = (uint32_t)strtoul(text, NULL, 10);
  else if (strcmp(field, "keep_dead") == 0) d->options.keep_dead = (uint32_t)strtoul(text, NULL, 10);
  else if (strcmp(field, "shared") == 0) d->options.flags |= text[0] == '1' ? DYNM_SHARED : 0;
  else if (strcmp(field, "bounds") == 0) set_bounds(d, text);
  else if (strcmp(field, "label") == 0) set_label(d, text);
  else if (strcmp(field, "by") == 0) d->names[d->name_count++] = text;
  else if (strcmp(field, "state") == 0) d->states[d->options.state_count++] = text;
  else fail("no option", field);
}

static described *describe(uint32_t type, const char *name, char **fields, size_t count) {
  static described d;
  memset(&d, 0, sizeof d);
  d.options = dynm_metric_options_init(type, name, NULL);
  for (size_t i = 0; i < count; i++) set_option(&d, fields[i]);
  d.options.labels = d.labels;
  d.options.states = d.states;
  return &d;
}

/* `register` and `family`: HANDLE REGISTRY TYPE NAME option... */
static dynm_status make(int is_family, char **fields, size_t count) {
  if (count < 4) fail("too short", fields[0]);
  const dynm_registry *registry = known(fields[1])->registry;
  const uint32_t type = NUMBER_OF(type_names, fields[2]);
  described *d = describe(type, fields[3], fields + 4, count - 4);
  handle *made = fresh(fields[0]);
  made->type = type;
  if (is_family) return dynm_register_family(registry, &d->options, d->names, d->name_count, &made->family);
  return dynm_register(registry, &d->options, &made->metric);
}

static dynm_status child(char **fields, size_t count) {
  if (count < 3) fail("too short", fields[0]);
  const dynm_registry *parent = known(fields[1])->registry;
  described *d = describe(0, NULL, fields + 3, count - 3);
  return dynm_registry_child(parent, fields[2], d->labels, d->options.label_count, &fresh(fields[0])->registry);
}

/* `with` and `find`: HANDLE FAMILY VALUE... */
static dynm_status series(int is_made, char **fields, size_t count) {
  if (count < 2) fail("too short", fields[0]);
  const handle from = *known(fields[1]);
  handle *made = fresh(fields[0]);
  made->type = from.type;
  const char *const *values = (const char *const *)(fields + 2);
  return is_made ? dynm_family_with(from.family, values, count - 2, &made->metric)
                 : dynm_family_find(from.family, values, count - 2, &made->metric);
}

static dynm_status add(const handle *to, const char *text) {
  switch (to->type) {
    case DYNM_COUNTER_U64: return dynm_counter_add_u64(to->metric, strtoull(text, NULL, 10));
    case DYNM_COUNTER_F64: return dynm_counter_add_f64(to->metric, strtod(text, NULL));
    case DYNM_COUNTER_NS: return dynm_counter_add_ns(to->metric, strtoull(text, NULL, 10));
    case DYNM_GAUGE_I64: return dynm_gauge_add_i64(to->metric, strtoll(text, NULL, 10));
    case DYNM_GAUGE_F64: return dynm_gauge_add_f64(to->metric, strtod(text, NULL));
    default: return dynm_gauge_add_ns(to->metric, strtoll(text, NULL, 10));
  }
}

static dynm_status set(const handle *to, const char *text) {
  switch (to->type) {
    case DYNM_GAUGE_I64: return dynm_gauge_set_i64(to->metric, strtoll(text, NULL, 10));
    case DYNM_GAUGE_F64: return dynm_gauge_set_f64(to->metric, strtod(text, NULL));
    case DYNM_GAUGE_NS: return dynm_gauge_set_ns(to->metric, strtoll(text, NULL, 10));
    default: return dynm_state_set(to->metric, text);
  }
}

static int same(double found, const char *text) {
  const double expected = strtod(text, NULL);
  return memcmp(&found, &expected, sizeof found) == 0;
}

/* Whether a metric reads as the step says. */
static int reads(const handle *of, const char *verb, const char *text, const char *more) {
  const dynm_value value = value_of(of->metric);
  if (strcmp(verb, "count") == 0) return value.count == strtoull(text, NULL, 10);
  if (strcmp(verb, "sum") == 0) return same(value.sum, text);
  if (strcmp(verb, "is") == 0) {
    dynm_description d;
    d.struct_size = sizeof d;
    OK(dynm_metric_describe(of->metric, &d));
    for (size_t i = 0; i < d.state_count; i++) {
      if (strcmp(d.states[i], text) == 0) return (value.states >> i & 1) == (more[0] == '1');
    }
    return 0;
  }
  switch (of->type) {
    case DYNM_COUNTER_U64: return (uint64_t)value.integer == strtoull(text, NULL, 10);
    case DYNM_COUNTER_F64:
    case DYNM_GAUGE_F64: return same(value.number, text);
    default: return value.integer == strtoll(text, NULL, 10);
  }
}

static dynm_status step(const char *verb, char **fields, size_t count) {
  if (strcmp(verb, "child") == 0) return child(fields, count);
  if (strcmp(verb, "register") == 0 || strcmp(verb, "family") == 0) return make(verb[0] == 'f', fields, count);
  if (strcmp(verb, "with") == 0 || strcmp(verb, "find") == 0) return series(verb[0] == 'w', fields, count);
  const handle *of = known(fields[0]);
  const char *text = count > 1 ? fields[1] : "", *more = count > 2 ? fields[2] : "";
  if (strcmp(verb, "inc") == 0) return dynm_counter_inc(of->metric);
  if (strcmp(verb, "add") == 0) return add(of, text);
  if (strcmp(verb, "set") == 0) return set(of, text);
  if (strcmp(verb, "on") == 0) return dynm_state_switch(of->metric, text, 1);
  if (strcmp(verb, "off") == 0) return dynm_state_switch(of->metric, text, 0);
  if (strcmp(verb, "observe") == 0) return dynm_observe(of->metric, strtod(text, NULL));
  if (strcmp(verb, "observe_n") == 0) {
    return dynm_observe_n(of->metric, strtod(text, NULL), strtoull(more, NULL, 10));
  }
  if (!reads(of, verb, text, more)) fail(verb, "reads something else");
  return DYNM_OK;
}

/* The class of a status: its name without DYNM_, in lower case. */
static int is_class(dynm_status status, const char *expected) {
  const char *name = dynm_status_name(status) + strlen("DYNM_");
  size_t i = 0;
  for (; name[i] != 0; i++) {
    if ((name[i] == '_' ? '_' : name[i] + ('a' - 'A')) != expected[i]) return 0;
  }
  return expected[i] == 0;
}

static void unescape(char *field) {
  char *to = field;
  for (const char *from = field; *from != 0; from++) {
    if (*from != '\\') {
      *to++ = *from;
      continue;
    }
    from++;
    *to++ = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from == 'r' ? '\r' : '\\';
  }
  *to = 0;
}

static void replay_line(char *line) {
  char *fields[MOST_FIELDS];
  size_t count = 0;
  line[strcspn(line, "\n")] = 0;
  if (line[0] == 0 || line[0] == '#') return;
  for (char *field = line; field != NULL && count < MOST_FIELDS; count++) {
    char *tab = strchr(field, '\t');
    if (tab != NULL) *tab++ = 0;
    fields[count] = field;
    unescape(field);
    field = tab;
  }
  if (count < 3) fail("too short", line);
  const dynm_status status = step(fields[1], fields + 2, count - 2);
  if (!is_class(status, fields[0])) fail(fields[1], dynm_status_name(status));
}

int main(int argc, char **argv) {
  static char line[1 << 16];
  char *text;
  CHECK(argc == 3);
  FILE *script = fopen(argv[1], "r");
  CHECK(script != NULL);
  /* A segment at this path, or a registry of the kind behind "kind:". */
  const dynm_registry *root;
  if (strncmp(argv[2], "kind:", 5) == 0) {
    OK(dynm_registry_of_kind(argv[2] + 5, &root));
  } else {
    root = open_at(argv[2]);
  }
  fresh("root")->registry = root;
  while (fgets(line, sizeof line, script) != NULL) {
    line_number++;
    replay_line(line);
  }
  OK(dynm_render(root, &text, NULL));
  printf("%s# EOF\n", text);
  fflush(stdout);
  dynm_free(text);
  while (getchar() != EOF) {
  }
  return 0;
}

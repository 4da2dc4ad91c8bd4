// A plugin that does wrong what its options say, and everything else right.
#include <dyn_metrics/plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 4096

static int is(void *registry, const char *what) { return strcmp(registry, what) == 0; }

static int32_t failed(const dynm_plugin_output *error, const char *text) {
  error->write(error->state, text, strlen(text));
  return DYNM_PLUGIN_ERROR;
}

static int32_t open_registry(const dynm_plugin_options *options, void **registry, const dynm_plugin_output *error) {
  char *config = calloc(1, MOST);
  memcpy(config, options->config.data, options->config.length < MOST ? options->config.length : MOST - 1);
  *registry = config;
  if (options->abi_version < DYNM_PLUGIN_ABI_VERSION || options->struct_size < sizeof *options) abort();
  if (is(config, "open fails")) return failed(error, "no such host\n");
  if (is(config, "open fails silently")) return DYNM_PLUGIN_ERROR;
  if (is(config, "open returns 17")) return 17;
  if (is(config, "open answers in Latin-1")) return failed(error, "na\xefve");
  if (is(config, "open lies about a length")) {
    error->write(error->state, "x", SIZE_MAX);
    return DYNM_PLUGIN_ERROR;
  }
  if (is(config, "open answers at length")) {
    for (int i = 0; i < 100000; i++) failed(error, "much ");
    return DYNM_PLUGIN_ERROR;
  }
  return DYNM_PLUGIN_OK;
}

// A file of the name behind "log " gets a line.
static void close_registry(void *registry) {
  if (strncmp(registry, "log ", 4) == 0) {
    FILE *file = fopen((char *)registry + 4, "a");
    fputs("closed\n", file);
    fclose(file);
  }
  free(registry);
}

static int32_t family(void *registry, const dynm_plugin_descriptor *family, const dynm_plugin_output *error) {
  if (family->struct_size < sizeof *family || family->label_count != 0) abort();
  return is(registry, "family fails") ? failed(error, "too many families") : DYNM_PLUGIN_OK;
}

static int32_t series(void *registry, const dynm_plugin_descriptor *series, void **instrument,
                      const dynm_plugin_output *error) {
  (void)series;
  *instrument = NULL;
  if (is(registry, "series fails")) return failed(error, "too many series");
  if (is(registry, "series gives null")) return DYNM_PLUGIN_OK;
  if (is(registry, "series returns -5")) return -5;
  if (is(registry, "series goes nowhere")) return DYNM_PLUGIN_NONE;
  *instrument = registry;
  return DYNM_PLUGIN_OK;
}

static void with_integer(void *instrument, int64_t n) { (void)instrument, (void)n; }
static void with_double(void *instrument, double x) { (void)instrument, (void)x; }
static void observe(void *instrument, double x, uint64_t n) { (void)instrument, (void)x, (void)n; }
static void switch_states(void *instrument, uint64_t on, uint64_t off) { (void)instrument, (void)on, (void)off; }

static int32_t read_value(void *instrument, dynm_plugin_value *value) {
  value->integer = 7;
  if (is(instrument, "read returns 99")) return 99;
  if (is(instrument, "read fails")) return DYNM_PLUGIN_ERROR;
  if (is(instrument, "read gives numbers of no kind")) value->number = 77;
  if (is(instrument, "read lies about buckets")) value->bucket_count = 1000000;
  return DYNM_PLUGIN_OK;
}

static int32_t remove_series(void *registry, const dynm_plugin_series *series, const dynm_plugin_output *error) {
  if (series->struct_size < sizeof *series || series->label_count > 1) abort();
  if (is(registry, "remove fails")) return failed(error, "still wanted");
  if (is(registry, "remove returns 3")) return 3;
  if (is(registry, "remove can't")) return DYNM_PLUGIN_NONE;
  return DYNM_PLUGIN_OK;
}

static int32_t put(const dynm_plugin_output *output, const char *text, size_t length) {
  return output->write(output->state, text, length);
}

static int32_t render(void *registry, const dynm_plugin_selection *selection, const dynm_plugin_output *output,
                      const dynm_plugin_output *error) {
  if (selection->struct_size < sizeof *selection) abort();
  if (is(registry, "render fails")) return put(output, "half", 4), failed(error, "out of memory");
  if (is(registry, "render returns 5")) return 5;
  if (is(registry, "render writes Latin-1")) return put(output, "a_total{b=\"\xef\"} 1\n", 17);
  if (is(registry, "render cuts a character")) return put(output, "a_total{b=\"\xc3", 12);
  if (is(registry, "render writes null")) return put(output, NULL, 3);
  if (is(registry, "render lies about a length")) return put(output, "x", (size_t)-1);
  if (is(registry, "render writes much")) {
    while (put(output, "much ", 5) == DYNM_PLUGIN_OK) {
    }
    return DYNM_PLUGIN_ERROR;
  }
  if (is(registry, "render doesn't listen")) {
    for (int i = 0; i < 1000000; i++) put(output, "much ", 5);
    return DYNM_PLUGIN_OK;
  }
  if (is(registry, "render is slow")) {
    while (put(output, "", 0) == DYNM_PLUGIN_OK) usleep(1000);
    return DYNM_PLUGIN_OK;
  }
  while (is(registry, "render never ends")) pause();
  return put(output, "fine 1\n", 7);
}

const dynm_registry_plugin dynm_registry_plugin_v1 = {
    .struct_size = sizeof(dynm_registry_plugin),
    .abi_version = DYNM_PLUGIN_ABI_VERSION,
    .open = open_registry,
    .close = close_registry,
    .family = family,
    .series = series,
    .add_integer = with_integer,
    .add_double = with_double,
    .add_nanoseconds = with_integer,
    .set_integer = with_integer,
    .set_double = with_double,
    .set_nanoseconds = with_integer,
    .observe = observe,
    .switch_states = switch_states,
    .read = read_value,
    .render = render,
    .remove = remove_series,
};

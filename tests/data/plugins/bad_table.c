// A plugin that is wrong before it is asked anything: -DVERSION, -DSIZE, -DWITHOUT (number of a function), -DOTHER_NAME.
#include <dyn_metrics/plugin.h>

#ifndef VERSION
#define VERSION DYNM_PLUGIN_ABI_VERSION
#endif
#ifndef SIZE
#define SIZE sizeof(dynm_registry_plugin)
#endif
#ifndef WITHOUT
#define WITHOUT 0
#endif
#define UNLESS(number, function) (WITHOUT == (number) ? NULL : (function))

static int32_t open_registry(const dynm_plugin_options *options, void **registry, const dynm_plugin_output *error) {
  (void)options, (void)error;
  *registry = NULL;
  return DYNM_PLUGIN_OK;
}
static int32_t series(void *registry, const dynm_plugin_descriptor *series, void **instrument,
                      const dynm_plugin_output *error) {
  (void)registry, (void)series, (void)instrument, (void)error;
  return DYNM_PLUGIN_NONE;
}
static void with_integer(void *instrument, int64_t n) { (void)instrument, (void)n; }
static void with_double(void *instrument, double x) { (void)instrument, (void)x; }
static void observe(void *instrument, double x, uint64_t n) { (void)instrument, (void)x, (void)n; }
static void switch_states(void *instrument, uint64_t on, uint64_t off) { (void)instrument, (void)on, (void)off; }

#if defined(TEXT)
// Something else of that name.
__attribute__((visibility("default"))) const char other[] __asm__("dynm_registry_plugin_v1") = "not a table at all";
#define dynm_registry_plugin_v1 unused
#elif defined(OTHER_NAME)
#define dynm_registry_plugin_v1 dynm_registry_plugin_v0
#endif
const dynm_registry_plugin dynm_registry_plugin_v1 = {.struct_size = SIZE,
                                                      .abi_version = VERSION,
                                                      .open = UNLESS(1, open_registry),
                                                      .series = UNLESS(2, series),
                                                      .add_integer = UNLESS(3, with_integer),
                                                      .add_double = UNLESS(4, with_double),
                                                      .add_nanoseconds = UNLESS(5, with_integer),
                                                      .set_integer = UNLESS(6, with_integer),
                                                      .set_double = UNLESS(7, with_double),
                                                      .set_nanoseconds = UNLESS(8, with_integer),
                                                      .observe = UNLESS(9, observe),
                                                      .switch_states = UNLESS(10, switch_states)};

/*
 * plugin.h: what a registry plugin is, for processes that find it by DYN_METRICS_REGISTRY=plugin:/path.so. C11; C++ may
 * include it, too, and finds dyn_metrics/plugin.hpp more comfortable. It needs no library and no other header of ours.
 *
 * Made from the library's sources: change those. docs: docs/REGISTRIES.md.
 *
 * A plugin is a shared object that exports one constant:
 *
 *   const dynm_registry_plugin dynm_registry_plugin_v1 = {
 *       .struct_size = sizeof(dynm_registry_plugin), .abi_version = DYNM_PLUGIN_ABI_VERSION, .open = ..., ...};
 *
 * Structures begin with their size and are extended at their end only: what is beyond the size that the other side has
 * set isn't there.
 */
#ifndef DYN_METRICS_PLUGIN_H
#define DYN_METRICS_PLUGIN_H


#include <stddef.h>
#include <stdint.h>

/**
 * Version of this interface: in `dynm_registry_plugin.abi_version`, and in the name of the symbol.
 */
#define DYNM_PLUGIN_ABI_VERSION 1

/**
 * It is done.
 */
#define DYNM_PLUGIN_OK 0

/**
 * There is nothing: no instrument, no value.
 */
#define DYNM_PLUGIN_NONE 1

/**
 * It can't be done; the reason was written to the `error` that the function got.
 */
#define DYNM_PLUGIN_ERROR -1

/**
 * A total that never falls.
 */
#define DYNM_PLUGIN_COUNTER 1

/**
 * A current value.
 */
#define DYNM_PLUGIN_GAUGE 2

/**
 * Counts of observations by upper bounds, and their sum.
 */
#define DYNM_PLUGIN_HISTOGRAM 3

/**
 * A count of observations and their sum.
 */
#define DYNM_PLUGIN_TALLY 4

/**
 * Labels alone; the value is 1.
 */
#define DYNM_PLUGIN_INFO 5

/**
 * States that are on or off.
 */
#define DYNM_PLUGIN_STATE_SET 6

/**
 * Whole numbers: of counters unsigned by their bits, of gauges signed.
 */
#define DYNM_PLUGIN_INTEGER 0

/**
 * Doubles.
 */
#define DYNM_PLUGIN_DOUBLE 1

/**
 * Whole nanoseconds, as integers are; people see seconds.
 */
#define DYNM_PLUGIN_NANOSECONDS 2

/**
 * An update was NaN, or an infinite amount for a counter: it was left out.
 */
#define DYNM_PLUGIN_NAN 0

/**
 * An update was a negative amount for a counter: it was left out.
 */
#define DYNM_PLUGIN_NEGATIVE 1

/**
 * An observation was infinite: it counts, and stays out of the sum.
 */
#define DYNM_PLUGIN_INFINITE 2

/**
 * A text in UTF-8. Not NUL-terminated; `data` may be NULL when `length` is 0.
 */
typedef struct dynm_plugin_text {
  /**
   * The first byte.
   */
  const char *data;
  /**
   * Bytes.
   */
  size_t length;
} dynm_plugin_text;

/**
 * A label.
 */
typedef struct dynm_plugin_label {
  /**
   * Its name.
   */
  struct dynm_plugin_text name;
  /**
   * Its value.
   */
  struct dynm_plugin_text value;
} dynm_plugin_label;

/**
 * Where a plugin writes text, piece by piece; pieces may end inside of a character. It belongs to the host and is gone
 * when the function returns that got it; only the thread that got it writes.
 */
typedef struct dynm_plugin_output {
  /**
   * Bytes of this structure.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * For `write`.
   */
  void *state;
  /**
   * Takes a copy of `length` bytes. DYNM_PLUGIN_ERROR when no more is taken: then return, with DYNM_PLUGIN_ERROR.
   */
  int32_t (*write)(void *state, const char *data, size_t length);
} dynm_plugin_output;

/**
 * How a registry is opened. It belongs to the host and is gone when `open` returns.
 */
typedef struct dynm_plugin_options {
  /**
   * Bytes of this structure.
   */
  uint32_t struct_size;
  /**
   * Newest version of this interface that the host knows.
   */
  uint32_t abi_version;
  /**
   * What stands behind the `?` in `DYN_METRICS_REGISTRY=plugin:PATH?CONFIG`; its meaning is the plugin's. May be empty.
   */
  struct dynm_plugin_text config;
} dynm_plugin_options;

/**
 * A series, or without labels its family: checked, with the prefix and the labels of its registry. It belongs to the
 * host, with all that it points to, and is gone when the function returns that got it.
 */
typedef struct dynm_plugin_descriptor {
  /**
   * Bytes of this structure.
   */
  uint32_t struct_size;
  /**
   * Type: DYNM_PLUGIN_COUNTER, ...
   */
  uint32_t kind;
  /**
   * Numbers that it is updated with first: DYNM_PLUGIN_INTEGER, ... A counter may get the others, too.
   */
  uint32_t number;
  /**
   * Priority, 0 to 255; 0 is the most important.
   */
  uint32_t level;
  /**
   * 1 for a gauge that is 0 before its first update, 0 for one that has no value then.
   */
  uint32_t starts_at_zero;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Exposed name, a counter's with `_total`.
   */
  struct dynm_plugin_text name;
  /**
   * For people; may be empty.
   */
  struct dynm_plugin_text help;
  /**
   * Unit, in which the name ends before `_total`; may be empty.
   */
  struct dynm_plugin_text unit;
  /**
   * How the values of a gauge in several processes combine: `sum`, `livemax`, ...; empty for other types.
   */
  struct dynm_plugin_text mode;
  /**
   * Labels, sorted by name.
   */
  const struct dynm_plugin_label *labels;
  /**
   * How many.
   */
  size_t label_count;
  /**
   * Upper bounds of a histogram, ascending, without `+Inf`.
   */
  const double *bounds;
  /**
   * How many.
   */
  size_t bound_count;
  /**
   * States of a state set, at most 64: the first one's bit is 1, the second one's 2.
   */
  const struct dynm_plugin_text *states;
  /**
   * How many.
   */
  size_t state_count;
} dynm_plugin_descriptor;

/**
 * Which part of a registry is to be shown. It belongs to the host and is gone when `render` returns.
 *
 * A family is in it when its name begins with `prefix` and its level is at most `max_level`; of it a series that has each of
 * `labels` with that value or with DYNM_PLUGIN_OVERFLOW.
 */
typedef struct dynm_plugin_selection {
  /**
   * Bytes of this structure.
   */
  uint32_t struct_size;
  /**
   * 255 for every level.
   */
  uint32_t max_level;
  /**
   * May be empty.
   */
  struct dynm_plugin_text prefix;
  /**
   * Labels.
   */
  const struct dynm_plugin_label *labels;
  /**
   * How many.
   */
  size_t label_count;
} dynm_plugin_selection;

/**
 * A series that was made, by its name and labels. It belongs to the host and is gone when `remove` returns.
 */
typedef struct dynm_plugin_series {
  /**
   * Bytes of this structure.
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * As in its descriptor.
   */
  struct dynm_plugin_text name;
  /**
   * Labels, sorted by name.
   */
  const struct dynm_plugin_label *labels;
  /**
   * How many.
   */
  size_t label_count;
} dynm_plugin_series;

/**
 * What a series has. The host sets `struct_size`, `buckets` and `bucket_count`, all else is 0; `read` sets what its type
 * has.
 */
typedef struct dynm_plugin_value {
  /**
   * Bytes of this structure.
   */
  uint32_t struct_size;
  /**
   * Of a counter or gauge: DYNM_PLUGIN_INTEGER, ..., which says where its number is.
   */
  uint32_t number;
  /**
   * A number that is an integer or nanoseconds; a counter's is unsigned, by its bits.
   */
  int64_t integer;
  /**
   * A number that is a double; the sum of a histogram or tally.
   */
  double real;
  /**
   * Observations of a histogram or tally.
   */
  uint64_t count;
  /**
   * A state set's bits.
   */
  uint64_t states;
  /**
   * Room for a histogram's observations in each bucket, not cumulative, `+Inf` last. The host's.
   */
  uint64_t *buckets;
  /**
   * How many there is room for: the bounds and one; 0 for other types.
   */
  size_t bucket_count;
} dynm_plugin_value;

/**
 * What a plugin is: functions, in a constant that it exports as `dynm_registry_plugin_v1`.
 *
 * Holds for each of them:
 *
 * - It may be called by any thread, by several at once, and in forked children. `family`, `series` and `remove` are
 *   called by one thread at a time for one family; the first two for each family and series once, unless that failed or
 *   the series was removed.
 * - Nothing may be thrown out of it, and it must return: only `render` is given up by its caller after a time.
 * - Those with an `error` return DYNM_PLUGIN_ERROR when they fail, after a line to that. What they return otherwise is
 *   named where it isn't only DYNM_PLUGIN_OK. Any other number is taken for a failure.
 * - Updates (from `add_integer` to `dropped`) should neither block nor allocate: they are made wherever the application
 *   counts, also in its signal handlers if the plugin says that this is safe.
 *
 * A plugin is never unloaded.
 */
typedef struct dynm_registry_plugin {
  /**
   * Bytes of this structure.
   */
  uint32_t struct_size;
  /**
   * DYNM_PLUGIN_ABI_VERSION.
   */
  uint32_t abi_version;
  /**
   * Opens a registry; several may be open at once. `*registry` is the plugin's, the first argument of what follows; it
   * may be NULL.
   */
  int32_t (*open)(const struct dynm_plugin_options *options, void **registry, const struct dynm_plugin_output *error);
  /**
   * Ends a registry that nobody can use any more; never called for one in which a series was made. May be NULL.
   */
  void (*close)(void *registry);
  /**
   * Takes note of a family before its first series, or refuses it. May be NULL.
   */
  int32_t (*family)(void *registry, const struct dynm_plugin_descriptor *family, const struct dynm_plugin_output *error);
  /**
   * Makes a series. `*instrument` is the plugin's, the first argument of updates, and stays valid until the process
   * ends; not NULL. DYNM_PLUGIN_NONE when updates may go nowhere.
   */
  int32_t (*series)(void *registry,
                    const struct dynm_plugin_descriptor *series,
                    void **instrument,
                    const struct dynm_plugin_output *error);
  /**
   * Adds to a counter, 0 or more, or to a gauge.
   */
  void (*add_integer)(void *instrument, int64_t amount);
  /**
   * The same; neither NaN nor, for a counter, infinite or negative.
   */
  void (*add_double)(void *instrument, double amount);
  /**
   * As `add_integer`.
   */
  void (*add_nanoseconds)(void *instrument, int64_t amount);
  /**
   * Sets a gauge.
   */
  void (*set_integer)(void *instrument, int64_t value);
  /**
   * The same; may be NaN.
   */
  void (*set_double)(void *instrument, double value);
  /**
   * As `set_integer`.
   */
  void (*set_nanoseconds)(void *instrument, int64_t value);
  /**
   * A histogram or tally observed `value` `count` times, once or more. Never NaN; where it or its sum is infinite it
   * belongs into its bucket and the count, and not into the sum.
   */
  void (*observe)(void *instrument, double value, uint64_t count);
  /**
   * Switches states of a state set on and off; bit 0 is the first one.
   */
  void (*switch_states)(void *instrument, uint64_t on, uint64_t off);
  /**
   * Takes note of an update that said nothing countable: DYNM_PLUGIN_NAN, ... May be NULL.
   */
  void (*dropped)(void *instrument, uint32_t reason);
  /**
   * Gives what a series has; DYNM_PLUGIN_NONE for a gauge or state set that was not set. May be NULL: handles show 0
   * then.
   */
  int32_t (*read)(void *instrument, struct dynm_plugin_value *value);
  /**
   * Writes what is in `selection` to `output` as Prometheus text 0.0.4. May be NULL: nothing can be shown then.
   */
  int32_t (*render)(void *registry,
                    const struct dynm_plugin_selection *selection,
                    const struct dynm_plugin_output *output,
                    const struct dynm_plugin_output *error);
  /**
   * Forgets a series: it is shown no more, and `series` is asked for a new one when somebody wants its labels again. Its
   * instrument stays valid, as handles of it may be held; what they count is nobody's. DYNM_PLUGIN_NONE when series can't
   * be removed. May be NULL, or behind the table's end: series stay then.
   */
  int32_t (*remove)(void *registry, const struct dynm_plugin_series *series, const struct dynm_plugin_output *error);
} dynm_registry_plugin;

/** Value of a label that stands for all beyond a limit. */
#define DYNM_PLUGIN_OVERFLOW "__overflow__"

/** Makes a symbol visible, also where a compiler is told to hide them. */
#define DYNM_PLUGIN_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif
/** What a plugin exports. */
DYNM_PLUGIN_EXPORT extern const dynm_registry_plugin dynm_registry_plugin_v1;
#ifdef __cplusplus
}
#endif

#endif /* DYN_METRICS_PLUGIN_H */

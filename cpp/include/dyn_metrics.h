/*
 * dyn_metrics.h: metrics of many processes in one shared-memory segment. C11; C++ may include it, too.
 *
 * Made from the library's sources: change those. docs: cpp/README.md.
 *
 * A process opens a segment (dynm_open, or dynm_root for the one that the environment names), registers metrics, and
 * updates them. Every process and language that registers the same name and labels updates the same series.
 *
 * Holds for every function, unless its comment says otherwise:
 *
 * - What fails returns a negative dynm_status, and dynm_last_error() says in a line what was found, what was expected and
 *   what helps. Nothing aborts, blocks for ever or throws; a call that fails changes nothing. Not caught: a pointer that is
 *   neither NULL nor what the comment asks for, and a heap that is exhausted.
 * - Registration, reading and rendering (Signals: no) may allocate and make system calls. Updates (Signals: yes) do neither
 *   once the cells are there; they keep errno, and may be called from signal handlers and in forked children.
 *   Not between vfork and exec, nor in tasks made by a raw clone that share a thread's local storage.
 * - Any function may be called by any number of threads at the same time, with the same handles.
 * - What could not be registered is a metric that counts for this process alone, so that updates need no test; NULL where
 *   not even its type is known, which updates answer with DYNM_NULL.
 * - Handles are never freed. A metric stays valid until the process ends; a registry or family after its close gives
 *   DYNM_CLOSED.
 * - Texts are UTF-8 and NUL-terminated unless a length stands beside them. Nothing that is passed in is kept, and what is
 *   handed out belongs to the library, except the text of dynm_render().
 * - Structures that begin with struct_size are extended at their end. Set it first, or use the _init functions.
 */
#ifndef DYN_METRICS_H
#define DYN_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "dyn_metrics/layout.h"
/** A registry: a segment, or a part of one with a prefix and labels. From dynm_open(), dynm_root(), dynm_registry_child(). */
typedef struct dynm_registry dynm_registry;
/** Series of one name that differ in the values of their labels. From dynm_register_family(). */
typedef struct dynm_family dynm_family;
/** One number made of the series of one family. From dynm_composite_open(). */
typedef struct dynm_composite dynm_composite;
/** A series, of any type. From dynm_register() and dynm_family_with(). */
typedef struct dynm_metric dynm_metric;
/** A running server with its checks. From dynm_system_start(). */
typedef struct dynm_system dynm_system;
/** One run of a check, and where a format puts its answer: valid for the call. */
typedef struct dynm_check_run dynm_check_run;
typedef struct dynm_answer dynm_answer;
/** A loop's pulse, from dynm_beat_create(). */
typedef struct dynm_beat dynm_beat;
/** A subscription. From dynm_on_change() and dynm_on_threshold(). */
typedef struct dynm_subscription dynm_subscription;


/**
 * Level of what headers compiled into programs rely on: `dynm_cells`, `dynm_gauge_cell`, `dynm_buckets` and
 * the numbers in layout.h. A library serves every level up to its own.
 */
#define DYNM_ABI_LEVEL 1

/**
 * In `dynm_segment_options.flags`: `group` counts.
 */
#define DYNM_SET_GROUP 1

/**
 * In `dynm_segment_options.flags`: start from zero, replacing what is there; refused while it is in use.
 */
#define DYNM_FRESH 2

/**
 * In `dynm_segment_options.flags`: with DYNM_FRESH, replace it even when it is in use.
 */
#define DYNM_FORCE 4

/**
 * In `dynm_metric_options.flags`: cells for all CPUs together, for very many, rarely written series.
 */
#define DYNM_SHARED 1

/**
 * In `flags` of dynm_runtime(): names and labels as NVIDIA Dynamo's own runtime gives them.
 */
#define DYNM_SCHEME_UPSTREAM 1

/**
 * The label must have one of the values.
 */
#define DYNM_MATCH_ONE_OF 0

/**
 * The label must have none of the values.
 */
#define DYNM_MATCH_NONE_OF 1

/**
 * The label must be there, whatever its value.
 */
#define DYNM_MATCH_ANY 2

/**
 * dynm_composite_options.flags: over what each living process has set.
 */
#define DYNM_OVER_PROCESSES 1

/**
 * dynm_composite_options.flags: `quantile` is given.
 */
#define DYNM_SET_QUANTILE 2

/**
 * dynm_composite_options.flags: `window_seconds` is given.
 */
#define DYNM_SET_WINDOW 4

/**
 * In `dynm_system_options.flags`: `port` counts; 0 takes a free one.
 */
#define DYNM_SET_PORT 1

/**
 * In `dynm_system_options.flags`: `DYN_SYSTEM_ENABLED` and the like say whether, where and with which paths; what the options
 * have counts more.
 */
#define DYNM_FROM_ENV 2

/**
 * In `dynm_system_options.flags`: `/metrics` shows the whole segment unless it is asked for the process's own.
 */
#define DYNM_WHOLE_SEGMENT 4

/**
 * In `dynm_system_options.flags`: stays DYNM_STARTING until `dynm_system_set_state()`; otherwise it becomes ready once every
 * required check has passed.
 */
#define DYNM_STARTS_UNTIL_TOLD 8

/**
 * In `dynm_check_options.flags`: shown, and fails no probe.
 */
#define DYNM_INFORMATIVE 1

/**
 * For `dynm_system_add_etcd()`: renews the lease as long as the liveness probe passes.
 */
#define DYNM_KEEP_ALIVE 1

/**
 * What a function says of its call: 0 or more is good, below 0 is why not.
 */
enum dynm_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Done.
   */
  DYNM_OK = 0,
  /**
   * A pointer that must not be is NULL; handles too.
   */
  DYNM_NULL = -1,
  /**
   * A handle of something that was closed.
   */
  DYNM_CLOSED = -2,
  /**
   * A handle of another type than the function is for, or none of this library.
   */
  DYNM_WRONG_TYPE = -3,
  /**
   * A text is not UTF-8.
   */
  DYNM_UTF8 = -4,
  /**
   * An option is out of range, unknown, or not for this type of metric.
   */
  DYNM_OPTION = -5,
  /**
   * A name is not allowed.
   */
  DYNM_NAME = -6,
  /**
   * A label is reserved or occurs twice, or the number of values is not that of the names.
   */
  DYNM_LABELS = -7,
  /**
   * Bounds of a histogram or states of a state set are not usable.
   */
  DYNM_BOUNDS = -8,
  /**
   * The metric exists with another type, unit, bounds, mode or states, or its samples would clash with
   * another's.
   */
  DYNM_CONFLICT = -9,
  /**
   * No space.
   */
  DYNM_FULL = -10,
  /**
   * The kernel or the file's owner forbids it.
   */
  DYNM_PERMISSION = -11,
  /**
   * What is at the path is not a segment, or is damaged.
   */
  DYNM_NOT_SEGMENT = -12,
  /**
   * The segment is of a version that this library doesn't know: a newer library is needed.
   */
  DYNM_NEWER_SEGMENT = -13,
  /**
   * The program was compiled with a header newer than this library, and uses what is new in it.
   */
  DYNM_OLD_LIBRARY = -14,
  /**
   * No such series or state.
   */
  DYNM_NOT_FOUND = -15,
  /**
   * A replacement was refused because the segment is in use, or a port is taken.
   */
  DYNM_IN_USE = -16,
  /**
   * A system call failed.
   */
  DYNM_IO = -17,
  /**
   * A fault in this library.
   */
  DYNM_INTERNAL = -99,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_status dynm_status;
#else
typedef int32_t dynm_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Type of a metric, and how its numbers are kept. Numbers of different types of one kind share a series.
 */
enum dynm_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Total of whole events.
   */
  DYNM_COUNTER_U64 = 1,
  /**
   * Total of fractional amounts.
   */
  DYNM_COUNTER_F64 = 2,
  /**
   * Total of time: counted in nanoseconds, exposed in seconds.
   */
  DYNM_COUNTER_NS = 3,
  /**
   * Count and sum of observations.
   */
  DYNM_TALLY = 4,
  /**
   * Whole number that goes up and down; each process has its own.
   */
  DYNM_GAUGE_I64 = 5,
  /**
   * Fractional number that goes up and down.
   */
  DYNM_GAUGE_F64 = 6,
  /**
   * Time that goes up and down: in nanoseconds, exposed in seconds.
   */
  DYNM_GAUGE_NS = 7,
  /**
   * Counts of observations by upper bound, and their sum.
   */
  DYNM_HISTOGRAM = 8,
  /**
   * Facts that don't change, as labels; the value is 1.
   */
  DYNM_INFO = 9,
  /**
   * Named states, each on or off.
   */
  DYNM_STATE_SET = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_type dynm_type;
#else
typedef uint32_t dynm_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a value was not counted as it was given; for dynm_cells_dropped().
 */
enum dynm_dropped
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * NaN, or an infinite amount for a counter.
   */
  DYNM_DROPPED_NAN = 5,
  /**
   * A negative amount for a counter.
   */
  DYNM_DROPPED_NEGATIVE = 6,
  /**
   * An infinite observation: counted, and left out of the sum.
   */
  DYNM_DROPPED_INFINITE = 14,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_dropped dynm_dropped;
#else
typedef uint32_t dynm_dropped;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a composite says.
 */
enum dynm_reading
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Not known yet: no such family or series, or a window that needs another sample.
   */
  DYNM_READING_UNKNOWN = 0,
  /**
   * A number, never NaN.
   */
  DYNM_READING_VALUE = 1,
  /**
   * The series are there, and there is nothing to make a number of.
   */
  DYNM_READING_IDLE = 2,
  /**
   * Whoever wrote has died.
   */
  DYNM_READING_DEAD = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_reading dynm_reading;
#else
typedef uint32_t dynm_reading;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The three questions that a process is asked.
 */
enum dynm_probe
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Must it be restarted?
   */
  DYNM_LIVENESS = 1,
  /**
   * May it get requests? Fed by checks of liveness, too.
   */
  DYNM_READINESS = 2,
  /**
   * How is it? Fed by all checks.
   */
  DYNM_HEALTH = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_probe dynm_probe;
#else
typedef uint32_t dynm_probe;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a process is in its life, as it says itself.
 */
enum dynm_process_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Not ready yet, and that is no fault.
   */
  DYNM_STARTING = 1,
  /**
   * Ready as far as its checks pass.
   */
  DYNM_READY = 2,
  /**
   * Finishes what it has, and wants no more.
   */
  DYNM_DRAINING = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_process_state dynm_process_state;
#else
typedef uint32_t dynm_process_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a canary's cleanup is called.
 */
enum dynm_cancelled
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The request goes on, and is over its limit: end it. By another thread.
   */
  DYNM_CANCELLED_NOW = 1,
  /**
   * The request has returned, late or in time: free what it had.
   */
  DYNM_CANCELLED_DONE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_cancelled dynm_cancelled;
#else
typedef uint32_t dynm_cancelled;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * On which side of the limit a threshold is crossed.
 */
enum dynm_side
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * By a greater value.
   */
  DYNM_ABOVE = 1,
  /**
   * By a smaller value.
   */
  DYNM_BELOW = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynm_side dynm_side;
#else
typedef uint32_t dynm_side;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A label, or a pair of name and value elsewhere. Both NUL-terminated UTF-8.
 */
typedef struct dynm_label {
  /**
   * Name.
   */
  const char *name;
  /**
   * Value.
   */
  const char *value;
} dynm_label;

/**
 * How a segment is opened; made by `dynm_segment_options_init()`. What is 0 or NULL is the default.
 *
 * What concerns the file (`max_bytes`, `mode`, `group`, `processes`, `max_series_per_family`, common labels)
 * counts for the process that creates it; what concerns this process (role, its labels) counts for the first
 * opening of a segment in it.
 */
typedef struct dynm_segment_options {
  /**
   * `sizeof(dynm_segment_options)`.
   */
  size_t struct_size;
  /**
   * `DYNM_ABI_LEVEL`; 0 when no header code touches cells.
   */
  uint32_t abi_level;
  /**
   * `DYNM_SET_GROUP` | `DYNM_FRESH` | `DYNM_FORCE`.
   */
  uint32_t flags;
  /**
   * The segment's path; default the environment's `DYN_METRICS_SHM`, else `/dev/shm/dynamo`.
   */
  const char *path;
  /**
   * Role of this process, shown to people; at most 128 bytes.
   */
  const char *role;
  /**
   * Labels of this process, shown to people.
   */
  const struct dynm_label *process_labels;
  /**
   * How many.
   */
  size_t process_label_count;
  /**
   * Labels that the exporter adds to every sample of a new segment.
   */
  const struct dynm_label *common_labels;
  /**
   * How many.
   */
  size_t common_label_count;
  /**
   * Users whose segment is accepted, besides this one and root.
   */
  const uint32_t *allowed_uids;
  /**
   * How many.
   */
  size_t allowed_uid_count;
  /**
   * Limit of the file's length; default a quarter of the filesystem, at most 64 GiB.
   */
  uint64_t max_bytes;
  /**
   * Permission bits of a new file; default 0600, with a group 0660.
   */
  uint32_t mode;
  /**
   * Group of a new file, with `DYNM_SET_GROUP`.
   */
  uint32_t group;
  /**
   * Default limit of series in a family; default 10 000.
   */
  uint32_t max_series_per_family;
  /**
   * Most processes attached at the same time, 1 to 4096; default 512.
   */
  uint32_t processes;
} dynm_segment_options;

/**
 * What a registry is. Everything it points to belongs to the library and stays for ever.
 */
typedef struct dynm_registry_description {
  /**
   * `sizeof(dynm_registry_description)`.
   */
  size_t struct_size;
  /**
   * The segment's path, absolute.
   */
  const char *path;
  /**
   * What stands before every name.
   */
  const char *prefix;
  /**
   * Labels of every series.
   */
  const struct dynm_label *labels;
  /**
   * How many.
   */
  size_t label_count;
} dynm_registry_description;

/**
 * What a metric is; made by `dynm_metric_options_init()`. What is 0 or NULL is the default.
 */
typedef struct dynm_metric_options {
  /**
   * `sizeof(dynm_metric_options)`.
   */
  size_t struct_size;
  /**
   * A `dynm_type`.
   */
  uint32_t metric_type;
  /**
   * Gauges and state sets: how the values of several processes combine, a `DYNM_MODE_`; default
   * `DYNM_MODE_LIVESUM`, of state sets `DYNM_MODE_LIVEMOSTRECENT`.
   */
  uint32_t mode;
  /**
   * Name; the registry's prefix comes before it.
   */
  const char *name;
  /**
   * Help, for people.
   */
  const char *help;
  /**
   * Unit, in the plural of the base unit ("seconds"); the name must end in it, before "_total".
   */
  const char *unit;
  /**
   * Labels that every series of this metric or family has, besides the registry's.
   */
  const struct dynm_label *labels;
  /**
   * How many.
   */
  size_t label_count;
  /**
   * Histograms: upper bounds, ascending, without +Inf, at most 256; default Prometheus' for seconds.
   */
  const double *bounds;
  /**
   * How many.
   */
  size_t bound_count;
  /**
   * State sets: the states' names, at most 63.
   */
  const char *const *states;
  /**
   * How many.
   */
  size_t state_count;
  /**
   * Priority level, 0 (most important) to 255.
   */
  uint32_t level;
  /**
   * Mode "all": how many of the newest dead processes keep their sample.
   */
  uint32_t keep_dead;
  /**
   * Most series of the family; default the segment's.
   */
  uint32_t max_series;
  /**
   * `DYNM_SHARED`.
   */
  uint32_t flags;
} dynm_metric_options;

/**
 * A text with its length, not NUL-terminated. UTF-8; `data` may be NULL when `len` is 0.
 */
typedef struct dynm_str {
  /**
   * First byte.
   */
  const char *data;
  /**
   * Bytes.
   */
  size_t len;
} dynm_str;

/**
 * What a value is read into. Set `struct_size` first; fields that don't belong to the metric are 0.
 */
typedef struct dynm_value {
  /**
   * `sizeof(dynm_value)`; bytes beyond what the library knows are left alone.
   */
  size_t struct_size;
  /**
   * Counters and gauges: the value as exposed (durations in seconds). Infos: 1.
   */
  double number;
  /**
   * The same as whole number, exact: events (of a counter beyond 2^63, cast it to uint64_t), nanoseconds.
   * 0 of fractions.
   */
  int64_t integer;
  /**
   * Tallies and histograms: number of observations.
   */
  uint64_t count;
  /**
   * Tallies and histograms: sum of the observations.
   */
  double sum;
  /**
   * State sets: bit i is the state i.
   */
  uint64_t states;
} dynm_value;

/**
 * What a metric is registered as. Everything it points to belongs to the library and stays for ever.
 */
typedef struct dynm_description {
  /**
   * `sizeof(dynm_description)`.
   */
  size_t struct_size;
  /**
   * A `dynm_type`.
   */
  uint32_t metric_type;
  /**
   * A `DYNM_KIND_`.
   */
  uint32_t kind;
  /**
   * A `DYNM_MODE_`.
   */
  uint32_t mode;
  /**
   * Priority level.
   */
  uint32_t level;
  /**
   * Full name.
   */
  const char *name;
  /**
   * Help, the first registration's.
   */
  const char *help;
  /**
   * Unit; may be empty.
   */
  const char *unit;
  /**
   * Labels, sorted by name.
   */
  const struct dynm_label *labels;
  /**
   * How many.
   */
  size_t label_count;
  /**
   * Histograms: upper bounds, without +Inf.
   */
  const double *bounds;
  /**
   * How many.
   */
  size_t bound_count;
  /**
   * State sets: names of the states.
   */
  const char *const *states;
  /**
   * How many.
   */
  size_t state_count;
} dynm_description;

/**
 * A family as `dynm_visit()` shows it; valid until the visitor returns.
 */
typedef struct dynm_family_view {
  /**
   * Bytes of this structure as the library knows it.
   */
  size_t struct_size;
  /**
   * Exposed name.
   */
  const char *name;
  /**
   * Help.
   */
  const char *help;
  /**
   * Unit; may be empty.
   */
  const char *unit;
  /**
   * Who registered it.
   */
  const char *registrant;
  /**
   * A `DYNM_KIND_`.
   */
  uint32_t kind;
  /**
   * A `DYNM_MODE_`.
   */
  uint32_t mode;
  /**
   * Priority level.
   */
  uint32_t level;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Number of its series.
   */
  size_t series_count;
  /**
   * Histograms: upper bounds, without +Inf; of a family without series none.
   */
  const double *bounds;
  /**
   * How many.
   */
  size_t bound_count;
  /**
   * State sets: names of the states; of a family without series none.
   */
  const char *const *states;
  /**
   * How many.
   */
  size_t state_count;
} dynm_family_view;

/**
 * A series as `dynm_visit()` shows it; valid until the visitor returns.
 */
typedef struct dynm_series_view {
  /**
   * Bytes of this structure as the library knows it.
   */
  size_t struct_size;
  /**
   * Labels, the segment's common ones included.
   */
  const struct dynm_label *labels;
  /**
   * How many.
   */
  size_t label_count;
  /**
   * Histograms: observations in each bucket, not cumulative, the last one +Inf's.
   */
  const uint64_t *buckets;
  /**
   * How many: one more than bounds.
   */
  size_t bucket_count;
  /**
   * Its value, over all processes.
   */
  struct dynm_value value;
} dynm_series_view;

/**
 * Called by `dynm_visit()` for each family, with `series` NULL, and then for each of its series. 0 to go on,
 * anything else ends the visit. Must return: no exception and no longjmp may leave it.
 */
typedef int32_t (*dynm_visitor)(void *user, const struct dynm_family_view *family, const struct dynm_series_view *series);

/**
 * A condition that a label must meet; one that is missing is an empty one.
 */
typedef struct dynm_matcher {
  /**
   * The label's name.
   */
  const char *label;
  /**
   * A list of `value_count` texts.
   */
  const char *const *values;
  /**
   * How many values.
   */
  size_t value_count;
  /**
   * DYNM_MATCH_ONE_OF, DYNM_MATCH_NONE_OF or DYNM_MATCH_ANY.
   */
  uint32_t kind;
  /**
   * 0.
   */
  uint32_t reserved;
} dynm_matcher;

/**
 * What to compose; see dynm_composite_options_init().
 */
typedef struct dynm_composite_options {
  /**
   * `sizeof(dynm_composite_options)`.
   */
  size_t struct_size;
  /**
   * "avg", "min", "max", "sum", "count", "rate" (needs a window) or "quantile" (needs one).
   */
  const char *operation;
  /**
   * The family as it is exposed.
   */
  const char *family;
  /**
   * A list of `matcher_count` conditions, all of which must be met.
   */
  const struct dynm_matcher *matchers;
  /**
   * How many conditions.
   */
  size_t matcher_count;
  /**
   * 0 to 1; with DYNM_SET_QUANTILE.
   */
  double quantile;
  /**
   * About what happened in this time before a reading; with DYNM_SET_WINDOW.
   */
  double window_seconds;
  /**
   * Reads the segment there without attaching to it, instead of a registry's; may be NULL.
   */
  const char *path;
  /**
   * DYNM_OVER_PROCESSES, DYNM_SET_QUANTILE, DYNM_SET_WINDOW.
   */
  uint32_t flags;
  /**
   * 0.
   */
  uint32_t reserved;
} dynm_composite_options;

/**
 * What a probe is answered with, for a `dynm_format`. Valid for the call.
 */
typedef struct dynm_report {
  /**
   * `sizeof(dynm_report)`.
   */
  size_t struct_size;
  /**
   * A `dynm_probe`.
   */
  uint32_t probe;
  /**
   * 1: it passes, with status 200; 0: 503.
   */
  uint32_t passes;
  /**
   * The answer in a word.
   */
  const char *status;
  /**
   * All of it, as JSON.
   */
  const char *json;
} dynm_report;

/**
 * Answers a probe in a format of its own: gives it to `dynm_answer_set()` and returns 0; anything else: in our format. Called by
 * threads of the server, several at a time; one that takes longer than 0.25 s is not waited for. Must return.
 */
typedef int32_t (*dynm_format)(void *user, const struct dynm_report *report, const dynm_answer *answer);

/**
 * Called once when what was given with it is not needed any more, by whatever thread. Must return.
 */
typedef void (*dynm_destroy)(void *user);

/**
 * How a server is started; made by `dynm_system_options_init()`. What is 0 or NULL is the default.
 */
typedef struct dynm_system_options {
  /**
   * `sizeof(dynm_system_options)`.
   */
  size_t struct_size;
  /**
   * The segment to show; NULL: the one that the environment names.
   */
  const dynm_registry *registry;
  /**
   * The address to listen on, or a name; NULL: 0.0.0.0.
   */
  const char *host;
  /**
   * One more path of the health probe.
   */
  const char *health_path;
  /**
   * One more path of the liveness probe.
   */
  const char *live_path;
  /**
   * The application's version, for the answers.
   */
  const char *version;
  /**
   * `DYNM_SET_PORT` | `DYNM_FROM_ENV` | `DYNM_WHOLE_SEGMENT` | `DYNM_STARTS_UNTIL_TOLD`.
   */
  uint32_t flags;
  /**
   * The port, with `DYNM_SET_PORT`; otherwise 8081.
   */
  uint32_t port;
  /**
   * Writes the answers of probes; NULL: ours.
   */
  dynm_format format;
  /**
   * For `format` and `destroy`.
   */
  void *user;
  /**
   * Called when `format` is called no more, also when the start fails.
   */
  dynm_destroy destroy;
} dynm_system_options;

/**
 * A server, as it listens; for `dynm_system_describe()`.
 */
typedef struct dynm_system_description {
  /**
   * `sizeof(dynm_system_description)`.
   */
  size_t struct_size;
  /**
   * "http://127.0.0.1:8081".
   */
  const char *url;
  /**
   * "127.0.0.1".
   */
  const char *host;
  /**
   * The real port.
   */
  uint32_t port;
  /**
   * A `dynm_process_state`.
   */
  uint32_t state;
} dynm_system_description;

/**
 * How a check is registered; made by `dynm_check_options_init()`. What is 0 is the default.
 */
typedef struct dynm_check_options {
  /**
   * `sizeof(dynm_check_options)`.
   */
  size_t struct_size;
  /**
   * 1 to 64 of A-Z a-z 0-9 _ . : / -
   */
  const char *name;
  /**
   * A `dynm_probe`; 0: DYNM_READINESS.
   */
  uint32_t probe;
  /**
   * `DYNM_INFORMATIVE`.
   */
  uint32_t flags;
  /**
   * From the start of a run to that of the next, in nanoseconds; 0: 5 s.
   */
  uint64_t interval_ns;
  /**
   * Longest run, in nanoseconds; 0: 1 s.
   */
  uint64_t timeout_ns;
  /**
   * Failures in a row that count; 0: 1.
   */
  uint32_t failures;
  /**
   * Successes in a row that count; 0: 1.
   */
  uint32_t successes;
} dynm_check_options;

/**
 * A check: 0 when all is well, anything else when not; `dynm_check_say()` says why. Runs on a thread of its own, one run at a time,
 * and may block; a run over its limit is a failure, and the next begins when it has returned. Must return: no exception and no
 * longjmp may leave it.
 */
typedef int32_t (*dynm_check)(void *user, const dynm_check_run *run);

/**
 * Called once for a run over its limit, by another thread: to wake what it waits for. Must return.
 */
typedef void (*dynm_cancel)(void *user);

/**
 * Whether the process is idle: 0: no.
 */
typedef int32_t (*dynm_is_idle)(void *user);

/**
 * Cleans up after a canary's request; `why` is a `dynm_cancelled`. Must return.
 */
typedef void (*dynm_clean_up)(void *user, uint32_t why);

/**
 * Called when somebody asks for values; it sets metrics. 0 is good, anything else is counted as a failure. Must
 * return: no exception and no longjmp may leave it.
 */
typedef int32_t (*dynm_scrape_callback)(void *user);

/**
 * Called once when a callback has ended and doesn't run any more, to release `user`. By any thread. Must return.
 */
typedef void (*dynm_scrape_destroy)(void *user);

/**
 * Called when somebody asks for a value, to store it in `*value`: seconds of durations. 0 is good; anything else is
 * counted as a failure, and what is in `*value` is left out. Must return, as dynm_scrape_callback.
 */
typedef int32_t (*dynm_scrape_function)(void *user, double *value);

/**
 * Gives a value: 1 when it has stored one in `*value`, 0 when there is none now. Called about every 5 ms, on a thread of
 * the library, first by the subscribing call itself.
 */
typedef int32_t (*dynm_compute)(void *user, double *value);

/**
 * Which values are watched: those of `metric`, or of the family called `name`, or what `compute` gives.
 */
typedef struct dynm_watched {
  /**
   * sizeof(dynm_watched).
   */
  size_t struct_size;
  /**
   * A series, or NULL.
   */
  const dynm_metric *metric;
  /**
   * Name of a family as it was registered in the registry, which needs not exist yet; with `compute` what it gives is
   * called; NULL with a metric.
   */
  const char *name;
  /**
   * Of a family only series with these labels.
   */
  const struct dynm_label *labels;
  /**
   * How many.
   */
  size_t label_count;
  /**
   * Gives a value, or is NULL.
   */
  dynm_compute compute;
} dynm_watched;

/**
 * A change, or a threshold that was crossed; valid until the callback returns.
 */
typedef struct dynm_event {
  /**
   * Bytes of this structure as the library knows it.
   */
  size_t struct_size;
  /**
   * The family's exposed name.
   */
  const char *name;
  /**
   * Labels, the segment's common ones included.
   */
  const struct dynm_label *labels;
  /**
   * How many.
   */
  size_t label_count;
  /**
   * The value before, where `has_old` is 1.
   */
  double old_value;
  /**
   * The value now, where `has_value` is 1.
   */
  double value;
  /**
   * 0 where there was no such series.
   */
  uint32_t has_old;
  /**
   * 0 where the series is gone, or nobody who lives has set it.
   */
  uint32_t has_value;
  /**
   * When it was seen, nanoseconds since 1970.
   */
  int64_t time_unix_ns;
} dynm_event;

/**
 * Called with an event, on a thread of the library. Must return: no exception and no longjmp may leave it.
 */
typedef void (*dynm_watch_callback)(void *user, const struct dynm_event *event);

/**
 * Called once when `user` is not needed any more.
 */
typedef void (*dynm_watch_destroy)(void *user);

/**
 * What has become of a subscription's events.
 */
typedef struct dynm_watch_counts {
  /**
   * sizeof(dynm_watch_counts).
   */
  size_t struct_size;
  /**
   * Calls that have ended.
   */
  uint64_t calls;
  /**
   * Events that later ones of the same series have replaced before the callback was free.
   */
  uint64_t coalesced;
  /**
   * For how many nanoseconds the call under way has been running; 0 when none is.
   */
  uint64_t running_ns;
} dynm_watch_counts;

/**
 * The cells of a counter, tally or histogram, as level 1 of the ABI has them: what an update needs that
 * makes no call. Copy it freely; what it points to is never released. All-zero is a value: it drops what is
 * added.
 *
 * Words: a counter has one (u64, double or nanoseconds, by its type); a tally has the count (u64) and the
 * sum (double); a histogram has the buckets (u64, +Inf last) and then the sum (double).
 *
 * An update of word i, with `base` the thread pointer:
 * 1. `packed` is 0: add to `shared[i]` atomically, relaxed (a double by compare and exchange); `shared` is NULL:
 *    cold path. What is added to `shared[i]` counts at any other time, too: it is only slower.
 * 2. `rseq = base + (int32_t)(packed >> 32)`: the area of struct rseq that glibc has registered for the
 *    thread.
 * 3. In a restartable sequence: `cpu = rseq->cpu_id`; not below `packed & 0xffff`: cold path (as unsigned,
 *    so -1 and -2 too). `block = entries[cpu]`; 0: cold path. Add to the word at `block + ((packed >> 16) &
 *    0xffff) + 8 * i`, the store being the last instruction of the sequence.
 *
 * Objects that contain such sequences must never be unloaded.
 */
typedef struct dynm_cells {
  /**
   * Addresses of the CPUs' blocks; each goes from 0 to an address once. Read it in one load.
   */
  const size_t *entries;
  /**
   * Upper half: offset of the rseq area; then 16 bits offset of the first word, 16 bits length of
   * `entries`.
   */
  uint64_t packed;
  /**
   * The words in the block that all CPUs share.
   */
  uint64_t *shared;
  /**
   * For the library.
   */
  const void *cold;
} dynm_cells;

/**
 * How a histogram finds the bucket of a value, as level 1 of the ABI has it.
 *
 * With a table: `cell = ((int64_t)bits(value) >> shift) - first`, clamped to 0 .. last; `b = below[cell]`;
 * the bucket is `b + (padded[b] < value)`. Without one (`below` is NULL): the number of the first
 * `bound_count` of `padded` that are below `value`. The sum is word `bound_count + 1`.
 */
typedef struct dynm_buckets {
  /**
   * `last + 1` numbers of bounds, or NULL.
   */
  const uint16_t *below;
  /**
   * The bounds, and then +Inf.
   */
  const double *padded;
  /**
   * First cell.
   */
  int64_t first;
  /**
   * Number of the last cell.
   */
  int64_t last;
  /**
   * Bits of a double that cells don't tell apart.
   */
  uint32_t shift;
  /**
   * Number of bounds, without +Inf.
   */
  uint32_t bound_count;
} dynm_buckets;

/**
 * Where a gauge's value is, as level 1 of the ABI has it.
 *
 * `word = *own`, loaded with acquire. When `(word & 7) == (4 | representation)`, a `DYNM_REPRESENTATION_`,
 * the value's 64 bits may be stored at address `word & ~7` (relaxed, one store), and be added to atomically
 * (relaxed; to a double what is no NaN, by compare and exchange). In every other case (first update, after a fork, another representation, a
 * mode that keeps the time) use `dynm_gauge_set_...` or `dynm_gauge_add_...` with the metric. Load it anew
 * at each update: it is 0 in a forked child, and the address may change.
 */
typedef struct dynm_gauge_cell {
  /**
   * The word.
   */
  const size_t *own;
} dynm_gauge_cell;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What the last call that failed in this thread had to say: one line, with the remedy where there is one.
 *
 * Guarantees: never NULL; empty when no call has failed. The text belongs to the library and stays until the
 * next call that fails in this thread. Threads: each has its own. Signals: no. Cost: a read. Errors: none.
 */
const char *dynm_last_error(void);

/**
 * The name of a status, for people: "DYNM_FULL".
 *
 * Guarantees: never NULL ("unknown status" for other numbers); static. Threads, signals: any. Errors: none.
 */
const char *dynm_status_name(int32_t status);

/**
 * The library's version: "0.1.0".
 *
 * Guarantees: never NULL; static. Threads, signals: any. Errors: none.
 */
const char *dynm_version(void);

/**
 * The level of the ABI that the library has; see DYNM_ABI_LEVEL.
 *
 * Guarantees: a header of this level or a lower one works. Threads, signals: any. Errors: none.
 */
uint32_t dynm_abi_version(void);

/**
 * Whether the library can do something: "counter", "gauge", "histogram", "tally", "info", "state_set",
 * "family", "child", "visit", "render", "cells", "fork", "remove", "system". 1 or 0; 0 for what it doesn't know, and for
 * NULL.
 *
 * Requires: NULL or a NUL-terminated text. Threads, signals: any. Errors: none.
 */
int32_t dynm_has_feature(const char *name);

/**
 * Which path updates take in this process, and why: "rseq", or "shared: " and the reason.
 *
 * Guarantees: never NULL; belongs to the library and stays for ever; decided once. Threads: any. Signals:
 * no. Cost: memory at the first call. Errors: none.
 */
const char *dynm_update_path(void);

/**
 * Opens a segment, creating it when there is none.
 *
 * Requires: `options` from dynm_segment_options_init(), or NULL for the defaults; `registry` not NULL.
 * Guarantees: on success `*registry` is the segment's registry; the same options give the same one, and each
 * opening wants its dynm_registry_close(). On failure `*registry` is NULL and what is at the path is
 * unchanged. Nothing in `options` is kept. Threads: any. Signals: no. Cost: system calls, memory for the
 * mapping. Errors: DYNM_OPTION, DYNM_NAME, DYNM_LABELS, DYNM_UTF8, DYNM_PERMISSION, DYNM_NOT_SEGMENT,
 * DYNM_NEWER_SEGMENT, DYNM_OLD_LIBRARY, DYNM_FULL, DYNM_IN_USE, DYNM_IO, DYNM_NULL.
 */
dynm_status dynm_open(const struct dynm_segment_options *options, const dynm_registry **registry);

/**
 * The root registry of this process: the segment at the environment's `DYN_METRICS_SHM`, else at
 * `/dev/shm/dynamo`, opened by the first call; what its `DYN_METRICS_REGISTRY` names instead, see
 * dynm_registry_of_kind().
 *
 * Requires: `registry` not NULL. Guarantees: every call gives the same one; dynm_registry_close() of it does
 * nothing. A call that failed may be repeated. Threads: any. Signals: no. Cost: after the first call a
 * comparison. Errors: as dynm_open().
 */
dynm_status dynm_root(const dynm_registry **registry);

/**
 * A registry of the same segment, or what is used instead, with a prefix before every name and labels on every series.
 *
 * Requires: `parent` a registry; `prefix` as it shall stand in the name ("dynamo_"), or NULL for none;
 * `labels` a list of `label_count`; `registry` not NULL. Guarantees: the parent's prefix and labels come
 * first; what is registered through it is the same series as one of the full name and labels. The same
 * arguments give the same registry, and each call wants its dynm_registry_close(); closing the parent
 * doesn't close it. On failure `*registry` is NULL. Threads: any. Signals: no. Cost: memory. Errors:
 * DYNM_NULL, DYNM_CLOSED, DYNM_UTF8, DYNM_NAME, DYNM_LABELS.
 */
dynm_status dynm_registry_child(const dynm_registry *parent,
                                const char *prefix,
                                const struct dynm_label *labels,
                                size_t label_count,
                                const dynm_registry **registry);

/**
 * Ends registration through a registry, once for each opening.
 *
 * Requires: a registry. Guarantees: after the last close its use gives DYNM_CLOSED. Metrics and families
 * that came from it go on working, the segment stays mapped and the file stays: what was counted is not
 * lost. Threads: any, also while others use it. Signals: yes. Cost: small. Errors: DYNM_NULL,
 * DYNM_WRONG_TYPE, DYNM_CLOSED.
 */
dynm_status dynm_registry_close(const dynm_registry *registry);

/**
 * Path, prefix and labels of a registry.
 *
 * Requires: a registry; `out->struct_size` set. Guarantees: what `*out` points to belongs to the library and
 * stays for ever. Threads: any. Signals: yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED,
 * DYNM_OPTION.
 */
dynm_status dynm_registry_describe(const dynm_registry *registry, struct dynm_registry_description *out);

/**
 * A registry of a kind that the environment's `DYN_METRICS_REGISTRY` may name: "shm" is a segment, "null" nothing,
 * "prometheus" this process's memory, "plugin:/path.so?options" what a plugin does.
 *
 * Requires: `kind` such a name, or NULL for what the environment says, without it "shm"; `registry` not NULL.
 * Guarantees: metrics are registered and updated as in a segment; the same kind gives the same registry of a process,
 * and each call wants its dynm_registry_close(). On failure `*registry` is NULL. Threads: any. Signals: no. Cost: as
 * dynm_open(). Errors: DYNM_OPTION (this library doesn't have the kind, or a plugin can't be used), DYNM_UTF8, and as
 * dynm_open().
 */
dynm_status dynm_registry_of_kind(const char *kind, const dynm_registry **registry);

/**
 * What keeps a registry's numbers: "shm" for a segment, "null" for nothing, ...
 *
 * Requires: a registry. Guarantees: stays for ever. Threads: any. Signals: yes. Cost: none. Errors: "" for what is no
 * open registry.
 */
const char *dynm_registry_kind(const dynm_registry *registry);

/**
 * The same registry, of which only families up to a priority level are rendered and visited.
 *
 * Requires: `parent` a registry; `level` 0 (most important) to 255; `registry` not NULL. Guarantees: everything goes on
 * being counted, the numbers of other families are not read; children are the same. The same arguments give the same
 * registry, and each call wants its dynm_registry_close(). On failure `*registry` is NULL. Threads: any. Signals: no.
 * Cost: memory. Errors: DYNM_NULL, DYNM_CLOSED, DYNM_OPTION.
 */
dynm_status dynm_registry_with_max_level(const dynm_registry *parent, uint32_t level, const dynm_registry **registry);

/**
 * Renders what is registered through a registry and those below it as Prometheus text 0.0.4: names with its prefix,
 * series with its labels.
 *
 * Requires, Guarantees, Threads, Signals, Cost: as dynm_render(). Errors: as there, and DYNM_OPTION for a registry that
 * shows nothing.
 */
dynm_status dynm_registry_format(const dynm_registry *registry, char **text, size_t *length);

/**
 * A runtime, the level of everything that a process does: a registry whose namespaces, components and endpoints add
 * their labels.
 *
 * By default names begin with `dynamo_`, and levels have the labels `namespace`, `component` and `endpoint`;
 * DYNM_SCHEME_UPSTREAM: `dynamo_component_`, and `dynamo_namespace`, ... as NVIDIA Dynamo's own runtime.
 *
 * Requires: `parent` a registry, or NULL for dynm_root()'s; `flags` 0 or DYNM_SCHEME_UPSTREAM; `prefix` another beginning
 * of names, or NULL; `labels` a list of `label_count`, for every series (`worker_id` for instance); `runtime` not NULL.
 * Guarantees: as dynm_registry_child(); a user's label that a level adds is refused at every level. Threads: any.
 * Signals: no. Cost: memory. Errors: as dynm_registry_child() and dynm_root(), and DYNM_OLD_LIBRARY for unknown flags.
 */
dynm_status dynm_runtime(const dynm_registry *parent,
                         uint32_t flags,
                         const char *prefix,
                         const struct dynm_label *labels,
                         size_t label_count,
                         const dynm_registry **runtime);

/**
 * A namespace of a runtime: what belongs together, an application or a tenant for instance.
 *
 * Requires: `runtime` from dynm_runtime(); `name` a text, empty for none; `registry` not NULL. Guarantees: the name is
 * the label's value, to the letter; otherwise as dynm_registry_child(). Threads: any. Signals: no. Cost: memory. Errors:
 * DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_LABELS.
 */
dynm_status dynm_namespace(const dynm_registry *runtime,
                           const char *name,
                           const dynm_registry **registry);

/**
 * A component of a namespace: what does one thing, in one or many processes. As dynm_namespace(), of one.
 */
dynm_status dynm_component(const dynm_registry *namespace_, const char *name, const dynm_registry **registry);

/**
 * An endpoint of a component: a way to ask it for something. As dynm_namespace(), of one.
 */
dynm_status dynm_endpoint(const dynm_registry *component, const char *name, const dynm_registry **registry);

/**
 * Finds or registers a metric: one series.
 *
 * Requires: `registry` a registry; `options` from dynm_metric_options_init(); `metric` not NULL. Guarantees:
 * on success `*metric` is the series' handle, valid until the process ends: it is never closed or freed,
 * also after the registry's close. Registering the same again gives the same handle. On failure the segment
 * is unchanged, and `*metric` is what dynm_private() gives for `options`: updates work and count in this
 * process alone; it is NULL when that gives NULL. Nothing in `options` is kept. Threads: any. Signals: no. Cost: system calls, memory once for each series. Errors:
 * DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_OPTION, DYNM_NAME, DYNM_LABELS, DYNM_BOUNDS,
 * DYNM_CONFLICT (naming who registered the other), DYNM_FULL, DYNM_NOT_SEGMENT, DYNM_OLD_LIBRARY, DYNM_IO.
 */
dynm_status dynm_register(const dynm_registry *registry,
                          const struct dynm_metric_options *options,
                          const dynm_metric **metric);

/**
 * A metric that is in no segment: its value is this process's alone, and nobody else sees it.
 *
 * Requires: `options` from dynm_metric_options_init(), of which the type counts, of a histogram the bounds and
 * of a state set the states; what can't be used of them is the default, of states none. Guarantees: a metric
 * that takes every update of its type and can be read; valid until the process ends. A process gets 4096
 * with a value of their own; from then on those of a type share one, whose value means nothing, so that
 * memory is bounded. Infos always share one. NULL on failure, with dynm_last_error(): `options` is NULL, or
 * its struct_size or metric_type is not known. Threads: any. Signals: no. Cost: memory.
 */
const dynm_metric *dynm_private(const struct dynm_metric_options *options);

/**
 * Finds or registers a family, whose series differ in the values of `label_names`.
 *
 * Requires: `registry` a registry; `options` from dynm_metric_options_init(); `label_names` a list of
 * `label_name_count`; `family` not NULL. Guarantees: the same arguments give the same family, as long as the
 * segment isn't replaced, and each call wants its dynm_family_close(). On failure `*family` is NULL;
 * dynm_private() gives what stands for its series. Threads: any. Signals: no. Cost: system calls, memory.
 * Errors: as dynm_register().
 */
dynm_status dynm_register_family(const dynm_registry *registry,
                                 const struct dynm_metric_options *options,
                                 const char *const *label_names,
                                 size_t label_name_count,
                                 const dynm_family **family);

/**
 * The series with these label values, in the order of the family's label names; found or made.
 *
 * Requires: `family` a family; `values` a list of `value_count`, each NUL-terminated; `metric` not NULL.
 * Guarantees: as dynm_register(); at the family's limit the series whose values are `__overflow__`. On
 * failure, also after the family's close, `*metric` is a metric of the family's type in this process alone,
 * as from dynm_private(); NULL when `family` is NULL or none. Threads: any; those that ask for series that
 * exist don't disturb each other. Signals: no. Cost: a look-up without lock or system call when it was asked
 * for before, else a registration. Errors: DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_LABELS,
 * DYNM_OPTION (too long), DYNM_FULL, DYNM_NOT_SEGMENT, DYNM_IO.
 */
dynm_status dynm_family_with(const dynm_family *family,
                             const char *const *values,
                             size_t value_count,
                             const dynm_metric **metric);

/**
 * As dynm_family_with(), for texts with their lengths.
 */
dynm_status dynm_family_with_str(const dynm_family *family,
                                 const struct dynm_str *values,
                                 size_t value_count,
                                 const dynm_metric **metric);

/**
 * As dynm_family_with_str(), for callers that remember metrics by their label values.
 *
 * Requires: as there; `number` not NULL. Guarantees: on failure `*metric` is the same private metric at every
 * failure of the family, so that memory doesn't grow with such look-ups. `*number` is 0 when the metric must
 * not be remembered for these values: it is private, or stands for all beyond the family's limit. Otherwise it
 * is the number of the segment, from 1 on: a higher one than before says that the family has moved to a new
 * segment, since the old one was replaced, and that what was remembered with a lower one is to be forgotten.
 * Threads, Signals, Errors: as there. Cost: two look-ups.
 */
dynm_status dynm_family_look_up(const dynm_family *family,
                                const struct dynm_str *values,
                                size_t value_count,
                                const dynm_metric **metric,
                                uint64_t *number);

/**
 * As dynm_family_with(), but makes no series; on failure `*metric` is NULL.
 *
 * Errors: as there, and DYNM_NOT_FOUND.
 */
dynm_status dynm_family_find(const dynm_family *family,
                             const char *const *values,
                             size_t value_count,
                             const dynm_metric **metric);

/**
 * Ends look-ups through a family, once for each registration of it.
 *
 * Requires: a family. Guarantees: after the last close its use gives DYNM_CLOSED; its series stay, and so do
 * their handles. Registered again it is the same family, so memory doesn't grow. Threads: any, also while
 * others use it. Signals: yes. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED.
 */
dynm_status dynm_family_close(const dynm_family *family);

/**
 * Removes the series with this name and exactly these labels, of whatever type, beside the registry's prefix and
 * labels.
 *
 * Requires: a registry; `name` NUL-terminated; `labels` a list of `label_count`; `removed` not NULL. Guarantees:
 * `*removed` is 1 when there was one, else 0. It is shown in no process any more; whoever asks for its labels
 * again gets a new series, which begins at 0. Metrics of it that are held stay valid, and what they count is lost.
 * Its space in the segment is not used again. A process that dies meanwhile has removed the series or left it.
 * Threads: any. Signals: no. Cost: a search, system calls when the segment was replaced. Errors: DYNM_NULL,
 * DYNM_CLOSED, DYNM_UTF8, DYNM_LABELS, DYNM_OPTION (too long), DYNM_UNSUPPORTED (a registry that can't),
 * DYNM_NOT_SEGMENT, DYNM_IO.
 */
dynm_status dynm_remove(const dynm_registry *registry,
                        const char *name,
                        const struct dynm_label *labels,
                        size_t label_count,
                        int32_t *removed);

/**
 * Removes the series of a family with these label values, in the order of the family's label names.
 *
 * Requires: a family; `values` a list of `value_count`; `removed` not NULL. Guarantees, Threads, Signals, Cost,
 * Errors: as dynm_remove().
 */
dynm_status dynm_family_remove(const dynm_family *family,
                               const struct dynm_str *values,
                               size_t value_count,
                               int32_t *removed);

/**
 * Whether the series of a metric was removed, or is about to be: its updates count for nobody then.
 *
 * Requires: a metric; `removed` not NULL. Guarantees: `*removed` is 1 or 0; 0 of a private metric. A call is a full
 * memory fence. Threads: any. Signals: yes. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE.
 */
dynm_status dynm_is_removed(const dynm_metric *metric, int32_t *removed);

/**
 * The word that grows whenever a series of a family is removed, before it is gone: for callers that remember
 * metrics by their label values. While it is what it was, all that they remember count; when it isn't,
 * dynm_is_removed() says which don't.
 *
 * Requires: a family; `number` from dynm_family_look_up(); `removals` not NULL. Guarantees: `*removals` is valid for
 * ever, and any process changes what it points to: read it atomically. Threads: any. Signals: yes. Cost: small.
 * Errors: DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE; DYNM_NOT_FOUND when the family has moved on to another segment,
 * with `*removals` NULL.
 */
dynm_status dynm_family_removals(const dynm_family *family, uint64_t number, const uint64_t **removals);

/**
 * Adds 1 to a DYNM_COUNTER_U64 or DYNM_COUNTER_F64.
 *
 * Requires: a metric of such a type, or NULL. Guarantees: one restartable add in this CPU's cell, or an
 * atomic one; relaxed; the total of all processes grows by it, whatever happens to this one. No system call
 * once the CPU has its cell. Threads: any. Signals: yes. After fork: yes. Cost: some nanoseconds. Errors:
 * DYNM_NULL, DYNM_WRONG_TYPE.
 */
dynm_status dynm_counter_inc(const dynm_metric *metric);

/**
 * Adds `n` events to a DYNM_COUNTER_U64; the total wraps at 2^64.
 *
 * Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_counter_inc().
 */
dynm_status dynm_counter_add_u64(const dynm_metric *metric, uint64_t n);

/**
 * Adds `amount` to a DYNM_COUNTER_F64. Negative, infinite and NaN amounts are dropped and counted
 * (`dyn_metrics_updates_dropped_total`), with DYNM_OK.
 *
 * Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_counter_inc().
 */
dynm_status dynm_counter_add_f64(const dynm_metric *metric, double amount);

/**
 * Adds time to a DYNM_COUNTER_NS; the total wraps at 584 years.
 *
 * Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_counter_inc().
 */
dynm_status dynm_counter_add_ns(const dynm_metric *metric, uint64_t nanoseconds);

/**
 * Observes `value` in a DYNM_TALLY or DYNM_HISTOGRAM. NaN is dropped and counted; infinite values count but
 * stay out of the sum; a value equal to a bound belongs to that bound's bucket.
 *
 * Guarantees: the +Inf bucket always equals the count; the sum may trail by what is in flight.
 * Requires, Threads, Signals, Cost, Errors: as dynm_counter_inc(), two adds.
 */
dynm_status dynm_observe(const dynm_metric *metric, double value);

/**
 * Observes `value` `count` times at once in a DYNM_HISTOGRAM.
 *
 * Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_observe().
 */
dynm_status dynm_observe_n(const dynm_metric *metric, double value, uint64_t count);

/**
 * Sets this process's value of a DYNM_GAUGE_I64.
 *
 * Requires: a metric of that type, or NULL. Guarantees: one store in this process's cell, relaxed; in modes
 * "mostrecent" a second one with the time. The first update, and the first after a fork, claims the cell.
 * Threads: any. Signals: yes. Cost: some nanoseconds, no system call once the process has its cell. Errors:
 * DYNM_NULL, DYNM_WRONG_TYPE.
 */
dynm_status dynm_gauge_set_i64(const dynm_metric *metric, int64_t value);

/**
 * Sets this process's value of a DYNM_GAUGE_F64.
 *
 * Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
 */
dynm_status dynm_gauge_set_f64(const dynm_metric *metric, double value);

/**
 * Sets this process's value of a DYNM_GAUGE_NS.
 *
 * Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
 */
dynm_status dynm_gauge_set_ns(const dynm_metric *metric, int64_t nanoseconds);

/**
 * Adds to this process's value of a DYNM_GAUGE_I64, which wraps; negative amounts subtract.
 *
 * Guarantees: one atomic addition. Requires, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
 */
dynm_status dynm_gauge_add_i64(const dynm_metric *metric, int64_t n);

/**
 * Adds to this process's value of a DYNM_GAUGE_F64; NaN is dropped and counted.
 *
 * Guarantees: one atomic addition. Requires, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
 */
dynm_status dynm_gauge_add_f64(const dynm_metric *metric, double amount);

/**
 * Adds to this process's value of a DYNM_GAUGE_NS.
 *
 * Guarantees: one atomic addition. Requires, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
 */
dynm_status dynm_gauge_add_ns(const dynm_metric *metric, int64_t nanoseconds);

/**
 * Switches `name` on and all other states of a DYNM_STATE_SET off, in this process.
 *
 * Requires: a metric of that type, or NULL; `name` one of its states. Guarantees: one atomic change of all
 * bits. Threads: any. Signals: yes, with a known state. Cost: as dynm_gauge_add_i64(), and a search of the
 * states. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_NOT_FOUND.
 */
dynm_status dynm_state_set(const dynm_metric *metric, const char *name);

/**
 * Switches `name` on (`on` not 0) or off; the other states stay.
 *
 * Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_state_set().
 */
dynm_status dynm_state_switch(const dynm_metric *metric, const char *name, int32_t on);

/**
 * Reads a metric's value: of counters, tallies and histograms the total over all processes, as far as it was
 * counted in the metric's own numbers; of gauges and state sets this process's.
 *
 * Requires: a metric; `value->struct_size` set. Guarantees: relaxed reads, no point in time; a total never
 * falls. Threads: any. Signals: no. Cost: a read for each CPU and bucket; system calls when blocks of other
 * processes are seen for the first time. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OPTION (struct_size).
 */
dynm_status dynm_metric_value(const dynm_metric *metric, struct dynm_value *value);

/**
 * Reads the buckets of a DYNM_HISTOGRAM, not cumulative, the last one +Inf's, over all processes.
 *
 * Requires: a histogram; room for `count` numbers at `buckets`. Guarantees: writes at most `count` numbers,
 * and to `*needed`, unless that is NULL, how many there are. Threads: any. Signals: no. Cost: as
 * dynm_metric_value(). Errors: DYNM_NULL, DYNM_WRONG_TYPE.
 */
dynm_status dynm_histogram_buckets(const dynm_metric *metric, uint64_t *buckets, size_t count, size_t *needed);

/**
 * What a metric is registered as: type, kind, name, help, unit, labels, bounds, states.
 *
 * Requires: a metric; `out->struct_size` set. Guarantees: what `*out` points to belongs to the library and
 * stays for ever; name, help, unit and labels of a private metric are empty. Threads: any. Signals: no.
 * Cost: memory at the first call for a metric, then a copy.
 * Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OPTION (struct_size), DYNM_NOT_SEGMENT (damaged).
 */
dynm_status dynm_metric_describe(const dynm_metric *metric, struct dynm_description *out);

/**
 * Shows every family of the segment and every series with its value, over all processes, families sorted by
 * name.
 *
 * Requires: a registry; a visitor, see dynm_visitor; `user` goes to it as it is. Guarantees: the whole
 * segment's, also what other processes and languages have registered, whatever the registry's prefix; what
 * the views point to stays until the visitor returns. The visitor may call this library. Threads: any.
 * Signals: no. Cost: reads the whole segment. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED,
 * DYNM_NOT_SEGMENT when the file can't be read any more, DYNM_OPTION for another registry than a segment.
 */
dynm_status dynm_visit(const dynm_registry *registry, dynm_visitor visitor, void *user);

/**
 * Renders the segment as Prometheus text 0.0.4, as the exporter would, self-metrics included; of another registry
 * what is registered through it.
 *
 * Requires: a registry; `text` not NULL; `length` not NULL or not wanted. Guarantees: on success `*text` is
 * NUL-terminated, its length without that in `*length`, and belongs to the caller, who frees it with
 * dynm_free(); on failure it is NULL. Threads: any. Signals: no. Cost: reads the whole segment, and memory
 * for the text. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_NOT_SEGMENT, DYNM_FULL (no memory).
 */
dynm_status dynm_render(const dynm_registry *registry, char **text, size_t *length);

/**
 * Frees what dynm_render() gave; NULL is nothing.
 *
 * Requires: NULL or such a text, once. Threads: any. Signals: no. Cost: free(). Errors: none.
 */
void dynm_free(char *text);

/**
 * Opens a composite: one number made of the series of one family, with what other processes count.
 *
 * Requires: a registry, or NULL and `options->path`; `options` from dynm_composite_options_init(); `composite` not NULL.
 * Guarantees: of a child of a registry those series that it could have registered; the family needs not exist yet. Each
 * opening gives a composite of its own and wants its dynm_composite_close(). On failure `*composite` is NULL. Threads: any.
 * Signals: no. Cost: system calls, memory for a mapping. Errors: DYNM_NULL, DYNM_CLOSED, DYNM_UTF8, DYNM_NAME, DYNM_LABELS,
 * DYNM_OPTION (an operation that the family's kind doesn't have, too), DYNM_OLD_LIBRARY, DYNM_IO.
 */
dynm_status dynm_composite_open(const dynm_registry *registry,
                                const struct dynm_composite_options *options,
                                const dynm_composite **composite);

/**
 * Reads the number of now; with a window this takes a sample, too.
 *
 * Requires: a composite; `reading` not NULL; `value` may be NULL. Guarantees: `*reading` is a dynm_reading, `*value` the
 * number, 0 unless it is DYNM_READING_VALUE. Threads: any; one waits for the other, at most a second. Signals: no. Cost:
 * some microseconds for a thousand series. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_IN_USE.
 */
dynm_status dynm_composite_read(const dynm_composite *composite,
                                uint32_t *reading,
                                double *value);

/**
 * Takes a sample for the window and says nothing: for a ticker.
 *
 * Requires: a composite. Threads, signals, cost, errors: as dynm_composite_read().
 */
dynm_status dynm_composite_sample(const dynm_composite *composite);

/**
 * Lets go of what a composite reads.
 *
 * Requires: a composite. Guarantees: its use gives DYNM_CLOSED afterwards; a few bytes stay for that. Threads: any, also
 * while others use it. Signals: no. Cost: system calls. Errors: DYNM_NULL, DYNM_WRONG_TYPE.
 */
dynm_status dynm_composite_close(const dynm_composite *composite);

/**
 * Starts a server with threads and a runtime of its own; returns when requests are answered.
 *
 * Requires: options from dynm_system_options_init(); `system` not NULL. Guarantees: on success `*system` is the server, or NULL
 * where DYNM_FROM_ENV was asked and the environment says no; on failure NULL. A segment that can't be opened is no
 * failure: `/metrics` and the check "segment" say so. For checks that count from the first request on: start with
 * DYNM_STARTS_UNTIL_TOLD, add them, then set DYNM_READY. Threads: any. Signals: no. After fork: the server
 * stays behind; the child may start one. Cost: threads. Errors: DYNM_IN_USE where the port is taken, DYNM_IO, DYNM_OPTION (also
 * a variable that can't be used), DYNM_NULL, DYNM_UTF8, DYNM_CLOSED, DYNM_WRONG_TYPE.
 */
dynm_status dynm_system_start(const struct dynm_system_options *options,
                              const dynm_system **system);

/**
 * Where a server listens, and the state of its process.
 *
 * Requires: a running system; `out->struct_size` set. Guarantees: texts belong to the library and stay. Threads: any.
 * Signals: no. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_OPTION.
 */
dynm_status dynm_system_describe(const dynm_system *system, struct dynm_system_description *out);

/**
 * Says where the process is in its life: a dynm_process_state.
 *
 * Requires: a running system. Threads: any. Signals: no. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED,
 * DYNM_OPTION.
 */
dynm_status dynm_system_set_state(const dynm_system *system, uint32_t state);

/**
 * What a probe would be answered with, as JSON.
 *
 * Requires: a running system; a dynm_probe; `text` not NULL; `passes` and `length` not NULL or not wanted.
 * Guarantees: `*passes` is 1 for status 200, else 0; on success `*text` is NUL-terminated and freed with dynm_free(), on failure
 * NULL. Threads: any. Signals: no. Cost: memory. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_OPTION, DYNM_FULL.
 */
dynm_status dynm_system_report(const dynm_system *system,
                               uint32_t probe,
                               int32_t *passes,
                               char **text,
                               size_t *length);

/**
 * Stops a server and its checks; the port is free when it returns.
 *
 * Requires: a running system. Guarantees: answers on their way have up to 5 seconds; a check that runs is told to stop and not
 * waited for. In a forked child it does nothing. Threads: any, but none of its checks. Signals: no. Errors: DYNM_NULL,
 * DYNM_WRONG_TYPE, DYNM_CLOSED when it was stopped already.
 */
dynm_status dynm_system_stop(const dynm_system *system);

/**
 * Answers a probe, in a dynm_format.
 *
 * Requires: the `answer` of the call; a media type; `body` of `length` bytes, UTF-8. Guarantees: both are copied; the
 * last call counts. Errors: DYNM_NULL, DYNM_UTF8.
 */
dynm_status dynm_answer_set(const dynm_answer *answer, const char *content_type, const char *body, size_t length);

/**
 * Adds a function as a check, which runs at once and from then on at its interval.
 *
 * Requires: a running system; options with a name; `check` not NULL; `cancel` and `destroy` NULL where they aren't wanted; any
 * thread may use `user`. Guarantees: `destroy` is called once, when the check is called no more, and also when this
 * fails. Threads: any. Signals: no. Cost: a thread. Errors: DYNM_NULL, DYNM_NAME, DYNM_CONFLICT where the name is taken,
 * DYNM_OPTION, DYNM_FULL (256 checks), DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_IO.
 */
dynm_status dynm_system_add_check(const dynm_system *system,
                                  const struct dynm_check_options *options,
                                  dynm_check check,
                                  dynm_cancel cancel,
                                  void *user,
                                  dynm_destroy destroy);

/**
 * Says why the check fails, or what there is to say when all is well.
 *
 * Requires: the `run` of the call; a NUL-terminated text. Guarantees: it is copied; the last call counts. Threads: that of the
 * call. Signals: no. Errors: DYNM_NULL.
 */
dynm_status dynm_check_say(const dynm_check_run *run,
                           const char *text);

/**
 * Whether nobody waits for this run any more, because it is over its limit or the server stops: 1 or 0.
 *
 * Requires: the `run` of the call, or NULL, which gives 0. Threads: any. Signals: no. Errors: none.
 */
int32_t dynm_check_is_cancelled(const dynm_check_run *run);

/**
 * Makes a pulse that has just beaten; it is never freed.
 *
 * Requires: `beat` not NULL. Threads: any. Signals: no. Cost: memory. Errors: DYNM_NULL.
 */
dynm_status dynm_beat_create(const dynm_beat **beat);

/**
 * The loop still turns.
 *
 * Requires: a beat. Threads, signals: any. Cost: reading a clock, and a store. Errors: DYNM_NULL, DYNM_WRONG_TYPE.
 */
dynm_status dynm_beat_now(const dynm_beat *beat);

/**
 * Adds a check that fails when there was no beat for `limit_ns`.
 *
 * Requires: a running system; options with a name; a beat. Threads: any. Signals: no. Errors: as dynm_system_add_check().
 */
dynm_status dynm_system_add_beat(const dynm_system *system,
                                 const struct dynm_check_options *options,
                                 const dynm_beat *beat,
                                 uint64_t limit_ns);

/**
 * Adds a check that fails when the counter has not moved for `limit_ns` while the gauge, this process's own, is above 0.
 *
 * Requires: a running system; options with a name; a counter of whole events or fractional amounts (of which whole units
 * count); a gauge of whole or fractional numbers. Guarantees: the counter is the total of all processes. Threads: any. Signals:
 * no. Errors: as dynm_system_add_check(), DYNM_WRONG_TYPE for metrics of other types.
 */
dynm_status dynm_system_add_progress(const dynm_system *system,
                                     const struct dynm_check_options *options,
                                     const dynm_metric *done,
                                     const dynm_metric *pending,
                                     uint64_t limit_ns);

/**
 * Adds a check that fails when the filesystem of `path` has less than `least_bytes` left.
 *
 * Requires: a running system; options with a name; a path. Threads: any. Signals: no. Errors: as dynm_system_add_check().
 */
dynm_status dynm_system_add_space(const dynm_system *system,
                                  const struct dynm_check_options *options,
                                  const char *path,
                                  uint64_t least_bytes);

/**
 * Adds a check that fails when etcd has no answer, no leader or an alarm.
 *
 * Requires: a running system; options with a name; `url` "http://HOST:PORT"; `lease` 0: none, otherwise it must not have expired;
 * `flags` DYNM_KEEP_ALIVE renews it at each run while the liveness probe passes; `key_prefix` NULL, or a key must begin so.
 * Guarantees: never feeds liveness. Threads: any. Signals: no. Errors: as dynm_system_add_check().
 */
dynm_status dynm_system_add_etcd(const dynm_system *system,
                                 const struct dynm_check_options *options,
                                 const char *url,
                                 int64_t lease,
                                 uint32_t flags,
                                 const char *key_prefix);

/**
 * Adds a check that fails when NATS does not answer, or nobody of a service does.
 *
 * Requires: a running system; options with a name; `url` "nats://HOST:PORT"; `service` NULL: none; `instance` NULL: any
 * of the service. Guarantees: never feeds liveness. Threads: any. Signals: no. Errors: as dynm_system_add_check().
 */
dynm_status dynm_system_add_nats(const dynm_system *system,
                                 const struct dynm_check_options *options,
                                 const char *url,
                                 const char *service,
                                 const char *instance);

/**
 * Adds a check that sends a request of the application's own making while it is idle.
 *
 * Requires: a running system; options with a name; `request` not NULL; `is_idle` NULL: always; `clean_up` and `destroy` NULL where
 * they aren't wanted; any thread may use `user`. Guarantees: fails when the request fails or is late, which is then cancelled by
 * `clean_up`; `destroy` as dynm_system_add_check(). Threads: any. Signals: no. Errors: as there.
 */
dynm_status dynm_system_add_canary(const dynm_system *system,
                                   const struct dynm_check_options *options,
                                   dynm_check request,
                                   dynm_is_idle is_idle,
                                   dynm_clean_up clean_up,
                                   void *user,
                                   dynm_destroy destroy);

/**
 * Forgets a check.
 *
 * Requires: a running system; a name. Guarantees: a run that goes on is told to stop, and not waited for. Threads: any. Signals:
 * no. Errors: DYNM_NOT_FOUND, DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_UTF8.
 */
dynm_status dynm_system_remove(const dynm_system *system,
                               const char *name);

/**
 * Has `callback` run whenever somebody asks for values, before they are read: when the exporter is scraped, when this
 * process's own server is, and in dynm_render(). For values that are computed, such as the length of a queue.
 *
 * Requires: a registry; `callback` not NULL, callable by any thread, never by two at once; `destroy` NULL or what
 * releases `user`; `id` NULL or where the callback's number goes. Guarantees: runs on a thread of the library's, until
 * dynm_on_scrape_end() or the end of the process. Who asks waits a short time (100 ms unless the exporter is told
 * otherwise) and reads what is there; one that is still running is not started again and keeps no other from running. A
 * forked child has none of its parent's callbacks, and destroys nothing of them. On failure nothing is kept and `destroy` is not called. Threads: any, also
 * from a callback. Signals: no. Cost: a thread and a socket beside the segment, once. Errors: DYNM_NULL,
 * DYNM_WRONG_TYPE, DYNM_CLOSED.
 */
dynm_status dynm_on_scrape(const dynm_registry *registry,
                           dynm_scrape_callback callback,
                           void *user,
                           dynm_scrape_destroy destroy,
                           size_t *id);

/**
 * Ends a callback.
 *
 * Requires: a number that dynm_on_scrape() gave. Guarantees: no further run begins; one that is under way goes on, and
 * `destroy` is called when it is over, else before this returns. Threads: any, also from a callback. Signals: no. Cost:
 * small. Errors: DYNM_NOT_FOUND when it has ended, and in a forked child.
 */
dynm_status dynm_on_scrape_end(size_t id);

/**
 * Has the value of a gauge, or the total of a counter, computed by `function` whenever somebody asks for it. Of a counter's
 * totals what they have grown by is added; one that has become less counts as having begun again at 0.
 *
 * Requires: a metric; `function` callable as for dynm_on_scrape(), or NULL to end the one before; `destroy` NULL or what
 * releases `user`. Guarantees: as dynm_on_scrape(); a later function of the same series takes the place of an earlier one.
 * On failure nothing is kept, nothing ends and `destroy` is not called. Threads, Signals, Cost: as dynm_on_scrape(). Errors: DYNM_NULL, DYNM_WRONG_TYPE for
 * other metrics than gauges and counters, DYNM_NOT_FOUND for a private metric, which nobody asks for, and for NULL when there is none to end.
 */
dynm_status dynm_set_function(const dynm_metric *metric,
                              dynm_scrape_function function,
                              void *user,
                              dynm_scrape_destroy destroy);

/**
 * Calls `callback` whenever a value of what is watched has changed, whichever process has set it.
 *
 * Requires: `registry` a registry; `watched` from dynm_watched_init(); `callback` not NULL; `subscription` not NULL.
 * Guarantees: calls come from threads of the library, one at a time, until dynm_subscription_cancel(); while one runs, of
 * each series the newest event waits. `destroy`, unless NULL, is called once with `user`, when no call comes any more:
 * by the thread that cancels, or on which the last call ends; also when this function fails. Updates cost
 * what they cost before. A forked child has no subscriptions. Threads: any. Signals: no. Cost: system calls, a thread, and
 * memory, of which some hundred bytes are never freed. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED, DYNM_UTF8,
 * DYNM_OPTION, DYNM_NAME, DYNM_IO (no thread, or a metric that is not of the registry's segment).
 */
dynm_status dynm_on_change(const dynm_registry *registry,
                           const struct dynm_watched *watched,
                           dynm_watch_callback callback,
                           void *user,
                           dynm_watch_destroy destroy,
                           const dynm_subscription **subscription);

/**
 * Calls `callback` whenever a value of what is watched crosses `limit` to `side`, a dynm_side: at once if it is there
 * already, and again only after it has come back behind the limit by `hysteresis`, or was gone.
 *
 * Requires, Guarantees, Threads, Signals, Cost: as dynm_on_change(). Errors: as there, and DYNM_OPTION for a limit or a
 * hysteresis that is not finite, and for one below 0.
 */
dynm_status dynm_on_threshold(const dynm_registry *registry,
                              const struct dynm_watched *watched,
                              uint32_t side,
                              double limit,
                              double hysteresis,
                              dynm_watch_callback callback,
                              void *user,
                              dynm_watch_destroy destroy,
                              const dynm_subscription **subscription);

/**
 * Ends a subscription: no call begins any more. Waits at most `most_ns` nanoseconds for one that is under way, unless
 * that is the caller's own. Another time it only waits.
 *
 * Requires: a subscription. Guarantees: DYNM_OK when no call is under way, which is then also true for ever; DYNM_IN_USE
 * when one still runs. Threads: any, also in the callback. Signals: no. Cost: no system call but for the wait. Errors:
 * DYNM_NULL, DYNM_WRONG_TYPE, DYNM_IN_USE.
 */
dynm_status dynm_subscription_cancel(const dynm_subscription *subscription,
                                     uint64_t most_ns);

/**
 * What has become of a subscription's events.
 *
 * Requires: a subscription; `counts` with its struct_size set. Threads: any. Signals: no. Errors: DYNM_NULL,
 * DYNM_WRONG_TYPE, DYNM_OPTION.
 */
dynm_status dynm_subscription_counts(const dynm_subscription *subscription, struct dynm_watch_counts *counts);

/**
 * The cells of a counter, tally or histogram.
 *
 * Requires: such a metric; `level` the DYNM_ABI_LEVEL that the caller was compiled with; `cells` not NULL.
 * Guarantees: `*cells` is valid until the process ends, in forked children too; on failure it is all zero.
 * Threads: any. Signals: yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OLD_LIBRARY.
 */
dynm_status dynm_metric_cells(const dynm_metric *metric, uint32_t level, struct dynm_cells *cells);

/**
 * The buckets of a histogram.
 *
 * Requires: a histogram; `level` the DYNM_ABI_LEVEL that the caller was compiled with; `buckets` not NULL.
 * Guarantees: what `*buckets` points to belongs to the library and stays for ever. Threads: any. Signals:
 * yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OLD_LIBRARY.
 */
dynm_status dynm_metric_buckets(const dynm_metric *metric, uint32_t level, struct dynm_buckets *buckets);

/**
 * Where a gauge's value is.
 *
 * Requires: a gauge of any type; `level` the DYNM_ABI_LEVEL that the caller was compiled with; `cell` not
 * NULL. Guarantees: `*cell` is valid until the process ends, in forked children too. Threads: any. Signals:
 * yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OLD_LIBRARY.
 */
dynm_status dynm_metric_gauge_cell(const dynm_metric *metric, uint32_t level, struct dynm_gauge_cell *cell);

/**
 * Adds `n` to word `index` where the hot path could not, and gives this CPU a cell for the next time.
 *
 * Requires: `cells` from dynm_metric_cells(), or zeroed, or NULL; a word that is no double. Guarantees: an
 * atomic addition in the shared block; a word beyond the series' is ignored; zeroed cells too. Keeps errno.
 * Threads: any. Signals: yes. Cost: an atomic addition; system calls when the CPU's block is made. Errors:
 * none.
 */
void dynm_cells_add_u64_cold(const struct dynm_cells *cells, uint32_t index, uint64_t n);

/**
 * As dynm_cells_add_u64_cold(), for words that are doubles.
 */
void dynm_cells_add_f64_cold(const struct dynm_cells *cells, uint32_t index, double x);

/**
 * Counts a value that an update dropped or left out of a sum.
 *
 * Requires: `cells` from dynm_metric_cells(), or zeroed, or NULL; `why` a dynm_dropped. Guarantees: one
 * atomic addition in the segment's header; other numbers are ignored. Threads: any. Signals: yes. Cost:
 * small. Errors: none.
 */
void dynm_cells_dropped(const struct dynm_cells *cells, uint32_t why);

/**
 * Keeps the object (program or shared object) that `address` lies in loaded until the process ends, whatever
 * dlclose() is told: the kernel may look at the descriptors of its sequences as long as threads live.
 *
 * Requires: any address, NULL too. Guarantees: nothing in programs that are linked statically, and where the
 * dynamic linker doesn't know the object. Threads: any. Signals: no. Cost: the dynamic linker's lock. Errors:
 * none.
 */
void dynm_pin(const void *address);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Options for dynm_open(): all defaults. */
static inline dynm_segment_options dynm_segment_options_init(void) {
  dynm_segment_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.abi_level = DYNM_ABI_LEVEL;
  return options;
}

/* What dynm_on_change() and dynm_on_threshold() watch: nothing yet. */
static inline dynm_watched dynm_watched_init(void) {
  dynm_watched watched;
  memset(&watched, 0, sizeof watched);
  watched.struct_size = sizeof watched;
  return watched;
}

/* Options for dynm_register() and dynm_register_family(): a type, a name and a help; all else default. */
static inline dynm_metric_options dynm_metric_options_init(uint32_t metric_type, const char *name, const char *help) {
  dynm_metric_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.metric_type = metric_type;
  options.name = name;
  options.help = help;
  return options;
}

/* A value for dynm_metric_value(). */
static inline dynm_value dynm_value_init(void) {
  dynm_value value;
  memset(&value, 0, sizeof value);
  value.struct_size = sizeof value;
  return value;
}

/* Options for dynm_composite_open(): an operation on a family, and nothing else. */
static inline dynm_composite_options dynm_composite_options_init(const char *operation, const char *family) {
  dynm_composite_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.operation = operation;
  options.family = family;
  return options;
}

/* Options for dynm_system_start(): all defaults. */
static inline dynm_system_options dynm_system_options_init(void) {
  dynm_system_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/* Options for a check: a name; all else default. */
static inline dynm_check_options dynm_check_options_init(const char *name) {
  dynm_check_options options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  options.name = name;
  return options;
}

#endif /* DYN_METRICS_H */

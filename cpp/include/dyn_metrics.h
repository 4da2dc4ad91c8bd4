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
/** A series, of any type. From dynm_register() and dynm_family_with(). */
typedef struct dynm_metric dynm_metric;
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
   * A replacement was refused because the segment is in use.
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
 * "family", "child", "visit", "render", "cells", "fork". 1 or 0; 0 for what it doesn't know, and for NULL.
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
 * `/dev/shm/dynamo`, opened by the first call.
 *
 * Requires: `registry` not NULL. Guarantees: every call gives the same one; dynm_registry_close() of it does
 * nothing. A call that failed may be repeated. Threads: any. Signals: no. Cost: after the first call a
 * comparison. Errors: as dynm_open().
 */
dynm_status dynm_root(const dynm_registry **registry);

/**
 * A registry of the same segment with a prefix before every name and labels on every series.
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
 * DYNM_NOT_SEGMENT when the file can't be read any more.
 */
dynm_status dynm_visit(const dynm_registry *registry, dynm_visitor visitor, void *user);

/**
 * Renders the segment as Prometheus text 0.0.4, as the exporter would, self-metrics included.
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

#endif /* DYN_METRICS_H */

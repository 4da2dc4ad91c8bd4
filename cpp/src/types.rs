//! Structures that cross the edge. All of them are plain data for which all-zero bytes are valid.

use std::ffi::{c_char, c_void};

/// Level of what headers compiled into programs rely on: `dynm_cells`, `dynm_gauge_cell`, `dynm_buckets` and
/// the numbers in layout.h. A library serves every level up to its own.
pub const DYNM_ABI_LEVEL: u32 = 1;

/// Type of a metric, and how its numbers are kept. Numbers of different types of one kind share a series.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_type {
    /// Total of whole events.
    DYNM_COUNTER_U64 = 1,
    /// Total of fractional amounts.
    DYNM_COUNTER_F64 = 2,
    /// Total of time: counted in nanoseconds, exposed in seconds.
    DYNM_COUNTER_NS = 3,
    /// Count and sum of observations.
    DYNM_TALLY = 4,
    /// Whole number that goes up and down; each process has its own.
    DYNM_GAUGE_I64 = 5,
    /// Fractional number that goes up and down.
    DYNM_GAUGE_F64 = 6,
    /// Time that goes up and down: in nanoseconds, exposed in seconds.
    DYNM_GAUGE_NS = 7,
    /// Counts of observations by upper bound, and their sum.
    DYNM_HISTOGRAM = 8,
    /// Facts that don't change, as labels; the value is 1.
    DYNM_INFO = 9,
    /// Named states, each on or off.
    DYNM_STATE_SET = 10,
}

/// In `dynm_segment_options.flags`: `group` counts.
pub const DYNM_SET_GROUP: u32 = 1;
/// In `dynm_segment_options.flags`: start from zero, replacing what is there; refused while it is in use.
pub const DYNM_FRESH: u32 = 2;
/// In `dynm_segment_options.flags`: with DYNM_FRESH, replace it even when it is in use.
pub const DYNM_FORCE: u32 = 4;

/// In `dynm_metric_options.flags`: cells for all CPUs together, for very many, rarely written series.
pub const DYNM_SHARED: u32 = 1;

/// In `flags` of dynm_runtime(): names and labels as NVIDIA Dynamo's own runtime gives them.
pub const DYNM_SCHEME_UPSTREAM: u32 = 1;

/// A label, or a pair of name and value elsewhere. Both NUL-terminated UTF-8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_label {
    /// Name.
    pub name: *const c_char,
    /// Value.
    pub value: *const c_char,
}

/// A text with its length, not NUL-terminated. UTF-8; `data` may be NULL when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_str {
    /// First byte.
    pub data: *const c_char,
    /// Bytes.
    pub len: usize,
}

/// How a segment is opened; made by `dynm_segment_options_init()`. What is 0 or NULL is the default.
///
/// What concerns the file (`max_bytes`, `mode`, `group`, `processes`, `max_series_per_family`, common labels)
/// counts for the process that creates it; what concerns this process (role, its labels) counts for the first
/// opening of a segment in it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_segment_options {
    /// `sizeof(dynm_segment_options)`.
    pub struct_size: usize,
    /// `DYNM_ABI_LEVEL`; 0 when no header code touches cells.
    pub abi_level: u32,
    /// `DYNM_SET_GROUP` | `DYNM_FRESH` | `DYNM_FORCE`.
    pub flags: u32,
    /// The segment's path; default the environment's `DYN_METRICS_SHM`, else `/dev/shm/dynamo`.
    pub path: *const c_char,
    /// Role of this process, shown to people; at most 128 bytes.
    pub role: *const c_char,
    /// Labels of this process, shown to people.
    pub process_labels: *const dynm_label,
    /// How many.
    pub process_label_count: usize,
    /// Labels that the exporter adds to every sample of a new segment.
    pub common_labels: *const dynm_label,
    /// How many.
    pub common_label_count: usize,
    /// Users whose segment is accepted, besides this one and root.
    pub allowed_uids: *const u32,
    /// How many.
    pub allowed_uid_count: usize,
    /// Limit of the file's length; default a quarter of the filesystem, at most 64 GiB.
    pub max_bytes: u64,
    /// Permission bits of a new file; default 0600, with a group 0660.
    pub mode: u32,
    /// Group of a new file, with `DYNM_SET_GROUP`.
    pub group: u32,
    /// Default limit of series in a family; default 10 000.
    pub max_series_per_family: u32,
    /// Most processes attached at the same time, 1 to 4096; default 512.
    pub processes: u32,
}

/// What a metric is; made by `dynm_metric_options_init()`. What is 0 or NULL is the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_metric_options {
    /// `sizeof(dynm_metric_options)`.
    pub struct_size: usize,
    /// A `dynm_type`.
    pub metric_type: u32,
    /// Gauges and state sets: how the values of several processes combine, a `DYNM_MODE_`; default
    /// `DYNM_MODE_LIVESUM`, of state sets `DYNM_MODE_LIVEMOSTRECENT`.
    pub mode: u32,
    /// Name; the registry's prefix comes before it.
    pub name: *const c_char,
    /// Help, for people.
    pub help: *const c_char,
    /// Unit, in the plural of the base unit ("seconds"); the name must end in it, before "_total".
    pub unit: *const c_char,
    /// Labels that every series of this metric or family has, besides the registry's.
    pub labels: *const dynm_label,
    /// How many.
    pub label_count: usize,
    /// Histograms: upper bounds, ascending, without +Inf, at most 256; default Prometheus' for seconds.
    pub bounds: *const f64,
    /// How many.
    pub bound_count: usize,
    /// State sets: the states' names, at most 63.
    pub states: *const *const c_char,
    /// How many.
    pub state_count: usize,
    /// Priority level, 0 (most important) to 255.
    pub level: u32,
    /// Mode "all": how many of the newest dead processes keep their sample.
    pub keep_dead: u32,
    /// Most series of the family; default the segment's.
    pub max_series: u32,
    /// `DYNM_SHARED`.
    pub flags: u32,
}

/// What a value is read into. Set `struct_size` first; fields that don't belong to the metric are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dynm_value {
    /// `sizeof(dynm_value)`; bytes beyond what the library knows are left alone.
    pub struct_size: usize,
    /// Counters and gauges: the value as exposed (durations in seconds). Infos: 1.
    pub number: f64,
    /// The same as whole number, exact: events (of a counter beyond 2^63, cast it to uint64_t), nanoseconds.
    /// 0 of fractions.
    pub integer: i64,
    /// Tallies and histograms: number of observations.
    pub count: u64,
    /// Tallies and histograms: sum of the observations.
    pub sum: f64,
    /// State sets: bit i is the state i.
    pub states: u64,
}

/// What a metric is registered as. Everything it points to belongs to the library and stays for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_description {
    /// `sizeof(dynm_description)`.
    pub struct_size: usize,
    /// A `dynm_type`.
    pub metric_type: u32,
    /// A `DYNM_KIND_`.
    pub kind: u32,
    /// A `DYNM_MODE_`.
    pub mode: u32,
    /// Priority level.
    pub level: u32,
    /// Full name.
    pub name: *const c_char,
    /// Help, the first registration's.
    pub help: *const c_char,
    /// Unit; may be empty.
    pub unit: *const c_char,
    /// Labels, sorted by name.
    pub labels: *const dynm_label,
    /// How many.
    pub label_count: usize,
    /// Histograms: upper bounds, without +Inf.
    pub bounds: *const f64,
    /// How many.
    pub bound_count: usize,
    /// State sets: names of the states.
    pub states: *const *const c_char,
    /// How many.
    pub state_count: usize,
}

/// What a registry is. Everything it points to belongs to the library and stays for ever.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_registry_description {
    /// `sizeof(dynm_registry_description)`.
    pub struct_size: usize,
    /// The segment's path, absolute.
    pub path: *const c_char,
    /// What stands before every name.
    pub prefix: *const c_char,
    /// Labels of every series.
    pub labels: *const dynm_label,
    /// How many.
    pub label_count: usize,
}

/// A family as `dynm_visit()` shows it; valid until the visitor returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_family_view {
    /// Bytes of this structure as the library knows it.
    pub struct_size: usize,
    /// Exposed name.
    pub name: *const c_char,
    /// Help.
    pub help: *const c_char,
    /// Unit; may be empty.
    pub unit: *const c_char,
    /// Who registered it.
    pub registrant: *const c_char,
    /// A `DYNM_KIND_`.
    pub kind: u32,
    /// A `DYNM_MODE_`.
    pub mode: u32,
    /// Priority level.
    pub level: u32,
    /// 0.
    pub reserved: u32,
    /// Number of its series.
    pub series_count: usize,
    /// Histograms: upper bounds, without +Inf; of a family without series none.
    pub bounds: *const f64,
    /// How many.
    pub bound_count: usize,
    /// State sets: names of the states; of a family without series none.
    pub states: *const *const c_char,
    /// How many.
    pub state_count: usize,
}

/// A series as `dynm_visit()` shows it; valid until the visitor returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_series_view {
    /// Bytes of this structure as the library knows it.
    pub struct_size: usize,
    /// Labels, the segment's common ones included.
    pub labels: *const dynm_label,
    /// How many.
    pub label_count: usize,
    /// Histograms: observations in each bucket, not cumulative, the last one +Inf's.
    pub buckets: *const u64,
    /// How many: one more than bounds.
    pub bucket_count: usize,
    /// Its value, over all processes.
    pub value: dynm_value,
}

/// Called by `dynm_visit()` for each family, with `series` NULL, and then for each of its series. 0 to go on,
/// anything else ends the visit. Must return: no exception and no longjmp may leave it.
pub type dynm_visitor = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        family: *const dynm_family_view,
        series: *const dynm_series_view,
    ) -> i32,
>;

/// The cells of a counter, tally or histogram, as level 1 of the ABI has them: what an update needs that
/// makes no call. Copy it freely; what it points to is never released. All-zero is a value: it drops what is
/// added.
///
/// Words: a counter has one (u64, double or nanoseconds, by its type); a tally has the count (u64) and the
/// sum (double); a histogram has the buckets (u64, +Inf last) and then the sum (double).
///
/// An update of word i, with `base` the thread pointer:
/// 1. `packed` is 0: add to `shared[i]` atomically, relaxed (a double by compare and exchange); `shared` is NULL:
///    cold path. What is added to `shared[i]` counts at any other time, too: it is only slower.
/// 2. `rseq = base + (int32_t)(packed >> 32)`: the area of struct rseq that glibc has registered for the
///    thread.
/// 3. In a restartable sequence: `cpu = rseq->cpu_id`; not below `packed & 0xffff`: cold path (as unsigned,
///    so -1 and -2 too). `block = entries[cpu]`; 0: cold path. Add to the word at `block + ((packed >> 16) &
///    0xffff) + 8 * i`, the store being the last instruction of the sequence.
///
/// Objects that contain such sequences must never be unloaded.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_cells {
    /// Addresses of the CPUs' blocks; each goes from 0 to an address once. Read it in one load.
    pub entries: *const usize,
    /// Upper half: offset of the rseq area; then 16 bits offset of the first word, 16 bits length of
    /// `entries`.
    pub packed: u64,
    /// The words in the block that all CPUs share.
    pub shared: *mut u64,
    /// For the library.
    pub cold: *const c_void,
}

/// How a histogram finds the bucket of a value, as level 1 of the ABI has it.
///
/// With a table: `cell = ((int64_t)bits(value) >> shift) - first`, clamped to 0 .. last; `b = below[cell]`;
/// the bucket is `b + (padded[b] < value)`. Without one (`below` is NULL): the number of the first
/// `bound_count` of `padded` that are below `value`. The sum is word `bound_count + 1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_buckets {
    /// `last + 1` numbers of bounds, or NULL.
    pub below: *const u16,
    /// The bounds, and then +Inf.
    pub padded: *const f64,
    /// First cell.
    pub first: i64,
    /// Number of the last cell.
    pub last: i64,
    /// Bits of a double that cells don't tell apart.
    pub shift: u32,
    /// Number of bounds, without +Inf.
    pub bound_count: u32,
}

/// Where a gauge's value is, as level 1 of the ABI has it.
///
/// `word = *own`, loaded with acquire. When `(word & 7) == (4 | representation)`, a `DYNM_REPRESENTATION_`,
/// the value's 64 bits may be stored at address `word & ~7` (relaxed, one store), and be added to atomically
/// (relaxed; to a double what is no NaN, by compare and exchange). In every other case (first update, after a fork, another representation, a
/// mode that keeps the time) use `dynm_gauge_set_...` or `dynm_gauge_add_...` with the metric. Load it anew
/// at each update: it is 0 in a forked child, and the address may change.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynm_gauge_cell {
    /// The word.
    pub own: *const usize,
}

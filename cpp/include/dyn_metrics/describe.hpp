// describe.hpp: what metrics are registered as, and views of everything in a segment.
#ifndef DYN_METRICS_DESCRIBE_HPP
#define DYN_METRICS_DESCRIBE_HPP

#include <optional>

#include "handle.hpp"

namespace dyn_metrics {

/// Type of a family, as it is exposed.
enum class Kind : std::uint32_t {
  counter = DYNM_KIND_COUNTER,
  gauge = DYNM_KIND_GAUGE,
  histogram = DYNM_KIND_HISTOGRAM,
  tally = DYNM_KIND_TALLY,
  info = DYNM_KIND_INFO,
  state_set = DYNM_KIND_STATE_SET,
  exponential_histogram = DYNM_KIND_EXPONENTIAL_HISTOGRAM,
};

namespace detail {

inline std::vector<Label> labels_of(const dynm_label* labels, std::size_t count) {
  std::vector<Label> list;
  list.reserve(count);
  for (std::size_t i = 0; i < count; i++) list.push_back({labels[i].name, labels[i].value});
  return list;
}

}  // namespace detail

/// What a metric is registered as. All texts and lists stay valid until the process ends.
struct Description {
  dynm_type type;  ///< how this handle keeps its numbers
  Kind kind;
  Mode mode;
  std::uint32_t level;
  std::string_view name;  ///< full name
  std::string_view help;  ///< the first registration's
  std::string_view unit;  ///< may be empty
  std::vector<Label> labels;  ///< sorted by name
  std::vector<double> bounds;  ///< histograms: upper bounds, without +Inf
  std::vector<std::string_view> states;  ///< state sets
};

/// What a handle's metric is registered as; of one that counts privately name, help, unit and labels are empty. Nothing
/// where the metric's record in the segment is damaged.
///
/// Requires: a handle of any type. Threads: any. Signals: no. Cost: memory. Errors: std::bad_alloc.
template <class M>
std::optional<Description> describe(const M& handle) {
  dynm_description raw{};
  raw.struct_size = sizeof raw;
  if (::dynm_metric_describe(handle.raw(), &raw) != DYNM_OK) return std::nullopt;
  Description found;
  found.type = static_cast<dynm_type>(raw.metric_type);
  found.kind = static_cast<Kind>(raw.kind);
  found.mode = static_cast<Mode>(raw.mode);
  found.level = raw.level;
  found.name = raw.name;
  found.help = raw.help;
  found.unit = raw.unit;
  found.labels = detail::labels_of(raw.labels, raw.label_count);
  found.bounds.assign(raw.bounds, raw.bounds + raw.bound_count);
  found.states.assign(raw.states, raw.states + raw.state_count);
  return found;
}

/// A family as Registry::visit() shows it. Valid until the visitor returns. Errors: std::bad_alloc where a vector is
/// given.
class FamilyView {
 public:
  explicit FamilyView(const dynm_family_view& raw) noexcept : raw_(&raw) {}
  /// Exposed name.
  std::string_view name() const noexcept { return raw_->name; }
  /// Help.
  std::string_view help() const noexcept { return raw_->help; }
  /// Unit; may be empty.
  std::string_view unit() const noexcept { return raw_->unit; }
  /// Who registered it.
  std::string_view registrant() const noexcept { return raw_->registrant; }
  /// Its type, as exposed.
  Kind kind() const noexcept { return static_cast<Kind>(raw_->kind); }
  /// How the values of several processes combine.
  Mode mode() const noexcept { return static_cast<Mode>(raw_->mode); }
  /// Priority level.
  std::uint32_t level() const noexcept { return raw_->level; }
  /// How many series it has.
  std::size_t series_count() const noexcept { return raw_->series_count; }
  /// Histograms: upper bounds, without +Inf; none of a family without series.
  std::vector<double> bounds() const { return {raw_->bounds, raw_->bounds + raw_->bound_count}; }
  /// State sets: names of the states; none of a family without series.
  std::vector<std::string_view> states() const { return {raw_->states, raw_->states + raw_->state_count}; }

 private:
  const dynm_family_view* raw_;
};

/// A series as Registry::visit() shows it. Valid until the visitor returns. Errors: std::bad_alloc where a vector is
/// given.
class SeriesView {
 public:
  explicit SeriesView(const dynm_series_view& raw) noexcept : raw_(&raw) {}
  /// Labels, the segment's common ones first.
  std::vector<Label> labels() const { return detail::labels_of(raw_->labels, raw_->label_count); }
  /// The value of a label; nothing when the series has none of this name.
  std::optional<std::string_view> label(std::string_view name) const noexcept {
    for (std::size_t i = 0; i < raw_->label_count; i++) {
      if (name == raw_->labels[i].name) return raw_->labels[i].value;
    }
    return std::nullopt;
  }
  /// Counters and gauges: the value over all processes, durations in seconds; infos: 1.
  double value() const noexcept { return raw_->value.number; }
  /// Tallies and histograms: number of observations.
  std::uint64_t count() const noexcept { return raw_->value.count; }
  /// Tallies and histograms: sum of the observations.
  double sum() const noexcept { return raw_->value.sum; }
  /// State sets: bit i is the state i.
  std::uint64_t states() const noexcept { return raw_->value.states; }
  /// Histograms: observations in each bucket, not cumulative, the last one +Inf's.
  std::vector<std::uint64_t> buckets() const { return {raw_->buckets, raw_->buckets + raw_->bucket_count}; }

 private:
  const dynm_series_view* raw_;
};

/// The library's version: "0.1.0". Threads, signals: any. Errors: none.
inline std::string_view version() noexcept { return ::dynm_version(); }

/// Which path updates take in this process, and why: "rseq", or "shared: " and the reason.
///
/// Guarantees: stays valid; decided once. Threads: any. Signals: no. Cost: memory at the first call. Errors: none.
inline std::string_view update_path() noexcept { return ::dynm_update_path(); }

/// The name of a status, for people: "DYNM_FULL". Threads, signals: any. Errors: none.
inline std::string_view status_name(Status status) noexcept { return ::dynm_status_name(status); }

}  // namespace dyn_metrics

#endif  // DYN_METRICS_DESCRIBE_HPP

// options.hpp: what a metric is registered as, and how a segment is opened.
#ifndef DYN_METRICS_OPTIONS_HPP
#define DYN_METRICS_OPTIONS_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.hpp"

namespace dyn_metrics {

/// How the values of several processes' gauges or state sets combine. The dead count too, unless "live" stands before.
enum class Mode : std::uint32_t {
  by_default = 0,  ///< live_sum; of state sets live_most_recent
  all = DYNM_MODE_ALL,
  live_all = DYNM_MODE_LIVEALL,
  min = DYNM_MODE_MIN,
  live_min = DYNM_MODE_LIVEMIN,
  max = DYNM_MODE_MAX,
  live_max = DYNM_MODE_LIVEMAX,
  sum = DYNM_MODE_SUM,
  live_sum = DYNM_MODE_LIVESUM,
  most_recent = DYNM_MODE_MOSTRECENT,
  live_most_recent = DYNM_MODE_LIVEMOSTRECENT,
};

/// Name and value of a label. Views: valid as long as what they were made of.
struct Label {
  std::string_view name;
  std::string_view value;
  friend bool operator==(const Label& a, const Label& b) noexcept { return a.name == b.name && a.value == b.value; }
  friend bool operator!=(const Label& a, const Label& b) noexcept { return !(a == b); }
};

/// Upper bounds start, start + width, ...: `count` of them. What makes no sense (a width that is not above 0) is
/// refused when the histogram is registered. Errors: std::bad_alloc.
inline std::vector<double> linear_bounds(double start, double width, std::size_t count) {
  std::vector<double> bounds;
  bounds.reserve(count);
  for (std::size_t i = 0; i < count; i++) bounds.push_back(start + width * static_cast<double>(i));
  return bounds;
}

/// Upper bounds start, start * factor, start * factor * factor, ...: `count` of them. What makes no sense (a start that
/// is not above 0, a factor not above 1) is refused when the histogram is registered. Errors: std::bad_alloc.
inline std::vector<double> exponential_bounds(double start, double factor, std::size_t count) {
  std::vector<double> bounds;
  bounds.reserve(count);
  for (double bound = start; bounds.size() < count; bound *= factor) bounds.push_back(bound);
  return bounds;
}

namespace detail {
using Pairs = std::vector<std::pair<std::string, std::string>>;
struct MetricOptions;
struct OpenOptions;
}  // namespace detail

/// Description of a metric: name, help, and what else there is to say.
///
///     Options("queue_wait_seconds", "Time a request waits").unit("seconds").bounds({0.001, 0.01, 0.1, 1})
///
/// Nothing is checked before the registration. Errors: std::bad_alloc, here and below.
class Options {
 public:
  /// A metric of this name, which the registry's prefix comes before; the help is for people.
  explicit Options(std::string name, std::string help = {}) : name_(std::move(name)), help_(std::move(help)) {}

  /// Unit, in the plural of the base unit ("seconds", "bytes"); the name must end in it, before "_total".
  Options& unit(std::string unit) {
    unit_ = std::move(unit);
    return *this;
  }
  /// A label that every series of the metric or family has, besides the registry's.
  Options& label(std::string name, std::string value) {
    labels_.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  /// Histograms: upper bounds, ascending, without +Inf, 1 to 256; unless given Prometheus' for seconds.
  Options& bounds(std::vector<double> bounds) {
    bounds_ = std::move(bounds);
    return *this;
  }
  /// State sets: names of the states, 1 to 63.
  Options& states(std::vector<std::string> states) {
    states_ = std::move(states);
    return *this;
  }
  /// Gauges and state sets: how the values of several processes combine.
  Options& mode(Mode mode) noexcept {
    mode_ = mode;
    return *this;
  }
  /// Priority level, 0 (most important, unless given) to 255; the first registration's counts, here and below.
  Options& level(std::uint32_t level) noexcept {
    level_ = level;
    return *this;
  }
  /// Mode all: how many of the newest dead processes keep their sample; 0 unless given.
  Options& keep_dead(std::uint32_t processes) noexcept {
    keep_dead_ = processes;
    return *this;
  }
  /// Most series of the family; what is beyond goes to one whose label values are "__overflow__". 0: the segment's.
  Options& max_series(std::uint32_t series) noexcept {
    max_series_ = series;
    return *this;
  }
  /// Cells for all CPUs together, for very many, rarely written series: less memory, and atomic updates.
  Options& shared(bool shared = true) noexcept {
    shared_ = shared;
    return *this;
  }

 private:
  friend struct detail::MetricOptions;
  std::string name_, help_, unit_;
  detail::Pairs labels_;
  std::optional<std::vector<double>> bounds_;
  std::vector<std::string> states_;
  Mode mode_ = Mode::by_default;
  std::uint32_t level_ = 0, keep_dead_ = 0, max_series_ = 0;
  bool shared_ = false;
};

/// How a segment is opened.
///
///     SegmentOptions().path("/dev/shm/engine").role("worker").max_bytes(64 << 20)
///
/// What concerns the file (max_bytes, mode, group, processes, max_series_per_family, common labels) counts for the
/// process that creates it; what concerns this process (role, its labels) counts for the first opening of a segment in
/// it. Nothing is checked before the opening. Errors: std::bad_alloc, here and below.
class SegmentOptions {
 public:
  /// The segment's path; unless given the environment's DYN_METRICS_SHM, else /dev/shm/dynamo.
  SegmentOptions& path(std::string path) {
    path_ = std::move(path);
    return *this;
  }
  /// Role of this process, shown to people; at most 128 bytes.
  SegmentOptions& role(std::string role) {
    role_ = std::move(role);
    return *this;
  }
  /// A label of this process, shown to people.
  SegmentOptions& process_label(std::string name, std::string value) {
    process_labels_.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  /// A label that the exporter adds to every sample of a new segment.
  SegmentOptions& common_label(std::string name, std::string value) {
    common_labels_.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  /// Accepts a segment owned by this user, besides one's own and root's.
  SegmentOptions& allow_uid(std::uint32_t uid) {
    allowed_uids_.push_back(uid);
    return *this;
  }
  /// Limit of the file's length; unless given a quarter of the filesystem, at most 64 GiB.
  SegmentOptions& max_bytes(std::uint64_t bytes) noexcept {
    max_bytes_ = bytes;
    return *this;
  }
  /// Permission bits of a new file; unless given 0600, with a group 0660.
  SegmentOptions& mode(std::uint32_t mode) noexcept {
    mode_ = mode;
    return *this;
  }
  /// Group (its number) of a new file.
  SegmentOptions& group(std::uint32_t gid) noexcept {
    group_ = gid;
    return *this;
  }
  /// Default limit of series in a family; 10 000 unless given.
  SegmentOptions& max_series_per_family(std::uint32_t series) noexcept {
    max_series_per_family_ = series;
    return *this;
  }
  /// Most processes attached at the same time, 1 to 4096; 512 unless given.
  SegmentOptions& processes(std::uint32_t processes) noexcept {
    processes_ = processes;
    return *this;
  }
  /// Starts from zero, replacing what is there; refused while it is in use (DYNM_IN_USE), unless forced.
  SegmentOptions& fresh(bool fresh = true) noexcept {
    fresh_ = fresh;
    return *this;
  }
  /// Lets fresh() replace a segment that is in use; what its processes count is lost.
  SegmentOptions& force(bool force = true) noexcept {
    force_ = force;
    return *this;
  }

 private:
  friend struct detail::OpenOptions;
  std::optional<std::string> path_;
  std::string role_;
  detail::Pairs process_labels_, common_labels_;
  std::vector<std::uint32_t> allowed_uids_;
  std::uint64_t max_bytes_ = 0;
  std::uint32_t mode_ = 0, max_series_per_family_ = 0, processes_ = 0;
  std::optional<std::uint32_t> group_;
  bool fresh_ = false, force_ = false;
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_OPTIONS_HPP

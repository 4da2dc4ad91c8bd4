// testing.hpp: a registry for tests of code that counts.
//
//     dyn_metrics::testing::FakeRegistry registry;
//     Engine engine(registry);  // takes a dyn_metrics::Registry&
//     engine.run();
//     EXPECT_EQ(registry.value("engine_requests_total", {{"status", "ok"}}), 1);
//
// Not for programs in service: the header they include is dyn_metrics.hpp. Needs no test framework.
#ifndef DYN_METRICS_TESTING_HPP
#define DYN_METRICS_TESTING_HPP

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "../dyn_metrics.hpp"

namespace dyn_metrics::testing {

/// A registry of a private segment in a temporary directory, which is removed at the end: $TMPDIR, else /dev/shm, else
/// /tmp. Pass it where a Registry is expected; copies and children of it register in the same segment.
///
/// What is read is over all processes, so forked children may count, too. Labels are all that the series has, in any
/// order. Threads: any. Cost: the mapping stays until the process ends, as every segment's does: some 250 KB, and more
/// by what is registered.
class FakeRegistry : public Registry {
 public:
  /// An empty segment of at most 16 MiB. Errors: a SegmentError when it can be made in none of the directories; without
  /// exceptions a message and abort().
  FakeRegistry() : FakeRegistry(SegmentOptions()) {}
  /// The same with other options; the path is its own. Errors: as above, and as Registry::open().
  explicit FakeRegistry(const SegmentOptions& options) {
    Result<Registry> opened(Failure{DYNM_IO, detail::Message("no directory for a temporary segment")}, Registry());
    const char* const given = std::getenv("TMPDIR");
    for (const char* parent : {given == nullptr ? "" : given, "/dev/shm", "/tmp"}) {
      if (*parent != '\0' && (opened = open_below(parent, options)).ok()) break;
    }
    static_cast<Registry&>(*this) = opened.value();
#if DYN_METRICS_EXCEPTIONS
    std::move(opened).or_throw();
#else
    if (opened.ok()) return;
    std::fprintf(stderr, "FakeRegistry: %s\n", opened.message());
    std::abort();
#endif
  }
  FakeRegistry(const FakeRegistry&) = delete;
  FakeRegistry& operator=(const FakeRegistry&) = delete;
  /// Removes the segment, in the process that has made it. Handles, families and copies work on, and nobody reads them.
  ~FakeRegistry() {
    if (maker_ == ::getpid()) remove(directory_);
  }

  // ---- What was counted ----

  /// Whether there is such a series.
  bool has(std::string_view name, const std::vector<Label>& labels = {}) const {
    return read<bool>(name, labels, [](const FamilyView&, const SeriesView&) { return true; }).has_value();
  }
  /// The value of a counter or gauge, durations in seconds; of an info 1. Nothing when there is no such series, here
  /// and below.
  std::optional<double> value(std::string_view name, const std::vector<Label>& labels = {}) const {
    return read<double>(name, labels, [](const FamilyView& family, const SeriesView& series) {
      const Kind kind = family.kind();
      const bool has_value = kind == Kind::counter || kind == Kind::gauge || kind == Kind::info;
      return has_value ? std::optional(series.value()) : std::nullopt;
    });
  }
  /// Observations of a histogram or tally.
  std::optional<std::uint64_t> count(std::string_view name, const std::vector<Label>& labels = {}) const {
    return read<std::uint64_t>(name, labels, [](const FamilyView& family, const SeriesView& series) {
      return observes(family) ? std::optional(series.count()) : std::nullopt;
    });
  }
  /// Sum of the observations of a histogram or tally.
  std::optional<double> sum(std::string_view name, const std::vector<Label>& labels = {}) const {
    return read<double>(name, labels, [](const FamilyView& family, const SeriesView& series) {
      return observes(family) ? std::optional(series.sum()) : std::nullopt;
    });
  }
  /// Observations in each bucket of a histogram, not cumulative, the last one +Inf's.
  std::optional<std::vector<std::uint64_t>> buckets(std::string_view name,
                                                    const std::vector<Label>& labels = {}) const {
    return read<std::vector<std::uint64_t>>(name, labels, [](const FamilyView& family, const SeriesView& series) {
      return family.kind() == Kind::histogram ? std::optional(series.buckets()) : std::nullopt;
    });
  }
  /// Whether a state of a state set is on.
  std::optional<bool> is_on(std::string_view name, std::string_view state,
                            const std::vector<Label>& labels = {}) const {
    return read<bool>(name, labels, [=](const FamilyView& family, const SeriesView& series) -> std::optional<bool> {
      const std::vector<std::string_view> states = family.states();
      const auto at = std::find(states.begin(), states.end(), state);
      if (at == states.end()) return std::nullopt;
      return (series.states() >> (at - states.begin()) & 1) != 0;
    });
  }
  /// The whole segment as Prometheus text, for a look or a search; empty when it can't be read.
  std::string exposition() const { return try_render().value(); }

  // ---- Failures ----

  /// Has every registration of series and families through this registry, its copies and children fail with `status`.
  /// What is registered works on, and families go on making series.
  void fail_registrations(Status status = DYNM_FULL) noexcept { refuse(status); }
  /// Ends fail_registrations().
  void allow_registrations() noexcept { refuse(DYNM_OK); }

  /// Fills the segment, so that nothing more can be registered: DYNM_FULL, and families can make no series any more.
  /// For good. Leaves a family fake_registry_filler_total.
  void fill() {
    const auto filler = try_family<Counter>(Options("fake_registry_filler_total").max_series(1U << 30), {"value"});
    std::size_t made = 0;
    for (std::size_t length = DYNM_MAX_LABEL_VALUE; length >= 8; length /= 2) {
      for (bool room = true; room;) {
        std::string value = std::to_string(made++);
        value.resize(length, '.');
        room = filler.value().try_with(value).ok();
      }
    }
  }

 private:
  using Failure = detail::Failure;
  // What fill() takes, unless other options say otherwise.
  static constexpr std::uint64_t most_bytes = std::uint64_t{16} << 20;

  static bool observes(const FamilyView& family) noexcept {
    return family.kind() == Kind::histogram || family.kind() == Kind::tally;
  }

  static bool has_labels(const SeriesView& series, const std::vector<Label>& labels) {
    const auto is_there = [&](const Label& label) { return series.label(label.name) == label.value; };
    return series.labels().size() == labels.size() && std::all_of(labels.begin(), labels.end(), is_there);
  }

  template <class T, class Get>
  std::optional<T> read(std::string_view name, const std::vector<Label>& labels, const Get& get) const {
    std::optional<T> found;
    const Result<void> visited = try_visit([&](const FamilyView& family, const SeriesView& series) {
      if (family.name() != name || !has_labels(series, labels)) return true;
      found = get(family, series);
      return false;
    });
    return visited.ok() ? found : std::nullopt;
  }

  Result<Registry> open_below(const std::string& parent, SegmentOptions options) {
    std::string directory = parent + "/dyn_metrics_fake.XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) {
      return {Failure{DYNM_IO, detail::Message((parent + ": can't make a directory").c_str())}, Registry()};
    }
    options.path(directory + "/segment");
    if (detail::OpenOptions(options).raw.max_bytes == 0) options.max_bytes(most_bytes);
    Result<Registry> opened = try_open(options);
    if (opened.ok()) {
      directory_ = directory;
    } else {
      remove(directory);
    }
    return opened;
  }

  static void remove(const std::string& directory) noexcept {
    DIR* const list = ::opendir(directory.c_str());
    if (list == nullptr) return;
    while (const dirent* const entry = ::readdir(list)) ::unlinkat(::dirfd(list), entry->d_name, 0);
    ::closedir(list);
    ::rmdir(directory.c_str());
  }

  std::string directory_;
  ::pid_t maker_ = ::getpid();
};

}  // namespace dyn_metrics::testing

#endif  // DYN_METRICS_TESTING_HPP

// registry.hpp: segments, and registration of metrics.
#ifndef DYN_METRICS_REGISTRY_HPP
#define DYN_METRICS_REGISTRY_HPP

#include "counter.hpp"
#include "family.hpp"
#include "gauge.hpp"
#include "histogram.hpp"
#include "opening.hpp"
#include "state_set.hpp"
#include "visit.hpp"

namespace dyn_metrics {

namespace detail {
// A text of the library's, freed at the end.
struct Freed {
  char* text;
  ~Freed() { ::dynm_free(text); }
};
}  // namespace detail

/// A segment, or a part of one with a prefix and labels: where metrics are registered.
///
///     auto registry = Registry::root().child("engine_", {{"model", "llama"}});
///     auto requests = registry.counter("requests_total", "Requests answered");
///
/// All registries of one path, in all processes and languages, share their series: equal name and labels are the same
/// series. Copies are the same registry, and the last one closes it; handles and families go on working then, and what
/// was counted stays in the segment. One that is default-made, moved from, or of an opening that failed refuses every
/// registration with DYNM_NULL.
///
/// Every registration: Requires: nothing. Guarantees: finds the metric, or registers it; on failure the segment is
/// unchanged. Threads: any, with the same registry. Signals: no. After fork: yes. Cost: system calls, memory once for
/// each series. Errors: DYNM_NAME, DYNM_LABELS, DYNM_BOUNDS, DYNM_OPTION, DYNM_UTF8, DYNM_CONFLICT (naming who
/// registered the other), DYNM_FULL, DYNM_NOT_SEGMENT, DYNM_OLD_LIBRARY, DYNM_IO, DYNM_NULL; thrown as Error, or from a
/// try_ function, which never throws, in the Result, whose value then counts privately.
class Registry {
 public:
  Registry() noexcept = default;

  // ---- Opening ----

  /// The registry of the segment that the environment names: DYN_METRICS_SHM, else /dev/shm/dynamo. Creates it when
  /// there is none.
  ///
  /// Guarantees: every call in the process gives the same one, which is never closed; on failure what is at the path is
  /// unchanged, and the call may be repeated. Threads: any. Signals: no. Cost: at the first call system calls and
  /// memory for the mapping. Errors: DYNM_PERMISSION, DYNM_NOT_SEGMENT, DYNM_NEWER_SEGMENT, DYNM_OLD_LIBRARY,
  /// DYNM_FULL, DYNM_IO.
  static Result<Registry> try_root() noexcept {
    return opened([](const dynm_registry** raw) { return detail::Failure::of(::dynm_root(raw)); });
  }

  /// Opens a segment, creating it when there is none.
  ///
  /// Guarantees, Threads, Signals, Cost: as try_root(); each opening is closed once. Errors: as there, and DYNM_OPTION,
  /// DYNM_NAME, DYNM_LABELS, DYNM_UTF8, DYNM_IN_USE (fresh).
  static Result<Registry> try_open(const SegmentOptions& options) noexcept {
    return opened([&](const dynm_registry** raw) {
      const detail::OpenOptions made(options);
      return made.failure.happened() ? made.failure : detail::Failure::of(::dynm_open(&made.raw, raw));
    });
  }
  /// The same, at a path.
  static Result<Registry> try_open(std::string_view path) noexcept {
    return opened([=](const dynm_registry** raw) {
      const SegmentOptions options = SegmentOptions().path(std::string(path));
      const detail::OpenOptions made(options);
      return made.failure.happened() ? made.failure : detail::Failure::of(::dynm_open(&made.raw, raw));
    });
  }

  /// A registry of a kind that the environment's DYN_METRICS_REGISTRY may name: "shm" is a segment, "null" nothing,
  /// "prometheus" this process's memory. Components are the same whatever the kind.
  ///
  /// Guarantees, Threads, Signals, Cost: as try_root(); the same kind gives the same registry. Errors: DYNM_OPTION (the
  /// library doesn't have the kind), and as there.
  static Result<Registry> try_of_kind(std::string_view kind) noexcept {
    return opened([=](const dynm_registry** raw) {
      return detail::Failure::of(::dynm_registry_of_kind(std::string(kind).c_str(), raw));
    });
  }
  /// The same, of the kind that the environment names; without it a segment.
  static Result<Registry> try_from_env() noexcept {
    return opened([](const dynm_registry** raw) { return detail::Failure::of(::dynm_registry_of_kind(nullptr, raw)); });
  }
  /// A registry whose updates go nowhere: names are checked, and nothing is counted.
  static Result<Registry> try_null() noexcept { return try_of_kind("null"); }

  /// The same registry, of which only families up to this priority level, 0 (most important) to 255, are rendered and
  /// visited. Everything goes on being counted. Errors: DYNM_OPTION, DYNM_NULL.
  Result<Registry> try_with_max_level(std::uint32_t level) const noexcept {
    return opened(
        [&](const dynm_registry** raw) {
          return detail::Failure::of(::dynm_registry_with_max_level(this->raw(), level, raw));
        },
        opening_);
  }

  /// A registry of the same segment that puts `prefix` before every name and `labels` on every series.
  ///
  /// Prefixes are written as they shall stand in the name ("engine_"). The parent's prefix and labels come first; what
  /// is registered through a child is the same series as one of the full name and labels. Guarantees: works on when its
  /// parent is gone. Threads: any. Signals: no. Cost: memory. Errors: DYNM_NAME, DYNM_LABELS, DYNM_UTF8, DYNM_NULL.
  Result<Registry> try_child(std::string_view prefix, const std::vector<Label>& labels = {}) const noexcept {
    return opened(
        [&](const dynm_registry** raw) {
          const std::string text(prefix);
          const detail::Pairs pairs = detail::pairs_of(labels);
          const detail::Labels made(pairs, "labels");
          detail::Failure failure = detail::check_text(text, "prefix");
          if (!failure.happened()) failure = made.failure;
          if (failure.happened()) return failure;
          return detail::Failure::of(
              ::dynm_registry_child(this->raw(), text.c_str(), made.list.data(), made.list.size(), raw));
        },
        opening_);
  }

#if DYN_METRICS_EXCEPTIONS
  /// As the try_ functions. Errors: as there, thrown.
  static Registry root() { return try_root().or_throw(); }
  static Registry of_kind(std::string_view kind) { return try_of_kind(kind).or_throw(); }
  static Registry from_env() { return try_from_env().or_throw(); }
  static Registry null() { return try_null().or_throw(); }
  Registry with_max_level(std::uint32_t level) const { return try_with_max_level(level).or_throw(); }
  static Registry open(const SegmentOptions& options) { return try_open(options).or_throw(); }
  static Registry open(std::string_view path) { return try_open(path).or_throw(); }
  Registry child(std::string_view prefix, const std::vector<Label>& labels = {}) const {
    return try_child(prefix, labels).or_throw();
  }
#endif

  // ---- What it is ----

  /// What keeps the numbers: "shm" for a segment, "null" for nothing, ...; empty of a registry that refuses everything.
  /// Guarantees: stays valid, here and below. Threads, signals: any. Errors: none.
  std::string_view kind() const noexcept { return ::dynm_registry_kind(raw()); }
  /// The segment's path, absolute; empty of a registry that is none or refuses everything. Guarantees: stays valid, here and
  /// below. Threads, signals: any. Errors: none.
  std::string_view path() const noexcept { return describe().path; }
  /// What stands before every name.
  std::string_view prefix() const noexcept { return describe().prefix; }
  /// Labels of every series. Errors: std::bad_alloc.
  std::vector<Label> labels() const {
    const dynm_registry_description description = describe();
    return detail::labels_of(description.labels, description.label_count);
  }
  /// For calls of the C functions; NULL of a registry that refuses everything. Valid until the last copy is gone.
  const dynm_registry* raw() const noexcept { return opening_.raw(); }

  // ---- Registration ----

  /// A single series: create<Histogram>(Options("wait_seconds", "Time in the queue").bounds({0.1, 1})). As every
  /// registration.
  template <class M>
  Result<M> try_create(const Options& options) const noexcept {
    return created<M>([&]() -> const Options& { return options; });
  }

  /// A family whose series differ in the values of `label_names`: family<Counter>(options, {"model", "status"}). As
  /// every registration.
  template <class M>
  Result<Family<M>> try_family(const Options& options, const std::vector<std::string>& label_names) const noexcept {
    detail::FamilyCore<M>* core = nullptr;
    detail::Failure failure = detail::guarded([&] {
      const detail::MetricOptions made(options, M::type);
      const detail::Texts names(label_names, "label_names");
      detail::Failure found = refusal(made);
      if (!found.happened()) found = names.failure;
      if (found.happened()) return found;
      const dynm_family* family;
      found = detail::Failure::of(
          ::dynm_register_family(raw(), &made.raw, names.list.data(), names.list.size(), &family));
      if (!found.happened()) core = detail::FamilyCore<M>::of(family, label_names);
      return found;
    });
    if (!failure.happened()) return Family<M>(core, detail::Access::none<M>());
    return {std::move(failure), Family<M>()};
  }

  /// Removes the series with this full name (but the prefix) and exactly these labels beside the registry's, of
  /// whatever type; the result says whether there was one. As Family::try_remove().
  Result<bool> try_remove(std::string_view metric, const std::vector<Label>& labels = {}) const noexcept {
    std::int32_t found = 0;
    detail::Failure failure = detail::guarded([&] {
      const std::string name(metric);
      const detail::Pairs pairs = detail::pairs_of(labels);
      const detail::Labels made(pairs, "labels");
      detail::Failure bad = detail::check_text(name, "name");
      if (!bad.happened()) bad = made.failure;
      if (bad.happened()) return bad;
      return detail::Failure::of(::dynm_remove(raw(), name.c_str(), made.list.data(), made.list.size(), &found));
    });
    return {std::move(failure), found != 0};
  }

#if DYN_METRICS_EXCEPTIONS
  /// As try_remove(). Errors: as there, thrown.
  bool remove(std::string_view metric, const std::vector<Label>& labels = {}) const {
    return try_remove(metric, labels).or_throw();
  }

  /// As the try_ functions. Errors: as there, thrown.
  template <class M>
  M create(const Options& options) const {
    return try_create<M>(options).or_throw();
  }
  template <class M>
  Family<M> family(const Options& options, const std::vector<std::string>& label_names) const {
    return try_family<M>(options, label_names).or_throw();
  }
#endif

// Registration of one series by name and help.
#if DYN_METRICS_EXCEPTIONS
#define DYN_METRICS_THROWING(Handle, name)                                  \
  Handle name(std::string_view metric, std::string_view help = {}) const { \
    return try_##name(metric, help).or_throw();                            \
  }
#else
#define DYN_METRICS_THROWING(Handle, name)
#endif
#define DYN_METRICS_NAMED(Handle, name)                                                            \
  DYN_METRICS_THROWING(Handle, name)                                                               \
  Result<Handle> try_##name(std::string_view metric, std::string_view help = {}) const noexcept { \
    return created<Handle>([&] { return Options(std::string(metric), std::string(help)); });       \
  }

  /// A counter of whole events: counter("requests_total", "Requests answered"). As every registration, here and below.
  DYN_METRICS_NAMED(Counter, counter)
  /// A counter of fractional amounts.
  DYN_METRICS_NAMED(FloatCounter, float_counter)
  /// A counter of time, exposed in seconds.
  DYN_METRICS_NAMED(DurationCounter, duration_counter)
  /// A gauge of whole numbers; the values of several processes add up. Options give other modes.
  DYN_METRICS_NAMED(Gauge, gauge)
  /// A gauge of fractional numbers.
  DYN_METRICS_NAMED(FloatGauge, float_gauge)
  /// A gauge of time, exposed in seconds.
  DYN_METRICS_NAMED(DurationGauge, duration_gauge)
  /// Count and sum of observations.
  DYN_METRICS_NAMED(Tally, tally)
#undef DYN_METRICS_NAMED
#undef DYN_METRICS_THROWING

  /// A histogram with these upper bounds, ascending, without +Inf; without any Prometheus' for seconds.
  Result<Histogram> try_histogram(std::string_view metric, std::string_view help = {},
                                  const std::vector<double>& bounds = {}) const noexcept {
    return created<Histogram>([&] {
      Options options{std::string(metric), std::string(help)};
      return bounds.empty() ? options : options.bounds(bounds);
    });
  }
  /// Facts as labels: info("build_info", "Build", {{"version", "1.2"}}).
  Result<Info> try_info(std::string_view metric, std::string_view help,
                        const std::vector<Label>& labels) const noexcept {
    return created<Info>([&] {
      Options options{std::string(metric), std::string(help)};
      for (const Label& label : labels) options.label(std::string(label.name), std::string(label.value));
      return options;
    });
  }
  /// Named states: state_set("engine_state", "State", {"starting", "ready"}).
  Result<StateSet> try_state_set(std::string_view metric, std::string_view help,
                                 const std::vector<std::string>& states) const noexcept {
    return created<StateSet>([&] { return Options(std::string(metric), std::string(help)).states(states); });
  }
#if DYN_METRICS_EXCEPTIONS
  /// As the try_ functions. Errors: as there, thrown.
  Histogram histogram(std::string_view metric, std::string_view help = {},
                      const std::vector<double>& bounds = {}) const {
    return try_histogram(metric, help, bounds).or_throw();
  }
  Info info(std::string_view metric, std::string_view help, const std::vector<Label>& labels) const {
    return try_info(metric, help, labels).or_throw();
  }
  StateSet state_set(std::string_view metric, std::string_view help, const std::vector<std::string>& states) const {
    return try_state_set(metric, help, states).or_throw();
  }
#endif

// What the interface of the seeds calls it: one series with labels, and the family of it, whose series are found by the
// values of label names.
#if DYN_METRICS_EXCEPTIONS
#define DYN_METRICS_THROWING(Handle, name)                                                                         \
  Handle name(std::string_view metric, std::string_view help, const std::vector<Label>& labels = {}) const {      \
    return try_##name(metric, help, labels).or_throw();                                                           \
  }                                                                                                                \
  Family<Handle> name##_vec(std::string_view metric, std::string_view help,                                       \
                            const std::vector<std::string>& label_names) const {                                  \
    return try_##name##_vec(metric, help, label_names).or_throw();                                                \
  }
#else
#define DYN_METRICS_THROWING(Handle, name)
#endif
#define DYN_METRICS_CREATED(Handle, name)                                                                          \
  DYN_METRICS_THROWING(Handle, name)                                                                               \
  Result<Handle> try_##name(std::string_view metric, std::string_view help, const std::vector<Label>& labels = {}) \
      const noexcept {                                                                                             \
    return created<Handle>([&] { return labelled(metric, help, labels); });                                        \
  }                                                                                                                \
  Result<Family<Handle>> try_##name##_vec(std::string_view metric, std::string_view help,                         \
                                          const std::vector<std::string>& label_names) const {                    \
    return try_family<Handle>(Options(std::string(metric), std::string(help)), label_names);                      \
  }

  /// A counter of fractional amounts.
  DYN_METRICS_CREATED(FloatCounter, create_counter)
  /// A counter of whole events.
  DYN_METRICS_CREATED(Counter, create_intcounter)
  /// A counter of time.
  DYN_METRICS_CREATED(DurationCounter, create_durationcounter)
  /// A gauge of fractional numbers.
  DYN_METRICS_CREATED(FloatGauge, create_gauge)
  /// A gauge of whole numbers.
  DYN_METRICS_CREATED(Gauge, create_intgauge)
  /// A gauge of time.
  DYN_METRICS_CREATED(DurationGauge, create_durationgauge)
  /// Count and sum of observations.
  DYN_METRICS_CREATED(Tally, create_tally)
  /// Facts, which are the labels.
  DYN_METRICS_CREATED(Info, create_info)
#undef DYN_METRICS_CREATED
#undef DYN_METRICS_THROWING

  /// A histogram with labels, and its family; without bounds Prometheus' for seconds.
  Result<Histogram> try_create_histogram(std::string_view metric, std::string_view help,
                                         const std::vector<Label>& labels = {},
                                         const std::vector<double>& bounds = {}) const noexcept {
    return created<Histogram>([&] { return bounded(labelled(metric, help, labels), bounds); });
  }
  Result<Family<Histogram>> try_create_histogram_vec(std::string_view metric, std::string_view help,
                                                     const std::vector<std::string>& label_names,
                                                     const std::vector<double>& bounds = {}) const {
    return try_family<Histogram>(bounded(labelled(metric, help, {}), bounds), label_names);
  }
  /// Named states with labels, and their family.
  Result<StateSet> try_create_stateset(std::string_view metric, std::string_view help,
                                       const std::vector<Label>& labels,
                                       const std::vector<std::string>& states) const noexcept {
    return created<StateSet>([&] { return labelled(metric, help, labels).states(states); });
  }
  Result<Family<StateSet>> try_create_stateset_vec(std::string_view metric, std::string_view help,
                                                   const std::vector<std::string>& label_names,
                                                   const std::vector<std::string>& states) const {
    return try_family<StateSet>(labelled(metric, help, {}).states(states), label_names);
  }
#if DYN_METRICS_EXCEPTIONS
  /// As the try_ functions. Errors: as there, thrown.
  Histogram create_histogram(std::string_view metric, std::string_view help, const std::vector<Label>& labels = {},
                             const std::vector<double>& bounds = {}) const {
    return try_create_histogram(metric, help, labels, bounds).or_throw();
  }
  Family<Histogram> create_histogram_vec(std::string_view metric, std::string_view help,
                                         const std::vector<std::string>& label_names,
                                         const std::vector<double>& bounds = {}) const {
    return try_create_histogram_vec(metric, help, label_names, bounds).or_throw();
  }
  StateSet create_stateset(std::string_view metric, std::string_view help, const std::vector<Label>& labels,
                           const std::vector<std::string>& states) const {
    return try_create_stateset(metric, help, labels, states).or_throw();
  }
  Family<StateSet> create_stateset_vec(std::string_view metric, std::string_view help,
                                       const std::vector<std::string>& label_names,
                                       const std::vector<std::string>& states) const {
    return try_create_stateset_vec(metric, help, label_names, states).or_throw();
  }
#endif

  // ---- Reading ----

  /// What is registered through this registry and those below it as Prometheus text 0.0.4: names with its prefix,
  /// series with its labels. Threads: any. Signals: no. Cost: as try_render(). Errors: as there, and DYNM_OPTION of a
  /// registry that shows nothing.
  Result<std::string> try_prometheus_format_str() const noexcept {
    std::string page;
    detail::Failure failure = detail::guarded([&] {
      char* text = nullptr;
      std::size_t length = 0;
      detail::Failure found = detail::Failure::of(::dynm_registry_format(raw(), &text, &length));
      const detail::Freed freed{text};
      if (!found.happened()) page.assign(text, length);
      return found;
    });
    return {std::move(failure), std::move(page)};
  }
#if DYN_METRICS_EXCEPTIONS
  /// As the try_ function. Errors: as there, thrown.
  std::string prometheus_format_str() const { return try_prometheus_format_str().or_throw(); }
  std::string prometheus_metrics_fmt() const { return prometheus_format_str(); }
#endif

  /// The segment as Prometheus text 0.0.4, as the exporter would serve it, self-metrics included.
  ///
  /// Guarantees: the whole segment's, whatever the prefix. Threads: any. Signals: no. Cost: reads the whole segment,
  /// and memory for the text. Errors: DYNM_NULL, DYNM_NOT_SEGMENT, DYNM_FULL (no memory).
  Result<std::string> try_render() const noexcept {
    std::string page;
    detail::Failure failure = detail::guarded([&] { return detail::render(raw(), page); });
    return {std::move(failure), std::move(page)};
  }

  /// Calls visitor(const FamilyView&, const SeriesView&) for every series of the segment with its value over all
  /// processes, families sorted by name. When it returns false the visit ends; it may return nothing.
  ///
  /// Guarantees: the whole segment's, whatever the prefix; what the visitor throws leaves this function, too, and the
  /// visit ends. The visitor may register and read. Threads: any. Signals: no. Cost: reads the whole segment. Errors:
  /// DYNM_NULL, DYNM_NOT_SEGMENT.
  template <class Visitor>
  Result<void> try_visit(Visitor&& visitor) const {
    return Result<void>(detail::visit_series(raw(), visitor));
  }
  /// The same for families: visitor(const FamilyView&), also for those without series.
  template <class Visitor>
  Result<void> try_visit_families(Visitor&& visitor) const {
    return Result<void>(detail::visit_families(raw(), visitor));
  }

#if DYN_METRICS_EXCEPTIONS
  /// As the try_ functions. Errors: as there, thrown.
  std::string render() const { return try_render().or_throw(); }
  template <class Visitor>
  void visit(Visitor&& visitor) const {
    try_visit(visitor).or_throw();
  }
  template <class Visitor>
  void visit_families(Visitor&& visitor) const {
    try_visit_families(visitor).or_throw();
  }
#endif

 protected:
  // For testing::FakeRegistry: the status with which registrations are refused, DYNM_OK for none.
  void refuse(Status status) const noexcept { opening_.refuse(status); }

  // For registries that are more than this: what opening gives.
  template <class Open>
  static Result<Registry> opened(const Open& open, const detail::Opening& parent = {}) noexcept {
    const dynm_registry* raw = nullptr;
    detail::Failure failure = detail::guarded([&] {
      detail::Failure found = detail::check_library();
      return found.happened() ? found : open(&raw);
    });
    Registry registry;
    if (failure.happened()) return {std::move(failure), std::move(registry)};
    registry.opening_ = detail::Opening::of(raw, parent);
    if (registry.raw() == nullptr) failure = {DYNM_FULL, detail::Message("no memory")};
    return {std::move(failure), std::move(registry)};
  }

  // Who holds it open.
  const detail::Opening& opening() const noexcept { return opening_; }

 private:
  static Options labelled(std::string_view metric, std::string_view help, const std::vector<Label>& labels) {
    Options options{std::string(metric), std::string(help)};
    for (const Label& label : labels) options.label(std::string(label.name), std::string(label.value));
    return options;
  }
  static Options bounded(Options options, const std::vector<double>& bounds) {
    if (!bounds.empty()) options.bounds(bounds);
    return options;
  }

  template <class M, class Describe>
  Result<M> created(const Describe& describe) const noexcept {
    const dynm_metric* metric = nullptr;
    detail::Failure failure = detail::guarded([&] {
      const Options& options = describe();
      const detail::MetricOptions made(options, M::type);
      detail::Failure found = refusal(made);
      if (!found.happened()) return detail::Failure::of(::dynm_register(raw(), &made.raw, &metric));
      metric = ::dynm_private(&made.raw);
      return found;
    });
    // After a failure it is private, too.
    if (metric == nullptr) metric = detail::private_metric(M::type);
    return {std::move(failure), detail::Access::of<M>(metric)};
  }

  // What stands against a registration before the library is asked.
  detail::Failure refusal(const detail::MetricOptions& options) const noexcept {
    detail::Failure failure = detail::check_library();
    if (!failure.happened()) failure = opening_.refusal();
    return failure.happened() ? failure : options.failure;
  }

  dynm_registry_description describe() const noexcept {
    dynm_registry_description description{};
    description.struct_size = sizeof description;
    if (::dynm_registry_describe(raw(), &description) != DYNM_OK) description.path = description.prefix = "";
    return description;
  }

  detail::Opening opening_;
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_REGISTRY_HPP

// metrics.hpp: structs of metrics: what a component counts, declared in one place.
#ifndef DYN_METRICS_METRICS_HPP
#define DYN_METRICS_METRICS_HPP

#include <cstdio>
#include <map>

#include "registry.hpp"

namespace dyn_metrics {

/// What one member of a struct of metrics is registered as.
struct Declaration {
  dyn_metrics::Kind kind;
  std::string name;  ///< with the struct's prefix, without the registry's
  std::string help;
  std::string unit;
  std::vector<std::string> label_names;
  std::vector<double> bounds;  ///< histograms; empty: the usual ones
  std::uint32_t level;
  std::map<std::string, std::string> labels;  ///< of each series: the struct's and its own, without the registry's
  std::vector<std::string> states;            ///< state sets
  Mode mode;                                  ///< gauges and state sets: how several processes' values combine
};

/// The base of structs of metrics, whose members register themselves where they are made:
///
///     struct RouterMetrics : dyn_metrics::Metrics {
///       explicit RouterMetrics(const Registry& registry) : Metrics(registry, "router_") {}
///       Family<Counter> requests = family<Counter>(Options("requests_total", "Requests routed"), {"model"});
///       Histogram latency = metric<Histogram>(Options("latency_seconds", "Time to route").bounds({0.01, 0.1}));
///       CacheMetrics cache{registry().child("cache_")};
///     };
///
/// A member that could not be registered counts privately; ok() says whether there is one, or_throw() throws its
/// error. Threads: as any value. Cost: that of the registrations; an update costs what it costs elsewhere.
class Metrics {
 public:
  /// Registers in `registry`, with this prefix and these labels besides its own. Errors: std::bad_alloc.
  explicit Metrics(const Registry& registry, std::string_view prefix = {}, const std::vector<Label>& labels = {})
      : registry_(registry), prefix_(prefix) {
    for (const auto& [name, value] : labels) labels_.emplace(name, value);
    if (prefix.empty() && labels.empty()) return;
    Result<Registry> child = registry.try_child(prefix, labels);
    note(child, "the struct's prefix or labels");
    registry_ = std::move(child).value();
  }

  /// Where the members are registered.
  const Registry& registry() const noexcept { return registry_; }
  /// Whether every member is registered.
  bool ok() const noexcept { return status_ == DYNM_OK; }
  /// DYNM_OK, or why the first of those that are not could not be.
  Status status() const noexcept { return status_; }
  /// A line for people that names the metric; empty when all are.
  const std::string& message() const noexcept { return message_; }
#if DYN_METRICS_EXCEPTIONS
  /// Nothing. Errors: an Error when a member is not registered.
  void or_throw() const {
    if (!ok()) detail::raise({status_, detail::Message(message_.c_str())});
  }
#endif
  /// What the members were declared as, in order.
  const std::vector<Declaration>& declared() const noexcept { return declared_; }

 protected:
  /// A single series. Errors: std::bad_alloc.
  template <class M>
  M metric(const Options& options) {
    declare<M>(options, {});
    return taken(registry_.try_create<M>(options));
  }
  /// A family. Errors: std::bad_alloc.
  template <class M>
  Family<M> family(const Options& options, const std::vector<std::string>& label_names) {
    declare<M>(options, label_names);
    return taken(registry_.try_family<M>(options, label_names));
  }

 private:
  template <class M>
  void declare(const Options& options, const std::vector<std::string>& label_names) {
    const detail::MetricOptions made(options, M::type);
    const dynm_metric_options& raw = made.raw;
    const auto text = [](const char* from) { return std::string(from == nullptr ? "" : from); };
    std::vector<double> bounds;
    if (raw.bounds != nullptr) bounds.assign(raw.bounds, raw.bounds + raw.bound_count);
    auto labels = labels_;
    for (std::size_t i = 0; i < raw.label_count; i++) labels.emplace(raw.labels[i].name, raw.labels[i].value);
    declared_.push_back({kind_of(M::type), prefix_ + text(raw.name), text(raw.help), text(raw.unit), label_names,
                         std::move(bounds), raw.level, std::move(labels),
                         std::vector<std::string>(raw.states, raw.states + raw.state_count),
                         static_cast<Mode>(raw.mode)});
  }

  static Kind kind_of(dynm_type type) noexcept {
    switch (type) {
      case DYNM_GAUGE_I64:
      case DYNM_GAUGE_F64:
      case DYNM_GAUGE_NS: return Kind::gauge;
      case DYNM_TALLY: return Kind::tally;
      case DYNM_HISTOGRAM: return Kind::histogram;
      case DYNM_INFO: return Kind::info;
      case DYNM_STATE_SET: return Kind::state_set;
      default: return Kind::counter;
    }
  }

  template <class T>
  T taken(Result<T> result) {
    note(result, declared_.back().name);
    return std::move(result).value();
  }

  template <class T>
  void note(const Result<T>& result, const std::string& what) {
    if (result.ok() || !ok()) return;
    status_ = result.status();
    message_ = what + ": " + result.message();
  }

  Registry registry_;
  std::string prefix_;
  std::map<std::string, std::string> labels_;
  std::vector<Declaration> declared_;
  Status status_ = DYNM_OK;
  std::string message_;
};

/// What a struct of metrics declares, without registering anything: for documentation and tests. The struct is made from
/// a registry whose updates go nowhere. Errors: std::bad_alloc.
template <class M>
std::vector<Declaration> declared() {
  return M(Registry::try_null().value()).declared();
}

namespace detail {

inline std::string json(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
      continue;
    }
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
    out += escaped;
  }
  return out + '"';
}

inline std::string json(double bound) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", bound);
  return text;
}

template <class T>
std::string json(const std::vector<T>& list) {
  std::string out = "[";
  for (const T& one : list) out += (out.size() > 1 ? "," : "") + json(one);
  return out + ']';
}

inline std::string json(const std::map<std::string, std::string>& labels) {
  std::string out = "{";
  for (const auto& [name, value] : labels) out += (out.size() > 1 ? "," : "") + json(name) + ':' + json(value);
  return out + '}';
}

inline const char* type_name(Kind kind) noexcept {
  switch (kind) {
    case Kind::gauge: return "gauge";
    case Kind::histogram:
    case Kind::exponential_histogram: return "histogram";
    case Kind::tally: return "summary";
    case Kind::info: return "info";
    case Kind::state_set: return "stateset";
    default: return "counter";
  }
}

// The mode's name as JSON, which is null for what has none.
inline std::string json_of_mode(const Declaration& of) {
  if (of.kind != Kind::gauge && of.kind != Kind::state_set) return "null";
  switch (of.mode) {
    case Mode::all: return "\"all\"";
    case Mode::live_all: return "\"liveall\"";
    case Mode::min: return "\"min\"";
    case Mode::live_min: return "\"livemin\"";
    case Mode::max: return "\"max\"";
    case Mode::live_max: return "\"livemax\"";
    case Mode::sum: return "\"sum\"";
    case Mode::live_sum: return "\"livesum\"";
    case Mode::most_recent: return "\"mostrecent\"";
    case Mode::live_most_recent: return "\"livemostrecent\"";
    default: return of.kind == Kind::gauge ? "\"livesum\"" : "\"livemostrecent\"";
  }
}

}  // namespace detail

/// The same as JSON, for `dyn-metrics describe --declared`, which makes a table of it; a struct's nested ones have lists
/// of their own, which may follow. Errors: std::bad_alloc.
template <class M>
std::string declared_json() {
  std::string out;
  for (const Declaration& one : declared<M>()) {
    if (!out.empty()) out += ",\n";
    out += "{\"name\":" + detail::json(one.name) + ",\"help\":" + detail::json(one.help) +
           ",\"unit\":" + detail::json(one.unit) + ",\"type\":\"" + detail::type_name(one.kind) +
           "\",\"labels\":" + detail::json(one.labels) + ",\"label_names\":" + detail::json(one.label_names) +
           ",\"buckets\":" + detail::json(one.bounds) + ",\"states\":" + detail::json(one.states) +
           ",\"mode\":" + detail::json_of_mode(one) + ",\"level\":" + std::to_string(one.level) + '}';
  }
  return "{\"metrics\":[\n" + out + "\n]}\n";
}

}  // namespace dyn_metrics

#endif  // DYN_METRICS_METRICS_HPP

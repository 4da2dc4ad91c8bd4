// composite.hpp: one number made of many series, read at any time without a scrape.
#ifndef DYN_METRICS_COMPOSITE_HPP
#define DYN_METRICS_COMPOSITE_HPP

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "registry.hpp"

namespace dyn_metrics {

/// What a composite says.
class Reading {
 public:
  enum class State {
    unknown = DYNM_READING_UNKNOWN,  ///< Not known yet: no such series, or a window that needs another sample.
    value = DYNM_READING_VALUE,      ///< A number, never NaN.
    idle = DYNM_READING_IDLE,        ///< The series are there, and there is nothing to make a number of.
    dead = DYNM_READING_DEAD,        ///< Whoever wrote has died.
  };

  constexpr Reading() noexcept = default;
  constexpr Reading(State state, double value) noexcept : state_(state), value_(value) {}

  /// Which of the four it is. Errors: none.
  constexpr State state() const noexcept { return state_; }
  /// Whether it is a number.
  constexpr explicit operator bool() const noexcept { return state_ == State::value; }
  /// The number; 0 where there is none.
  constexpr double operator*() const noexcept { return value_; }
  /// "value", "idle", "unknown" or "dead".
  constexpr const char* name() const noexcept {
    switch (state_) {
      case State::value: return "value";
      case State::idle: return "idle";
      case State::dead: return "dead";
      default: return "unknown";
    }
  }
  friend constexpr bool operator==(const Reading& a, const Reading& b) noexcept {
    return a.state_ == b.state_ && a.value_ == b.value_;
  }
  friend constexpr bool operator!=(const Reading& a, const Reading& b) noexcept { return !(a == b); }

 private:
  State state_ = State::unknown;
  double value_ = 0;
};

/// What is to be composed; see docs/COMPOSITES.md.
///
///     auto depth = Composite::open(registry, CompositeOptions("avg", "queue_depth").matching("model", "llama"));
///     if (const Reading now = depth.read()) std::printf("%g\n", *now);
class CompositeOptions {
 public:
  /// An operation, "avg", "min", "max", "sum", "count", "rate" (needs a window) or "quantile", on the family of this name.
  CompositeOptions(std::string operation, std::string family)
      : operation_(std::move(operation)), family_(std::move(family)) {}

  /// The q of a quantile, 0 to 1.
  CompositeOptions& quantile(double q) {
    quantile_ = q;
    return *this;
  }
  /// About what happened in this time before a reading.
  CompositeOptions& window(std::chrono::duration<double> time) {
    window_ = time.count();
    return *this;
  }
  /// Takes what each living process has set, instead of what the gauge's mode makes of it.
  CompositeOptions& over_processes() {
    over_processes_ = true;
    return *this;
  }
  /// Only series whose label has this value.
  CompositeOptions& matching(std::string label, std::string value) {
    return match(DYNM_MATCH_ONE_OF, std::move(label), {std::move(value)});
  }
  /// Only series whose label has one of these values.
  CompositeOptions& matching_any(std::string label, std::vector<std::string> values) {
    return match(DYNM_MATCH_ONE_OF, std::move(label), std::move(values));
  }
  /// Only series whose label has another value.
  CompositeOptions& not_matching(std::string label, std::string value) {
    return match(DYNM_MATCH_NONE_OF, std::move(label), {std::move(value)});
  }
  /// Only series that have the label.
  CompositeOptions& having(std::string label) { return match(DYNM_MATCH_ANY, std::move(label), {}); }

 private:
  friend class Composite;
  struct Match {
    std::uint32_t kind;
    std::string label;
    std::vector<std::string> values;
  };

  CompositeOptions& match(std::uint32_t kind, std::string label, std::vector<std::string> values) {
    matches_.push_back({kind, std::move(label), std::move(values)});
    return *this;
  }

  // Calls with the same for C.
  template <class Call>
  Status with_raw(const char* path, const Call& call) const {
    std::vector<std::vector<const char*>> values;
    std::vector<dynm_matcher> matchers;
    for (const Match& match : matches_) {
      std::vector<const char*>& texts = values.emplace_back();
      for (const std::string& value : match.values) texts.push_back(value.c_str());
    }
    for (std::size_t at = 0; at < matches_.size(); ++at) {
      matchers.push_back({matches_[at].label.c_str(), values[at].data(), values[at].size(), matches_[at].kind, 0});
    }
    dynm_composite_options raw = ::dynm_composite_options_init(operation_.c_str(), family_.c_str());
    raw.matchers = matchers.data();
    raw.matcher_count = matchers.size();
    raw.path = path;
    raw.quantile = quantile_.value_or(0);
    raw.window_seconds = window_.value_or(0);
    raw.flags = (over_processes_ ? DYNM_OVER_PROCESSES : 0) | (quantile_ ? DYNM_SET_QUANTILE : 0) |
                (window_ ? DYNM_SET_WINDOW : 0);
    return call(raw);
  }

  std::string operation_;
  std::string family_;
  std::vector<Match> matches_;
  std::optional<double> quantile_;
  std::optional<double> window_;
  bool over_processes_ = false;
};

/// One number made of many series, with what other processes count. Move-only: closed by its destructor.
///
/// Threads: any; one waits for the other, at most a second. Signals: no.
class Composite {
 public:
  Composite() noexcept = default;
  Composite(Composite&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Composite& operator=(Composite&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  Composite(const Composite&) = delete;
  Composite& operator=(const Composite&) = delete;
  ~Composite() {
    if (raw_ != nullptr) ::dynm_composite_close(raw_);
  }

  /// Composes series of a registry; of a child those that it could have registered. The family needs not exist yet.
  ///
  /// Errors: DYNM_NAME, DYNM_LABELS, DYNM_OPTION (an operation that the family's kind doesn't have, too), DYNM_UTF8,
  /// DYNM_NULL, DYNM_CLOSED, DYNM_IO.
  static Result<Composite> try_open(const Registry& registry, const CompositeOptions& options) noexcept {
    return opened(registry.raw(), nullptr, options);
  }
  /// Composes what the segment at a path has, without attaching to it.
  static Result<Composite> try_open_at(const std::string& path, const CompositeOptions& options) noexcept {
    return opened(nullptr, path.c_str(), options);
  }
#if DYN_METRICS_EXCEPTIONS
  /// As try_open().
  static Composite open(const Registry& registry, const CompositeOptions& options) {
    return try_open(registry, options).or_throw();
  }
  /// As try_open_at().
  static Composite open_at(const std::string& path, const CompositeOptions& options) {
    return try_open_at(path, options).or_throw();
  }
#endif

  /// The number of now; with a window this takes a sample, too. Errors: none; unknown where it isn't open.
  Reading read() noexcept {
    std::uint32_t state = DYNM_READING_UNKNOWN;
    double value = 0;
    if (::dynm_composite_read(raw_, &state, &value) != DYNM_OK) return {};
    return {static_cast<Reading::State>(state), value};
  }
  /// Takes a sample for the window and says nothing: for a ticker. Errors: none.
  void sample() noexcept { ::dynm_composite_sample(raw_); }

 private:
  explicit Composite(const dynm_composite* raw) noexcept : raw_(raw) {}

  static Result<Composite> opened(const dynm_registry* registry, const char* path,
                                  const CompositeOptions& options) noexcept {
    const dynm_composite* raw = nullptr;
    detail::Failure failure = detail::guarded([&] {
      return detail::Failure::of(options.with_raw(
          path, [&](const dynm_composite_options& c) { return ::dynm_composite_open(registry, &c, &raw); }));
    });
    return {std::move(failure), Composite(raw)};
  }

  const dynm_composite* raw_ = nullptr;
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_COMPOSITE_HPP

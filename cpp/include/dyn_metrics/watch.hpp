// watch.hpp: callbacks on changes and thresholds. Include it beside dyn_metrics.hpp.
//
//     auto subscription = dyn_metrics::on_change(registry, "queue_depth", [](const dyn_metrics::Event& event) { ... });
#ifndef DYN_METRICS_WATCH_HPP
#define DYN_METRICS_WATCH_HPP

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "registry.hpp"

namespace dyn_metrics {

/// A change, or a threshold that was crossed; valid until the callback returns.
class Event {
 public:
  explicit Event(const dynm_event& event) noexcept : event_(event) {}
  /// The family's exposed name, or what a computed value was called.
  std::string_view name() const noexcept { return event_.name; }
  /// The series' labels, the segment's common ones included. Errors: std::bad_alloc.
  std::vector<Label> labels() const { return detail::labels_of(event_.labels, event_.label_count); }
  /// The value before; none where there was no such series.
  std::optional<double> old_value() const noexcept { return optional(event_.has_old, event_.old_value); }
  /// The value now; none where the series is gone, or nobody who lives has set it.
  std::optional<double> value() const noexcept { return optional(event_.has_value, event_.value); }
  /// When it was seen.
  std::chrono::system_clock::time_point time() const noexcept {
    const std::chrono::nanoseconds since(event_.time_unix_ns);
    return std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(since));
  }

 private:
  static std::optional<double> optional(std::uint32_t has, double value) noexcept {
    return has != 0 ? std::optional<double>(value) : std::nullopt;
  }
  const dynm_event& event_;
};

/// What is called with events, on threads of the library.
using Callback = std::function<void(const Event&)>;

/// What is watched: a metric, a family by its name, or what a function computes.
class Watched {
 public:
  /// A family as it was registered in the registry that is asked; it needs not exist yet. Errors: std::bad_alloc.
  Watched(std::string family) : name_(std::move(family)) {}
  Watched(const char* family) : name_(family) {}
  /// The series of a handle.
  template <class Handle, class = decltype(std::declval<const Handle&>().raw(), Handle::type)>
  Watched(const Handle& handle) noexcept : metric_(handle.raw()) {}
  /// What `function` gives, called about every 5 ms on a thread of the library; none is no value. Errors: std::bad_alloc.
  static Watched computed(std::string name, std::function<std::optional<double>()> function) {
    Watched watched(std::move(name));
    watched.function_ = std::move(function);
    return watched;
  }
  /// Of a family only series with this label. Errors: std::bad_alloc.
  Watched matching(std::string label, std::string value) && {
    labels_.emplace_back(std::move(label), std::move(value));
    return std::move(*this);
  }

 private:
  friend class Subscription;
  std::string name_;
  std::vector<std::pair<std::string, std::string>> labels_;
  const dynm_metric* metric_ = nullptr;
  std::function<std::optional<double>()> function_;
};

/// What a value is compared with: Threshold::above(100).hysteresis(20).
struct Threshold {
  static Threshold above(double limit) noexcept { return {DYNM_ABOVE, limit, 0}; }
  static Threshold below(double limit) noexcept { return {DYNM_BELOW, limit, 0}; }
  Threshold hysteresis(double by) const noexcept { return {side, limit, by}; }
  dynm_side side;
  double limit;
  double back;
};

/// A subscription: it ends when this is destroyed, or by cancel(). Moved, not copied. Threads: as any value.
class Subscription {
 public:
  /// One that has ended.
  Subscription() noexcept = default;
  Subscription(Subscription&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)), thrown_(std::move(other.thrown_)) {}
  Subscription& operator=(Subscription&& other) noexcept {
    if (this != &other) {
      cancel();
      raw_ = std::exchange(other.raw_, nullptr);
      thrown_ = std::move(other.thrown_);
    }
    return *this;
  }
  ~Subscription() { cancel(); }

  /// Ends it: no call begins any more. Waits at most that long for one that is under way, unless called by the callback
  /// itself; whether none is. Threads: any. Errors: none.
  bool cancel(std::chrono::nanoseconds most = std::chrono::nanoseconds(0)) const noexcept {
    const auto wait = static_cast<std::uint64_t>(most.count() < 0 ? 0 : most.count());
    return raw_ == nullptr || ::dynm_subscription_cancel(raw_, wait) == DYNM_OK;
  }
  /// Calls that have ended, and so on. Errors: none.
  dynm_watch_counts counts() const noexcept {
    dynm_watch_counts counts{sizeof counts, 0, 0, 0};
    if (raw_ != nullptr) ::dynm_subscription_counts(raw_, &counts);
    return counts;
  }
  /// Calls that have thrown. Errors: none.
  std::uint64_t exceptions() const noexcept { return thrown_ ? thrown_->load() : 0; }

  /// See on_change() and on_threshold().
  static Result<Subscription> make(const Registry& registry, Watched watched, const Threshold* threshold,
                                   Callback callback) noexcept {
    Subscription made;
    detail::Failure failure = detail::guarded([&] {
      made.thrown_ = std::make_shared<std::atomic<std::uint64_t>>(0);
      auto user = std::make_unique<User>(User{std::move(callback), std::move(watched.function_), made.thrown_});
      std::vector<dynm_label> labels;
      for (const auto& [name, value] : watched.labels_) labels.push_back({name.c_str(), value.c_str()});
      dynm_watched raw = dynm_watched_init();
      raw.metric = watched.metric_;
      raw.name = watched.metric_ == nullptr ? watched.name_.c_str() : nullptr;
      raw.labels = labels.data();
      raw.label_count = labels.size();
      if (user->function) raw.compute = compute;
      const dynm_watch_callback called = user->callback ? tell : nullptr;
      // From here on the library destroys it, also when it refuses.
      User* given = user.release();
      return detail::Failure::of(
          threshold == nullptr
              ? ::dynm_on_change(registry.raw(), &raw, called, given, destroy, &made.raw_)
              : ::dynm_on_threshold(registry.raw(), &raw, threshold->side, threshold->limit, threshold->back, called,
                                    given, destroy, &made.raw_));
    });
    if (!failure.happened()) return Result<Subscription>(std::move(made));
    return {std::move(failure), Subscription()};
  }

 private:
  struct User {
    Callback callback;
    std::function<std::optional<double>()> function;
    std::shared_ptr<std::atomic<std::uint64_t>> thrown;
  };

  // Runs what is the application's: no exception leaves it.
  template <bool Exceptions = DYN_METRICS_EXCEPTIONS != 0, class Body>
  static void caught(User& user, const Body& body) noexcept {
#if DYN_METRICS_EXCEPTIONS
    try {
      body();
    } catch (...) {
      user.thrown->fetch_add(1);
    }
#else
    (void)user;
    body();
#endif
  }
  static void tell(void* user, const dynm_event* event) noexcept {
    auto& own = *static_cast<User*>(user);
    caught(own, [&] { own.callback(Event(*event)); });
  }
  static std::int32_t compute(void* user, double* value) noexcept {
    auto& own = *static_cast<User*>(user);
    std::int32_t has = 0;
    caught(own, [&] {
      const std::optional<double> found = own.function();
      has = found ? 1 : 0;
      *value = found.value_or(0.0);
    });
    return has;
  }
  static void destroy(void* user) noexcept {
    auto* own = static_cast<User*>(user);
    caught(*own, [&] { delete own; });
  }

  const dynm_subscription* raw_ = nullptr;
  std::shared_ptr<std::atomic<std::uint64_t>> thrown_;
};

/// Calls `callback` whenever a value of what is watched has changed, whichever process has set it.
///
/// Guarantees: calls come from threads of the library, one at a time; while one runs, of each series the newest event
/// waits. An exception that leaves the callback is counted. Updates cost what they cost before. A forked child has no
/// subscriptions. Threads: any. Signals: no. Cost: as dynm_on_change(). Errors: as there, or no memory.
inline Result<Subscription> try_on_change(const Registry& registry, Watched watched, Callback callback) noexcept {
  return Subscription::make(registry, std::move(watched), nullptr, std::move(callback));
}

/// Calls `callback` whenever a value of what is watched crosses the threshold: at once if it is beyond already, and again
/// only after it has come back behind the limit by the hysteresis, or was gone. As try_on_change().
inline Result<Subscription> try_on_threshold(const Registry& registry, Watched watched, const Threshold& threshold,
                                             Callback callback) noexcept {
  return Subscription::make(registry, std::move(watched), &threshold, std::move(callback));
}

#if DYN_METRICS_EXCEPTIONS
/// As the try_ functions. Errors: as there, thrown.
inline Subscription on_change(const Registry& registry, Watched watched, Callback callback) {
  return try_on_change(registry, std::move(watched), std::move(callback)).or_throw();
}
inline Subscription on_threshold(const Registry& registry, Watched watched, const Threshold& threshold,
                                 Callback callback) {
  return try_on_threshold(registry, std::move(watched), threshold, std::move(callback)).or_throw();
}
#endif

}  // namespace dyn_metrics

#endif  // DYN_METRICS_WATCH_HPP

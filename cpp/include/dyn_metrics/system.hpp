// system.hpp: the process's own server: liveness, readiness, health and metrics over HTTP, and the checks behind them.
//
//     using namespace dyn_metrics::health;
//     const auto server = System::start(SystemOptions().port(0).version("1.2.3"));
//     server.check("model", [] { if (!loaded()) throw std::runtime_error("no model"); });
//     const Beat beat = server.beat("main_loop", std::chrono::seconds(5), CheckOptions().probe(Probe::health));
//     beat.beat();  // on every turn
//     server.set_state(State::draining);
//
// docs/HEALTH.md has the paths, the answers and the variables. What a check may give:
//
// - nothing: all is well; a bool; a text, which is shown: all is well; an Outcome.
// - an exception is a failure with its text. With -fno-exceptions: Outcome::failed("why").
//
// A check runs on a thread of its own, one run at a time, and may block; a run over its limit is a failure. As in dyn_metrics.hpp,
// functions throw an Error or have a try_ form; any function may be called by any number of threads.
#ifndef DYN_METRICS_SYSTEM_HPP
#define DYN_METRICS_SYSTEM_HPP

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../dyn_metrics.hpp"

namespace dyn_metrics::health {

/// The three questions that a process is asked.
enum class Probe : std::uint32_t { liveness = DYNM_LIVENESS, readiness = DYNM_READINESS, health = DYNM_HEALTH };

/// Where a process is in its life, as it says itself.
enum class State : std::uint32_t { starting = DYNM_STARTING, ready = DYNM_READY, draining = DYNM_DRAINING };

/// Why a canary's cleanup is called: its request goes on and is over its limit, or has returned.
enum class Cancelled : std::uint32_t { now = DYNM_CANCELLED_NOW, done = DYNM_CANCELLED_DONE };

/// What a run of a check has found.
struct Outcome {
  bool is_ok = true;
  std::string text;

  /// All is well; `detail` is shown.
  static Outcome ok(std::string detail = {}) { return {true, std::move(detail)}; }
  /// It is not, for this reason.
  static Outcome failed(std::string reason) { return {false, std::move(reason)}; }
};

/// One run of a check. Valid for the call.
class Run {
 public:
  explicit Run(const ::dynm_check_run* raw) noexcept : raw_(raw) {}
  /// Whether nobody waits for it any more. Threads: any. Errors: none.
  bool is_cancelled() const noexcept { return ::dynm_check_is_cancelled(raw_) != 0; }

 private:
  const ::dynm_check_run* raw_;
};

/// What a probe is answered with, for a format.
struct Report {
  Probe probe;
  bool passes;
  std::string_view status;
  std::string_view json;
};

/// A format's answer.
struct Answer {
  std::string content_type;
  std::string body;
};

/// How a check is registered.
class CheckOptions {
 public:
  /// What it feeds; readiness unless given.
  CheckOptions& probe(Probe probe) noexcept { return set(raw_.probe, static_cast<std::uint32_t>(probe)); }
  /// Shown, and fails no probe.
  CheckOptions& informative() noexcept { return set(raw_.flags, std::uint32_t{DYNM_INFORMATIVE}); }
  /// From the start of a run to that of the next; 5 s unless given.
  CheckOptions& interval(std::chrono::nanoseconds time) noexcept { return set(raw_.interval_ns, count(time)); }
  /// Longest run; 1 s unless given.
  CheckOptions& timeout(std::chrono::nanoseconds time) noexcept { return set(raw_.timeout_ns, count(time)); }
  /// Failures in a row that count; 1 unless given.
  CheckOptions& failures(std::uint32_t threshold) noexcept { return set(raw_.failures, threshold); }
  /// Successes in a row that count; 1 unless given.
  CheckOptions& successes(std::uint32_t threshold) noexcept { return set(raw_.successes, threshold); }

  /// For calls of the C functions, under this name.
  ::dynm_check_options raw(const char* name) const noexcept {
    ::dynm_check_options options = raw_;
    options.name = name;
    return options;
  }

 private:
  template <class T>
  CheckOptions& set(T& field, T value) noexcept {
    field = value;
    return *this;
  }
  // 0 would be the default: what is no time is one that is refused.
  static std::uint64_t count(std::chrono::nanoseconds time) noexcept {
    return time.count() <= 0 ? 1 : static_cast<std::uint64_t>(time.count());
  }
  ::dynm_check_options raw_ = ::dynm_check_options_init(nullptr);
};

/// How a server is started.
class SystemOptions {
 public:
  /// What DYN_SYSTEM_ENABLED and the like say; what is set here counts more.
  static SystemOptions from_env() {
    SystemOptions options;
    options.flags_ |= DYNM_FROM_ENV;
    return options;
  }
  /// The segment to show; the environment's unless given.
  SystemOptions& registry(Registry registry) { return registry_ = std::move(registry), *this; }
  /// The address to listen on, or a name; 0.0.0.0 unless given.
  SystemOptions& host(std::string host) { return host_ = std::move(host), *this; }
  /// The port; 0 takes a free one; 8081 unless given.
  SystemOptions& port(std::uint16_t port) { return port_ = port, flag(DYNM_SET_PORT); }
  /// One more path of the health probe, and of the liveness probe.
  SystemOptions& health_path(std::string path) { return health_path_ = std::move(path), *this; }
  SystemOptions& live_path(std::string path) { return live_path_ = std::move(path), *this; }
  /// The application's version.
  SystemOptions& version(std::string version) { return version_ = std::move(version), *this; }
  /// /metrics shows the whole segment unless it is asked for the process's own.
  SystemOptions& whole_segment() { return flag(DYNM_WHOLE_SEGMENT); }
  /// Stays starting until System::set_state(); otherwise it becomes ready once every required check has passed. For checks that
  /// count from the first request on: this, then the checks, then State::ready.
  SystemOptions& starts_until_told() { return flag(DYNM_STARTS_UNTIL_TOLD); }
  /// Writes the answers of probes. What it throws, and what takes longer than 0.25 s, is answered in our format.
  SystemOptions& format(std::function<Answer(const Report&)> format) { return format_ = std::move(format), *this; }

 private:
  friend class System;
  SystemOptions& flag(std::uint32_t flag) { return flags_ |= flag, *this; }

  Registry registry_;
  std::string host_, health_path_, live_path_, version_;
  std::function<Answer(const Report&)> format_;
  std::uint32_t flags_ = 0;
  std::uint16_t port_ = 0;
};

namespace detail {

using dyn_metrics::detail::Failure;
using dyn_metrics::detail::guarded;
using dyn_metrics::detail::Message;

// A limit; one below 0 is 0, which is always over.
inline std::uint64_t nanoseconds(std::chrono::nanoseconds limit) noexcept {
  return limit.count() < 0 ? 0 : static_cast<std::uint64_t>(limit.count());
}

// Whatever a check gives.
inline Outcome outcome(Outcome found) { return found; }
inline Outcome outcome(bool is_ok) { return {is_ok, {}}; }
inline Outcome outcome(std::string text) { return Outcome::ok(std::move(text)); }
inline Outcome outcome(const char* text) { return Outcome::ok(text); }

template <class F>
Outcome call(F& function, const Run& run) {
  const auto once = [&]() -> decltype(auto) {
    if constexpr (std::is_invocable_v<F&, const Run&>) {
      return function(run);
    } else {
      return function();
    }
  };
  if constexpr (std::is_void_v<decltype(once())>) {
    once();
    return {};
  } else {
    return outcome(once());
  }
}

// A check of whatever may be called: Outcome(const Run&).
template <class F>
std::function<Outcome(const Run&)> check_of(F function) {
  return [function = std::move(function)](const Run& run) mutable { return call(function, run); };
}

struct Functions {
  std::function<Outcome(const Run&)> check;
  std::function<void()> cancel;
  std::function<bool()> is_idle;
  std::function<void(Cancelled)> clean_up;
  std::function<Answer(const Report&)> format;
};

inline Functions& of(void* user) { return *static_cast<Functions*>(user); }

// Runs `body`; what it throws is the text that `thrown` gets. A template, since bodies differ with and without exceptions.
template <bool Exceptions, class Body, class Thrown>
void caught(const Body& body, const Thrown& thrown) noexcept {
#if DYN_METRICS_EXCEPTIONS
  try {
    body();
  } catch (const std::exception& error) {
    thrown(error.what());
  } catch (const std::string& text) {
    thrown(text.c_str());
  } catch (const char* text) {
    thrown(text == nullptr ? "" : text);
  } catch (...) {
    thrown("it threw what is no std::exception");
  }
#else
  (void)thrown;
  body();
#endif
}

// What the library calls. A template, too: of objects with exceptions and without each has its own.
template <bool Exceptions>
struct Calls {
  static std::int32_t check(void* user, const ::dynm_check_run* run) {
    std::int32_t failed = 1;
    caught<Exceptions>(
        [&] {
          const Outcome found = of(user).check(Run(run));
          ::dynm_check_say(run, found.text.c_str());
          failed = found.is_ok ? 0 : 1;
        },
        [&](const char* text) { ::dynm_check_say(run, text); });
    return failed;
  }

  static void cancel(void* user) {
    if (of(user).cancel) caught<Exceptions>(of(user).cancel, [](const char*) {});
  }

  // A question that throws is not idle: nothing is sent.
  static std::int32_t is_idle(void* user) {
    bool found = false;
    caught<Exceptions>([&] { found = !of(user).is_idle || of(user).is_idle(); }, [](const char*) {});
    return found ? 1 : 0;
  }

  static void clean_up(void* user, std::uint32_t why) {
    if (!of(user).clean_up) return;
    caught<Exceptions>([&] { of(user).clean_up(static_cast<Cancelled>(why)); }, [](const char*) {});
  }

  static std::int32_t format(void* user, const ::dynm_report* report, const ::dynm_answer* answer) {
    Status status = DYNM_OPTION;
    caught<Exceptions>(
        [&] {
          const Report shown{static_cast<Probe>(report->probe), report->passes != 0, report->status, report->json};
          const Answer found = of(user).format(shown);
          status = ::dynm_answer_set(answer, found.content_type.c_str(), found.body.data(), found.body.size());
        },
        [](const char*) {});
    return status == DYNM_OK ? 0 : 1;
  }

  static void destroy(void* user) {
    caught<Exceptions>([&] { delete static_cast<Functions*>(user); }, [](const char*) {});
  }
};

}  // namespace detail

/// A loop's pulse. Copies are one pulse. Cost of a beat: reading a clock, and a store. Threads, signals: any.
class Beat {
 public:
  /// A pulse that has just beaten. Cost: memory that is not freed.
  Beat() noexcept { ::dynm_beat_create(&raw_); }
  /// The loop still turns.
  void beat() const noexcept { ::dynm_beat_now(raw_); }
  /// For calls of the C functions.
  const ::dynm_beat* raw() const noexcept { return raw_; }

 private:
  const ::dynm_beat* raw_ = nullptr;
};

/// A running server with its checks; copies are one server, and the last one stops it. One without a server, as from an environment
/// that wants none, refuses everything with DYNM_NULL.
class System {
 public:
  System() noexcept = default;

  /// Starts one with threads of its own. Threads: any. Signals: no. After fork: the child may start one. Errors: DYNM_IN_USE where
  /// the port is taken, DYNM_IO, DYNM_OPTION.
  template <bool Exceptions = DYN_METRICS_EXCEPTIONS != 0>
  static Result<System> try_start(const SystemOptions& options) noexcept {
    const ::dynm_system* raw = nullptr;
    System made;
    detail::Failure failure = detail::guarded([&] {
      ::dynm_system_options given = ::dynm_system_options_init();
      given.registry = options.registry_.raw();
      given.host = options.host_.c_str();
      given.health_path = options.health_path_.c_str();
      given.live_path = options.live_path_.c_str();
      given.version = options.version_.c_str();
      given.flags = options.flags_;
      given.port = options.port_;
      if (options.format_) {
        given.format = detail::Calls<Exceptions>::format;
        given.user = new detail::Functions{{}, {}, {}, {}, options.format_};
        given.destroy = detail::Calls<Exceptions>::destroy;
      }
      const detail::Failure found = detail::Failure::of(::dynm_system_start(&given, &raw));
      if (raw != nullptr) made.raw_ = std::shared_ptr<const ::dynm_system>(raw, [](const ::dynm_system* last) { ::dynm_system_stop(last); });
      return found;
    });
    if (!failure.happened()) return made;
    return {std::move(failure), System()};
  }

  /// Whether there is a server.
  explicit operator bool() const noexcept { return raw_ != nullptr; }

  /// Adds a check: whatever may be called without arguments, or with a `const Run&`. `cancel` is called, by another thread, for a run
  /// over its limit. Errors: DYNM_NAME, DYNM_CONFLICT, DYNM_OPTION, DYNM_FULL, DYNM_CLOSED, DYNM_NULL.
  template <class F, bool Exceptions = DYN_METRICS_EXCEPTIONS != 0>
  Result<void> try_check(const std::string& name, F function, const CheckOptions& options = {},
                         std::function<void()> cancel = {}) const noexcept {
    return added(name, options, [&](const ::dynm_check_options& raw) {
      auto* functions = new detail::Functions{detail::check_of(std::move(function)), std::move(cancel), {}, {}, {}};
      using Calls = detail::Calls<Exceptions>;
      return ::dynm_system_add_check(this->raw(), &raw, Calls::check, Calls::cancel, functions, Calls::destroy);
    });
  }

  /// Sends a request of the application's own making while `is_idle` says so; fails when that fails or is late. Errors: as try_check().
  template <class F, bool Exceptions = DYN_METRICS_EXCEPTIONS != 0>
  Result<void> try_canary(const std::string& name, F request, const CheckOptions& options = {},
                          std::function<bool()> is_idle = {}, std::function<void(Cancelled)> clean_up = {}) const noexcept {
    return added(name, options, [&](const ::dynm_check_options& raw) {
      auto* functions = new detail::Functions{
          detail::check_of(std::move(request)), {}, std::move(is_idle), std::move(clean_up), {}};
      using Calls = detail::Calls<Exceptions>;
      return ::dynm_system_add_canary(this->raw(), &raw, Calls::check, Calls::is_idle, Calls::clean_up, functions,
                                      Calls::destroy);
    });
  }

  /// Fails when there was no beat for `limit`. Errors: as try_check(), here and below.
  Result<void> try_beat(const std::string& name, const Beat& beat, std::chrono::nanoseconds limit,
                        const CheckOptions& options = {}) const noexcept {
    return added(name, options, [&](const ::dynm_check_options& raw) {
      return ::dynm_system_add_beat(this->raw(), &raw, beat.raw(), detail::nanoseconds(limit));
    });
  }

  /// Fails when the counter has not moved for `limit` while the gauge is above 0. Counter or FloatCounter; Gauge or FloatGauge.
  template <class C, class G>
  Result<void> try_progress(const std::string& name, const C& done, const G& pending, std::chrono::nanoseconds limit,
                            const CheckOptions& options = {}) const noexcept {
    return added(name, options, [&](const ::dynm_check_options& raw) {
      return ::dynm_system_add_progress(this->raw(), &raw, done.raw(), pending.raw(), detail::nanoseconds(limit));
    });
  }

  /// Fails when the filesystem of `path` has less space left.
  Result<void> try_space(const std::string& name, const std::string& path, std::uint64_t least_bytes,
                         const CheckOptions& options = {}) const noexcept {
    return added(name, options, [&](const ::dynm_check_options& raw) {
      return ::dynm_system_add_space(this->raw(), &raw, path.c_str(), least_bytes);
    });
  }

  /// Fails when etcd has no answer, no leader or an alarm, lost the lease (0: none), or has no key with the prefix (empty: none).
  Result<void> try_etcd(const std::string& name, const std::string& url, std::int64_t lease = 0, bool keep_alive = false,
                        const std::string& key_prefix = {}, const CheckOptions& options = {}) const noexcept {
    return added(name, options, [&](const ::dynm_check_options& raw) {
      return ::dynm_system_add_etcd(this->raw(), &raw, url.c_str(), lease, keep_alive ? DYNM_KEEP_ALIVE : 0,
                                    key_prefix.empty() ? nullptr : key_prefix.c_str());
    });
  }

  /// Fails when NATS does not answer, or nobody of the service (empty: none), or of its instance (empty: any), does.
  Result<void> try_nats(const std::string& name, const std::string& url, const std::string& service = {},
                        const std::string& instance = {}, const CheckOptions& options = {}) const noexcept {
    return added(name, options, [&](const ::dynm_check_options& raw) {
      return ::dynm_system_add_nats(this->raw(), &raw, url.c_str(), service.empty() ? nullptr : service.c_str(),
                                    instance.empty() ? nullptr : instance.c_str());
    });
  }

  /// Forgets a check. Errors: DYNM_NOT_FOUND.
  Result<void> try_remove(const std::string& name) const noexcept {
    return Result<void>(detail::Failure::of(::dynm_system_remove(raw(), name.c_str())));
  }

  /// Says where the process is in its life.
  Result<void> try_set_state(State state) const noexcept {
    return Result<void>(detail::Failure::of(::dynm_system_set_state(raw(), static_cast<std::uint32_t>(state))));
  }

#if DYN_METRICS_EXCEPTIONS
  /// As the try_ functions. Errors: as there, thrown.
  static System start(const SystemOptions& options) { return try_start(options).or_throw(); }
  template <class F>
  void check(const std::string& name, F function, const CheckOptions& options = {}, std::function<void()> cancel = {}) const {
    try_check(name, std::move(function), options, std::move(cancel)).or_throw();
  }
  template <class F>
  void canary(const std::string& name, F request, const CheckOptions& options = {}, std::function<bool()> is_idle = {},
              std::function<void(Cancelled)> clean_up = {}) const {
    try_canary(name, std::move(request), options, std::move(is_idle), std::move(clean_up)).or_throw();
  }
  Beat beat(const std::string& name, std::chrono::nanoseconds limit, const CheckOptions& options = {}) const {
    const Beat made;
    try_beat(name, made, limit, options).or_throw();
    return made;
  }
  template <class C, class G>
  void progress(const std::string& name, const C& done, const G& pending, std::chrono::nanoseconds limit,
                const CheckOptions& options = {}) const {
    try_progress(name, done, pending, limit, options).or_throw();
  }
  void space(const std::string& name, const std::string& path, std::uint64_t least_bytes, const CheckOptions& options = {}) const {
    try_space(name, path, least_bytes, options).or_throw();
  }
  void etcd(const std::string& name, const std::string& url, std::int64_t lease = 0, bool keep_alive = false,
            const std::string& key_prefix = {}, const CheckOptions& options = {}) const {
    try_etcd(name, url, lease, keep_alive, key_prefix, options).or_throw();
  }
  void nats(const std::string& name, const std::string& url, const std::string& service = {}, const std::string& instance = {},
            const CheckOptions& options = {}) const {
    try_nats(name, url, service, instance, options).or_throw();
  }
  void remove(const std::string& name) const { try_remove(name).or_throw(); }
  void set_state(State state) const { try_set_state(state).or_throw(); }
#endif

  /// "http://127.0.0.1:8081"; empty without a server, here and below. Errors: std::bad_alloc.
  std::string url() const { return described([](const auto& found) { return std::string(found.url); }); }
  /// The real port; 0 without a server.
  std::uint16_t port() const {
    return described([](const auto& found) { return static_cast<std::uint16_t>(found.port); });
  }
  /// What a probe would be answered with, as JSON.
  std::string report(Probe probe) const {
    char* text = nullptr;
    std::size_t length = 0;
    if (::dynm_system_report(raw(), static_cast<std::uint32_t>(probe), nullptr, &text, &length) != DYNM_OK) return {};
    const std::unique_ptr<char, void (*)(char*)> owned(text, ::dynm_free);
    return std::string(text, length);
  }
  /// Stops it; the port is free then. A check that runs is not waited for. Doing it again does nothing.
  void stop() const noexcept { ::dynm_system_stop(raw()); }
  /// For calls of the C functions; NULL without a server.
  const ::dynm_system* raw() const noexcept { return raw_.get(); }

 private:
  template <class Add>
  Result<void> added(const std::string& name, const CheckOptions& options, const Add& add) const noexcept {
    return Result<void>(detail::guarded([&] { return detail::Failure::of(add(options.raw(name.c_str()))); }));
  }

  template <class Take>
  auto described(const Take& take) const -> decltype(take(std::declval<::dynm_system_description>())) {
    ::dynm_system_description found = {};
    found.struct_size = sizeof found;
    if (::dynm_system_describe(raw(), &found) != DYNM_OK) return {};
    return take(found);
  }

  std::shared_ptr<const ::dynm_system> raw_;
};

}  // namespace dyn_metrics::health

#endif  // DYN_METRICS_SYSTEM_HPP

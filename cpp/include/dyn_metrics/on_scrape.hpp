// on_scrape.hpp: values that are computed when somebody asks.
#ifndef DYN_METRICS_ON_SCRAPE_HPP
#define DYN_METRICS_ON_SCRAPE_HPP

#include <functional>
#include <memory>

#include "counter.hpp"
#include "gauge.hpp"
#include "registry.hpp"

namespace dyn_metrics {

namespace detail {
struct Scraped;
}

/// A callback that runs when somebody asks for values, until this is destroyed. Destroying it doesn't wait: a run that is
/// under way goes on, so what the callback refers to must outlive that; what it owns is destroyed behind its last run, by
/// any thread. In a forked child it does nothing.
class OnScrape {
 public:
  OnScrape() noexcept = default;
  OnScrape(OnScrape&& other) noexcept : id_(std::exchange(other.id_, 0)) {}
  OnScrape& operator=(OnScrape&& other) noexcept {
    if (this != &other) {
      end();
      id_ = std::exchange(other.id_, 0);
    }
    return *this;
  }
  OnScrape(const OnScrape&) = delete;
  OnScrape& operator=(const OnScrape&) = delete;
  ~OnScrape() { end(); }

  /// Lets the callback run for as long as the process lives.
  void keep() noexcept { id_ = 0; }
  /// Ends it now. Threads: any, also from the callback. Errors: none.
  void end() noexcept {
    if (const std::size_t id = std::exchange(id_, 0); id != 0) ::dynm_on_scrape_end(id);
  }

 private:
  friend struct detail::Scraped;
  std::size_t id_ = 0;
};

namespace detail {

// What the library keeps for a callback, and calls. What it throws is a failure, which is counted.
struct Scraped {
  using Callback = std::function<void()>;
  using Function = std::function<double()>;

  template <class Body>
  static std::int32_t guarded(const Body& body) noexcept {
#if DYN_METRICS_EXCEPTIONS
    try {
      body();
      return 0;
    } catch (...) {
      return 1;
    }
#else
    body();
    return 0;
#endif
  }
  static std::int32_t run(void* user) noexcept {
    return guarded([=] { (*static_cast<Callback*>(user))(); });
  }
  static std::int32_t compute(void* user, double* value) noexcept {
    return guarded([=] { *value = (*static_cast<Function*>(user))(); });
  }
  template <class Kept>
  static void destroy(void* user) noexcept {
    delete static_cast<Kept*>(user);
  }

  static Failure add(const dynm_registry* registry, Callback callback, OnScrape& made) {
    auto kept = std::make_unique<Callback>(std::move(callback));
    const Status status = ::dynm_on_scrape(registry, run, kept.get(), destroy<Callback>, &made.id_);
    if (status == DYNM_OK) static_cast<void>(kept.release());
    return Failure::of(status);
  }
  static Failure set(const dynm_metric* metric, Function function) {
    auto kept = std::make_unique<Function>(std::move(function));
    const Status status = ::dynm_set_function(metric, compute, kept.get(), destroy<Function>);
    if (status == DYNM_OK) static_cast<void>(kept.release());
    return Failure::of(status);
  }
};

// A value as the library takes it: durations in seconds.
template <class Value>
double computed(const Value& value) noexcept {
  return static_cast<double>(value);
}
template <class Rep, class Period>
double computed(const std::chrono::duration<Rep, Period>& value) noexcept {
  return std::chrono::duration<double>(value).count();
}

}  // namespace detail

/// Has `callback` run whenever somebody asks for values, before they are read: when the exporter is scraped, when this
/// process's own server is, and when a page is rendered.
///
///     auto callback = on_scrape(registry, [depth, &queue] { depth.set(queue.size()); });
///
/// Requires: a callback that any thread may call; never two do at once. Guarantees: it runs on a thread of the library's,
/// and who asks waits for it for a short time only (100 ms unless the exporter is told otherwise) and then reads what is
/// there. One that still runs is not started again and keeps no other from running; what one throws is counted. Threads:
/// any, also from a callback. Signals: no. After fork: the child has none of its parent's. Cost: a thread and a socket
/// beside the segment, once. Errors: DYNM_NULL; thrown as Error, or from the try_ function in the Result.
inline Result<OnScrape> try_on_scrape(const Registry& registry, std::function<void()> callback) noexcept {
  OnScrape made;
  detail::Failure failure =
      detail::guarded([&] { return detail::Scraped::add(registry.raw(), std::move(callback), made); });
  if (!failure.happened()) return Result<OnScrape>(std::move(made));
  return {std::move(failure), OnScrape()};
}

/// Has the value of a gauge, or the total of a counter, computed by `function` whenever somebody asks for it: a number, or a
/// duration. A later function of the same series takes the place of an earlier one. Of a counter's totals what they have
/// grown by is added. Otherwise as try_on_scrape(); Errors: DYNM_NOT_FOUND for a handle that counts privately.
template <class Handle, class Function>
Result<void> try_set_function(const Handle& handle, Function function) noexcept {
  static_assert(Handle::type <= DYNM_COUNTER_NS || (Handle::type >= DYNM_GAUGE_I64 && Handle::type <= DYNM_GAUGE_NS),
                "a gauge or a counter");
  return Result<void>(detail::guarded([&] {
    return detail::Scraped::set(handle.raw(), [call = std::move(function)]() mutable { return detail::computed(call()); });
  }));
}

/// Ends what try_set_function() has set; whether there was something.
template <class Handle>
bool clear_function(const Handle& handle) noexcept {
  return ::dynm_set_function(handle.raw(), nullptr, nullptr, nullptr) == DYNM_OK;
}

#if DYN_METRICS_EXCEPTIONS
/// As the try_ functions. Errors: as there, thrown.
[[nodiscard]] inline OnScrape on_scrape(const Registry& registry, std::function<void()> callback) {
  return try_on_scrape(registry, std::move(callback)).or_throw();
}
template <class Handle, class Function>
void set_function(const Handle& handle, Function function) {
  try_set_function(handle, std::move(function)).or_throw();
}
#endif

}  // namespace dyn_metrics

#endif  // DYN_METRICS_ON_SCRAPE_HPP

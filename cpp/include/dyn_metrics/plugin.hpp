// plugin.hpp: a registry plugin in C++17: a class and one macro. For plugins, not for applications; needs plugin.h alone,
// and no library.
//
//     class Mine final : public dyn_metrics::plugin::Registry {
//      public:
//       explicit Mine(std::string_view config);
//       dyn_metrics::plugin::Instrument* series(const dyn_metrics::plugin::Descriptor& series) override;
//       void render(const dyn_metrics::plugin::Selection& selection, dyn_metrics::plugin::Output& output) override;
//     };
//     DYNM_REGISTRY_PLUGIN(Mine)
//
// What these functions throw doesn't leave the plugin: registration and rendering fail with its what(), an update is
// left out and counted in thrown_updates(). examples/plugin/ has a whole one.
#ifndef DYN_METRICS_PLUGIN_HPP
#define DYN_METRICS_PLUGIN_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugin.h"

namespace dyn_metrics::plugin {

// What series are.
enum class Kind : std::uint32_t {
  counter = DYNM_PLUGIN_COUNTER,
  gauge = DYNM_PLUGIN_GAUGE,
  histogram = DYNM_PLUGIN_HISTOGRAM,
  tally = DYNM_PLUGIN_TALLY,
  info = DYNM_PLUGIN_INFO,
  state_set = DYNM_PLUGIN_STATE_SET,
};

// Why an update, or a part of it, did not count.
enum class Dropped : std::uint32_t {
  nan = DYNM_PLUGIN_NAN,
  negative = DYNM_PLUGIN_NEGATIVE,
  infinite = DYNM_PLUGIN_INFINITE,
};

// How a number is written. Of a counter integers and nanoseconds are unsigned, by their bits.
enum class Representation : std::uint32_t {
  integer = DYNM_PLUGIN_INTEGER,
  real = DYNM_PLUGIN_DOUBLE,
  nanoseconds = DYNM_PLUGIN_NANOSECONDS,
};

// A number as it was given.
class Number {
 public:
  static constexpr Number of_integer(std::int64_t n) noexcept { return {Representation::integer, n, 0}; }
  static constexpr Number of_real(double x) noexcept { return {Representation::real, 0, x}; }
  static constexpr Number of_nanoseconds(std::int64_t n) noexcept { return {Representation::nanoseconds, n, 0}; }

  constexpr Representation representation() const noexcept { return representation_; }
  // Of integers and nanoseconds.
  constexpr std::int64_t integer() const noexcept { return integer_; }
  // Of doubles.
  constexpr double real() const noexcept { return real_; }
  // As people see it: nanoseconds in seconds. Not for counters above 2^63.
  constexpr double as_double() const noexcept {
    if (representation_ == Representation::real) return real_;
    return static_cast<double>(integer_) / (representation_ == Representation::nanoseconds ? 1e9 : 1.0);
  }

 private:
  constexpr Number(Representation representation, std::int64_t integer, double real) noexcept
      : representation_(representation), integer_(integer), real_(real) {}

  Representation representation_;
  std::int64_t integer_;
  double real_;
};

struct Label {
  std::string_view name, value;
};

inline std::string_view view(dynm_plugin_text text) noexcept {
  return text.length == 0 ? std::string_view() : std::string_view(text.data, text.length);
}

inline std::vector<Label> labels_of(const dynm_plugin_label* labels, std::size_t count) {
  std::vector<Label> all;
  all.reserve(count);
  for (std::size_t i = 0; i < count; i++) all.push_back({view(labels[i].name), view(labels[i].value)});
  return all;
}

// A series, or without labels its family. Its texts are gone when the function returns that got it: copy what is kept.
struct Descriptor {
  explicit Descriptor(const dynm_plugin_descriptor& given)
      : name(view(given.name)),
        help(view(given.help)),
        unit(view(given.unit)),
        kind(static_cast<Kind>(given.kind)),
        representation(static_cast<Representation>(given.number)),
        labels(labels_of(given.labels, given.label_count)),
        level(given.level),
        mode(view(given.mode)),
        starts_at_zero(given.starts_at_zero != 0) {
    if (given.bound_count > 0) bounds.assign(given.bounds, given.bounds + given.bound_count);
    for (std::size_t i = 0; i < given.state_count; i++) states.push_back(view(given.states[i]));
  }

  std::string_view name, help, unit;
  Kind kind;
  Representation representation;    // of what it is updated with first; a counter may get others
  std::vector<Label> labels;        // sorted by name
  std::vector<double> bounds;       // of a histogram, without +Inf
  std::vector<std::string_view> states;
  std::uint32_t level;              // 0 is the most important
  std::string_view mode;            // how a gauge's values in several processes combine
  bool starts_at_zero;              // a gauge that is 0 before its first update
};

// Which part of a registry is to be shown.
class Selection {
 public:
  explicit Selection(const dynm_plugin_selection& given)
      : prefix_(view(given.prefix)),
        labels_(labels_of(given.labels, given.label_count)),
        max_level_(given.max_level) {}

  // Whether a series is in it. Labels is a range of pairs or structures that bind to two texts.
  template <class Labels>
  bool includes(std::string_view name, std::uint32_t level, const Labels& labels) const {
    if (level > max_level_ || name.substr(0, prefix_.size()) != prefix_) return false;
    for (const Label& wanted : labels_) {
      bool has = false;
      for (const auto& [label, value] : labels) {
        has = has || (label == wanted.name && (value == wanted.value || value == DYNM_PLUGIN_OVERFLOW));
      }
      if (!has) return false;
    }
    return true;
  }

 private:
  std::string_view prefix_;
  std::vector<Label> labels_;
  std::uint32_t max_level_;
};

// Takes text. Of the thread that got it, until the function returns that got it.
class Output {
 public:
  explicit Output(const dynm_plugin_output& given) noexcept : given_(given) {}

  // Whether it was taken. When not, render() may return: nothing more will be.
  bool write(std::string_view text) {
    is_full_ = is_full_ || given_.write(given_.state, text.data(), text.size()) != DYNM_PLUGIN_OK;
    return !is_full_;
  }

  bool is_full() const noexcept { return is_full_; }

 private:
  const dynm_plugin_output& given_;
  bool is_full_ = false;
};

// What a series has, for Instrument::read().
class Value {
 public:
  explicit Value(dynm_plugin_value& given) noexcept : given_(given) {}

  // Of counters and gauges.
  void set(Number number) noexcept {
    given_.number = static_cast<std::uint32_t>(number.representation());
    given_.integer = number.integer();
    given_.real = number.real();
  }
  // Of histograms and tallies.
  void set_sum(std::uint64_t count, double sum) noexcept {
    given_.count = count;
    given_.real = sum;
  }
  // Of histograms: observations in bucket `at`, not cumulative.
  void set_bucket(std::size_t at, std::uint64_t count) noexcept {
    if (at < given_.bucket_count) given_.buckets[at] = count;
  }
  // Of state sets.
  void set_states(std::uint64_t bits) noexcept { given_.states = bits; }

 private:
  dynm_plugin_value& given_;
};

// A series as its handles update it; each kind uses its own part. Any thread, several at once: these should neither block
// nor allocate, and are as safe in signal handlers and forked children as they are written.
class Instrument {
 public:
  virtual ~Instrument() = default;
  // Counters, by 0 or more; gauges.
  virtual void add(Number amount) { (void)amount; }
  // Gauges.
  virtual void set(Number value) { (void)value; }
  // Histograms and tallies. Where the value or its sum is infinite, it stays out of the sum.
  virtual void observe(double value, std::uint64_t count) { (void)value, (void)count; }
  // State sets.
  virtual void switch_states(std::uint64_t on, std::uint64_t off) { (void)on, (void)off; }
  virtual void dropped(Dropped reason) { (void)reason; }
  // False: there is no value.
  virtual bool read(Value& value) const { return (void)value, false; }
};

// A registry, made with the text behind the ? in DYN_METRICS_REGISTRY. Any thread, several at once.
class Registry {
 public:
  virtual ~Registry() = default;
  // A family, before its first series. Throw to refuse it.
  virtual void family(const Descriptor& family) { (void)family; }
  // A series. What is returned belongs to the registry and stays valid; null when updates may go nowhere.
  virtual Instrument* series(const Descriptor& series) = 0;
  // Forgets a series: it is shown no more, and the same labels are asked for anew. Its instrument stays valid: handles of
  // it may be held. False when series can't be removed.
  virtual bool remove(std::string_view name, const std::vector<Label>& labels) { return (void)name, (void)labels, false; }
  // Prometheus text 0.0.4.
  virtual void render(const Selection& selection, Output& output) = 0;
};

// Hidden: each shared object has its own, however many plugins a process has.
namespace [[gnu::visibility("hidden")]] detail {
inline std::atomic<std::uint64_t> thrown{0};
}

// How many updates have thrown, in this plugin.
[[gnu::visibility("hidden")]] inline std::uint64_t thrown_updates() noexcept { return detail::thrown.load(std::memory_order_relaxed); }

namespace [[gnu::visibility("hidden")]] detail {

// Calls `work`; what it throws becomes a line of `error`.
template <class Work>
std::int32_t guarded(const dynm_plugin_output* error, Work&& work) noexcept {
  std::string_view what = "found an exception of unknown type";
#if defined(__cpp_exceptions)
  try {
    return work();
  } catch (const std::exception& exception) {
    what = exception.what();
    error->write(error->state, what.data(), what.size());
  } catch (...) {
    error->write(error->state, what.data(), what.size());
  }
  return DYNM_PLUGIN_ERROR;
#else
  (void)error, (void)what;
  return work();
#endif
}

// Calls an update of an instrument.
template <class Work>
void update(void* instrument, Work&& work) noexcept {
#if defined(__cpp_exceptions)
  try {
    work(*static_cast<Instrument*>(instrument));
  } catch (...) {
    thrown.fetch_add(1, std::memory_order_relaxed);
  }
#else
  work(*static_cast<Instrument*>(instrument));
#endif
}

// The functions of the table, for a registry of type R.
template <class R>
struct Table {
  using Error = const dynm_plugin_output*;

  static Registry& of(void* registry) noexcept { return *static_cast<Registry*>(registry); }

  static std::int32_t open(const dynm_plugin_options* options, void** registry, Error error) noexcept {
    return guarded(error, [&] {
      *registry = static_cast<Registry*>(new R(view(options->config)));
      return DYNM_PLUGIN_OK;
    });
  }
  static void close(void* registry) noexcept { delete static_cast<Registry*>(registry); }
  static std::int32_t family(void* registry, const dynm_plugin_descriptor* family, Error error) noexcept {
    return guarded(error, [&] { return of(registry).family(Descriptor(*family)), DYNM_PLUGIN_OK; });
  }
  static std::int32_t series(void* registry, const dynm_plugin_descriptor* series, void** instrument,
                             Error error) noexcept {
    return guarded(error, [&] {
      *instrument = of(registry).series(Descriptor(*series));
      return *instrument == nullptr ? DYNM_PLUGIN_NONE : DYNM_PLUGIN_OK;
    });
  }
  static void add_integer(void* to, std::int64_t n) noexcept {
    update(to, [n](Instrument& instrument) { instrument.add(Number::of_integer(n)); });
  }
  static void add_double(void* to, double x) noexcept {
    update(to, [x](Instrument& instrument) { instrument.add(Number::of_real(x)); });
  }
  static void add_nanoseconds(void* to, std::int64_t n) noexcept {
    update(to, [n](Instrument& instrument) { instrument.add(Number::of_nanoseconds(n)); });
  }
  static void set_integer(void* to, std::int64_t n) noexcept {
    update(to, [n](Instrument& instrument) { instrument.set(Number::of_integer(n)); });
  }
  static void set_double(void* to, double x) noexcept {
    update(to, [x](Instrument& instrument) { instrument.set(Number::of_real(x)); });
  }
  static void set_nanoseconds(void* to, std::int64_t n) noexcept {
    update(to, [n](Instrument& instrument) { instrument.set(Number::of_nanoseconds(n)); });
  }
  static void observe(void* to, double value, std::uint64_t count) noexcept {
    update(to, [=](Instrument& instrument) { instrument.observe(value, count); });
  }
  static void switch_states(void* to, std::uint64_t on, std::uint64_t off) noexcept {
    update(to, [=](Instrument& instrument) { instrument.switch_states(on, off); });
  }
  static void dropped(void* by, std::uint32_t reason) noexcept {
    update(by, [reason](Instrument& instrument) { instrument.dropped(static_cast<Dropped>(reason)); });
  }
  static std::int32_t read(void* from, dynm_plugin_value* value) noexcept {
    std::int32_t status = DYNM_PLUGIN_NONE;
    update(from, [&](const Instrument& instrument) {
      Value filled(*value);
      status = instrument.read(filled) ? DYNM_PLUGIN_OK : DYNM_PLUGIN_NONE;
    });
    return status;
  }
  static std::int32_t render(void* registry, const dynm_plugin_selection* selection, const dynm_plugin_output* output,
                             Error error) noexcept {
    return guarded(error, [&] {
      Output text(*output);
      of(registry).render(Selection(*selection), text);
      return text.is_full() ? DYNM_PLUGIN_ERROR : DYNM_PLUGIN_OK;
    });
  }

  static std::int32_t remove(void* registry, const dynm_plugin_series* series, Error error) noexcept {
    return guarded(error, [&] {
      const std::vector<Label> labels = labels_of(series->labels, series->label_count);
      return of(registry).remove(view(series->name), labels) ? DYNM_PLUGIN_OK : DYNM_PLUGIN_NONE;
    });
  }

  static constexpr dynm_registry_plugin make() noexcept {
    return {sizeof(dynm_registry_plugin),
            DYNM_PLUGIN_ABI_VERSION,
            open,
            close,
            family,
            series,
            add_integer,
            add_double,
            add_nanoseconds,
            set_integer,
            set_double,
            set_nanoseconds,
            observe,
            switch_states,
            dropped,
            read,
            render,
            remove};
  }
};

}  // namespace detail
}  // namespace dyn_metrics::plugin

// Makes the shared object a plugin whose registries are of this class. Once, outside of any namespace.
#define DYNM_REGISTRY_PLUGIN(Class)                                                     \
  extern "C" {                                                                          \
  constexpr dynm_registry_plugin dynm_registry_plugin_v1 =                              \
      dyn_metrics::plugin::detail::Table<Class>::make();                                \
  }                                                                                     \
  static_assert(true)

#endif  // DYN_METRICS_PLUGIN_HPP

// A registry plugin that keeps its own map of series and writes them as Prometheus text.
//
//     c++ -std=c++17 -O2 -shared -fPIC sample_plugin.cpp -I../../include -o sample_plugin.so
//     DYN_METRICS_REGISTRY=plugin:./sample_plugin.so ./any-program-that-counts
//
// What stands behind a ? in the variable is written as a comment at the top of the page. Updates are atomic instructions:
// they neither block nor allocate, and may be made in signal handlers and forked children. Registration and rendering take
// a lock.
#include <dyn_metrics/plugin.hpp>

#include <atomic>
#include <charconv>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace {

namespace plugin = dyn_metrics::plugin;
using Labels = std::vector<std::pair<std::string, std::string>>;
using Bits = std::atomic<std::uint64_t>;
constexpr auto relaxed = std::memory_order_relaxed;

void add(std::atomic<double>& to, double amount) {
  double before = to.load(relaxed);
  while (!to.compare_exchange_weak(before, before + amount, relaxed)) {
  }
}

std::string text_of(double x) {
  if (std::isnan(x)) return "NaN";
  if (std::isinf(x)) return x > 0 ? "+Inf" : "-Inf";
  char text[32];
  const bool is_whole = x == std::trunc(x) && std::abs(x) < 1e15;
  const auto end = is_whole ? std::to_chars(text, text + sizeof text, static_cast<std::int64_t>(x))
                            : std::to_chars(text, text + sizeof text, x);
  return std::string(text, end.ptr);
}

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || (c == '"' && quotes)) out += '\\';
    if (c == '\n') out += '\\';
    out += c == '\n' ? 'n' : c;
  }
  return out;
}

// A line: a name with labels, and a value.
std::string sample(const std::string& name, const Labels& labels, const std::string& value) {
  std::string line = name;
  for (std::size_t i = 0; i < labels.size(); i++) {
    line += (i == 0 ? '{' : ',') + labels[i].first + "=\"" + escaped(labels[i].second, true) + '"';
  }
  return line + (labels.empty() ? " " : "} ") + value + '\n';
}

Labels with(Labels labels, std::string name, std::string value) {
  labels.emplace_back(std::move(name), std::move(value));
  return labels;
}

class Series : public plugin::Instrument {
 public:
  virtual std::string text(const std::string& name, const Labels& labels) const = 0;
};

// A total of whole events, doubles and nanoseconds; exact as long as it is only one of these.
class Counter final : public Series {
 public:
  explicit Counter(const plugin::Descriptor& series) : first_(series.representation) {}

  void add(plugin::Number amount) override {
    const auto whole = static_cast<std::uint64_t>(amount.integer());
    if (amount.representation() == plugin::Representation::integer) events_.fetch_add(whole, relaxed);
    if (amount.representation() == plugin::Representation::nanoseconds) nanoseconds_.fetch_add(whole, relaxed);
    if (amount.representation() == plugin::Representation::real) ::add(real_, amount.real());
  }

  bool read(plugin::Value& value) const override {
    const std::uint64_t events = events_.load(relaxed), nanoseconds = nanoseconds_.load(relaxed);
    const double real = real_.load(relaxed);
    if (first_ == plugin::Representation::integer && nanoseconds == 0 && real == 0) {
      value.set(plugin::Number::of_integer(static_cast<std::int64_t>(events)));
    } else if (first_ == plugin::Representation::nanoseconds && events == 0 && real == 0) {
      value.set(plugin::Number::of_nanoseconds(static_cast<std::int64_t>(nanoseconds)));
    } else {
      value.set(plugin::Number::of_real(total()));
    }
    return true;
  }

  std::string text(const std::string& name, const Labels& labels) const override {
    const bool is_whole = nanoseconds_.load(relaxed) == 0 && real_.load(relaxed) == 0;
    return sample(name, labels, is_whole ? std::to_string(events_.load(relaxed)) : text_of(total()));
  }

 private:
  double total() const {
    return static_cast<double>(events_.load(relaxed)) + real_.load(relaxed) +
           static_cast<double>(nanoseconds_.load(relaxed)) / 1e9;
  }

  plugin::Representation first_;
  Bits events_{0}, nanoseconds_{0};
  std::atomic<double> real_{0};
};

// A value in one word, and whether there is one.
class Gauge final : public Series {
 public:
  explicit Gauge(const plugin::Descriptor& series) : in_(series.representation), is_set_(series.starts_at_zero) {}

  void add(plugin::Number amount) override {
    if (in_ == plugin::Representation::real) {
      ::add(real_, amount.as_double());
    } else {
      whole_.fetch_add(converted(amount), relaxed);
    }
    is_set_.store(true, std::memory_order_release);
  }

  void set(plugin::Number value) override {
    if (in_ == plugin::Representation::real) {
      real_.store(value.as_double(), relaxed);
    } else {
      whole_.store(converted(value), relaxed);
    }
    is_set_.store(true, std::memory_order_release);
  }

  bool read(plugin::Value& value) const override {
    value.set(number());
    return is_set_.load(std::memory_order_acquire);
  }

  std::string text(const std::string& name, const Labels& labels) const override {
    if (!is_set_.load(std::memory_order_acquire)) return {};
    const plugin::Number now = number();
    const bool is_integer = in_ == plugin::Representation::integer;
    return sample(name, labels, is_integer ? std::to_string(now.integer()) : text_of(now.as_double()));
  }

 private:
  // In the representation of this gauge, which isn't doubles.
  std::int64_t converted(plugin::Number number) const {
    if (number.representation() == in_) return number.integer();
    constexpr double least = -0x1p63, most = 0x1p63 - 1024;
    const double units = number.as_double() * (in_ == plugin::Representation::nanoseconds ? 1e9 : 1);
    return static_cast<std::int64_t>(std::round(units < least ? least : units > most ? most : units));
  }

  plugin::Number number() const {
    switch (in_) {
      case plugin::Representation::real: return plugin::Number::of_real(real_.load(relaxed));
      case plugin::Representation::nanoseconds: return plugin::Number::of_nanoseconds(whole_.load(relaxed));
      default: return plugin::Number::of_integer(whole_.load(relaxed));
    }
  }

  plugin::Representation in_;
  std::atomic<std::int64_t> whole_{0};
  std::atomic<double> real_{0};
  std::atomic<bool> is_set_;
};

// Counts by bounds, +Inf last, and a sum: also of a tally, which has no bounds.
class Distribution final : public Series {
 public:
  explicit Distribution(const plugin::Descriptor& series)
      : is_histogram_(series.kind == plugin::Kind::histogram), bounds_(series.bounds), buckets_(bounds_.size() + 1) {}

  void observe(double value, std::uint64_t count) override {
    std::size_t at = 0;
    while (at < bounds_.size() && value > bounds_[at]) at++;
    buckets_[at].fetch_add(count, relaxed);
    const double sum = value * static_cast<double>(count);
    if (std::isfinite(sum)) ::add(sum_, sum);
  }

  bool read(plugin::Value& value) const override {
    std::uint64_t count = 0;
    for (std::size_t at = 0; at < buckets_.size(); at++) {
      const std::uint64_t bucket = buckets_[at].load(relaxed);
      value.set_bucket(at, bucket);
      count += bucket;
    }
    value.set_sum(count, sum_.load(relaxed));
    return true;
  }

  std::string text(const std::string& name, const Labels& labels) const override {
    std::string out;
    std::uint64_t below = 0;
    for (std::size_t at = 0; at < buckets_.size(); at++) {
      below += buckets_[at].load(relaxed);
      const std::string bound = at < bounds_.size() ? text_of(bounds_[at]) : "+Inf";
      if (is_histogram_) out += sample(name + "_bucket", with(labels, "le", bound), std::to_string(below));
    }
    return out + sample(name + "_sum", labels, text_of(sum_.load(relaxed))) +
           sample(name + "_count", labels, std::to_string(below));
  }

 private:
  bool is_histogram_;
  std::vector<double> bounds_;
  std::vector<Bits> buckets_;
  std::atomic<double> sum_{0};
};

class States final : public Series {
 public:
  explicit States(const plugin::Descriptor& series) : names_(series.states.begin(), series.states.end()) {}

  void switch_states(std::uint64_t on, std::uint64_t off) override {
    std::uint64_t before = bits_.load(relaxed);
    while (!bits_.compare_exchange_weak(before, (before & ~off) | on, relaxed)) {
    }
    is_set_.store(true, std::memory_order_release);
  }

  bool read(plugin::Value& value) const override {
    value.set_states(bits_.load(relaxed));
    return is_set_.load(std::memory_order_acquire);
  }

  std::string text(const std::string& name, const Labels& labels) const override {
    std::string out;
    const bool is_set = is_set_.load(std::memory_order_acquire);
    const std::uint64_t bits = bits_.load(relaxed);
    for (std::size_t at = 0; is_set && at < names_.size(); at++) {
      out += sample(name, with(labels, name, names_[at]), (bits >> at & 1) != 0 ? "1" : "0");
    }
    return out;
  }

 private:
  std::vector<std::string> names_;
  Bits bits_{0};
  std::atomic<bool> is_set_{false};
};

class Info final : public Series {
 public:
  std::string text(const std::string& name, const Labels& labels) const override { return sample(name, labels, "1"); }
};

std::unique_ptr<Series> made(const plugin::Descriptor& series) {
  switch (series.kind) {
    case plugin::Kind::counter: return std::make_unique<Counter>(series);
    case plugin::Kind::gauge: return std::make_unique<Gauge>(series);
    case plugin::Kind::histogram:
    case plugin::Kind::tally: return std::make_unique<Distribution>(series);
    case plugin::Kind::state_set: return std::make_unique<States>(series);
    case plugin::Kind::info: return std::make_unique<Info>();
  }
  throw std::invalid_argument("found a type that this plugin doesn't know");
}

const char* type_of(plugin::Kind kind) {
  switch (kind) {
    case plugin::Kind::counter: return "counter";
    case plugin::Kind::histogram: return "histogram";
    case plugin::Kind::tally: return "summary";
    default: return "gauge";
  }
}

class Sample final : public plugin::Registry {
 public:
  explicit Sample(std::string_view config) : comment_(config) {
    if (comment_.find('\n') != std::string::npos) throw std::invalid_argument("found two lines, expected a comment of one");
  }

  void family(const plugin::Descriptor& family) override {
    const std::lock_guard lock(mutex_);
    families_.try_emplace(std::string(family.name), Family{std::string(family.help), family.kind, family.level, {}});
  }

  plugin::Instrument* series(const plugin::Descriptor& series) override {
    Labels labels;
    for (const auto& [name, value] : series.labels) labels.emplace_back(name, value);
    const std::lock_guard lock(mutex_);
    auto& known = families_.at(std::string(series.name)).series;
    return known.try_emplace(std::move(labels), made(series)).first->second.get();
  }

  bool remove(std::string_view name, const std::vector<plugin::Label>& labels) override {
    Labels wanted;
    for (const auto& [label, value] : labels) wanted.emplace_back(label, value);
    const std::lock_guard lock(mutex_);
    auto& series = families_.at(std::string(name)).series;
    // Handles of it may be held: it goes on living, and is shown no more.
    if (auto found = series.extract(wanted)) removed_.push_back(std::move(found.mapped()));
    return true;
  }

  void render(const plugin::Selection& selection, plugin::Output& output) override {
    if (!comment_.empty()) output.write("# " + comment_ + '\n');
    const std::lock_guard lock(mutex_);
    for (const auto& [name, family] : families_) {
      std::string samples;
      for (const auto& [labels, series] : family.series) {
        if (selection.includes(name, family.level, labels)) samples += series->text(name, labels);
      }
      if (samples.empty()) continue;
      const std::string help = family.help.empty() ? "" : "# HELP " + name + ' ' + escaped(family.help, false) + '\n';
      if (!output.write(help + "# TYPE " + name + ' ' + type_of(family.kind) + '\n' + samples)) return;
    }
  }

 private:
  struct Family {
    std::string help;
    plugin::Kind kind;
    std::uint32_t level;
    std::map<Labels, std::unique_ptr<Series>> series;
  };

  std::string comment_;
  std::mutex mutex_;
  std::map<std::string, Family> families_;
  std::vector<std::unique_ptr<Series>> removed_;
};

}  // namespace

DYNM_REGISTRY_PLUGIN(Sample);

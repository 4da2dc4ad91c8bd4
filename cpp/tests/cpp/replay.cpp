// Replays tests/data/conformance/script.txt with dyn_metrics.hpp; the README there says what a replayer does. Families
// and series are made by functions that throw and by try_ functions in turn: both must say the same.
#include <dyn_metrics.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <variant>

namespace {

using namespace dyn_metrics;
using std::chrono::nanoseconds;

using Fields = std::vector<std::string>;
using Metric = std::variant<Counter, FloatCounter, DurationCounter, Tally, Gauge, FloatGauge, DurationGauge, Histogram,
                            Info, StateSet>;
template <class... M>
std::variant<Family<M>...> families_of(const std::variant<M...>&);
using AnyFamily = decltype(families_of(std::declval<Metric>()));

// A step that can't be done: a fault of the script, or a value that differs.
struct Failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::map<std::string, Registry> registries;
std::map<std::string, AnyFamily> families;
std::map<std::string, Metric> metrics;
bool throws = false;

template <class T>
const T& known(const std::map<std::string, T>& all, const std::string& handle) {
  const auto found = all.find(handle);
  if (found == all.end()) throw Failed("no handle " + handle);
  return found->second;
}

// Keeps what a Result has, or what the other form of the function returns.
template <class Throwing, class Try, class Keep>
Status keep(const Throwing& throwing, const Try& attempt, const Keep& store) {
  throws = !throws;
  if (!throws) {
    auto result = attempt();
    if (result.ok()) store(*result);
    return result.status();
  }
  try {
    store(throwing());
    return DYNM_OK;
  } catch (const Error& error) {
    return error.status();
  }
}

// ---- Options ----

struct Described {
  Options options;
  std::vector<std::string> names;
};

Mode mode_of(const std::string& name) {
  const char* const names[] = {"",    "all",     "liveall",    "min",           "livemin", "max", "livemax",
                               "sum", "livesum", "mostrecent", "livemostrecent"};
  for (std::uint32_t i = 1; i < std::size(names); i++) {
    if (name == names[i]) return static_cast<Mode>(i);
  }
  throw Failed("no mode " + name);
}

std::pair<std::string, std::string> split(const std::string& text) {
  const auto at = text.find('=');
  if (at == std::string::npos) throw Failed("no = in " + text);
  return {text.substr(0, at), text.substr(at + 1)};
}

std::uint32_t whole(const std::string& text) { return static_cast<std::uint32_t>(std::stoul(text)); }

std::vector<double> bounds_of(const std::string& text) {
  std::vector<double> bounds;
  std::istringstream list(text);
  for (std::string bound; std::getline(list, bound, ',');) bounds.push_back(std::strtod(bound.c_str(), nullptr));
  return bounds;
}

Described described(const std::string& name, const Fields& fields, std::size_t from) {
  Described made{Options(name), {}};
  std::vector<std::string> states;
  for (std::size_t i = from; i < fields.size(); i++) {
    if (fields[i].rfind("help=", 0) == 0) made.options = Options(name, split(fields[i]).second);
  }
  for (std::size_t i = from; i < fields.size(); i++) {
    const auto [key, text] = split(fields[i]);
    if (key == "help") continue;
    if (key == "unit") made.options.unit(text);
    else if (key == "mode") made.options.mode(mode_of(text));
    else if (key == "level") made.options.level(whole(text));
    else if (key == "max_series") made.options.max_series(whole(text));
    else if (key == "keep_dead") made.options.keep_dead(whole(text));
    else if (key == "shared") made.options.shared(text == "1");
    else if (key == "bounds") made.options.bounds(bounds_of(text));
    else if (key == "label") made.options.label(split(text).first, split(text).second);
    else if (key == "by") made.names.push_back(text);
    else if (key == "state") states.push_back(text);
    else throw Failed("no option " + key);
  }
  made.options.states(states);
  return made;
}

// ---- Registration ----

// Calls `work` with a null pointer of the handle's type.
template <class Work>
Status with_type(const std::string& name, const Work& work) {
  if (name == "counter") return work(static_cast<Counter*>(nullptr));
  if (name == "float_counter") return work(static_cast<FloatCounter*>(nullptr));
  if (name == "duration_counter") return work(static_cast<DurationCounter*>(nullptr));
  if (name == "tally") return work(static_cast<Tally*>(nullptr));
  if (name == "gauge") return work(static_cast<Gauge*>(nullptr));
  if (name == "float_gauge") return work(static_cast<FloatGauge*>(nullptr));
  if (name == "duration_gauge") return work(static_cast<DurationGauge*>(nullptr));
  if (name == "histogram") return work(static_cast<Histogram*>(nullptr));
  if (name == "info") return work(static_cast<Info*>(nullptr));
  if (name == "state_set") return work(static_cast<StateSet*>(nullptr));
  throw Failed("no type " + name);
}

Status child(const Fields& fields) {
  const Registry& parent = known(registries, fields.at(1));
  std::vector<std::pair<std::string, std::string>> texts;
  for (std::size_t i = 3; i < fields.size(); i++) texts.push_back(split(split(fields[i]).second));
  std::vector<Label> labels;
  for (const auto& [name, value] : texts) labels.push_back({name, value});
  return keep([&] { return parent.child(fields[2], labels); }, [&] { return parent.try_child(fields[2], labels); },
              [&](const Registry& made) { registries[fields[0]] = made; });
}

Status register_metric(const Fields& fields) {
  const Registry& registry = known(registries, fields.at(1));
  const Described d = described(fields.at(3), fields, 4);
  return with_type(fields[2], [&](auto* type) {
    using M = std::remove_pointer_t<decltype(type)>;
    return keep([&] { return registry.create<M>(d.options); }, [&] { return registry.try_create<M>(d.options); },
                [&](const M& made) { metrics.insert_or_assign(fields[0], made); });
  });
}

Status register_family(const Fields& fields) {
  const Registry& registry = known(registries, fields.at(1));
  const Described d = described(fields.at(3), fields, 4);
  return with_type(fields[2], [&](auto* type) {
    using M = std::remove_pointer_t<decltype(type)>;
    return keep([&] { return registry.family<M>(d.options, d.names); },
                [&] { return registry.try_family<M>(d.options, d.names); },
                [&](const Family<M>& made) { families.insert_or_assign(fields[0], AnyFamily(made)); });
  });
}

Status with(const Fields& fields) {
  const Fields values(fields.begin() + 2, fields.end());
  return std::visit(
      [&](const auto& family) {
        return keep([&] { return family.try_with(values).or_throw(); }, [&] { return family.try_with(values); },
                    [&](const auto& made) { metrics.insert_or_assign(fields[0], Metric(made)); });
      },
      known(families, fields.at(1)));
}

Status find(const Fields& fields) {
  const Fields values(fields.begin() + 2, fields.end());
  return std::visit(
      [&](const auto& family) {
        const auto found = family.find(values);
        if (found) metrics.insert_or_assign(fields[0], Metric(*found));
        return found ? DYNM_OK : DYNM_NOT_FOUND;
      },
      known(families, fields.at(1)));
}

// ---- Updates ----

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

double real(const std::string& text) { return std::strtod(text.c_str(), nullptr); }

struct OtherType {
  template <class M>
  Status operator()(const M&) const {
    throw Failed("no such verb for this type");
  }
};

Status add(const Metric& metric, const std::string& text) {
  return std::visit(Overloaded{OtherType(),
                               [&](const Counter& c) { return c.inc_by(std::stoull(text)), DYNM_OK; },
                               [&](const FloatCounter& c) { return c.inc_by(real(text)), DYNM_OK; },
                               [&](const DurationCounter& c) {
                                 return c.inc_by(nanoseconds(std::stoll(text))), DYNM_OK;
                               },
                               [&](const Gauge& g) { return g.add(std::stoll(text)), DYNM_OK; },
                               [&](const FloatGauge& g) { return g.add(real(text)), DYNM_OK; },
                               [&](const DurationGauge& g) { return g.add(nanoseconds(std::stoll(text))), DYNM_OK; }},
                    metric);
}

Status set(const Metric& metric, const std::string& text) {
  return std::visit(Overloaded{OtherType(), [&](const Gauge& g) { return g.set(std::stoll(text)), DYNM_OK; },
                               [&](const FloatGauge& g) { return g.set(real(text)), DYNM_OK; },
                               [&](const DurationGauge& g) { return g.set(nanoseconds(std::stoll(text))), DYNM_OK; },
                               [&](const StateSet& s) { return s.set(text) ? DYNM_OK : DYNM_NOT_FOUND; }},
                    metric);
}

Status inc(const Metric& metric) {
  return std::visit(Overloaded{OtherType(), [](const Counter& c) { return c.inc(), DYNM_OK; },
                               [](const FloatCounter& c) { return c.inc(), DYNM_OK; }},
                    metric);
}

Status observe(const Metric& metric, const std::string& text) {
  return std::visit(Overloaded{OtherType(), [&](const Tally& t) { return t.observe(real(text)), DYNM_OK; },
                               [&](const Histogram& h) { return h.observe(real(text)), DYNM_OK; }},
                    metric);
}

// ---- Readings ----

bool same(double found, const std::string& text) {
  const double expected = real(text);
  return std::memcmp(&found, &expected, sizeof found) == 0;
}

Status is(bool equal) { return equal ? DYNM_OK : throw Failed("reads something else"); }

Status value(const Metric& metric, const std::string& text) {
  return std::visit(Overloaded{OtherType(), [&](const Counter& c) { return is(c.value() == std::stoull(text)); },
                               [&](const FloatCounter& c) { return is(same(c.value(), text)); },
                               [&](const DurationCounter& c) { return is(c.value() == nanoseconds(std::stoll(text))); },
                               [&](const Gauge& g) { return is(g.value() == std::stoll(text)); },
                               [&](const FloatGauge& g) { return is(same(g.value(), text)); },
                               [&](const DurationGauge& g) { return is(g.value() == nanoseconds(std::stoll(text))); }},
                    metric);
}

Status count(const Metric& metric, const std::string& text) {
  return std::visit(Overloaded{OtherType(), [&](const Tally& t) { return is(t.count() == std::stoull(text)); },
                               [&](const Histogram& h) { return is(h.count() == std::stoull(text)); }},
                    metric);
}

Status sum(const Metric& metric, const std::string& text) {
  return std::visit(Overloaded{OtherType(), [&](const Tally& t) { return is(same(t.sum(), text)); },
                               [&](const Histogram& h) { return is(same(h.sum(), text)); }},
                    metric);
}

Status step(const std::string& verb, const Fields& fields) {
  if (verb == "child") return child(fields);
  if (verb == "register") return register_metric(fields);
  if (verb == "family") return register_family(fields);
  if (verb == "with") return with(fields);
  if (verb == "find") return find(fields);
  const Metric& metric = known(metrics, fields.at(0));
  if (verb == "inc") return inc(metric);
  const std::string& text = fields.at(1);
  if (verb == "add") return add(metric, text);
  if (verb == "set") return set(metric, text);
  if (verb == "on") return std::get<StateSet>(metric).enable(text) ? DYNM_OK : DYNM_NOT_FOUND;
  if (verb == "off") return std::get<StateSet>(metric).disable(text) ? DYNM_OK : DYNM_NOT_FOUND;
  if (verb == "observe") return observe(metric, text);
  if (verb == "observe_n") return std::get<Histogram>(metric).observe_n(real(text), std::stoull(fields.at(2))), DYNM_OK;
  if (verb == "value") return value(metric, text);
  if (verb == "count") return count(metric, text);
  if (verb == "sum") return sum(metric, text);
  if (verb == "is") return is(std::get<StateSet>(metric).is_on(text) == (fields.at(2) == "1"));
  throw Failed("no verb " + verb);
}

// ---- The script ----

// The class of a status: its name without DYNM_, in lower case.
std::string class_of(Status status) {
  std::string name(status_name(status).substr(std::strlen("DYNM_")));
  for (char& c : name) c = c == '_' ? '_' : static_cast<char>(c + ('a' - 'A'));
  return name;
}

Fields fields_of(const std::string& line) {
  Fields fields(1);
  for (std::size_t i = 0; i < line.size(); i++) {
    if (line[i] == '\t') {
      fields.emplace_back();
    } else if (line[i] == '\\') {
      const char c = line.at(++i);
      fields.back() += c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
    } else {
      fields.back() += line[i];
    }
  }
  return fields;
}

void replay(std::istream& script) {
  int number = 0;
  for (std::string line; std::getline(script, line);) {
    number++;
    if (line.empty() || line[0] == '#') continue;
    const Fields fields = fields_of(line);
    std::string found;
    try {
      found = class_of(step(fields.at(1), Fields(fields.begin() + 2, fields.end())));
    } catch (const std::exception& error) {
      throw Failed("line " + std::to_string(number) + ": " + error.what() + ": " + line);
    }
    if (found != fields[0]) throw Failed("line " + std::to_string(number) + ": found " + found + ": " + line);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    std::ifstream script(argv[1]);
    // A segment at this path, or a registry of the kind behind "kind:".
    const std::string_view place(argv[2]);
    registries["root"] = place.substr(0, 5) == "kind:" ? Registry::of_kind(place.substr(5)) : Registry::open(place);
    replay(script);
    std::cout << registries["root"].render() << "# EOF" << std::endl;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  while (std::getchar() != EOF) {
  }
}

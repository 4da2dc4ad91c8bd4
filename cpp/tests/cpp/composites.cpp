// Replays tests/data/composites/script.txt: the answers are those of Rust and Python.
#include <cstdio>
#include <dyn_metrics.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

namespace {

using namespace dyn_metrics;

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream from(text);
  for (std::string part; std::getline(from, part, at);) parts.push_back(part);
  return parts;
}

// The series of these labels: name=value,name=value, or -.
template <class M>
M series(const Registry& registry, const Options& options, const std::string& labels) {
  std::vector<std::string> names, values;
  for (const std::string& pair : split(labels == "-" ? "" : labels, ',')) {
    names.push_back(pair.substr(0, pair.find('=')));
    values.push_back(pair.substr(pair.find('=') + 1));
  }
  return registry.family<M>(options, names).with(values);
}

CompositeOptions described(const std::string& family, const std::vector<std::string>& words) {
  CompositeOptions options(words.at(0), family);
  for (std::size_t at = 1; at < words.size(); ++at) {
    const std::string key = words[at].substr(0, words[at].find('='));
    const std::string rest = words[at].find('=') == std::string::npos ? "" : words[at].substr(words[at].find('=') + 1);
    const std::string label = rest.substr(0, rest.find(':'));
    const std::string value = rest.find(':') == std::string::npos ? "" : rest.substr(rest.find(':') + 1);
    if (key == "q") {
      options.quantile(std::stod(rest));
    } else if (key == "window") {
      options.window(std::chrono::duration<double>(std::stod(rest)));
    } else if (key == "match" && value.find('|') != std::string::npos) {
      options.matching_any(label, split(value, '|'));
    } else if (key == "match") {
      options.matching(label, value);
    } else if (key == "without") {
      options.not_matching(label, value);
    } else if (key == "having") {
      options.having(rest);
    } else if (key == "processes") {
      options.over_processes();
    } else {
      std::fprintf(stderr, "%s\n", words[at].c_str());
      std::exit(1);
    }
  }
  return options;
}

// What a segment says from outside, and what no composite says.
bool is_told_from_outside(const std::string& path) {
  const CompositeOptions options("count", "requests_total");
  Composite all = Composite::open_at(path, options), moved;
  moved = std::move(all);
  const Reading nowhere = Composite::try_open_at(path + "-elsewhere", options).value().read();
  return moved.read() == Reading(Reading::State::value, 4) && all.read() != moved.read() &&
         nowhere.state() == Reading::State::unknown && !bool(nowhere);
}

}  // namespace

int main(int, char** arguments) {
  const Registry registry = Registry::open(arguments[2]);
  std::map<std::string, Composite> composites;
  std::ifstream script(arguments[1]);
  for (std::string line; std::getline(script, line);) {
    std::istringstream from(line);
    std::vector<std::string> words;
    for (std::string word; from >> word;) words.push_back(word);
    if (words.empty() || words[0][0] == '#') continue;
    const std::vector<std::string> rest(words.begin() + 1, words.end());
    if (words[0] == "counter") {
      series<Counter>(registry, Options(rest[0], ""), rest[1]).inc_by(std::stoull(rest[2]));
    } else if (words[0] == "gauge") {
      series<FloatGauge>(registry, Options(rest[0], ""), rest[1]).set(std::stod(rest[2]));
    } else if (words[0] == "observe") {
      series<Histogram>(registry, Options(rest[0], "").bounds({1, 2, 4}), rest[1]).observe(std::stod(rest[2]));
    } else if (words[0] == "composite") {
      composites[rest[0]] = Composite::open(registry, described(rest[1], {rest.begin() + 2, rest.end()}));
    } else if (words[0] == "read") {
      const Reading reading = composites.at(rest[0]).read();
      std::printf("%s %s", rest[0].c_str(), reading.name());
      if (reading) std::printf(" %.6f", *reading);
      std::printf("\n");
    } else if (words[0] == "sample") {
      composites.at(rest[0]).sample();
    } else if (words[0] == "refuse") {
      const auto refused = Composite::try_open(registry, described(rest[0], {rest.begin() + 1, rest.end()}));
      std::printf("%s\n", refused.message());
    } else {
      return 1;
    }
  }
  return is_told_from_outside(arguments[2]) ? 0 : 1;
}

// Measures the C++ header beside its peers, for `make bench`:
//
//     dyn-metrics-bench-cpp SEGMENT all|fallback SLICES OPERATIONS LONGEST_NS OP...
//
// reads its input (see op.hpp) and writes a line for each operation, number of threads and contender: their names and
// its samples in nanoseconds. `fallback` has ours, which DYN_METRICS_RSEQ=off makes do without restartable sequences,
// and fetch_add.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <sstream>

#include "op.hpp"

namespace bench {

Input::Input(std::istream& from) {
  std::string line;
  while (std::getline(from, line)) {
    std::istringstream words(line);
    std::string what, first, second;
    words >> what >> first >> second;
    if (what == "bound") bounds.push_back(std::stod(first));
    if (what == "value") values.push_back(std::stod(first));
    if (what == "16") sixteen.push_back({first, second});
    if (what == "10000") many.push_back({first, second});
  }
}

namespace {

std::vector<Contender> contenders(Op op, const Input& input, const char* segment, bool is_fallback) {
  std::vector<Contender> all = ours(is_fallback ? "dyn-metrics-fallback" : "dyn-metrics", op, input, segment);
  const auto add = [&all](std::vector<Contender> more) {
    std::move(more.begin(), more.end(), std::back_inserter(all));
  };
  if (!is_fallback) add(ours_by_calls(op, input, segment));
  add(raw(op));
  if (is_fallback) all.resize(2);  // ours, and what it is measured by
  if (!is_fallback) add(prometheus_cpp(op, input));
  return all;
}

void measure(Op op, const std::vector<Contender>& all, Effort effort) {
  for (const std::size_t threads : {1, 2}) {
    std::fprintf(stderr, "C++: %s, %zu threads ...\n", name_of(op), threads);
    const auto samples = measure(all, threads, effort);
    for (std::size_t at = 0; at < all.size(); at++) {
      std::printf("%s %zu %s", name_of(op), threads, all[at].name.c_str());
      for (const double sample : samples[at]) std::printf(" %.17g", sample);
      std::printf("\n");
    }
  }
}

int run(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s SEGMENT all|fallback SLICES OPERATIONS LONGEST_NS OP...\n", argv[0]);
    return 2;
  }
  const Effort effort{std::strtoull(argv[3], nullptr, 10), std::strtoull(argv[4], nullptr, 10),
                      std::chrono::nanoseconds(std::strtoll(argv[5], nullptr, 10))};
  const Input input(std::cin);
  if (input.values.empty() || input.bounds.empty() || input.sixteen.empty() || input.many.empty()) {
    std::fprintf(stderr, "no input: it comes from dyn-metrics-bench\n");
    return 2;
  }
  for (int at = 6; at < argc; at++) {
    const auto is_it = [&](const char* name) { return std::strcmp(name, argv[at]) == 0; };
    const auto found = std::find_if(op_names.begin(), op_names.end(), is_it);
    if (found == op_names.end()) continue;  // of Rust alone
    const Op op = static_cast<Op>(found - op_names.begin());
    measure(op, contenders(op, input, argv[1], std::strcmp(argv[2], "fallback") == 0), effort);
  }
  return 0;
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

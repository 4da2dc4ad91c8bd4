// The part of pipeline.py that is in C++: the same names and labels, so the same series.
//
//     c++ -std=c++17 peer.cpp $(pkg-config --cflags --libs dyn_metrics) -o peer && ./peer ITEMS
#include <dyn_metrics.hpp>

#include <iostream>
#include <sstream>
#include <string>

namespace dm = dyn_metrics;

int main(int argc, char** argv) {
  try {
    const dm::Registry registry = dm::Registry::root();  // DYN_METRICS_SHM, as in Python
    const auto items = registry.family<dm::Counter>(dm::Options("pipeline_items_total", "Items done"), {"stage"});
    const auto tokens = registry.counter("pipeline_tokens_total", "Tokens seen");
    const auto seconds = registry.family<dm::Histogram>(
        dm::Options("pipeline_seconds", "Time an item takes").unit("seconds").bounds({0.001, 0.01, 0.1}), {"stage"});

    const dm::Counter done = items.with("tokenize");
    const dm::Histogram took = seconds.with("tokenize");
    for (int item = 0; item < (argc > 1 ? std::stoi(argv[1]) : 1000); item++) {
      const dm::ScopedTimer timer(took);
      std::istringstream text("the quick " + std::to_string(item) + " foxes");
      for (std::string token; text >> token;) tokens.inc();
      done.inc();
    }
  } catch (const dm::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}

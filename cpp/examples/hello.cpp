// Counts requests in the segment that DYN_METRICS_SHM names, else in /dev/shm/dynamo, and prints the page:
//
//     c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs dyn_metrics) -o hello && ./hello
#include <dyn_metrics.hpp>

#include <iostream>

int main() {
  try {
    const auto registry = dyn_metrics::Registry::root();
    const auto requests = registry.counter("hello_requests_total", "Requests answered");
    const auto latency = registry.histogram("hello_seconds", "Time a request takes");
    for (int i = 0; i < 3; i++) {
      const dyn_metrics::ScopedTimer timer(latency);
      requests.inc();
    }
    std::cout << registry.render();
  } catch (const dyn_metrics::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}

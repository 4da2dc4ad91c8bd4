#include <dyn_metrics.hpp>

#include <iostream>

int main() {
  try {
    const auto root = dyn_metrics::Registry::root();
    root.counter("outside_requests_total", "Requests").inc_by(3);
    std::cout << root.render();
  } catch (const dyn_metrics::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

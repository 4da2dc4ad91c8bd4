// Compiled with a header of a later level than the library's: newer_header SEGMENT
#include <dyn_metrics.hpp>

#include "check.hpp"

using namespace dyn_metrics;

static_assert(DYNM_ABI_LEVEL == 2, "a copy of the header");

int main(int argc, char** argv) {
  CHECK(argc == 2);
  const auto opened = Registry::try_open(argv[1]);
  CHECK(opened.status() == DYNM_OLD_LIBRARY && holds(opened.message(), "install"));
  CHECK(Registry::try_root().status() == DYNM_OLD_LIBRARY);
  // Handles that nobody registered do no harm.
  const Counter counter;
  counter.inc();
  opened->try_counter("c_total").value().inc();
  bool threw = false;
  try {
    Registry::root();
  } catch (const SegmentError& error) {
    threw = error.status() == DYNM_OLD_LIBRARY;
  }
  CHECK(threw);
  return 0;
}

// What plugins.cpp loads: an object that has sequences of its own, and gets its metric from elsewhere.
#include "dyn_metrics/cells.hpp"

extern "C" [[gnu::visibility("default")]] void count(const dynm_metric* metric, unsigned times) {
  const dyn_metrics::detail::Cells cells(metric);
  for (unsigned n = 0; n < times; n++) cells.add_one(0);
}

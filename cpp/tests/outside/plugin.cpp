#include <dyn_metrics.hpp>

extern "C" void count() { dyn_metrics::Registry::root().counter("plugin_calls_total").inc(); }

#include <dyn_metrics.h>

extern "C" const char *plugin_version() { return dynm_version(); }

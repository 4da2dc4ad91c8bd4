/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dyn_metrics.h"

#define CHECK(condition)                                                                                  \
  do {                                                                                                    \
    if (!(condition)) {                                                                                   \
      fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, dynm_last_error()); \
      exit(1);                                                                                            \
    }                                                                                                     \
  } while (0)

#define OK(call) CHECK((call) == DYNM_OK)

/* The call fails with this status, and the message holds this text. */
#define FAILS(call, status, text)                            \
  do {                                                       \
    CHECK((call) == (status));                               \
    CHECK(strstr(dynm_last_error(), (text)) != NULL);        \
  } while (0)

static inline const dynm_registry *open_at(const char *path) {
  dynm_segment_options options = dynm_segment_options_init();
  const dynm_registry *registry;
  options.path = path;
  OK(dynm_open(&options, &registry));
  return registry;
}

static inline const dynm_metric *metric_of(const dynm_registry *registry, uint32_t type, const char *name) {
  const dynm_metric *metric;
  const char *states[] = {"starting", "ready"};
  const double bounds[] = {0.001, 0.01, 0.1, 1.0};
  dynm_metric_options options = dynm_metric_options_init(type, name, "A metric");
  if (type == DYNM_STATE_SET) {
    options.states = states;
    options.state_count = 2;
  }
  if (type == DYNM_HISTOGRAM) {
    options.bounds = bounds;
    options.bound_count = 4;
  }
  OK(dynm_register(registry, &options, &metric));
  return metric;
}

static inline dynm_value value_of(const dynm_metric *metric) {
  dynm_value value = dynm_value_init();
  OK(dynm_metric_value(metric, &value));
  return value;
}

#endif

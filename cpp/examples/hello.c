/* Counts requests in the segment that DYN_METRICS_SHM names, else in /dev/shm/dynamo, and prints the page:
 *
 *     cc hello.c $(pkg-config --cflags --libs dyn_metrics) -o hello && ./hello
 */
#include <dyn_metrics.h>
#include <stdio.h>

int main(void) {
  const dynm_registry *root;
  const dynm_metric *requests, *latency;
  char *text;

  if (dynm_root(&root) != DYNM_OK) {
    fprintf(stderr, "%s\n", dynm_last_error());
    return 1;
  }
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "hello_requests_total", "Requests answered");
  if (dynm_register(root, &options, &requests) != DYNM_OK) fprintf(stderr, "%s\n", dynm_last_error());

  options = dynm_metric_options_init(DYNM_HISTOGRAM, "hello_seconds", "Time a request takes");
  if (dynm_register(root, &options, &latency) != DYNM_OK) fprintf(stderr, "%s\n", dynm_last_error());

  for (int i = 0; i < 3; i++) {
    dynm_counter_inc(requests); /* a metric that could not be registered is NULL, and takes updates all the same */
    dynm_observe(latency, 0.02 * i);
  }
  if (dynm_render(root, &text, NULL) == DYNM_OK) fputs(text, stdout);
  dynm_free(text);
  return 0;
}

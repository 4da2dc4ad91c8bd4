#include <dyn_metrics.h>
#include <stdio.h>

int main(void) {
  const dynm_registry *root;
  const dynm_metric *requests;
  char *text;
  dynm_metric_options options = dynm_metric_options_init(DYNM_COUNTER_U64, "outside_requests_total", "Requests");
  if (dynm_root(&root) != DYNM_OK || dynm_register(root, &options, &requests) != DYNM_OK) {
    fprintf(stderr, "%s\n", dynm_last_error());
    return 1;
  }
  dynm_counter_add_u64(requests, 3);
  if (dynm_render(root, &text, NULL) != DYNM_OK) return 1;
  fputs(text, stdout);
  dynm_free(text);
  return 0;
}

/* The process's own server from C, with good input and bad: system SEGMENT */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <time.h>

#include "check.h"

static int destroyed, cancelled, idle, cleaned[3];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int changed(int *number, int by) {
  int now;
  pthread_mutex_lock(&lock);
  now = *number += by;
  pthread_mutex_unlock(&lock);
  return now;
}

static void nap(void) {
  const struct timespec time = {0, 20000000};
  nanosleep(&time, NULL);
}

static void destroy(void *user) { changed((int *)user, 1); }

static int32_t good(void *user, const dynm_check_run *run) {
  CHECK(user == &destroyed && !dynm_check_is_cancelled(run));
  OK(dynm_check_say(run, "12 entries"));
  return 0;
}

static int32_t bad(void *user, const dynm_check_run *run) {
  (void)user;
  OK(dynm_check_say(run, "cold \xff"));
  return 3;
}

static int32_t late(void *user, const dynm_check_run *run) {
  (void)user;
  while (!dynm_check_is_cancelled(run)) nap();
  return 0;
}

static void cancel(void *user) { changed((int *)user, 0), changed(&cancelled, 1); }
static int32_t is_idle(void *user) { return (void)user, changed(&idle, 0); }
static void clean_up(void *user, uint32_t why) { (void)user, changed(&cleaned[why], 1); }

static int32_t format(void *user, const dynm_report *report, const dynm_answer *answer) {
  CHECK(user == &destroyed && report->struct_size == sizeof *report && strstr(report->json, "\"version\"") != NULL);
  FAILS(dynm_answer_set(NULL, "a/b", "c", 1), DYNM_NULL, "answer");
  OK(dynm_answer_set(answer, "a/b", report->status, strlen(report->status)));
  return report->passes ? 0 : 1;
}

/* Waits until the report has the text. */
static void wait_for(const dynm_system *system, const char *text) {
  int at;
  for (at = 0; at < 1500; at++, nap()) {
    char *report;
    int32_t passes;
    size_t length;
    int found;
    OK(dynm_system_report(system, DYNM_HEALTH, &passes, &report, &length));
    CHECK(strlen(report) == length && (passes == 0 || passes == 1));
    found = strstr(report, text) != NULL;
    dynm_free(report);
    if (found) return;
  }
  fprintf(stderr, "waited in vain for %s\n", text);
  exit(1);
}

static dynm_check_options often(const char *name) {
  dynm_check_options options = dynm_check_options_init(name);
  options.interval_ns = 20000000;
  options.timeout_ns = 100000000;
  return options;
}

static void functions(const dynm_system *system) {
  dynm_check_options options = often("good");
  OK(dynm_system_add_check(system, &options, good, NULL, &destroyed, destroy));
  FAILS(dynm_system_add_check(system, &options, good, NULL, &destroyed, destroy), DYNM_CONFLICT, "same name");
  CHECK(changed(&destroyed, 0) == 1);
  options = often("bad");
  options.flags = DYNM_INFORMATIVE;
  OK(dynm_system_add_check(system, &options, bad, NULL, NULL, NULL));
  options = often("late");
  options.probe = DYNM_LIVENESS;
  options.failures = options.successes = 2;
  OK(dynm_system_add_check(system, &options, late, cancel, &destroyed, destroy));
  wait_for(system, "12 entries");
  wait_for(system, "cold \xef\xbf\xbd");
  wait_for(system, " s, limit 0.1 s");
  while (changed(&cancelled, 0) == 0) nap();
  OK(dynm_system_remove(system, "late"));
  FAILS(dynm_system_remove(system, "late"), DYNM_NOT_FOUND, "none of this name");
  while (changed(&destroyed, 0) < 2) nap();
}

static void built_in(const dynm_system *system, const dynm_registry *registry) {
  const dynm_metric *done = metric_of(registry, DYNM_COUNTER_U64, "done_total");
  const dynm_metric *pending = metric_of(registry, DYNM_GAUGE_I64, "pending");
  const dynm_beat *beat;
  dynm_check_options options = often("beat");
  OK(dynm_beat_create(&beat));
  OK(dynm_beat_now(beat));
  OK(dynm_system_add_beat(system, &options, beat, 200000000));
  options = often("progress");
  OK(dynm_system_add_progress(system, &options, done, pending, 200000000));
  FAILS(dynm_system_add_progress(system, &options, pending, done, 1), DYNM_WRONG_TYPE, "done: expected a counter");
  FAILS(dynm_system_add_progress(system, &options, done, done, 1), DYNM_WRONG_TYPE, "pending: expected a gauge");
  options = often("space");
  OK(dynm_system_add_space(system, &options, "/dev/shm", UINT64_MAX));
  options = often("etcd");
  OK(dynm_system_add_etcd(system, &options, "http://127.0.0.1:1", 7, DYNM_KEEP_ALIVE, "/a/"));
  FAILS(dynm_system_add_etcd(system, &options, "http://127.0.0.1:1", 0, DYNM_KEEP_ALIVE, NULL), DYNM_OPTION, "with a lease");
  FAILS(dynm_system_add_etcd(system, &options, "https://a", 0, 0, NULL), DYNM_OPTION, "expected http://HOST:PORT");
  options = often("nats");
  OK(dynm_system_add_nats(system, &options, "nats://127.0.0.1:1", "s", "i"));
  FAILS(dynm_system_add_nats(system, &options, "nats://127.0.0.1:1", NULL, "i"), DYNM_NULL, "service is NULL");
  options = often("canary");
  OK(dynm_system_add_canary(system, &options, late, is_idle, clean_up, &destroyed, destroy));
  wait_for(system, "stalled: no beat for");
  wait_for(system, "nothing pending");
  wait_for(system, "bytes free, expected");
  wait_for(system, "http://127.0.0.1:1: no connection");
  wait_for(system, "nats://127.0.0.1:1: no connection");
  wait_for(system, "not sent: the process is at work");
  changed(&idle, 1);
  while (changed(&cleaned[DYNM_CANCELLED_NOW], 0) == 0 || changed(&cleaned[DYNM_CANCELLED_DONE], 0) == 0) nap();
}

static void refusals(const dynm_system *system) {
  dynm_check_options options = often("a b");
  const dynm_system *other = system;
  dynm_system_options start = dynm_system_options_init();
  dynm_system_description found;
  char *text;
  FAILS(dynm_system_add_check(system, &options, good, NULL, NULL, NULL), DYNM_NAME, "expected 1 to 64 of");
  options.name = NULL;
  FAILS(dynm_system_add_check(system, &options, good, NULL, NULL, NULL), DYNM_NULL, "options.name is NULL");
  options = often("x");
  FAILS(dynm_system_add_check(system, &options, NULL, NULL, &destroyed, destroy), DYNM_NULL, "check is NULL");
  FAILS(dynm_system_add_canary(system, &options, NULL, NULL, NULL, &destroyed, destroy), DYNM_NULL, "request is NULL");
  FAILS(dynm_system_add_check(NULL, &options, good, NULL, NULL, NULL), DYNM_NULL, "the system is NULL");
  FAILS(dynm_system_add_check((const dynm_system *)dynm_private(NULL), &options, good, NULL, NULL, NULL), DYNM_NULL, "NULL");
  FAILS(dynm_system_add_beat(system, &options, NULL, 1), DYNM_NULL, "the beat is NULL");
  FAILS(dynm_beat_now((const dynm_beat *)system), DYNM_WRONG_TYPE, "found no dynm_beat");
  options.probe = 4;
  FAILS(dynm_system_add_check(system, &options, good, NULL, NULL, NULL), DYNM_OPTION, "expected a dynm_probe");
  options.probe = 0;
  options.flags = 2;
  FAILS(dynm_system_add_check(system, &options, good, NULL, NULL, NULL), DYNM_OPTION, "unknown bits");
  options.flags = 0;
  options.interval_ns = 1;
  FAILS(dynm_system_add_check(system, &options, good, NULL, NULL, NULL), DYNM_OPTION, "found interval 1ns");
  FAILS(dynm_system_set_state(system, 4), DYNM_OPTION, "expected a dynm_process_state");
  FAILS(dynm_system_report(system, 0, NULL, &text, NULL), DYNM_OPTION, "expected a dynm_probe");
  FAILS(dynm_check_say(NULL, "x"), DYNM_NULL, "run is NULL");
  CHECK(dynm_check_is_cancelled(NULL) == 0 && dynm_has_feature("system"));
  start.flags = 16;
  FAILS(dynm_system_start(&start, &other), DYNM_OPTION, "unknown bits");
  CHECK(other == NULL);
  start.flags = DYNM_SET_PORT;
  start.port = 65536;
  FAILS(dynm_system_start(&start, &other), DYNM_OPTION, "expected 0 to 65535");
  FAILS(dynm_system_start(&start, NULL), DYNM_NULL, "system is NULL");
  found.struct_size = sizeof found;
  OK(dynm_system_describe(system, &found));
  start.port = found.port;
  start.host = "127.0.0.1";
  FAILS(dynm_system_start(&start, &other), DYNM_IN_USE, "already in use");
  start.flags = DYNM_FROM_ENV;
  OK(dynm_system_start(&start, &other));
  CHECK(other == NULL);
}

int main(int argc, char **argv) {
  const dynm_registry *registry = open_at(argv[argc - 1]);
  const dynm_system *system;
  dynm_system_description found;
  dynm_system_options options = dynm_system_options_init();
  int before;
  options.registry = registry;
  options.host = "127.0.0.1";
  options.version = "1.2.3";
  options.flags = DYNM_SET_PORT | DYNM_STARTS_UNTIL_TOLD | DYNM_WHOLE_SEGMENT;
  options.format = format;
  options.user = &destroyed;
  OK(dynm_system_start(&options, &system));
  memset(&found, 0, sizeof found);
  found.struct_size = sizeof found;
  OK(dynm_system_describe(system, &found));
  CHECK(found.port != 0 && found.state == DYNM_STARTING && strcmp(found.host, "127.0.0.1") == 0);
  CHECK(strncmp(found.url, "http://127.0.0.1:", 17) == 0);
  wait_for(system, "\"version\": \"1.2.3\"");
  functions(system);
  built_in(system, registry);
  refusals(system);
  OK(dynm_system_set_state(system, DYNM_DRAINING));
  OK(dynm_system_describe(system, &found));
  CHECK(found.state == DYNM_DRAINING);
  before = changed(&destroyed, 0);
  OK(dynm_system_stop(system));
  FAILS(dynm_system_stop(system), DYNM_CLOSED, "was stopped");
  FAILS(dynm_system_describe(system, &found), DYNM_CLOSED, "was stopped");
  while (changed(&destroyed, 0) < before + 2) nap(); /* the good check's, and the canary's */
  return 0;
}

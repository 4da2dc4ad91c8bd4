/* Updates as a header makes them, from the contract of dynm_cells, dynm_buckets and dynm_gauge_cell alone; on x86-64.
 *
 *     inline_cells SEGMENT          threads count inline and by call on the same series: totals are exact
 *     inline_cells SEGMENT times    prints what an update costs: the least of 15 slices of each, in ns
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <time.h>

#include "check.h"

#if defined(__x86_64__)
/* 0 when the current CPU has no cell. */
static inline int add_to_cpu(const dynm_cells *cells, uint32_t index, uint64_t n) {
  const uint64_t packed = cells->packed;
  const int64_t rseq = (int32_t)(packed >> DYNM_CELLS_RSEQ_SHIFT);
  const uint64_t offset = ((packed >> DYNM_CELLS_OFFSET_SHIFT) & 0xffff) + 8 * (uint64_t)index;
  __asm__ goto(
      ".pushsection __rseq_cs, \"aw\", @progbits\n .balign 32\n 3: .long 0, 0\n .quad 1f, 2f - 1f, 4f\n .popsection\n"
      "6: leaq 3b(%%rip), %%rax\n"
      "movq %%rax, %%fs:8(%[rseq])\n"
      "1: movl %%fs:4(%[rseq]), %%eax\n"
      "cmpl %[cpus], %%eax\n"
      "jae %l[cold]\n"
      "movq (%[entries], %%rax, 8), %%rax\n"
      "testq %%rax, %%rax\n"
      "jz %l[cold]\n"
      "addq %[n], (%%rax, %[offset])\n"
      "2:\n"
      ".pushsection .text.rseq_abort, \"ax\", @progbits\n .byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
      "4: jmp 6b\n .popsection\n"
      :
      : [rseq] "r"(rseq), [entries] "r"(cells->entries), [cpus] "r"((uint32_t)(packed & DYNM_CELLS_LENGTH_MASK)),
        [offset] "r"(offset), [n] "r"(n)
      : "rax", "memory", "cc"
      : cold);
  return 1;
cold:
  return 0;
}
#else
static inline int add_to_cpu(const dynm_cells *cells, uint32_t index, uint64_t n) {
  (void)cells, (void)index, (void)n;
  return 0;
}
#endif

static inline void add(const dynm_cells *cells, uint32_t index, uint64_t n) {
  if (cells->packed == 0) {
    __atomic_fetch_add(&cells->shared[index], n, __ATOMIC_RELAXED);
  } else if (!add_to_cpu(cells, index, n)) {
    dynm_cells_add_u64_cold(cells, index, n);
  }
}

static uint32_t bucket(const dynm_buckets *buckets, double value) {
  uint32_t below = 0;
  int64_t bits, cell;
  if (buckets->below == NULL) {
    while (below < buckets->bound_count && buckets->padded[below] < value) below++;
    return below;
  }
  memcpy(&bits, &value, sizeof bits);
  cell = (bits >> buckets->shift) - buckets->first;
  cell = cell < 0 ? 0 : cell > buckets->last ? buckets->last : cell;
  below = buckets->below[cell];
  return below + (buckets->padded[below] < value);
}

enum { TIMES = 200000 };

struct job {
  const dynm_metric *counter, *histogram;
};

static void *work(void *of) {
  const struct job *job = (const struct job *)of;
  dynm_cells count, observed;
  dynm_buckets buckets;
  int i;
  OK(dynm_metric_cells(job->counter, DYNM_ABI_LEVEL, &count));
  OK(dynm_metric_cells(job->histogram, DYNM_ABI_LEVEL, &observed));
  OK(dynm_metric_buckets(job->histogram, DYNM_ABI_LEVEL, &buckets));
  for (i = 0; i < TIMES; i++) {
    add(&count, 0, 1);
    OK(dynm_counter_inc(job->counter));
    add(&observed, bucket(&buckets, 0.005 * (i % 300)), 1);
    OK(dynm_observe(job->histogram, 0.005 * (i % 300)));
  }
  return NULL;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void costs(const dynm_registry *registry) {
  const dynm_metric *metric = metric_of(registry, DYNM_COUNTER_U64, "timed_total");
  static uint64_t word;
  double least[3] = {1e9, 1e9, 1e9};
  dynm_cells cells;
  int slice, i;
  OK(dynm_metric_cells(metric, DYNM_ABI_LEVEL, &cells));
  for (slice = 0; slice < 45; slice++) {
    const double start = now();
    double took;
    for (i = 0; i < TIMES; i++) {
      if (slice % 3 == 0) add(&cells, 0, 1);
      if (slice % 3 == 1) dynm_counter_inc(metric);
      if (slice % 3 == 2) __atomic_fetch_add(&word, 1, __ATOMIC_RELAXED);
    }
    took = (now() - start) / TIMES;
    if (took < least[slice % 3]) least[slice % 3] = took;
  }
  printf("inline %.2f call %.2f fetch_add %.2f\n", least[0], least[1], least[2]);
}

int main(int argc, char **argv) {
  const dynm_registry *registry;
  pthread_t thread[3];
  struct job job;
  uint64_t buckets[5];
  int i;
  CHECK(argc >= 2);
  registry = open_at(argv[1]);
  if (argc > 2) {
    costs(registry);
    return 0;
  }
  job.counter = metric_of(registry, DYNM_COUNTER_U64, "inline_total");
  job.histogram = metric_of(registry, DYNM_HISTOGRAM, "inline_seconds");
  for (i = 0; i < 3; i++) CHECK(pthread_create(&thread[i], NULL, work, &job) == 0);
  for (i = 0; i < 3; i++) CHECK(pthread_join(thread[i], NULL) == 0);
  CHECK(value_of(job.counter).integer == 6 * TIMES);
  OK(dynm_histogram_buckets(job.histogram, buckets, 5, NULL));
  for (i = 0; i < 5; i++) CHECK(buckets[i] % 2 == 0); /* both ways find the same bucket */
  CHECK(value_of(job.histogram).count == 6 * TIMES && buckets[1] > 0 && buckets[4] > 0);
  return 0;
}

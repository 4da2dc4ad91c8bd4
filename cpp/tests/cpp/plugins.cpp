// A thread goes on after the object that it has counted in was closed: plugins SEGMENT OBJECT...
//
// When the kernel interrupts the thread, it looks at the descriptor that was armed at last. Without the pin that is
// gone, and the kernel ends the process. Prints whether the first object stayed loaded.
#include <dlfcn.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "check.h"

namespace {

constexpr unsigned times = 1000;
std::atomic<unsigned> counted{0}, closed{0};

// Counts once in each object, and makes no system call until that is closed.
void work(std::atomic<void (*)(const dynm_metric*, unsigned)>& count, const dynm_metric* metric, unsigned rounds) {
  for (unsigned round = 1; round <= rounds; round++) {
    while (counted.load() != round - 1 || count.load() == nullptr) {
    }
    count.exchange(nullptr)(metric, times);
    counted.store(round);
    while (closed.load() != round) {
    }
    raise(SIGUSR1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CHECK(argc >= 3);
  signal(SIGUSR1, [](int) {});
  const unsigned rounds = static_cast<unsigned>(argc - 2);
  const dynm_metric* const metric = metric_of(open_at(argv[1]), DYNM_COUNTER_U64, "plugins_total");
  std::atomic<void (*)(const dynm_metric*, unsigned)> count{nullptr};
  std::thread thread([&] { work(count, metric, rounds); });
  for (unsigned round = 1; round <= rounds; round++) {
    void* const object = dlopen(argv[1 + round], RTLD_NOW | RTLD_LOCAL);
    CHECK(object != nullptr);
    count.store(reinterpret_cast<void (*)(const dynm_metric*, unsigned)>(dlsym(object, "count")));
    while (counted.load() != round) sched_yield();
    CHECK(dlclose(object) == 0);
    closed.store(round);
  }
  thread.join();
  CHECK(value_of(metric).integer == std::int64_t{times} * rounds);
  void* const again = dlopen(argv[2], RTLD_NOW | RTLD_NOLOAD);
  puts(again != nullptr ? "loaded" : "unloaded");
  return 0;
}

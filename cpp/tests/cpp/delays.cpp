// The sequences with delays spliced in, and whatever makes the kernel restart a section, on cells that several
// processes map; prints what was acknowledged, the integers and the doubles:
//
//     delays CELLS pinned|moving THREADS MILLISECONDS
#include "delayed.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

#include "check.h"

using namespace dyn_metrics::detail;

extern "C" const std::ptrdiff_t __rseq_offset;  // glibc 2.35

namespace {

// As the file is laid out.
constexpr std::size_t cpus = 1024, stride = 128;

std::size_t table[cpus];
std::atomic<bool> stop{false};
std::atomic<std::uint64_t> integers{0}, doubles{0};

Place place(std::uint64_t byte_offset) { return {__rseq_offset, table, cpus, byte_offset}; }

// One update of each kind; what it has added is acknowledged afterwards.
[[gnu::noinline]] void update() {
  const bool one = sequence_add_one(place(0));
  const bool n = sequence_add_u64(place(0), 2);
  const bool x = sequence_add_f64(place(8), 1.0);
  integers.fetch_add(one + 2 * n, std::memory_order_relaxed);
  doubles.fetch_add(x, std::memory_order_relaxed);
}

void handler(int) { update(); }

void map(const char* path) {
  const int file = open(path, O_RDWR | O_CLOEXEC);
  CHECK(file >= 0);
  void* const mapped = mmap(nullptr, cpus * stride, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  CHECK(mapped != MAP_FAILED);
  for (std::size_t cpu = 0; cpu < cpus; cpu++) table[cpu] = reinterpret_cast<std::size_t>(mapped) + cpu * stride;
}

void disturb(Random& random) {
  if (random.below(8) == 0) {
    sched_yield();
  } else if (random.below(64) == 0) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(random.below(20'000)));
  }
}

// Updates until it is told to stop, with pauses before and after.
void work(std::uint64_t seed, std::atomic<pid_t>& id) {
  Random random(seed);
  id.store(static_cast<pid_t>(syscall(SYS_gettid)));
  while (!stop.load(std::memory_order_relaxed)) {
    disturb(random);
    update();
    disturb(random);
  }
}

std::vector<int> usable_cpus() {
  cpu_set_t set;
  std::vector<int> usable;
  CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &set)) usable.push_back(cpu);
  }
  return usable;
}

void move_to(pid_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(thread, sizeof set, &set);
}

}  // namespace

int main(int argc, char** argv) {
  CHECK(argc == 5);
  map(argv[1]);
  signal(SIGUSR1, handler);
  const bool moving = std::strcmp(argv[2], "moving") == 0;
  const std::vector<int> usable = usable_cpus();
  if (!moving) move_to(0, usable[0]); /* and all threads with it */
  std::deque<std::atomic<pid_t>> ids(std::strtoul(argv[3], nullptr, 10));
  std::vector<std::thread> threads;
  for (std::atomic<pid_t>& id : ids) threads.emplace_back(work, threads.size() + 1, std::ref(id));
  Random random(static_cast<std::uint64_t>(getpid()) << 20 | 0x1234'5678);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(std::strtoul(argv[4], nullptr, 10));
  while (std::chrono::steady_clock::now() < end) {
    change_a_delay(random);
    for (std::size_t n = 0; n < ids.size(); n++) {
      const pid_t id = ids[n].load();
      if (id != 0 && random.below(2) == 0) pthread_kill(threads[n].native_handle(), SIGUSR1);
      if (id != 0 && moving) move_to(id, usable[random.below(usable.size())]);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(300)));
  }
  stop.store(true);
  for (volatile std::uint32_t& turns : test_turns) turns = 0;
  for (std::thread& thread : threads) thread.join();
  printf("%llu %llu\n", static_cast<unsigned long long>(integers), static_cast<unsigned long long>(doubles));
  return 0;
}

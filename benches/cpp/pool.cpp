// pool.cpp: see pool.hpp.
#include "pool.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace bench {

namespace {

using Clock = std::chrono::steady_clock;

// Fewest slices that a median is made of, and fewest operations in a slice, so that it goes through all label values.
constexpr std::size_t fewest = 15;
constexpr std::uint64_t least = 10'000;

// When one worker did a slice.
struct Time {
  Clock::time_point start, end;
};

// A barrier that spins: a sleeping one wakes threads tens of microseconds apart.
class Gate {
 public:
  explicit Gate(std::size_t threads) : threads_(threads) {}

  void pass() {
    const std::size_t turn = arrived_.fetch_add(1, std::memory_order_acq_rel) / threads_;
    for (std::uint64_t spins = 0; arrived_.load(std::memory_order_acquire) < (turn + 1) * threads_; spins++) {
      if (spins > 100'000) std::this_thread::yield();
    }
  }

 private:
  std::size_t threads_;
  alignas(128) std::atomic<std::size_t> arrived_{0};
};

// What all workers share.
struct Plan {
  const std::vector<Contender>& contenders;
  Effort effort;
  Gate gate;
  std::vector<std::atomic<std::uint64_t>> lengths;
};

// Operations of a slice, when one takes `each` nanoseconds.
std::uint64_t length(double each, Effort effort) {
  const double fits = static_cast<double>(effort.longest.count()) / std::max(each, 0.01);
  return std::clamp(static_cast<std::uint64_t>(fits), least, std::max(effort.operations, least));
}

double nanoseconds(Clock::time_point start, Clock::time_point end) {
  return static_cast<double>(std::max<std::int64_t>(0, std::chrono::nanoseconds(end - start).count()));
}

// What one worker does; its times by contender and slice.
std::vector<std::vector<Time>> slices(std::size_t worker, Plan& plan) {
  pin(worker);
  std::vector<std::vector<Time>> times(plan.contenders.size());
  for (std::size_t round = 0; round <= plan.effort.slices; round++) {
    for (std::size_t at = 0; at < plan.contenders.size(); at++) {
      const std::uint64_t n = plan.lengths[at].load(std::memory_order_relaxed);
      plan.gate.pass();
      const Clock::time_point start = Clock::now();
      plan.contenders[at].slice(worker, n);
      const Clock::time_point end = Clock::now();
      plan.gate.pass();
      if (worker == 0 && round == 0) {
        plan.lengths[at].store(length(nanoseconds(start, end) / static_cast<double>(n), plan.effort));
      }
      if (round > 0) times[at].push_back({start, end});
    }
    plan.gate.pass();
  }
  return times;
}

// Nanoseconds of an operation in the slices that count: those in which all threads were at it for nine tenths of the
// time; all where these are too few. A slice lasts from the first start to the last end.
std::vector<double> kept(const std::vector<std::vector<std::vector<Time>>>& times, std::size_t at, std::uint64_t n) {
  std::vector<double> all, good;
  for (std::size_t slice = 0; slice < times[0][at].size(); slice++) {
    Time first = times[0][at][slice], last = first;
    for (const auto& worker : times) {
      const Time& time = worker[at][slice];
      first = {std::min(first.start, time.start), std::min(first.end, time.end)};
      last = {std::max(last.start, time.start), std::max(last.end, time.end)};
    }
    const double elapsed = nanoseconds(first.start, last.end), together = nanoseconds(last.start, first.end);
    all.push_back(elapsed / static_cast<double>(n));
    if (together * 10 >= elapsed * 9) good.push_back(all.back());
  }
  return good.size() >= std::min(fewest, all.size()) ? good : all;
}

}  // namespace

std::vector<std::vector<double>> measure(const std::vector<Contender>& contenders, std::size_t threads, Effort effort) {
  Plan plan{contenders, effort, Gate(threads), std::vector<std::atomic<std::uint64_t>>(contenders.size())};
  for (auto& length : plan.lengths) length = least;
  std::vector<std::vector<std::vector<Time>>> times(threads);
  std::vector<std::thread> workers;
  for (std::size_t worker = 0; worker < threads; worker++) {
    workers.emplace_back([&, worker] { times[worker] = slices(worker, plan); });
  }
  for (std::thread& worker : workers) worker.join();
  std::vector<std::vector<double>> samples;
  for (std::size_t at = 0; at < contenders.size(); at++) samples.push_back(kept(times, at, plan.lengths[at]));
  return samples;
}

void pin(std::size_t n) {
  cpu_set_t allowed, only;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  CPU_ZERO(&only);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed) || n-- > 0) continue;
    CPU_SET(cpu, &only);
    sched_setaffinity(0, sizeof only, &only);
    return;
  }
}

}  // namespace bench

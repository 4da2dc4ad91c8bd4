// pool.hpp: slices of contenders in turn, by one thread or several; as src/pool.rs does it, which says why.
#ifndef DYN_METRICS_BENCH_POOL_HPP
#define DYN_METRICS_BENCH_POOL_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bench {

// Something that is measured beside others: does an operation n times, in a loop of its own.
struct Contender {
  std::string name;
  std::function<void(std::size_t worker, std::uint64_t n)> slice;
};

// How long and how often to measure.
struct Effort {
  std::size_t slices;        // of each contender, beside a first one that warms up
  std::uint64_t operations;  // in a slice of each thread
  std::chrono::nanoseconds longest;  // slices of slow operations are shortened to about this
};

// Measures contenders round-robin; nanoseconds of an operation, by contender and slice that counts.
std::vector<std::vector<double>> measure(const std::vector<Contender>& contenders, std::size_t threads, Effort effort);

// Puts this thread on the n-th of the CPUs that it may use; without effect where that isn't allowed.
void pin(std::size_t n);

}  // namespace bench

#endif  // DYN_METRICS_BENCH_POOL_HPP

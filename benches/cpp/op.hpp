// op.hpp: the operations that are measured, and what they are fed with; as src/op.rs, which says what each one is.
#ifndef DYN_METRICS_BENCH_OP_HPP
#define DYN_METRICS_BENCH_OP_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool.hpp"

namespace bench {

enum class Op {
  counter_inc,
  counter_inc_by,  // adds an integer that the compiler doesn't know
  counter_inc_f64,
  gauge_set,
  hist_observe,
  counter_labels,
  counter_labels_static,
  counter_labels_16,
  counter_labels_10000,
};

inline constexpr std::array<const char*, 9> op_names{
    "counter_inc",    "counter_inc_by",        "counter_inc_f64",   "gauge_set",           "hist_observe",
    "counter_labels", "counter_labels_static", "counter_labels_16", "counter_labels_10000"};

inline const char* name_of(Op op) { return op_names[static_cast<std::size_t>(op)]; }

// The pair of the operations that use one; macros, because the static forms want literals.
#define BENCH_MODEL "meta-llama/Llama-3.1-8B-Instruct"
#define BENCH_STATUS "200"
inline constexpr const char* model_label = "model";
inline constexpr const char* status_label = "status";

// More than any family here has.
inline constexpr std::uint32_t most_series = 20'000;

// Label values as an application has them: strings on the heap.
using Pair = std::array<std::string, 2>;

// What operations are fed with, the same for all contenders and languages: from the program that starts this one.
struct Input {
  std::vector<double> values, bounds;
  std::vector<Pair> one{16, {BENCH_MODEL, BENCH_STATUS}}, sixteen, many;

  // Lines "bound 0.5", "value 0.7", "16 model status", "10000 model status".
  explicit Input(std::istream& from);

  const std::vector<Pair>& pairs(Op op) const {
    return op == Op::counter_labels_16 ? sixteen : op == Op::counter_labels_10000 ? many : one;
  }
};

// Does work(held) n times. The compiler knows neither what `held` is nor that memory stays the same from one iteration
// to the next, so it loads the handle anew each time, as an application that keeps it in a structure does.
template <class Held, class Work>
[[gnu::always_inline]] inline void repeat(std::uint64_t n, const Held& held_in, const Work& work) {
  const Held* held = &held_in;
  __asm__ volatile("" : "+r"(held) : : "memory");
  for (; n > 0; n--) {
    work(*held);
    __asm__ volatile("" : : : "memory");
  }
}

// As repeat, with the items in turn: work(held, item); each worker starts elsewhere.
template <class Item, class Held, class Work>
[[gnu::always_inline]] inline void over(std::size_t worker, std::uint64_t n, const std::vector<Item>& items,
                                        const Held& held_in, const Work& work) {
  const Held* held = &held_in;
  const Item* first = items.data();
  __asm__ volatile("" : "+r"(held), "+r"(first) : : "memory");
  std::size_t start = worker * items.size() / 2 % items.size();
  while (n > 0) {
    const std::size_t end = std::min<std::size_t>(items.size(), start + n);
    for (const Item* item = first + start; item != first + end; item++) {
      work(*held, *item);
      __asm__ volatile("" : : : "memory");
    }
    n -= end - start;
    start = 0;
  }
}

// Does work(held) in a loop, with what is held in memory of its own.
template <class Held, class Work>
Contender repeating(const char* name, Held held_in, Work work) {
  const auto held = std::make_shared<const Held>(std::move(held_in));
  return {name, [held, work](std::size_t, std::uint64_t n) { repeat(n, *held, work); }};
}

// The same with items in turn: work(held, item).
template <class Item, class Held, class Work>
Contender going_over(const char* name, const std::vector<Item>& items, Held held_in, Work work) {
  const auto held = std::make_shared<const Held>(std::move(held_in));
  return {name, [held, work, &items](std::size_t worker, std::uint64_t n) { over(worker, n, items, *held, work); }};
}

// A handle and what it is updated with.
template <class Handle, class Value>
struct Fed {
  Handle metric;
  Value value;
};

// Who does it: each gives the contenders that have such an operation.
std::vector<Contender> ours(const char* name, Op op, const Input& input, const char* segment);
std::vector<Contender> ours_by_calls(Op op, const Input& input, const char* segment);
std::vector<Contender> prometheus_cpp(Op op, const Input& input);
// What is no library: fetch_add, by which others are measured, and what bounds it from below.
inline constexpr const char* base = "fetch_add";
std::vector<Contender> raw(Op op);

}  // namespace bench

#endif  // DYN_METRICS_BENCH_OP_HPP

// raw.cpp: what is no library: the atomic instruction that others are measured by, and what bounds it from below.
#include <atomic>

#include "op.hpp"

namespace bench {

namespace {

// A word with a pair of cache lines of its own.
template <class T>
struct alignas(128) Alone {
  Alone() = default;
  Alone(const Alone&) {}
  mutable std::atomic<T> word{};
  T value = T(1.5);

  void add_one() const { word.fetch_add(1, std::memory_order_relaxed); }
  void add_privately() const { word.store(word.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
  void add_by_swapping() const {
    T seen = word.load(std::memory_order_relaxed);
    while (!word.compare_exchange_weak(seen, seen + value, std::memory_order_relaxed)) {
    }
  }
  void set() const { word.store(value, std::memory_order_relaxed); }
};

using Whole = Alone<std::uint64_t>;

}  // namespace

std::vector<Contender> raw(Op op) {
  std::vector<Contender> all{repeating(base, Whole(), [](const Whole& held) { held.add_one(); })};
  if (op == Op::counter_inc_f64) {
    all.push_back(repeating("cas-f64", Alone<double>(), [](const auto& held) { held.add_by_swapping(); }));
  }
  if (op == Op::gauge_set) {
    all.push_back(repeating("atomic-store", Whole(), [](const Whole& held) { held.set(); }));
  }
  all.push_back({"thread-private", [](std::size_t, std::uint64_t n) {
                   repeat(n, Whole(), [](const Whole& held) { held.add_privately(); });
                 }});
  all.push_back(repeating("empty-loop", 0, [](int) {}));
  return all;
}

}  // namespace bench

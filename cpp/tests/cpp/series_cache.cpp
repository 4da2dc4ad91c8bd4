// Handles by label values: series_cache [times]
#include "dyn_metrics/series_cache.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

using dyn_metrics::detail::SeriesCache;

namespace {

using Cache = SeriesCache<std::size_t>;

const std::size_t* find(const Cache& cache, std::vector<std::string_view> values) {
  return cache.find(values);
}

void insert(Cache& cache, std::vector<std::string_view> values, std::size_t handle, std::uint64_t generation = 0) {
  cache.insert(values, handle, generation);
}

bool holds(const std::size_t* found, std::size_t expected) { return found != nullptr && *found == expected; }

// Each differs from the others of its length in one byte, at every place.
void values_of_every_length_are_told_apart() {
  const std::string text = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
  Cache cache(10'000);
  std::map<std::string, std::size_t> expected;
  for (std::size_t len = 0; len < 50; len++) {
    for (std::size_t change = 0; change <= len; change++) {
      std::string value = text.substr(0, len);
      if (change < len) value[change] = '-';
      const std::size_t number = expected.size();
      insert(cache, {value, "x"}, number);
      insert(cache, {"a", "b", value}, number + 100'000);
      expected.emplace(value, number);
    }
  }
  for (const auto& [value, number] : expected) {
    CHECK(holds(find(cache, {value, "x"}), number));
    CHECK(holds(find(cache, {"a", "b", value}), number + 100'000));
    CHECK(find(cache, {value, "y"}) == nullptr && find(cache, {"x", value}) == nullptr);
    CHECK(find(cache, {value}) == nullptr && find(cache, {value, "x", ""}) == nullptr);
    CHECK(find(cache, {"a", "c", value}) == nullptr && find(cache, {"a", "b", value, value}) == nullptr);
  }
  CHECK(find(cache, {}) == nullptr);
  insert(cache, {}, 7);
  CHECK(holds(find(cache, {}), 7) && find(cache, {""}) == nullptr);
}

// By themselves: in the cache a hash tells most of them apart before.
void texts_that_differ_in_a_byte_are_not_equal() {
  namespace values = dyn_metrics::detail::label_values;
  const values::Secret one_secret = values::Secret::of(0), other_secret = values::Secret::of(1);
  for (std::size_t len = 0; len < 100; len++) {
    const std::string one(len, 'a');
    const bool is_short = len <= values::most_short;
    const auto hash = [&](std::string_view text, const values::Secret& secret) {
      return is_short ? values::Ends::of(text).hash(text, secret) : values::hash_of_long(text, secret);
    };
    if (is_short) CHECK(values::Words::of(one).are_of(one, values::Ends::of(one)));
    for (std::size_t change = 0; change < len; change++) {
      std::string other = one;
      other[change] = 'b';
      if (is_short) CHECK(!values::Words::of(one).are_of(other, values::Ends::of(other)));
      CHECK(hash(one, one_secret) != hash(other, one_secret) && hash(one, one_secret) != hash(one, other_secret));
    }
  }
}

void bytes_are_what_counts_also_nul_and_high_ones() {
  Cache cache(10);
  const std::string_view nul("a\0b", 3), other("a\0c", 3), high("\xff\x80", 2), low("\x7f\x00", 2);
  insert(cache, {nul}, 1);
  insert(cache, {high}, 2);
  CHECK(holds(find(cache, {nul}), 1) && find(cache, {other}) == nullptr && find(cache, {"a"}) == nullptr);
  CHECK(holds(find(cache, {high}), 2) && find(cache, {low}) == nullptr);
}

void threads_that_fill_it_at_once_find_what_they_put() {
  constexpr std::size_t all = 20'000;
  Cache cache(4 * all);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; thread++) {
    threads.emplace_back([&] {
      for (std::size_t n = 0; n < all; n++) {
        const std::string value = std::to_string(n);
        insert(cache, {value}, n);
        const std::size_t* const found = find(cache, {value});
        CHECK(found == nullptr || *found == n);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::size_t found = 0;
  for (std::size_t n = 0; n < all; n++) found += holds(find(cache, {std::to_string(n)}), n);
  CHECK(found > all - all / 20); /* a race may leave a few out of the table */
  for (std::size_t n = 0; n < all; n++) insert(cache, {std::to_string(n)}, n);
  for (std::size_t n = 0; n < all; n++) CHECK(holds(find(cache, {std::to_string(n)}), n));
}

void a_full_cache_takes_no_more() {
  Cache cache(1000);
  std::size_t found = 0;
  for (std::size_t n = 0; n < 1100; n++) insert(cache, {std::to_string(n)}, n);
  for (std::size_t n = 0; n < 1100; n++) found += find(cache, {std::to_string(n)}) != nullptr;
  CHECK(found == 1000);
  const std::string long_text(70'000, 'x');
  insert(cache, {long_text}, 1);
  CHECK(find(cache, {long_text}) == nullptr);
}

void a_new_generation_starts_empty_and_takes_none_of_the_old() {
  Cache cache(100);
  insert(cache, {"a"}, 1, 1);
  const std::size_t* const first = find(cache, {"a"});
  insert(cache, {"b"}, 2, 2);
  CHECK(find(cache, {"a"}) == nullptr && holds(find(cache, {"b"}), 2));
  CHECK(*first == 1); /* a reader may still hold it */
  insert(cache, {"a"}, 1, 1);
  CHECK(find(cache, {"a"}) == nullptr);
  insert(cache, {"a"}, 3, 2);
  CHECK(holds(find(cache, {"a"}), 3));
}

void readers_see_a_cache_that_changes() {
  Cache cache(100'000);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int thread = 0; thread < 2; thread++) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        for (std::size_t n = 0; n < 100; n++) {
          const std::size_t* const found = find(cache, {std::to_string(n), "ok"});
          CHECK(found == nullptr || *found % 1000 == n);
        }
      }
    });
  }
  for (std::size_t generation = 1; generation < 200; generation++) {
    for (std::size_t n = 0; n < 100; n++) insert(cache, {std::to_string(n), "ok"}, 1000 * generation + n, generation);
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
}

double now() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The least of 15 slices of each.
void costs() {
  constexpr int times = 1'000'000;
  Cache cache(1000);
  for (int n = 0; n < 100; n++) insert(cache, {"model-" + std::to_string(n), "ok"}, 1);
  const std::string models[] = {"model-7", "model-42"};
  std::atomic<std::uint64_t> word{0};
  double least[2] = {1e9, 1e9};
  std::size_t sum = 0;
  for (int slice = 0; slice < 30; slice++) {
    const double start = now();
    for (int n = 0; n < times; n++) {
      const std::array<std::string_view, 2> values{models[n % 2], "ok"};
      if (slice % 2 == 0) sum += *cache.find(values);
      if (slice % 2 == 1) word.fetch_add(1, std::memory_order_relaxed);
    }
    least[slice % 2] = std::min(least[slice % 2], (now() - start) / times);
  }
  std::printf("find %.2f fetch_add %.2f %s\n", least[0], least[1], sum > 0 ? "ns" : "");
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {
    costs();
    return 0;
  }
  values_of_every_length_are_told_apart();
  texts_that_differ_in_a_byte_are_not_equal();
  bytes_are_what_counts_also_nul_and_high_ones();
  threads_that_fill_it_at_once_find_what_they_put();
  a_full_cache_takes_no_more();
  a_new_generation_starts_empty_and_takes_none_of_the_old();
  readers_see_a_cache_that_changes();
  return 0;
}

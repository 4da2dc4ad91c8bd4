// series_cache.hpp: what a family's look-ups remember: handles by label values, in front of the library.
//
// For dyn_metrics.hpp, not for applications. A hash table of entries that never change, shared by the process's
// threads: no lock, nothing to write when an entry is found, so threads don't disturb each other and a forked child
// goes on with it. Tables are replaced by larger ones; entries and old tables are freed with the cache, because a
// thread may be reading them. An entry that a race leaves out of a table is asked for once more.
#ifndef DYN_METRICS_SERIES_CACHE_HPP
#define DYN_METRICS_SERIES_CACHE_HPP

#include <sys/auxv.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace dyn_metrics::detail {

// Comparing and hashing of label values.
namespace label_values {

inline constexpr std::uint64_t multiplier = 0x9e3779b97f4a7c15u;
// Values up to this long are compared by the words that cover them, and kept in the entry itself.
inline constexpr std::size_t most_short = 32;

[[gnu::always_inline]] inline std::uint64_t word(const char* bytes) noexcept {
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

[[gnu::always_inline]] inline std::uint64_t half_word(const char* bytes) noexcept {
  std::uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

[[gnu::always_inline]] inline std::uint64_t byte(const char* bytes) noexcept {
  return static_cast<unsigned char>(*bytes);
}

// Mixes two words into one: the halves of their product.
[[gnu::always_inline]] inline std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Whether two texts of the same length are equal. Compares words that overlap in the middle: a call costs more than all
// the rest.
[[gnu::always_inline]] inline bool equal(const char* a, const char* b, std::size_t len) noexcept {
  const auto differs = [=](std::size_t at) { return word(a + at) ^ word(b + at); };
  if (len > most_short) return std::memcmp(a, b, len) == 0;
  if (len > 16) return (differs(0) | differs(8) | differs(len - 16) | differs(len - 8)) == 0;
  if (len >= 8) return (differs(0) | differs(len - 8)) == 0;
  if (len >= 4) return half_word(a) == half_word(b) && half_word(a + len - 4) == half_word(b + len - 4);
  return len == 0 || (a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1]);
}

// All bytes of a long value but the last ones.
inline std::uint64_t fold_all(const char* bytes, std::size_t len, std::uint64_t salt) noexcept {
  std::uint64_t hash = salt;
  for (std::size_t at = 0; at + 8 <= len; at += 8) hash = fold(hash ^ word(bytes + at), salt ^ multiplier);
  return hash;
}

// Two words that equal values have in common.
[[gnu::always_inline]] inline std::pair<std::uint64_t, std::uint64_t> sketch(std::string_view value,
                                                                             std::uint64_t salt) noexcept {
  const char* const bytes = value.data();
  const std::size_t len = value.size();
  if (len > most_short) return {fold_all(bytes, len, salt), word(bytes + len - 8)};
  if (len > 16) {
    return {word(bytes) ^ fold(word(bytes + 8) ^ salt, word(bytes + len - 16) ^ multiplier), word(bytes + len - 8)};
  }
  if (len >= 8) return {word(bytes), word(bytes + len - 8)};
  if (len >= 4) return {half_word(bytes), half_word(bytes + len - 4)};
  if (len == 0) return {0, 0};
  return {byte(bytes) | byte(bytes + len / 2) << 8, byte(bytes + len - 1)};
}

// A hash of all values. Those of the values don't wait for one another.
[[gnu::always_inline]] inline std::uint32_t hash(std::uint64_t salt, const std::string_view* values,
                                                 std::size_t count) noexcept {
  std::uint64_t hash = 0;
  for (std::size_t at = 0; at < count; at++) {
    const auto [first, last] = sketch(values[at], salt);
    hash ^= fold(first ^ salt, last ^ (salt << 32 | salt >> 32) ^ values[at].size());
    salt += multiplier << 1;
  }
  return static_cast<std::uint32_t>(hash ^ hash >> 32);
}

// A number that the kernel draws for each process, so that nobody can choose values whose hashes collide.
inline std::uint64_t seed() noexcept {
  const auto* const random = reinterpret_cast<const char*>(getauxval(AT_RANDOM));
  return multiplier ^ (random == nullptr ? 0 : fold(word(random) ^ multiplier, word(random + 8) ^ multiplier));
}

}  // namespace label_values

// Handles by label values. Any thread may use it at any time, and forked children; in signal handlers find() alone.
//
// Unit of the limit: entries. Equal values give equal handles; a handle is copied in and never changes.
template <class Handle>
class SeriesCache {
  static_assert(std::is_nothrow_copy_constructible_v<Handle> && std::is_trivially_destructible_v<Handle>);

 public:
  // limit: most entries of a table. Allocates at the first insert() only.
  explicit SeriesCache(std::size_t limit) noexcept : seed_(label_values::seed()), limit_(limit) {}
  SeriesCache(const SeriesCache&) = delete;
  SeriesCache& operator=(const SeriesCache&) = delete;

  // Requires: nobody else uses it any more.
  ~SeriesCache() {
    for (Table* table = table_.load(std::memory_order_acquire); table != nullptr;) {
      delete std::exchange(table, table->older);
    }
    for (Entry* entry = entries_.load(std::memory_order_acquire); entry != nullptr;) {
      delete std::exchange(entry, entry->next);
    }
  }

  // The handle of the series with these values, or null when it is not remembered. Valid as long as the cache. Writes
  // nothing.
  [[gnu::always_inline]] const Handle* find(const std::string_view* values, std::size_t count) const noexcept {
    const Table* const table = table_.load(std::memory_order_acquire);  // pairs with: replace()
    if (__builtin_expect(table == nullptr, 0)) return nullptr;
    const std::uint32_t hash = label_values::hash(seed_, values, count);
    for (std::size_t step = 0; step < probes; step++) {
      const Entry* const entry = table->slot(hash, step).load(std::memory_order_acquire);  // pairs with: Table::put()
      if (entry == nullptr) return nullptr;
      if (entry->hash == hash && entry->is_of(values, count)) return &entry->handle;
    }
    return nullptr;
  }

  // Remembers a handle, unless the cache is full or there is no memory for it.
  //
  // A generation is the number of the segment that the handle belongs to, if segments may be replaced: a higher one
  // makes the cache forget all handles of lower ones, and what is older than the cache is not remembered.
  void insert(const std::string_view* values, std::size_t count, const Handle& handle,
              std::uint64_t generation = 0) noexcept {
    Table* table = of_generation(generation);
    if (table == nullptr || find(values, count) != nullptr) return;
    std::unique_ptr<Entry> entry = Entry::make(label_values::hash(seed_, values, count), values, count, handle);
    // What finds no slot in a table that was enlarged for it shares its hash with too many others.
    for (int round = 0; entry != nullptr && table != nullptr && round < 3; round++) {
      const std::size_t used = table->used.load(std::memory_order_relaxed);
      if (table->generation != generation || used >= limit_) return;
      if (2 * used <= table->mask) {
        if (table->put(entry.get())) return list(entry.release());
        if (table->mask > 16 * std::max(used, first_slots)) return;
      }
      table = grow(table);
    }
  }

 private:
  static constexpr std::size_t probes = 8;        // slots looked at before a look-up is given up
  static constexpr std::size_t first_slots = 32;  // of the first table
  static constexpr std::size_t near = 2;          // values that an entry keeps itself

  // A handle and the values it was asked for by: for one or two short ones all in two neighbouring cache lines (with
  // handles up to 40 bytes), since among many series it is the cache misses that cost.
  struct alignas(64) Entry {
    Entry(std::uint32_t of, const Handle& kept) noexcept : hash(of), handle(kept) {}

    std::uint32_t hash;
    std::uint16_t len[near] = {absent, absent};
    char bytes[near][label_values::most_short] = {};
    // What has no place there, or null: how many values, their lengths; then their bytes one after the other.
    std::unique_ptr<std::uint16_t[]> rest;
    Handle handle;
    Entry* next = nullptr;  // the entry made before; for the end

    static constexpr std::uint16_t absent = 0xffff;

    static std::unique_ptr<Entry> make(std::uint32_t hash, const std::string_view* values, std::size_t count,
                                       const Handle& handle) noexcept {
      std::size_t bytes = 0;
      bool is_far = count > near;
      for (std::size_t at = 0; at < count; at++) {
        if (values[at].size() >= absent) return nullptr;
        bytes += values[at].size();
        is_far = is_far || values[at].size() > label_values::most_short;
      }
      if (count >= absent) return nullptr;
      std::unique_ptr<Entry> entry(new (std::nothrow) Entry(hash, handle));
      if (entry == nullptr) return nullptr;
      for (std::size_t at = 0; at < count && at < near; at++) {
        entry->len[at] = static_cast<std::uint16_t>(values[at].size());
        copy(entry->bytes[at], values[at].substr(0, label_values::most_short));
      }
      if (is_far) {
        entry->rest.reset(new (std::nothrow) std::uint16_t[1 + count + (bytes + 1) / 2]);
        if (entry->rest == nullptr) return nullptr;
        entry->keep(values, count);
      }
      return entry;
    }

    [[gnu::always_inline]] bool is_of(const std::string_view* values, std::size_t count) const noexcept {
      for (std::size_t at = 0; at < near; at++) {
        if (!(at < count ? is_near(at, values[at]) : len[at] == absent)) return false;
      }
      return rest == nullptr ? count <= near : is_rest_of(values, count);
    }

   private:
    [[gnu::always_inline]] bool is_near(std::size_t at, std::string_view value) const noexcept {
      if (len[at] != value.size()) return false;
      return value.size() > label_values::most_short || label_values::equal(bytes[at], value.data(), value.size());
    }

    static void copy(char* to, std::string_view text) noexcept {
      if (!text.empty()) std::memcpy(to, text.data(), text.size());
    }

    void keep(const std::string_view* values, std::size_t count) noexcept {
      rest[0] = static_cast<std::uint16_t>(count);
      char* text = reinterpret_cast<char*>(&rest[1 + count]);
      for (std::size_t at = 0; at < count; at++) {
        rest[1 + at] = static_cast<std::uint16_t>(values[at].size());
        copy(text, values[at]);
        text += values[at].size();
      }
    }

    bool is_rest_of(const std::string_view* values, std::size_t count) const noexcept {
      if (rest[0] != count) return false;
      const char* text = reinterpret_cast<const char*>(&rest[1 + count]);
      for (std::size_t at = 0; at < count; at++) {
        if (rest[1 + at] != values[at].size() || !label_values::equal(text, values[at].data(), rest[1 + at])) {
          return false;
        }
        text += rest[1 + at];
      }
      return true;
    }
  };

  struct Table {
    std::size_t mask;
    std::unique_ptr<std::atomic<Entry*>[]> slots;
    std::uint64_t generation;
    Table* older = nullptr;  // the table before; for the end
    std::atomic<std::size_t> used{0};

    // Requires: a power of two. Null when there is no memory.
    static std::unique_ptr<Table> make(std::size_t slots, std::uint64_t generation) noexcept {
      std::unique_ptr<std::atomic<Entry*>[]> made(new (std::nothrow) std::atomic<Entry*>[slots]());
      if (made == nullptr) return nullptr;
      return std::unique_ptr<Table>(new (std::nothrow) Table(slots - 1, std::move(made), generation));
    }
    Table(std::size_t last, std::unique_ptr<std::atomic<Entry*>[]> made, std::uint64_t of) noexcept
        : mask(last), slots(std::move(made)), generation(of) {}

    [[gnu::always_inline]] std::atomic<Entry*>& slot(std::uint32_t hash, std::size_t step) const noexcept {
      return slots[(hash + step) & mask];
    }

    // Puts an entry into the first free slot of its window; false when there is none.
    bool put(Entry* entry) noexcept {
      for (std::size_t step = 0; step < probes; step++) {
        Entry* none = nullptr;
        if (slot(entry->hash, step).compare_exchange_strong(none, entry, std::memory_order_acq_rel)) {
          used.fetch_add(1, std::memory_order_relaxed);
          return true;
        }
      }
      return false;
    }
  };

  // The table for handles of this generation; null when the cache has newer ones, or there is no memory.
  Table* of_generation(std::uint64_t generation) noexcept {
    Table* table = table_.load(std::memory_order_acquire);
    while (table == nullptr || table->generation < generation) {
      Table* const now = replace(table, Table::make(first_slots, generation));
      if (now == table) return nullptr;
      table = now;
    }
    return table->generation == generation ? table : nullptr;
  }

  // Replaces a table by one of twice as many slots, unless another thread was faster.
  Table* grow(Table* table) noexcept {
    std::unique_ptr<Table> larger = Table::make(2 * (table->mask + 1), table->generation);
    for (std::size_t at = 0; larger != nullptr && at <= table->mask; at++) {
      Entry* const entry = table->slots[at].load(std::memory_order_acquire);
      if (entry != nullptr) larger->put(entry);
    }
    return replace(table, std::move(larger));
  }

  // Replaces a table, unless another thread has; the table to go on with, the same when there is no memory.
  Table* replace(Table* table, std::unique_ptr<Table> by) noexcept {
    if (by == nullptr) return table_.load(std::memory_order_acquire);
    by->older = table;
    if (table_.compare_exchange_strong(table, by.get(), std::memory_order_acq_rel, std::memory_order_acquire)) {
      return by.release();
    }
    return table;
  }

  // Keeps an entry that a table has until the end.
  void list(Entry* entry) noexcept {
    Entry* head = entries_.load(std::memory_order_relaxed);
    do {
      entry->next = head;
    } while (!entries_.compare_exchange_weak(head, entry, std::memory_order_acq_rel, std::memory_order_relaxed));
  }

  std::atomic<Table*> table_{nullptr};
  const std::uint64_t seed_;
  const std::size_t limit_;
  std::atomic<Entry*> entries_{nullptr};  // all that any table has or had, newest first
};

}  // namespace dyn_metrics::detail

#endif  // DYN_METRICS_SERIES_CACHE_HPP

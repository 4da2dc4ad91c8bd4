// series_cache.hpp: what a family's look-ups remember: handles by label values, in front of the library.
//
// For dyn_metrics.hpp, not for applications. A hash table of entries that never change, shared by the process's
// threads: no lock, nothing to write when an entry is found, so threads don't disturb each other and a forked child
// goes on with it. Tables are replaced by larger ones; entries and old tables are freed with the cache, because a
// thread may be reading them. An entry that a race leaves out of a table is asked for once more. A table whose family
// has lost a series since it was last swept finds nothing.
#ifndef DYN_METRICS_SERIES_CACHE_HPP
#define DYN_METRICS_SERIES_CACHE_HPP

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

#include "label_values.hpp"

namespace dyn_metrics::detail {

// Orders everything before it and after it. g++'s ThreadSanitizer knows no fences.
inline void full_fence() noexcept {
#if defined(__SANITIZE_THREAD__)
  static std::atomic<int> word{0};
  word.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// Handles by label values. Any thread may use it at any time, and forked children; in signal handlers find() alone.
//
// Unit of the limit: entries. Equal values give equal handles; a handle is copied in and never changes.
template <class Handle>
class SeriesCache {
  static_assert(std::is_nothrow_copy_constructible_v<Handle> && std::is_trivially_destructible_v<Handle>);

 public:
  // Whether the series of a handle was removed; a full fence comes before the look.
  using IsGone = bool (*)(const Handle&) noexcept;

  // limit: most entries of a table. Allocates at the first insert() only.
  explicit SeriesCache(std::size_t limit, IsGone is_gone = none_is_gone) noexcept : limit_(limit), is_gone_(is_gone) {}
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
  // nothing. Views has data() and size().
  //
  // In line is what most look-ups need: one or two short values, in the slot where they belong.
  template <class Views>
  [[gnu::always_inline]] const Handle* find(const Views& values) const noexcept {
    const Table* const table = table_.load(std::memory_order_acquire);  // pairs with: replace()
    if (__builtin_expect(table == nullptr || !table->is_swept(), 0)) return nullptr;
    if (__builtin_expect(!is_near(values), 0)) return search(*table, values);
    const Near ends(values);
    const Entry* const entry =
        table->slot(ends.hash(values, secrets_), 0).load(std::memory_order_acquire);  // pairs with: Table::put()
    if (__builtin_expect(entry == nullptr, 0)) return nullptr;
    return __builtin_expect(entry->is_near(ends, values), 1) ? &entry->handle : search(*table, values);
  }

  // Remembers a handle, unless the cache is full or there is no memory for it.
  //
  // A generation is the number of the segment that the handle belongs to, if segments may be replaced: a higher one
  // makes the cache forget all handles of lower ones, and what is older than the cache is not remembered. `removals`
  // is the word of that segment which grows before a series is gone, or null where none ever is.
  template <class Views>
  void insert(const Views& values, const Handle& handle, std::uint64_t generation = 0,
              const std::uint64_t* removals = nullptr) noexcept {
    Table* table = of_generation(generation, removals);
    if (table == nullptr || find(values) != nullptr) return;
    const std::uint64_t hash = hash_of(values.data(), values.size());
    std::unique_ptr<Entry> entry = Entry::make(hash, values.data(), values.size(), handle);
    // What finds no slot in a table that was enlarged for it shares its hash with too many others.
    for (int round = 0; entry != nullptr && table != nullptr && round < 3; round++) {
      const std::size_t used = table->used.load(std::memory_order_relaxed);
      if (table->generation != generation || used >= limit_) return;
      if (2 * used <= table->mask && (round == 2 || table->is_roomy(used, hash))) {
        if (table->put(entry.get())) {
          entry->mark(is_gone_);  // the look is behind a fence: either it or sweep() sees what the other did
          return list(entry.release());
        }
        if (table->mask > 16 * std::max(used, first_slots)) return;
      }
      table = grow(table);
    }
  }

  // Forgets the handles whose series were removed, if one was since the last time; whether one was.
  bool sweep() noexcept {
    Table* const table = table_.load(std::memory_order_acquire);
    if (table == nullptr) return false;
    const std::uint64_t removals = __atomic_load_n(table->removals, __ATOMIC_ACQUIRE);
    std::uint64_t before = table->swept.load(std::memory_order_relaxed);
    if (before == removals) return false;
    full_fence();
    for (std::size_t at = 0; at <= table->mask; at++) {
      Entry* const entry = table->slots[at].load(std::memory_order_acquire);
      if (entry != nullptr) entry->mark(is_gone_);
    }
    while (before < removals && !table->swept.compare_exchange_weak(before, removals, std::memory_order_release)) {
    }
    return true;
  }

 private:
  static bool none_is_gone(const Handle&) noexcept { return false; }

  static constexpr std::size_t probes = 8;        // slots looked at before a look-up is given up
  static constexpr std::size_t first_slots = 32;  // of the first table
  static constexpr std::size_t small = 1024;      // slots: a table that fits into the nearest cache
  static constexpr std::size_t near = 2;          // values that an entry keeps itself, if they are short
  static constexpr std::uint16_t absent = 0xffff, elsewhere = 0xfffe, gone = 0xfffd;  // in place of a length

  struct Entry;
  struct Table;

  // Values, for the functions that take anything with data() and size().
  struct View {
    const std::string_view* list;
    std::size_t count;
    const std::string_view* data() const noexcept { return list; }
    std::size_t size() const noexcept { return count; }
  };

  // Whether an entry keeps such values itself.
  template <class Views>
  [[gnu::always_inline]] static bool is_near(const Views& values) noexcept {
    return values.size() <= near && (values.size() < 1 || values.data()[0].size() <= label_values::most_short) &&
           (values.size() < 2 || values.data()[1].size() <= label_values::most_short);
  }

  // The ends of such values. By hand: compilers keep a loop and go through memory, though the number is known.
  struct Near {
    label_values::Ends ends[near];

    template <class Views>
    [[gnu::always_inline]] explicit Near(const Views& values) noexcept {
      if (values.size() > 0) ends[0] = label_values::Ends::of(values.data()[0]);
      if (values.size() > 1) ends[1] = label_values::Ends::of(values.data()[1]);
    }

    template <class Views>
    [[gnu::always_inline]] std::uint64_t hash(const Views& values, const label_values::Secret* secrets) const noexcept {
      std::uint64_t hash = 0;
      if (values.size() > 0) hash ^= ends[0].hash(values.data()[0], secrets[0]);
      if (values.size() > 1) hash ^= ends[1].hash(values.data()[1], secrets[1]);
      return hash;
    }
  };

  std::uint64_t hash_of(const std::string_view* values, std::size_t count) const noexcept {
    const View view{values, count};
    if (is_near(view)) return Near(view).hash(view, secrets_);
    std::uint64_t hash = count;
    for (std::size_t at = 0; at < count; at++) {
      hash = label_values::fold(hash ^ label_values::hash_of_long(values[at], secrets_[0]), secrets_[1].first);
    }
    return hash;
  }

  // Looks at all the slots where such values may be. By value: then those of the caller may stay in registers.
  template <class Views>
  [[gnu::noinline]] const Handle* search(const Table& table, Views values) const noexcept {
    const std::uint64_t hash = hash_of(values.data(), values.size());
    for (std::size_t step = 0; step < probes; step++) {
      const Entry* const entry = table.slot(hash, step).load(std::memory_order_acquire);  // pairs with: Table::put()
      if (entry == nullptr) return nullptr;
      if (entry->hash != static_cast<std::uint32_t>(hash)) continue;
      if (entry->is_of(values.data(), values.size())) return &entry->handle;
    }
    return nullptr;
  }

  // A handle and the values it was asked for by: for one or two short ones all in two neighbouring cache lines (with
  // handles up to 40 bytes), since among many series it is the cache misses that cost.
  struct alignas(64) Entry {
    Entry(std::uint64_t of, const Handle& kept) noexcept : hash(static_cast<std::uint32_t>(of)), handle(kept) {}

    const std::uint32_t hash;  // the lower half, which is all that tables need
    std::atomic<std::uint16_t> len[near] = {{absent}, {absent}};  // in the end {gone, ..}: found no more
    label_values::Words words[near];
    const Handle handle;
    // What has no place there, or null: how many values, their lengths; then their bytes one after the other.
    std::unique_ptr<std::uint16_t[]> rest;
    Entry* next = nullptr;  // the entry made before; for the end

    static std::unique_ptr<Entry> make(std::uint64_t hash, const std::string_view* values, std::size_t count,
                                       const Handle& handle) noexcept {
      std::size_t bytes = 0;
      for (std::size_t at = 0; at < count; at++) {
        if (values[at].size() >= gone) return nullptr;
        bytes += values[at].size();
      }
      if (count >= elsewhere) return nullptr;
      std::unique_ptr<Entry> entry(new (std::nothrow) Entry(hash, handle));
      if (entry == nullptr) return nullptr;
      if (SeriesCache::is_near(View{values, count})) {
        for (std::size_t at = 0; at < count; at++) {
          entry->len[at].store(static_cast<std::uint16_t>(values[at].size()), std::memory_order_relaxed);
          entry->words[at] = label_values::Words::of(values[at]);
        }
        return entry;
      }
      entry->len[0].store(elsewhere, std::memory_order_relaxed);
      entry->rest.reset(new (std::nothrow) std::uint16_t[1 + count + (bytes + 1) / 2]);
      if (entry->rest == nullptr) return nullptr;
      entry->keep(values, count);
      return entry;
    }

    // Whether these are its values, which are few and short.
    template <class Views>
    [[gnu::always_inline]] bool is_near(const Near& other, const Views& values) const noexcept {
      return is_near_at(0, other, values) && is_near_at(1, other, values);
    }

    bool is_gone() const noexcept { return len[0].load(std::memory_order_relaxed) == gone; }

    // Is found no more, if its series was removed.
    void mark(IsGone was_removed) noexcept {
      if (was_removed(handle)) len[0].store(gone, std::memory_order_relaxed);
    }

    bool is_of(const std::string_view* values, std::size_t count) const noexcept {
      const View view{values, count};
      if (rest != nullptr) return !is_gone() && is_rest_of(values, count);
      return SeriesCache::is_near(view) && is_near(Near(view), view);
    }

   private:
    template <class Views>
    [[gnu::always_inline]] bool is_near_at(std::size_t at, const Near& other, const Views& values) const noexcept {
      const std::uint16_t own = len[at].load(std::memory_order_relaxed);
      if (values.size() <= at) return own == absent;
      const std::size_t size = values.data()[at].size();
      return own == size && words[at].are_of(values.data()[at], other.ends[at]);
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
        if (std::string_view(text, rest[1 + at]) != values[at]) return false;
        text += rest[1 + at];
      }
      return true;
    }
  };

  static_assert(sizeof(Handle) > 40 || sizeof(Entry) <= 128);

  struct Table {
    std::size_t mask;
    std::unique_ptr<std::atomic<Entry*>[]> slots;
    std::uint64_t generation;
    const std::uint64_t* removals;
    std::atomic<std::uint64_t> swept;  // what `removals` was when all gone entries had been marked
    Table* older = nullptr;  // the table before; for the end
    std::atomic<std::size_t> used{0};

    // Requires: a power of two. Null when there is no memory.
    static std::unique_ptr<Table> make(std::size_t slots, std::uint64_t generation,
                                       const std::uint64_t* removals) noexcept {
      static constexpr std::uint64_t none = 0;
      if (removals == nullptr) removals = &none;
      std::unique_ptr<std::atomic<Entry*>[]> made(new (std::nothrow) std::atomic<Entry*>[slots]());
      if (made == nullptr) return nullptr;
      return std::unique_ptr<Table>(new (std::nothrow) Table(slots - 1, std::move(made), generation, removals));
    }
    Table(std::size_t last, std::unique_ptr<std::atomic<Entry*>[]> made, std::uint64_t of,
          const std::uint64_t* word) noexcept
        : mask(last),
          slots(std::move(made)),
          generation(of),
          removals(word),
          swept(__atomic_load_n(word, __ATOMIC_ACQUIRE)) {}

    [[gnu::always_inline]] bool is_swept() const noexcept {
      return __atomic_load_n(removals, __ATOMIC_RELAXED) == swept.load(std::memory_order_acquire);
    }

    [[gnu::always_inline]] std::atomic<Entry*>& slot(std::uint64_t hash, std::size_t step) const noexcept {
      return slots[(hash + step) & mask];
    }

    // Whether another entry with this hash can lie where it is looked for first, or that would cost too much. Small
    // tables cost little.
    bool is_roomy(std::size_t entries, std::uint64_t hash) const noexcept {
      return mask >= std::min(small, 32 * entries) || slot(hash, 0).load(std::memory_order_relaxed) == nullptr;
    }

    // Puts an entry into the first slot of its window that is free or has one that is gone; false when there is none.
    bool put(Entry* entry) noexcept {
      for (std::size_t step = 0; step < probes; step++) {
        Entry* now = slot(entry->hash, step).load(std::memory_order_acquire);
        if (now != nullptr && !now->is_gone()) continue;
        const bool was_free = now == nullptr;
        if (slot(entry->hash, step).compare_exchange_strong(now, entry, std::memory_order_acq_rel)) {
          used.fetch_add(was_free, std::memory_order_relaxed);
          return true;
        }
      }
      return false;
    }

    // Entries that are not gone.
    std::size_t live() const noexcept {
      std::size_t count = 0;
      for (std::size_t at = 0; at <= mask; at++) {
        const Entry* const entry = slots[at].load(std::memory_order_acquire);
        count += entry != nullptr && !entry->is_gone();
      }
      return count;
    }
  };

  // The table for handles of this generation; null when the cache has newer ones, or there is no memory.
  Table* of_generation(std::uint64_t generation, const std::uint64_t* removals) noexcept {
    Table* table = table_.load(std::memory_order_acquire);
    while (table == nullptr || table->generation < generation) {
      Table* const now = replace(table, Table::make(first_slots, generation, removals));
      if (now == table) return nullptr;
      table = now;
    }
    return table->generation == generation ? table : nullptr;
  }

  // Replaces a table by one of twice as many slots, or as many where most entries are gone, unless another thread was
  // faster.
  Table* grow(Table* table) noexcept {
    const bool is_mostly_gone = 2 * table->live() < table->used.load(std::memory_order_relaxed);
    const std::size_t slots = (is_mostly_gone ? 1 : 2) * (table->mask + 1);
    const std::uint64_t swept = table->swept.load(std::memory_order_acquire);
    std::unique_ptr<Table> larger = Table::make(slots, table->generation, table->removals);
    if (larger != nullptr) larger->swept.store(swept, std::memory_order_relaxed);
    for (std::size_t at = 0; larger != nullptr && at <= table->mask; at++) {
      Entry* const entry = table->slots[at].load(std::memory_order_acquire);
      if (entry != nullptr && !entry->is_gone()) larger->put(entry);
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
  const label_values::Secret secrets_[near] = {label_values::Secret::of(0), label_values::Secret::of(1)};
  const std::size_t limit_;
  const IsGone is_gone_;
  std::atomic<Entry*> entries_{nullptr};  // all that any table has or had, newest first
};

}  // namespace dyn_metrics::detail

#endif  // DYN_METRICS_SERIES_CACHE_HPP

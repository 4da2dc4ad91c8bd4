// family.hpp: families, series of one name that differ in the values of their labels.
#ifndef DYN_METRICS_FAMILY_HPP
#define DYN_METRICS_FAMILY_HPP

#include <array>
#include <atomic>
#include <new>

#include "describe.hpp"
#include "series_cache.hpp"

namespace dyn_metrics {

namespace detail {

// Whether a type can be a label's value, and whether it is a list of such.
template <class T>
inline constexpr bool is_text = std::is_convertible_v<const T&, std::string_view>;
template <class T, class = void>
inline constexpr bool is_texts = false;
template <class T>
inline constexpr bool
    is_texts<T, std::void_t<decltype(*std::declval<const T&>().data()), decltype(std::declval<const T&>().size())>> =
        !is_text<T> && is_text<std::remove_reference_t<decltype(*std::declval<const T&>().data())>>;

// One more than any family takes: who gives more gives the wrong number all the same.
inline constexpr std::size_t most_values = DYNM_MAX_LABELS + 1;

// The values of labels, in order.
class Values {
 public:
  Values(const std::string_view* first, std::size_t size) noexcept
      : first_(first), size_(size < most_values ? size : most_values) {}
  const std::string_view* data() const noexcept { return first_; }
  std::size_t size() const noexcept { return size_; }
  std::string_view operator[](std::size_t at) const noexcept { return first_[at]; }

 private:
  const std::string_view* first_;
  std::size_t size_;
};

// The values of labels from any list.
struct Gathered {
  std::array<std::string_view, most_values> list;
  std::size_t count;

  template <class List>
  explicit Gathered(const List& values) noexcept : count(values.size() < most_values ? values.size() : most_values) {
    for (std::size_t i = 0; i < count; i++) list[i] = values.data()[i];
  }
  // The values of these labels in the order of `names`; one too many where they are not those.
  Gathered(const std::vector<Label>& labels, const std::vector<std::string>& names) noexcept : count(most_values) {
    if (labels.size() != names.size()) return;
    std::size_t found = 0;
    for (const std::string& name : names) {
      for (const Label& label : labels) {
        if (label.name != name) continue;
        list[found++] = label.value;
        break;
      }
    }
    if (found == names.size()) count = found;
  }
  Values values() const noexcept { return {list.data(), count}; }
};

// The failure where these labels are not the ones of `names`.
inline Failure other_labels(const std::vector<Label>& labels, const std::vector<std::string>& names) {
  std::string text = "labels: found";
  for (const Label& label : labels) text.append(" ").append(label.name);
  text += ", expected";
  for (const std::string& name : names) text.append(" ").append(name);
  return {DYNM_LABELS, Message((text + ", each once").c_str())};
}

// Series of a family whose handles are remembered; others are looked up in the library, which remembers them, too.
inline constexpr std::size_t most_remembered = 1 << 20;

// A family as this process knows it: one for each dynm_family, never freed, so that families outlive static
// destruction.
template <class M>
class FamilyCore {
 public:
  FamilyCore(const dynm_family* raw, const std::vector<std::string>& names) : raw_(raw), names_(names) {}

  // The core of a family; of two threads', one's.
  static FamilyCore* of(const dynm_family* raw, const std::vector<std::string>& names) {
    FamilyCore* head = first().load(std::memory_order_acquire);
    for (FamilyCore* core = head; core != nullptr; core = core->next_) {
      if (core->raw_ == raw) return core;
    }
    auto* const made = new FamilyCore(raw, names);
    for (;;) {
      made->next_ = head;
      if (first().compare_exchange_strong(head, made, std::memory_order_acq_rel)) return made;
      for (FamilyCore* core = head; core != made->next_; core = core->next_) {
        if (core->raw_ != raw) continue;
        delete made;
        return core;
      }
    }
  }

  const std::vector<std::string>& names() const noexcept { return names_; }

  // The series with these values, if they were asked for before.
  template <class Views>
  [[gnu::always_inline]] const M* known(const Views& values) const noexcept {
    return cache_.find(values);
  }

  // The series with these values, found or made. On failure a handle that counts privately, the same for all.
  [[gnu::cold, gnu::noinline]] Failure with(Values values, M& handle) noexcept {
    if (cache_.sweep()) {
      if (const M* const known = cache_.find(values)) {
        handle = *known;
        return Failure();
      }
    }
    std::array<dynm_str, most_values> texts;
    const dynm_metric* metric = nullptr;
    for (std::size_t i = 0; i < values.size(); i++) texts[i] = {values[i].data(), values[i].size()};
    std::uint64_t number = 0;
    Failure failure = Failure::of(::dynm_family_look_up(raw_, texts.data(), values.size(), &metric, &number));
    handle = Access::of<M>(metric);
    // A new segment's number: handles of the one that it has replaced are forgotten. Not the series beyond the family's
    // limit, since the library counts each look-up that is refused.
    const std::uint64_t* removals = nullptr;
    if (number != 0 && ::dynm_family_removals(raw_, number, &removals) == DYNM_OK) {
      cache_.insert(values, handle, number, removals);
    }
    return failure;
  }

  // Removes the series with these values; whether there was one.
  Failure remove(Values values, bool& removed) noexcept {
    return guarded([&] {
      std::vector<dynm_str> texts;
      for (std::size_t i = 0; i < values.size(); i++) texts.push_back({values[i].data(), values[i].size()});
      std::int32_t found = 0;
      Failure failure = Failure::of(::dynm_family_remove(raw_, texts.data(), texts.size(), &found));
      removed = found != 0;
      return failure;
    });
  }

  // The series with these values, if it is registered.
  Failure find(Values values, const dynm_metric*& metric) noexcept {
    return guarded([&] {
      std::vector<std::string> texts;
      std::vector<const char*> pointers;
      for (std::size_t i = 0; i < values.size(); i++) {
        Failure failure = check_text(values[i], "values");
        if (failure.happened()) return failure;
        texts.emplace_back(values[i]);
      }
      for (const std::string& text : texts) pointers.push_back(text.c_str());
      return Failure::of(::dynm_family_find(raw_, pointers.data(), pointers.size(), &metric));
    });
  }

 private:
  static std::atomic<FamilyCore*>& first() noexcept {
    static std::atomic<FamilyCore*> families{nullptr};
    return families;
  }

  const dynm_family* raw_;
  std::vector<std::string> names_;
  static bool is_gone(const M& handle) noexcept {
    std::int32_t removed = 0;
    return handle.raw() != nullptr && ::dynm_is_removed(handle.raw(), &removed) == DYNM_OK && removed != 0;
  }

  SeriesCache<M> cache_{most_remembered, is_gone};
  FamilyCore* next_ = nullptr;
};

}  // namespace detail

/// Series of one name, found or made by the values of their labels. M is the type of handle: Family<Counter>.
///
///     requests.with("llama", "ok").inc();
///
/// Copies are the same family; copying is cheap, destruction does nothing, and a family never ends: not with its
/// registry, and not with static destruction. One that is default-made, or of a registration that failed, gives one
/// handle that counts privately, whatever the values.
///
/// Every look-up: Requires: as many values as label names, in their order, UTF-8. Guarantees: the series with these
/// values, registered when there is none; at the family's limit the one whose values are "__overflow__". Threads: any;
/// they don't disturb each other. Signals: no. After fork: yes. Cost: a hash and a comparison when the values were
/// asked for before: no lock, no allocation, no system call; a registration otherwise.
template <class M>
class Family {
 public:
  /// A family whose handle counts privately; see above. Errors: none.
  Family() noexcept : Family(nullptr, M()) {}

  /// The series with these values: with("llama", "ok"). As every look-up. Errors: none; what can't be had (wrong number
  /// of values, no space) is a handle that counts privately, one for all such look-ups.
  template <class... Texts, std::enable_if_t<(detail::is_text<Texts> && ...), int> = 0>
  [[gnu::always_inline]] M with(const Texts&... values) const noexcept {
    return look_up(std::array<std::string_view, sizeof...(Texts)>{std::string_view(values)...});
  }
  /// The same, for with({"llama", "ok"}).
  [[gnu::always_inline]] M with(std::initializer_list<std::string_view> values) const noexcept {
    return look_up(detail::Values(values.begin(), values.size()));
  }
  /// The same, for a list: std::vector<std::string>, std::array<std::string_view, 2>, ...
  template <class List, std::enable_if_t<detail::is_texts<List>, int> = 0>
  M with(const List& values) const noexcept {
    return look_up(detail::Gathered(values).values());
  }
  /// The same, by names in any order: with_labels({{"status", "ok"}, {"model", "llama"}}). Cost: and a search for each.
  M with_labels(const std::vector<Label>& labels) const noexcept {
    if (core_ == nullptr) return instead_;
    return look_up(detail::Gathered(labels, core_->names()).values());
  }

  /// As with(), and says why when the handle is private. Cost: after a failure memory for its message. Errors:
  /// DYNM_LABELS, DYNM_UTF8, DYNM_OPTION (too long), DYNM_FULL, DYNM_NOT_SEGMENT, DYNM_IO, DYNM_NULL (a family that was
  /// not registered).
  template <class... Texts, std::enable_if_t<(detail::is_text<Texts> && ...), int> = 0>
  Result<M> try_with(const Texts&... values) const noexcept {
    const std::array<std::string_view, sizeof...(Texts)> list{std::string_view(values)...};
    return try_look_up({list.data(), list.size()});
  }
  /// The same, for try_with({"llama", "ok"}).
  Result<M> try_with(std::initializer_list<std::string_view> values) const noexcept {
    return try_look_up({values.begin(), values.size()});
  }
  /// The same, for a list.
  template <class List, std::enable_if_t<detail::is_texts<List>, int> = 0>
  Result<M> try_with(const List& values) const noexcept {
    return try_look_up(detail::Gathered(values).values());
  }
  /// The same, by names in any order.
  Result<M> try_with_labels(const std::vector<Label>& labels) const noexcept {
    if (core_ == nullptr) return try_look_up({nullptr, 0});
    const detail::Gathered gathered(labels, core_->names());
    Result<M> made = try_look_up(gathered.values());
    if (gathered.count < detail::most_values) return made;
    return {detail::guarded([&] { return detail::other_labels(labels, core_->names()); }), made.value()};
  }

  /// As with(), but makes no series: nothing when it is not registered. Cost: memory, when it was not asked for before.
  template <class... Texts, std::enable_if_t<(detail::is_text<Texts> && ...), int> = 0>
  std::optional<M> find(const Texts&... values) const noexcept {
    const std::array<std::string_view, sizeof...(Texts)> list{std::string_view(values)...};
    return found({list.data(), list.size()});
  }
  /// The same, for find({"llama", "ok"}).
  std::optional<M> find(std::initializer_list<std::string_view> values) const noexcept {
    return found({values.begin(), values.size()});
  }
  /// The same, for a list.
  template <class List, std::enable_if_t<detail::is_texts<List>, int> = 0>
  std::optional<M> find(const List& values) const noexcept {
    return found(detail::Gathered(values).values());
  }

  /// Removes the series with these values: remove("llama", "ok"); the result says whether there was one.
  ///
  /// Guarantees: it is shown in no process any more; look-ups of these values, in all processes, give a new series from
  /// 0 on. Handles that are held stay valid, and what they count is lost. Its space in the segment is not used again.
  /// Threads: any. Signals: no. Cost: a search, memory. Errors: DYNM_LABELS, DYNM_UTF8, DYNM_NULL (a family that was
  /// not registered), DYNM_NOT_SEGMENT, DYNM_IO, and where a registry can't remove.
  template <class... Texts, std::enable_if_t<(detail::is_text<Texts> && ...), int> = 0>
  Result<bool> try_remove(const Texts&... values) const noexcept {
    const std::array<std::string_view, sizeof...(Texts)> list{std::string_view(values)...};
    return removed({list.data(), list.size()});
  }
  /// The same, for a list.
  template <class List, std::enable_if_t<detail::is_texts<List>, int> = 0>
  Result<bool> try_remove(const List& values) const noexcept {
    return removed(detail::Gathered(values).values());
  }
#if DYN_METRICS_EXCEPTIONS
  /// As try_remove(). Errors: as there, thrown.
  template <class... Texts>
  bool remove(const Texts&... values) const {
    return try_remove(values...).or_throw();
  }
#endif

 private:
  friend class Registry;
  explicit Family(detail::FamilyCore<M>* core, M instead) noexcept : core_(core), instead_(instead) {}

  template <class Views>
  [[gnu::always_inline]] M look_up(const Views& values) const noexcept {
    const M* known = core_ == nullptr ? &instead_ : core_->known(values);
    if (__builtin_expect(known != nullptr, 1)) return *known;
    const Views copy = values;  // so that those that are known stay in registers
    Room room;
    return *look_up_new({copy.data(), copy.size()}, room);
  }

  // Room for a handle: one that is returned by a call would be in memory also where no call is made.
  struct Room {
    alignas(M) unsigned char bytes[sizeof(M)];
  };

  [[gnu::cold, gnu::noinline]] const M* look_up_new(detail::Values values, Room& room) const noexcept {
    M* const handle = new (room.bytes) M(instead_);
    core_->with(values, *handle);
    return handle;
  }

  Result<M> try_look_up(detail::Values values) const noexcept {
    if (core_ == nullptr) return {{DYNM_NULL, detail::Message("the family is not registered")}, instead_};
    if (const M* const known = core_->known(values)) return *known;
    M handle = instead_;
    detail::Failure failure = core_->with(values, handle);
    return {std::move(failure), handle};
  }

  Result<bool> removed(detail::Values values) const noexcept {
    if (core_ == nullptr) return {{DYNM_NULL, detail::Message("the family is not registered")}, false};
    bool found = false;
    detail::Failure failure = core_->remove(values, found);
    return {std::move(failure), found};
  }

  std::optional<M> found(detail::Values values) const noexcept {
    if (core_ == nullptr) return std::nullopt;
    if (const M* const known = core_->known(values)) return *known;
    const dynm_metric* metric = nullptr;
    if (core_->find(values, metric).happened()) return std::nullopt;
    return detail::Access::of<M>(metric);
  }

  detail::FamilyCore<M>* core_;
  M instead_;
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_FAMILY_HPP

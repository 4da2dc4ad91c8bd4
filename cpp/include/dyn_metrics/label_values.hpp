// label_values.hpp: comparing and hashing of label values. For dyn_metrics.hpp, not for applications.
#ifndef DYN_METRICS_LABEL_VALUES_HPP
#define DYN_METRICS_LABEL_VALUES_HPP

#include <sys/auxv.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace dyn_metrics::detail {

// Comparing and hashing of label values.
namespace label_values {

inline constexpr std::uint64_t multiplier = 0x9e3779b97f4a7c15u;
// Values up to this long are told apart by four words that cover them.
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

// Numbers that the kernel draws for each process, so that nobody can choose values whose hashes collide: for the values
// at one place.
struct Secret {
  std::uint64_t first, last, second, third;

  static Secret of(std::size_t place) noexcept {
    const auto* const random = reinterpret_cast<const char*>(getauxval(AT_RANDOM));
    const std::uint64_t seed = random == nullptr ? 0 : word(random), step = random == nullptr ? 0 : word(random + 8);
    std::uint64_t drawn[4];
    for (std::size_t n = 0; n < 4; n++) drawn[n] = fold(seed ^ multiplier * (4 * place + n + 1), step ^ multiplier);
    return {drawn[0], drawn[1], drawn[2], drawn[3]};
  }
};

// A hash of a value of any length.
[[gnu::noinline]] inline std::uint64_t hash_of_long(std::string_view value, const Secret& secret) noexcept {
  std::uint64_t hash = secret.first ^ value.size();
  for (std::size_t at = 0; at + 8 <= value.size(); at += 8) hash = fold(hash ^ word(value.data() + at), secret.second);
  std::uint64_t last = 0;
  for (std::size_t at = value.size() & ~std::size_t{7}; at < value.size(); at++) last = last << 8 | byte(&value[at]);
  return fold(hash ^ last, secret.last);
}

// The first and the last word of a short value; they may overlap. Of one longer than 16 these are not all.
struct Ends {
  std::uint64_t first = 0, last = 0;

  // Requires: at most most_short bytes; here and below.
  [[gnu::always_inline]] static Ends of(std::string_view value) noexcept {
    const char* const bytes = value.data();
    const std::size_t len = value.size();
    if (len >= 8) return {word(bytes), word(bytes + len - 8)};
    if (len >= 4) return {half_word(bytes), half_word(bytes + len - 4)};
    if (len > 0) return {byte(bytes) | byte(bytes + len / 2) << 8, byte(bytes + len - 1)};
    return {};
  }

  // Of the value with these ends. The hashes of a series' values don't wait for one another.
  [[gnu::always_inline]] std::uint64_t hash(std::string_view value, const Secret& secret) const noexcept {
    const std::uint64_t outer = fold(first ^ secret.first, last ^ secret.last ^ value.size());
    if (value.size() <= 16) return outer;
    const char* const third = value.data() + value.size() - 16;
    return outer ^ fold(word(value.data() + 8) ^ secret.second, word(third) ^ secret.third);
  }
};

// All words of a short value: values of the same length are equal when these are.
struct Words {
  Ends ends;
  std::uint64_t second = 0, third = 0;  // where there are more than 16 bytes

  static Words of(std::string_view value) noexcept {
    if (value.size() <= 16) return {Ends::of(value)};
    return {Ends::of(value), word(value.data() + 8), word(value.data() + value.size() - 16)};
  }

  // Whether these are those of a value of the same length, with such ends. Its other words are read again: kept since
  // the hash, they would only go through memory.
  [[gnu::always_inline]] bool are_of(std::string_view value, const Ends& its_ends) const noexcept {
    if (ends.first != its_ends.first || ends.last != its_ends.last) return false;
    return value.size() <= 16 ||
           (second == word(value.data() + 8) && third == word(value.data() + value.size() - 16));
  }
};

}  // namespace label_values

}  // namespace dyn_metrics::detail

#endif  // DYN_METRICS_LABEL_VALUES_HPP

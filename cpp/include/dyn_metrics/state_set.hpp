// state_set.hpp: state sets and infos.
#ifndef DYN_METRICS_STATE_SET_HPP
#define DYN_METRICS_STATE_SET_HPP

#include "handle.hpp"

namespace dyn_metrics {

/// Named states, each on or off; each process has its own. Copies are the same set; copying is cheap, destruction does
/// nothing. A default-made one has no states, so it changes nothing; one of a registration that failed has its states,
/// in this process alone.
///
/// Every update: Requires: a state's name; another one changes nothing and gives false. Guarantees: one atomic change
/// of all bits, relaxed, by a call; errno stays. Threads: any. Signals: yes. After fork: yes, on states of the child's
/// own. Cost: a search of the states and an atomic instruction; no system call once the process has its cell. Errors:
/// none.
class StateSet {
 public:
  /// Switches `state` on and all others off. As every update.
  bool set(std::string_view state) const noexcept {
    const char* const name = find(state);
    return name != nullptr && ::dynm_state_set(metric_, name) == DYNM_OK;
  }
  /// Switches `state` on; the others stay. As every update.
  bool enable(std::string_view state) const noexcept { return turn(state, 1); }
  /// Switches `state` off; the others stay. As every update.
  bool disable(std::string_view state) const noexcept { return turn(state, 0); }

  /// Whether `state` is on in this process. Threads: any. Signals: no. Cost: as an update. Errors: none, false.
  bool is_on(std::string_view state) const noexcept {
    const std::size_t index = index_of(state);
    return index < count_ && (detail::value_of(metric_).states >> index & 1) != 0;
  }

  /// Names of the states. Guarantees: the views stay valid. Threads: any. Cost: memory. Errors: std::bad_alloc.
  std::vector<std::string_view> states() const { return std::vector<std::string_view>(states_, states_ + count_); }

  DYN_METRICS_HANDLE(StateSet, DYNM_STATE_SET);
  explicit StateSet(const dynm_metric* metric) noexcept : metric_(metric) {
    dynm_description description{};
    description.struct_size = sizeof description;
    if (::dynm_metric_describe(metric, &description) != DYNM_OK) return;
    states_ = description.states;
    count_ = description.state_count;
  }
  std::size_t index_of(std::string_view state) const noexcept {
    std::size_t index = 0;
    while (index < count_ && state != states_[index]) index++;
    return index;
  }
  const char* find(std::string_view state) const noexcept {
    const std::size_t index = index_of(state);
    return index < count_ ? states_[index] : nullptr;
  }
  bool turn(std::string_view state, std::int32_t on) const noexcept {
    const char* const name = find(state);
    return name != nullptr && ::dynm_state_switch(metric_, name, on) == DYNM_OK;
  }
  const char* const* states_ = nullptr;
  std::size_t count_ = 0;
};

/// Facts that don't change, carried by the labels of a series whose value is 1. Registering it is all there is to do.
class Info {
  DYN_METRICS_HANDLE(Info, DYNM_INFO);
  explicit Info(const dynm_metric* metric) noexcept : metric_(metric) {}
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_STATE_SET_HPP

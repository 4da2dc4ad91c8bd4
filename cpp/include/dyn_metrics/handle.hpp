// handle.hpp: what all handles have in common. For dyn_metrics.hpp, not for applications.
#ifndef DYN_METRICS_HANDLE_HPP
#define DYN_METRICS_HANDLE_HPP

#include "cells.hpp"
#include "convert.hpp"

namespace dyn_metrics::detail {

// How the library's parts make and open handles.
struct Access {
  // A handle that drops what it is given.
  template <class M>
  static M none() noexcept {
    return M(Nothing());
  }
  // The handle of a metric, which is of M's type.
  template <class M>
  static M of(const dynm_metric* metric) noexcept {
    return M(metric);
  }
  struct Nothing {};
};

// A metric that nobody else sees, for handles without a series.
inline const dynm_metric* private_metric(dynm_type type) noexcept {
  const dynm_metric_options options = dynm_metric_options_init(type, nullptr, nullptr);
  return ::dynm_private(&options);
}

// All that is known of a metric's value; zeros of NULL.
inline dynm_value value_of(const dynm_metric* metric) noexcept {
  dynm_value value = dynm_value_init();
  ::dynm_metric_value(metric, &value);
  return value;
}

}  // namespace dyn_metrics::detail

// The members that every handle has.
#define DYN_METRICS_HANDLE(Handle, Type) \
 public: \
  /** The type of metric. */ \
  static constexpr ::dynm_type type = Type; \
  /** A handle that counts privately: it works, and nobody else sees it. Cost: memory that is not freed; beyond some \
   * thousands such handles share one. Errors: none. */ \
  Handle() noexcept : Handle(detail::private_metric(Type)) {} \
  /** For calls of the C functions. */ \
  const ::dynm_metric* raw() const noexcept { return metric_; } \
 \
 private: \
  friend struct detail::Access; \
  explicit Handle(detail::Access::Nothing) noexcept {} \
  const ::dynm_metric* metric_ = nullptr

#endif  // DYN_METRICS_HANDLE_HPP

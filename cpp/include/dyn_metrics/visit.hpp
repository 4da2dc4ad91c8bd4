// visit.hpp: reading a whole segment. For dyn_metrics.hpp, not for applications.
#ifndef DYN_METRICS_VISIT_HPP
#define DYN_METRICS_VISIT_HPP

#include <exception>

#include "describe.hpp"

namespace dyn_metrics::detail {

// Calls `call`: whether to go on.
template <class Call>
bool goes_on(const Call& call) {
  if constexpr (std::is_void_v<decltype(call())>) {
    call();
    return true;
  } else {
    return static_cast<bool>(call());
  }
}

// Shows everything to body(family, series), series NULL for the family itself. No exception crosses the library: what
// the body throws is thrown again behind it. A template of Exceptions, since bodies differ with and without.
template <bool Exceptions = DYN_METRICS_EXCEPTIONS != 0, class Body>
Failure visit_all(const dynm_registry* registry, Body& body) {
  struct Visit {
    Body& body;
    std::exception_ptr thrown;
  } visit{body, nullptr};
  const dynm_visitor visitor = [](void* user, const dynm_family_view* family, const dynm_series_view* series) {
    auto& [call, thrown] = *static_cast<Visit*>(user);
#if DYN_METRICS_EXCEPTIONS
    try {
      return std::int32_t{call(*family, series) ? 0 : 1};
    } catch (...) {
      thrown = std::current_exception();
      return std::int32_t{1};
    }
#else
    (void)thrown;
    return std::int32_t{call(*family, series) ? 0 : 1};
#endif
  };
  const Status status = ::dynm_visit(registry, visitor, &visit);
#if DYN_METRICS_EXCEPTIONS
  if (visit.thrown != nullptr) std::rethrow_exception(visit.thrown);
#endif
  return Failure::of(status);
}

template <class Visitor>
Failure visit_series(const dynm_registry* registry, Visitor& visitor) {
  const auto body = [&](const dynm_family_view& family, const dynm_series_view* series) {
    return series == nullptr || goes_on([&] { return visitor(FamilyView(family), SeriesView(*series)); });
  };
  return visit_all(registry, body);
}

template <class Visitor>
Failure visit_families(const dynm_registry* registry, Visitor& visitor) {
  const auto body = [&](const dynm_family_view& family, const dynm_series_view* series) {
    return series != nullptr || goes_on([&] { return visitor(FamilyView(family)); });
  };
  return visit_all(registry, body);
}

inline Failure render(const dynm_registry* registry, std::string& page) {
  struct Text {
    char* text = nullptr;
    ~Text() { ::dynm_free(text); }
  } made;
  std::size_t length = 0;
  const Status status = ::dynm_render(registry, &made.text, &length);
  if (status == DYNM_OK) page.assign(made.text, length);
  return Failure::of(status);
}

}  // namespace dyn_metrics::detail

#endif  // DYN_METRICS_VISIT_HPP

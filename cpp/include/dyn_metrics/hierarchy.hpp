// hierarchy.hpp: a service's levels, each a registry: runtime, namespace, component, endpoint.
#ifndef DYN_METRICS_HIERARCHY_HPP
#define DYN_METRICS_HIERARCHY_HPP

#include "registry.hpp"

namespace dyn_metrics {

/// How levels show in names and labels.
///
/// By default names begin with "dynamo_", and series have the labels namespace, component and endpoint. Values are what
/// the levels are called, to the letter; a level without a name has no label. Errors: std::bad_alloc, here and below.
class Scheme {
 public:
  Scheme() = default;
  /// The names and labels of NVIDIA Dynamo's own runtime: "dynamo_component_", dynamo_namespace, ...
  static Scheme upstream() {
    Scheme scheme;
    scheme.flags_ = DYNM_SCHEME_UPSTREAM;
    return scheme;
  }
  /// Another beginning of names.
  Scheme& prefix(std::string prefix) {
    prefix_ = std::move(prefix);
    return *this;
  }
  /// A label worker_id on every series.
  Scheme& worker_id(std::string id) { return label("worker_id", std::move(id)); }
  /// Another label on every series.
  Scheme& label(std::string name, std::string value) {
    labels_.emplace_back(std::move(name), std::move(value));
    return *this;
  }

 private:
  friend class DistributedRuntime;
  std::uint32_t flags_ = 0;
  std::optional<std::string> prefix_;
  detail::Pairs labels_;
};

namespace detail {

// A level: a registry that knows what it is called. Below is the function that makes it out of the level above.
class Level : public Registry {
 public:
  /// What it is called.
  const std::string& name() const noexcept { return name_; }

 protected:
  Level() noexcept = default;

  using Below = ::dynm_status (*)(const dynm_registry*, const char*, const dynm_registry**);

  template <class L>
  static Result<L> named(Result<Registry> opened, std::string_view name) noexcept {
    Failure failure{opened.status(), Message(opened.message())};
    L level;
    static_cast<Registry&>(level) = std::move(opened).value();
    Failure copied = guarded([&] {
      static_cast<Level&>(level).name_ = std::string(name);
      return Failure();
    });
    if (!failure.happened()) failure = std::move(copied);
    return {std::move(failure), std::move(level)};
  }

  template <class L>
  Result<L> below(std::string_view name, Below make) const noexcept {
    auto open = [&](const dynm_registry** made) {
      const std::string text(name);
      Failure failure = check_text(text, "name");
      return failure.happened() ? failure : Failure::of(make(raw(), text.c_str(), made));
    };
    return named<L>(opened(open, opening()), name);
  }

 private:
  std::string name_;
};

}  // namespace detail

/// A way to ask a component for something, and a registry.
class Endpoint : public detail::Level {
 public:
  Endpoint() noexcept = default;
};

#if DYN_METRICS_EXCEPTIONS
#define DYN_METRICS_LEVEL(Made, name_)                                \
  Made name_(std::string_view name) const {                           \
    return try_##name_(name).or_throw();                              \
  }
#else
#define DYN_METRICS_LEVEL(Made, name_)
#endif

/// A part of a namespace that does one thing, in one or many processes, and a registry.
class Component : public detail::Level {
 public:
  Component() noexcept = default;
  /// An endpoint of it. Threads: any. Signals: no. Cost: memory. Errors: DYNM_LABELS, DYNM_UTF8, DYNM_NULL.
  Result<Endpoint> try_endpoint(std::string_view name) const noexcept {
    return below<Endpoint>(name, ::dynm_endpoint);
  }
  DYN_METRICS_LEVEL(Endpoint, endpoint)
};

/// What belongs together within a runtime, an application or a tenant for instance, and a registry.
class Namespace : public detail::Level {
 public:
  Namespace() noexcept = default;
  /// A component of it. As Component::try_endpoint().
  Result<Component> try_component(std::string_view name) const noexcept {
    return below<Component>(name, ::dynm_component);
  }
  DYN_METRICS_LEVEL(Component, component)
};

/// The runtime: the level of everything that a process does, and a registry.
///
///     auto runtime = DistributedRuntime::root();
///     auto generate = runtime.namespace_("prod").component("backend").endpoint("generate");
///     auto requests = generate.create_counter_vec("requests_total", "Requests answered", {"model"});
class DistributedRuntime : public detail::Level {
 public:
  DistributedRuntime() noexcept = default;

  /// The runtime of the process's registry, Registry::root(). Errors: as there; DYNM_NAME, DYNM_LABELS, DYNM_UTF8.
  static Result<DistributedRuntime> try_root(const Scheme& scheme = {}) noexcept { return made(nullptr, {}, scheme); }
  /// A runtime of another registry. Errors: as Registry::try_child().
  static Result<DistributedRuntime> try_of(const Registry& registry, const Scheme& scheme = {}) noexcept;
  /// A namespace of it. As Component::try_endpoint().
  Result<Namespace> try_namespace_(std::string_view name) const noexcept {
    return below<Namespace>(name, ::dynm_namespace);
  }
#if DYN_METRICS_EXCEPTIONS
  /// As the try_ functions. Errors: as there, thrown.
  static DistributedRuntime root(const Scheme& scheme = {}) { return try_root(scheme).or_throw(); }
  static DistributedRuntime of(const Registry& registry, const Scheme& scheme = {}) {
    return try_of(registry, scheme).or_throw();
  }
#endif
  DYN_METRICS_LEVEL(Namespace, namespace_)

 private:
  static Result<DistributedRuntime> made(const dynm_registry* home, const detail::Opening& parent,
                                         const Scheme& scheme) noexcept {
    auto open = [&](const dynm_registry** raw) {
      const detail::Labels labels(scheme.labels_, "labels");
      detail::Failure failure = labels.failure;
      if (!failure.happened() && scheme.prefix_) failure = detail::check_text(*scheme.prefix_, "prefix");
      if (failure.happened()) return failure;
      const char* prefix = scheme.prefix_ ? scheme.prefix_->c_str() : nullptr;
      return detail::Failure::of(
          ::dynm_runtime(home, scheme.flags_, prefix, labels.list.data(), labels.list.size(), raw));
    };
    return named<DistributedRuntime>(opened(open, parent), {});
  }

  // Of a registry its protected parts.
  struct Home : Registry {
    explicit Home(const Registry& registry) : Registry(registry) {}
    using Registry::opening;
  };
};

inline Result<DistributedRuntime> DistributedRuntime::try_of(const Registry& registry, const Scheme& scheme) noexcept {
  if (registry.raw() == nullptr) {
    return {detail::Failure{DYNM_NULL, detail::Message("the registry refuses everything")}, DistributedRuntime()};
  }
  const Home home(registry);
  return made(registry.raw(), home.opening(), scheme);
}

#undef DYN_METRICS_LEVEL

}  // namespace dyn_metrics

#endif  // DYN_METRICS_HIERARCHY_HPP

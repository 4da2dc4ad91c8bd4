// opening.hpp: who holds a registry open. For dyn_metrics.hpp, not for applications.
#ifndef DYN_METRICS_OPENING_HPP
#define DYN_METRICS_OPENING_HPP

#include <atomic>
#include <new>
#include <utility>

#include "error.hpp"

namespace dyn_metrics::detail {

// A share of a dynm_registry: the last one closes it. A child holds its parent, whose refusals are its own, too.
class Opening {
 public:
  Opening() noexcept = default;
  inline Opening(const Opening& other) noexcept;
  Opening(Opening&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  Opening& operator=(Opening other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  inline ~Opening();

  // The only share of what was just opened; where there is no memory it is closed, and the share of nothing.
  static inline Opening of(const dynm_registry* raw, const Opening& parent) noexcept;
  inline const dynm_registry* raw() const noexcept;
  // Has registrations refused; DYNM_OK: no more.
  inline void refuse(Status status) const noexcept;
  // What a test has asked for, here or of a parent.
  inline Failure refusal() const noexcept;

 private:
  struct Node;
  Node* node_ = nullptr;
};

struct Opening::Node {
  Node(const dynm_registry* opened, const Opening& from) noexcept : raw(opened), parent(from) {}
  const dynm_registry* raw;
  Opening parent;
  std::atomic<std::size_t> shares{1};
  std::atomic<Status> refused{DYNM_OK};
};

inline Opening::Opening(const Opening& other) noexcept : node_(other.node_) {
  if (node_ != nullptr) node_->shares.fetch_add(1, std::memory_order_relaxed);
}

inline Opening::~Opening() {
  if (node_ == nullptr || node_->shares.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  ::dynm_registry_close(node_->raw);
  delete node_;
}

inline Opening Opening::of(const dynm_registry* raw, const Opening& parent) noexcept {
  Opening made;
  made.node_ = new (std::nothrow) Node(raw, parent);
  if (made.node_ == nullptr) ::dynm_registry_close(raw);
  return made;
}

inline const dynm_registry* Opening::raw() const noexcept { return node_ == nullptr ? nullptr : node_->raw; }

inline void Opening::refuse(Status status) const noexcept {
  if (node_ != nullptr) node_->refused.store(status, std::memory_order_relaxed);
}

inline Failure Opening::refusal() const noexcept {
  for (const Node* node = node_; node != nullptr; node = node->parent.node_) {
    const Status status = node->refused.load(std::memory_order_relaxed);
    if (status != DYNM_OK) return {status, Message("refused by FakeRegistry::fail_registrations()")};
  }
  return {};
}

}  // namespace dyn_metrics::detail

#endif  // DYN_METRICS_OPENING_HPP

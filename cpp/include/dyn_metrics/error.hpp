// error.hpp: what a registration that failed says: Status, Result, and the exceptions.
#ifndef DYN_METRICS_ERROR_HPP
#define DYN_METRICS_ERROR_HPP

#include <cstdlib>
#include <cstring>
#include <utility>

#include "../dyn_metrics.h"

// 1 where exceptions are there. Without them (-fno-exceptions) there are the try_ forms alone.
#if defined(__cpp_exceptions)
#define DYN_METRICS_EXCEPTIONS 1
#include <stdexcept>
#else
#define DYN_METRICS_EXCEPTIONS 0
#endif

namespace dyn_metrics {

/// What a call says: DYNM_OK, or below 0 why not. The names are those of dyn_metrics.h: DYNM_FULL, DYNM_CONFLICT, ...
using Status = ::dynm_status;

#if DYN_METRICS_EXCEPTIONS
/// A registration, opening or reading that failed. what() is a line: what was found, what was expected, what helps.
class [[gnu::visibility("default")]] Error : public std::runtime_error {
 public:
  Error(Status status, const char* message) : std::runtime_error(message), status_(status) {}
  /// Why. Threads: any. Errors: none.
  Status status() const noexcept { return status_; }

 private:
  Status status_;
};

/// The segment can't be had, or has no room: nothing is wrong with the program, which may go on and count privately.
/// DYNM_FULL, DYNM_PERMISSION, DYNM_NOT_SEGMENT, DYNM_NEWER_SEGMENT, DYNM_OLD_LIBRARY, DYNM_IN_USE, DYNM_IO.
class [[gnu::visibility("default")]] SegmentError : public Error {
 public:
  using Error::Error;
};
#endif

namespace detail {

// A text that is copied without an exception: where there is no memory, a fixed text says so.
class Message {
 public:
  Message() noexcept = default;
  explicit Message(const char* text) noexcept : text_(::strdup(text)) {}
  Message(const Message& other) noexcept : text_(other.text_ == nullptr ? nullptr : ::strdup(other.text_)) {}
  Message(Message&& other) noexcept : text_(std::exchange(other.text_, nullptr)) {}
  Message& operator=(Message other) noexcept {
    std::swap(text_, other.text_);
    return *this;
  }
  ~Message() { std::free(text_); }
  const char* text() const noexcept { return text_ == nullptr ? "no memory for the message" : text_; }

 private:
  char* text_ = nullptr;
};

// Why a call failed; DYNM_OK when it did not.
struct Failure {
  Status status = DYNM_OK;
  Message message;

  // The status of a call into the library, with what that had to say.
  static Failure of(Status status) noexcept {
    return status == DYNM_OK ? Failure() : Failure{status, Message(::dynm_last_error())};
  }
  bool happened() const noexcept { return status != DYNM_OK; }
};

constexpr bool is_of_the_segment(Status status) noexcept {
  return status == DYNM_FULL || (status <= DYNM_PERMISSION && status >= DYNM_OLD_LIBRARY) || status == DYNM_IN_USE ||
         status == DYNM_IO;
}

#if DYN_METRICS_EXCEPTIONS
[[noreturn, gnu::cold]] inline void raise(const Failure& failure) {
  if (is_of_the_segment(failure.status)) throw SegmentError(failure.status, failure.message.text());
  throw Error(failure.status, failure.message.text());
}
#endif

// Runs what may find no memory, and gives its failure. A template, since bodies differ with and without exceptions.
template <bool Exceptions = DYN_METRICS_EXCEPTIONS != 0, class Body>
Failure guarded(const Body& body) noexcept {
#if DYN_METRICS_EXCEPTIONS
  try {
    return body();
  } catch (...) {
    return {DYNM_FULL, Message("no memory")};
  }
#else
  return body();
#endif
}

// What every Result has.
class Outcome {
 public:
  Outcome() noexcept = default;
  explicit Outcome(Failure failure) noexcept : failure_(std::move(failure)) {}

  /// Whether the call has succeeded. Threads: any, as long as none changes it; here and below. Errors: none.
  bool ok() const noexcept { return !failure_.happened(); }
  explicit operator bool() const noexcept { return ok(); }
  /// DYNM_OK, or why the call failed.
  Status status() const noexcept { return failure_.status; }
  /// A line for people, as long as this object is there; empty after a success.
  const char* message() const noexcept { return ok() ? "" : failure_.message.text(); }

 protected:
  void raise_if_failed() const {
#if DYN_METRICS_EXCEPTIONS
    if (!ok()) raise(failure_);
#endif
  }

 private:
  Failure failure_;
};

}  // namespace detail

/// What a try_ function gives: a value, and the status of the call. The value works in any case: after a failure it is
/// a handle that counts privately, a family of such handles, or a registry that refuses every registration.
///
/// Guarantees: no function throws, but for or_throw(). Threads: as any value. Cost: after a failure memory for the
/// message.
template <class T>
class [[nodiscard]] Result : public detail::Outcome {
 public:
  Result(T value) noexcept : value_(std::move(value)) {}
  Result(detail::Failure failure, T value) noexcept : Outcome(std::move(failure)), value_(std::move(value)) {}

  /// The value; see above. Errors: none.
  T& value() & noexcept { return value_; }
  const T& value() const& noexcept { return value_; }
  T value() && noexcept { return std::move(value_); }
  T& operator*() noexcept { return value_; }
  const T& operator*() const noexcept { return value_; }
  T* operator->() noexcept { return &value_; }
  const T* operator->() const noexcept { return &value_; }

#if DYN_METRICS_EXCEPTIONS
  /// The value. Errors: an Error when the call has failed.
  T or_throw() && {
    raise_if_failed();
    return std::move(value_);
  }
#endif

 private:
  T value_;
};

/// What a try_ function without a value gives.
template <>
class [[nodiscard]] Result<void> : public detail::Outcome {
 public:
  Result() noexcept = default;
  explicit Result(detail::Failure failure) noexcept : Outcome(std::move(failure)) {}
#if DYN_METRICS_EXCEPTIONS
  /// Nothing. Errors: an Error when the call has failed.
  void or_throw() && { raise_if_failed(); }
#endif
};

}  // namespace dyn_metrics

#endif  // DYN_METRICS_ERROR_HPP

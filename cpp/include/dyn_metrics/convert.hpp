// convert.hpp: options and texts as the C functions take them. For dyn_metrics.hpp, not for applications.
#ifndef DYN_METRICS_CONVERT_HPP
#define DYN_METRICS_CONVERT_HPP

#include "options.hpp"

namespace dyn_metrics::detail {

// C would take what comes before a NUL for the whole text.
inline Failure check_text(std::string_view text, const char* what) {
  if (text.find('\0') == std::string_view::npos) return {};
  return {DYNM_OPTION, Message((std::string(what) + ": found a NUL byte, expected a text without one").c_str())};
}

// Labels as C takes them; they point into `pairs`.
struct Labels {
  std::vector<dynm_label> list;
  Failure failure;

  Labels(const Pairs& pairs, const char* what) {
    list.reserve(pairs.size());
    for (const auto& [name, value] : pairs) add(name, value, what);
  }

 private:
  void add(const std::string& name, const std::string& value, const char* what) {
    list.push_back({name.c_str(), value.c_str()});
    if (!failure.happened()) failure = check_text(name, what);
    if (!failure.happened()) failure = check_text(value, what);
  }
};

inline Pairs pairs_of(const std::vector<Label>& labels) {
  Pairs pairs;
  pairs.reserve(labels.size());
  for (const Label& label : labels) pairs.emplace_back(label.name, label.value);
  return pairs;
}

// Texts as C takes them; they point into `texts`.
struct Texts {
  std::vector<const char*> list;
  Failure failure;

  Texts(const std::vector<std::string>& texts, const char* what) {
    list.reserve(texts.size());
    for (const std::string& text : texts) {
      list.push_back(text.c_str());
      if (!failure.happened()) failure = check_text(text, what);
    }
  }
};

// A metric's options as C takes them; they point into the options that they were made of.
struct MetricOptions {
  Labels labels;
  Texts states;
  dynm_metric_options raw;
  Failure failure;

  MetricOptions(const Options& options, dynm_type type)
      : labels(options.labels_, "options.labels"),
        states(options.states_, "options.states"),
        raw(dynm_metric_options_init(type, options.name_.c_str(), options.help_.c_str())) {
    raw.unit = options.unit_.c_str();
    raw.mode = static_cast<std::uint32_t>(options.mode_);
    raw.labels = labels.list.data();
    raw.label_count = labels.list.size();
    raw.states = states.list.data();
    raw.state_count = states.list.size();
    raw.level = options.level_;
    raw.keep_dead = options.keep_dead_;
    raw.max_series = options.max_series_;
    raw.flags = options.shared_ ? DYNM_SHARED : 0;
    if (options.bounds_) {
      // Not NULL, which would stand for the default: an empty list is the library's to refuse, and to count.
      static constexpr double none = 0;
      raw.bounds = options.bounds_->empty() ? &none : options.bounds_->data();
      raw.bound_count = options.bounds_->size();
    }
    check(check_text(options.name_, "options.name"));
    check(check_text(options.help_, "options.help"));
    check(check_text(options.unit_, "options.unit"));
    check(labels.failure);
    check(states.failure);
  }

 private:
  void check(Failure found) {
    if (!failure.happened()) failure = std::move(found);
  }
};

// A segment's options as C takes them; they point into the options that they were made of.
struct OpenOptions {
  Labels process_labels, common_labels;
  dynm_segment_options raw = dynm_segment_options_init();
  Failure failure;

  explicit OpenOptions(const SegmentOptions& options)
      : process_labels(options.process_labels_, "options.process_labels"),
        common_labels(options.common_labels_, "options.common_labels") {
    raw.path = options.path_ ? options.path_->c_str() : nullptr;
    raw.role = options.role_.c_str();
    raw.process_labels = process_labels.list.data();
    raw.process_label_count = process_labels.list.size();
    raw.common_labels = common_labels.list.data();
    raw.common_label_count = common_labels.list.size();
    raw.allowed_uids = options.allowed_uids_.data();
    raw.allowed_uid_count = options.allowed_uids_.size();
    raw.max_bytes = options.max_bytes_;
    raw.mode = options.mode_;
    raw.group = options.group_.value_or(0);
    raw.max_series_per_family = options.max_series_per_family_;
    raw.processes = options.processes_;
    if (options.group_) raw.flags |= DYNM_SET_GROUP;
    if (options.fresh_) raw.flags |= DYNM_FRESH;
    if (options.force_) raw.flags |= DYNM_FORCE;
    if (options.path_) failure = check_text(*options.path_, "options.path");
    for (Failure found : {check_text(options.role_, "options.role"), process_labels.failure, common_labels.failure}) {
      if (!failure.happened()) failure = std::move(found);
    }
  }
};

// Refuses a library older than this header.
inline Failure check_library() noexcept {
  if (::dynm_abi_version() >= DYNM_ABI_LEVEL) return {};
  return {DYNM_OLD_LIBRARY,
          Message("the program was compiled with a header newer than this libdyn_metrics; install one as new as that")};
}

}  // namespace dyn_metrics::detail

#endif  // DYN_METRICS_CONVERT_HPP

// dyn_metrics.hpp: metrics of many processes in one shared-memory segment. C++17 and later, header-only over
// libdyn_metrics.so.
//
//     auto registry = dyn_metrics::Registry::root();
//     auto requests = registry.counter("requests_total", "Requests answered");
//     requests.inc();
//
// docs: cpp/README.md. Holds for every function, unless its comment says otherwise:
//
// - Updates are noexcept, are made inline in the current CPU's cell, keep errno, and may be called from signal handlers
//   and in forked children; not between vfork and exec, nor in tasks made by a raw clone that share a thread's local
//   storage.
// - Registrations throw an Error, or have a try_ form that is noexcept and gives a Result. With -fno-exceptions there
//   are the try_ forms alone. Run-time type information is not used.
// - Any function may be called by any number of threads at the same time, with the same handles.
// - Handles and families are valid until the process ends, also in the destructors of static objects; they may be
//   copied freely, and are never closed.
// - What is passed as a text or list is not kept; texts are UTF-8.
// - Where memory is exhausted, std::bad_alloc comes from functions that give vectors, strings or options.
#ifndef DYN_METRICS_HPP
#define DYN_METRICS_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "dyn_metrics.hpp needs C++17; C programs include dyn_metrics.h"
#endif

#include "dyn_metrics/composite.hpp"
#include "dyn_metrics/counter.hpp"
#include "dyn_metrics/describe.hpp"
#include "dyn_metrics/error.hpp"
#include "dyn_metrics/family.hpp"
#include "dyn_metrics/gauge.hpp"
#include "dyn_metrics/hierarchy.hpp"
#include "dyn_metrics/histogram.hpp"
#include "dyn_metrics/metrics.hpp"
#include "dyn_metrics/on_scrape.hpp"
#include "dyn_metrics/options.hpp"
#include "dyn_metrics/registry.hpp"
#include "dyn_metrics/state_set.hpp"
#include "dyn_metrics/time.hpp"

#endif  // DYN_METRICS_HPP

//! See `Target::Race` in `tests/src/hostile/`.
#![no_main]

dyn_metrics_fuzz::fuzz!(Race);

//! See `Target::Check` in `tests/src/hostile/`.
#![no_main]

dyn_metrics_fuzz::fuzz!(Check);

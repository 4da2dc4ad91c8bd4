//! See `Target::Render` in `tests/src/hostile/`.
#![no_main]

dyn_metrics_fuzz::fuzz!(Render);

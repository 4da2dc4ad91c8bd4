//! An update that is killed at any of its instructions is in or out, never half.

use dyn_metrics_tests::step::report::{half_an_update_is_found_out, is_in_or_out};

#[test]
fn an_update_in_a_restartable_sequence_is_in_or_out() {
    for name in ["inc", "inc-by", "add-float", "add-duration", "observe", "tally", "labelled-inc"] {
        is_in_or_out(name);
    }
}

#[test]
fn an_update_of_a_gauge_is_in_or_out() {
    for name in ["gauge-set", "gauge-add", "gauge-add-float", "gauge-set-recent", "gauge-add-recent"] {
        is_in_or_out(name);
    }
}

#[test]
fn an_update_of_the_shared_block_is_in_or_out() {
    for name in ["shared-inc", "shared-add-float", "shared-observe", "shared-tally"] {
        is_in_or_out(name);
    }
}

#[test]
fn a_twin_that_sets_a_gauge_in_two_stores_is_found_out() {
    half_an_update_is_found_out("twin-halves");
}

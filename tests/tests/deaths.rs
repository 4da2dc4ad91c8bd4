//! A process that dies at any instruction of create, attach, claim, registration, growth, take-over or replacement leaves a
//! segment that checks clean, in which others go on exactly, and that costs a reader nothing of what it showed.

use dyn_metrics_tests::step::report::{survives, twin_is_found_out};

macro_rules! scenarios {
    ($($test:ident $name:literal $images:literal $instructions:literal,)*) => {
        $(#[test]
        fn $test() {
            survives($name, $images, $instructions);
        })*
    };
}

scenarios! {
    death_while_a_segment_is_created "create" 12 4000,
    death_while_a_segment_is_created_without_unnamed_files "create-by-renaming" 16 4000,
    death_while_a_process_attaches "attach" 7 3000,
    death_while_a_process_attaches_after_a_reboot "attach-after-reboot" 3 2000,
    death_while_the_first_family_is_registered "first-family" 30 4000,
    death_while_a_family_is_registered "family" 25 4000,
    death_while_an_index_table_is_added "index-table" 12 3000,
    death_while_a_series_is_registered "series" 10 3000,
    death_while_a_series_overflows "overflow" 14 3000,
    death_while_a_series_is_removed "removal" 4 1000,
    death_while_a_removed_series_is_registered_again "removed-series-again" 8 3000,
    death_while_the_file_grows "growth" 20 4000,
    death_while_gauge_cells_are_claimed "gauge-claim" 30 800,
    death_while_gauge_cells_are_taken_over "gauge-take-over" 30 800,
    death_while_gauge_cells_that_retain_are_taken_over "gauge-retained" 30 800,
    death_while_a_block_is_installed "block" 5 400,
    death_while_counting_in_shared_blocks "shared-block" 3 10,
    death_while_a_segment_is_replaced "fresh" 14 4000,
    death_while_a_segment_is_replaced_without_unnamed_files "fresh-by-renaming" 18 4000,
    death_while_a_damaged_segment_is_replaced "replace-damaged" 14 4000,
    death_while_a_damaged_segment_is_replaced_again "replace-replaced" 14 4000,
}

#[test]
#[ignore = "takes half a minute; make test-deep runs it"]
fn death_while_metrics_of_every_kind_are_registered() {
    survives("kinds", 200, 5000);
}

#[test]
fn twins_with_two_steps_exchanged_are_found_out() {
    for name in ["twin-counts-first", "twin-slot-first", "twin-cursor-back"] {
        twin_is_found_out(name);
    }
}

//! Options that nobody knows, or that are for something else.

use dyn_metrics::{Counter, Metrics};

#[derive(Metrics)]
struct Options {
    #[metric(nmae = "a")] //~ found an unknown option, expected name, help
    unknown: Counter,
    #[metric(name = "a", name = "b")] //~ found this twice, expected once
    twice: Counter,
    #[metric(name = 5)] //~ expected string literal
    number: Counter,
    #[metric(prefix = "a_")] //~ found option prefix of a metric, expected it on a nested struct
    prefix: Counter,
    #[metric(nested, unit = "bytes")] //~ found option unit of a nested struct, expected prefix or labels
    nested: Inner,
    #[metric(skip, level = 1)] //~ found option level of a field that is no metric, expected none
    skipped: u8,
    #[metrics(prefix = "a_")] //~ #[metrics(..)] is for structs
    wrong: Counter,
}

#[derive(Metrics)]
struct Inner {}

#[derive(Metrics)]
#[metrics(name = "a")] //~ found an unknown option, expected prefix, labels or crate
struct Unknown {}

#[derive(Metrics)]
#[metric(prefix = "a_")] //~ #[metric(..)] is for fields
struct Wrong {}

#[derive(Metrics)]
enum Enum {} //~ expected a struct, whose fields are metrics

#[derive(Metrics)]
struct Tuple(Counter); //~ expected fields with names

#[derive(Metrics)]
struct Generic<T> { //~ found a generic struct, expected one without parameters
    a: T,
}

fn main() {}

//! Whether the exporter grows over many scrapes.

use std::io;

use crate::args::Arguments;
use crate::http::{Client, Exporter};
use crate::peers::Kind;
use crate::peers::ours::{Home, toucher, touch_on_each_cpu};

/// Resident memory of the exporter, in KiB, before and after this many scrapes.
pub struct Growth {
    pub scrapes: usize,
    pub before: u64,
    pub after: u64,
}

/// Series of the page.
const SERIES: usize = 1_000;
/// Scrapes before the first look, in which buffers find their sizes.
const WARM: usize = 1_000;

pub fn run(arguments: &Arguments, home: &Home) -> io::Result<Growth> {
    let touch = toucher(Kind::Counter, SERIES, &home.open("memory"));
    touch_on_each_cpu(&touch);
    let exporter = Exporter::start(&home.path("memory"))?;
    let mut client = Client::connect(exporter.address)?;
    let mut scrape = |times| {
        for number in 0..times {
            if number % 100 == 0 {
                touch();
            }
            client.get([None, Some("gzip")][number % 2])?;
        }
        exporter.resident()
    };
    let scrapes = if arguments.quick { 200 } else { 10_000 };
    let before = scrape(WARM)?;
    let after = scrape(scrapes)?;
    Ok(Growth { scrapes, before, after })
}

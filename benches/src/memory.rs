//! Whether the exporter grows over many scrapes.

use std::io;

use crate::args::Arguments;
use crate::http::{Client, Exporter};
use crate::peers::Kind;
use crate::peers::ours::{Home, touch_on_each_cpu, toucher};

/// Resident memory of the exporter, in KiB, at three times.
pub struct Growth {
    /// Scrapes from the first to the last.
    pub scrapes: usize,
    /// Before them, in the middle, after them.
    pub kib: [u64; 3],
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
    let kib = [scrape(WARM)?, scrape(scrapes / 2)?, scrape(scrapes / 2)?];
    Ok(Growth { scrapes, kib })
}

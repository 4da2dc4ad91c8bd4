//! Rendering many series as Prometheus text.

use std::time::Instant;

use dyn_metrics_benches::rows::RenderRow;
use dyn_metrics_benches::stats::Summary;

use crate::args::Arguments;
use crate::peers::ours::Home;
use crate::peers::{Kind, Page, pages};

/// What is rendered: kind, series.
const SCENES: [(Kind, usize); 5] = [
    (Kind::Counter, 1_000),
    (Kind::Counter, 10_000),
    (Kind::Counter, 100_000),
    (Kind::Histogram, 1_000),
    (Kind::Histogram, 10_000),
];

/// End of the kind of renderings that found the caches full of something else.
pub const COLD: &str = "_cold";
/// Most series of a quick run.
const QUICK: usize = 1_000;

pub fn run(arguments: &Arguments, home: &Home) -> Vec<RenderRow> {
    let scenes = SCENES.iter().filter(|(_, series)| !arguments.quick || *series <= QUICK);
    let render = |(kind, series): &(Kind, usize)| {
        eprintln!("rendering {series} {}s ...", kind.name());
        let pages = pages(*kind, *series, home).into_iter().filter(|page| arguments.admits(page.name));
        let cases = pages.map(|page| Case { kind: kind.name().to_owned(), series: *series, page });
        measure(cases.collect(), arguments.renderings())
    };
    scenes.flat_map(render).collect()
}

/// A page as one row of a table.
pub struct Case {
    pub kind: String,
    pub series: usize,
    pub page: Page,
}

/// Renders pages round-robin, each twice in its turn: first as the others have left the caches (kind `..._cold`),
/// then again. Before each rendering, each series changes.
pub fn measure(mut cases: Vec<Case>, renderings: usize) -> Vec<RenderRow> {
    let mut times = vec![[Vec::new(), Vec::new()]; cases.len()];
    let mut bytes = vec![0; cases.len()];
    for round in 0..=renderings {
        for (at, Case { page, series, .. }) in cases.iter_mut().enumerate() {
            for samples in &mut times[at] {
                (page.touch)();
                let start = Instant::now();
                bytes[at] = (page.render)();
                let elapsed = start.elapsed();
                assert!(
                    bytes[at] >= *series,
                    "{} rendered {} bytes of {series} series",
                    page.name,
                    bytes[at]
                );
                if round > 0 {
                    samples.push(elapsed.as_nanos() as f64 / 1e6);
                }
            }
        }
    }
    let rows = |temperature: usize, suffix: &str| {
        let row = |((case, times), bytes): ((&Case, &[Vec<f64>; 2]), &usize)| {
            let (contender, kind) = (case.page.name.to_owned(), format!("{}{suffix}", case.kind));
            let ms = Summary::of(&times[temperature])?;
            Some(RenderRow { contender, kind, series: case.series, ms, bytes: *bytes })
        };
        cases.iter().zip(&times).zip(&bytes).filter_map(row).collect::<Vec<_>>()
    };
    [rows(1, ""), rows(0, COLD)].concat()
}

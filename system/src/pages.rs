//! The pages of `/metrics`: the series that this process has registered, and the whole segment.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use dyn_metrics::own::{self, OwnSeries};
use dyn_metrics::raw::Number as Own;
use dyn_metrics::{CALLBACK_LIMIT, Kind, Registry};
use dyn_metrics_exporter::serving::{Count, Gzip, Page, Scraper};
use dyn_metrics_reader::encode::text;
use dyn_metrics_reader::{Collector, FamilySnapshot, Labels, Number, SeriesSnapshot, Value};

use crate::engine::lock;

/// Both pages, each made once for all who ask at the same time.
pub(crate) struct Pages {
    pub(crate) process: Scraper,
    pub(crate) segment: Scraper,
}

impl Pages {
    /// Pages of this registry's segment, for which this process's on-scrape callbacks run; `before` is called first each time, for what is only current when it is asked for.
    pub(crate) fn new(registry: &Registry, before: impl Fn() + Send + Sync + 'static) -> Self {
        if !registry.is_segment() {
            return Self::of_backend(registry, before);
        }
        let patterns = [registry.path().to_string_lossy().into_owned()];
        let collector = Arc::new(Mutex::new(Collector::new(&patterns)));
        let (before, gzip) = (Arc::new(before), Gzip::default());
        let process = {
            let (collector, before) = (Arc::clone(&collector), Arc::clone(&before));
            let (registry, gzip) = (registry.clone(), gzip.clone());
            move || {
                before();
                registry.run_callbacks(CALLBACK_LIMIT);
                Page::of(process_page(&registry, &mut lock(&collector)), &gzip)
            }
        };
        let registry = registry.clone();
        let segment = move || {
            before();
            registry.run_callbacks(CALLBACK_LIMIT);
            let mut page = Vec::new();
            lock(&collector).render(&mut page);
            Page::of(page, &gzip)
        };
        let scraper = |collect| Scraper::new(collect, Count::default());
        Self { process: scraper(Box::new(process)), segment: scraper(Box::new(segment)) }
    }

    /// What a back end shows is this process's alone: both pages are the same.
    fn of_backend(registry: &Registry, before: impl Fn() + Send + Sync + 'static) -> Self {
        let (registry, gzip) = (own::whole(registry), Gzip::default());
        let collect = Arc::new(move || {
            before();
            Page::of(backend_page(&registry), &gzip)
        });
        let scraper = || {
            let collect = Arc::clone(&collect);
            Scraper::new(Box::new(move || collect()), Count::default())
        };
        Self { process: scraper(), segment: scraper() }
    }
}

fn backend_page(registry: &Registry) -> Vec<u8> {
    let (pid, kind) = (std::process::id(), registry.kind());
    let head =
        format!("# Series that process {pid} has registered: its registry is {}.\n", kind.escape_debug());
    let shown = registry.render().unwrap_or_else(|error| format!("# {}\n", error.to_string().escape_debug()));
    (head + &shown).into_bytes()
}

fn process_page(registry: &Registry, collector: &mut Collector) -> Vec<u8> {
    let (pid, path) = (std::process::id(), registry.path().display().to_string());
    let mut page = format!(
        "# Series that process {pid} has registered in {}.\n\
         # Gauges and state sets: this process's own values. All else: totals of every process that counts there.\n\
         # Every series of the segment: /metrics?scope=segment\n",
        path.escape_debug()
    )
    .into_bytes();
    text::encode_families(&own_families(collector.collect().families, own::series(registry)), &mut page);
    page
}

/// Of `families`, what this process has registered, with its own values where values belong to processes.
fn own_families(families: Vec<FamilySnapshot>, own: Vec<OwnSeries>) -> Vec<FamilySnapshot> {
    let mut by_name: BTreeMap<&'static str, Vec<OwnSeries>> = BTreeMap::new();
    for series in own {
        by_name.entry(series.name).or_default().push(series);
    }
    let kept = families.into_iter().filter_map(|mut family| {
        let own = by_name.get(family.name.as_str())?;
        if own.first()?.kind != family.kind {
            return None;
        }
        if matches!(family.kind, Kind::Gauge | Kind::StateSet) {
            family.series = own.iter().filter_map(of_process).collect();
            family.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        } else {
            let labels: HashSet<_> = own.iter().map(|own| labels(own).text().to_owned()).collect();
            family.series.retain(|series| labels.contains(series.labels.text()));
        }
        Some(family)
    });
    kept.filter(|family| !family.series.is_empty()).collect()
}

fn labels(own: &OwnSeries) -> Labels {
    own.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A series whose values belong to processes, as this one has set it; none where it hasn't.
fn of_process(own: &OwnSeries) -> Option<SeriesSnapshot> {
    let value = match (own.kind, own.value?) {
        (Kind::StateSet, value) => Value::StateSet { states: own.states.into(), bits: value.to_bits() },
        (_, Own::Integer(value)) => Value::Gauge(Number::Signed(value)),
        (_, value) => Value::Gauge(Number::Float(value.as_f64())),
    };
    Some(SeriesSnapshot { labels: labels(own), value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyn_metrics::{Counter, Gauge, GaugeMode, Opts, StateSet};

    #[test]
    fn the_page_has_what_the_process_registered_and_nothing_else() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let builder = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20);
        let registry = builder.common_label("host", "a").open().unwrap();
        let requests = registry.family::<Counter>(&Opts::new("requests_total", "Rs"), &["model"]).unwrap();
        requests.with(&["x"]).inc_by(3);
        let all = Opts::new("queue", "Qs").mode(GaugeMode::LiveAll);
        registry.create::<Gauge>(&all).unwrap().set(7);
        registry.gauge("unset", "").unwrap();
        let states = Opts::new("phase", "").states(&["on", "off"]);
        registry.create::<StateSet>(&states).unwrap().set("off");
        registry.histogram("h", "", &[1.0]).unwrap().observe(2.0);
        let mut collector = Collector::new(&[registry.path().to_string_lossy().into_owned()]);
        let mut families = collector.collect().families;
        // What another process has registered, in a family of ours and in one of its own.
        let others = families.iter_mut().find(|family| family.name == "requests_total").unwrap();
        let foreign = SeriesSnapshot {
            labels: [("host", "a"), ("model", "y")].into_iter().collect(),
            value: Value::Counter(Number::Unsigned(9)),
        };
        others.series.push(foreign);
        let mut alien = others.clone();
        alien.name = "zz_alien_total".to_owned();
        families.push(alien);
        let mut page = Vec::new();
        text::encode_families(&own_families(families, own::series(&registry)), &mut page);
        let page = String::from_utf8(page).unwrap();
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"h_bucket{host="a",le="1"} 0"#,
            r#"h_bucket{host="a",le="+Inf"} 1"#,
            r#"h_sum{host="a"} 2"#,
            r#"h_count{host="a"} 1"#,
            r#"phase{host="a",phase="on"} 0"#,
            r#"phase{host="a",phase="off"} 1"#,
            r#"queue{host="a"} 7"#,
            r#"requests_total{host="a",model="x"} 3"#,
        ];
        assert_eq!(samples, expected);
        assert!(page.contains("# HELP requests_total Rs\n# TYPE requests_total counter\n"), "{page}");
    }
}

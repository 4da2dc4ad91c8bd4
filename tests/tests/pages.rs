//! The Rust in `docs/REGISTRIES.md` and `docs/COMPOSITES.md`, which this program has word for word, works; the C++ there
//! compiles.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dyn_metrics::backend::OpenTelemetry;
use dyn_metrics::{Endpoint, Gauge, MetricsRegistry, Opts, Registry};
use dyn_metrics_tests::servers::have;

type Outcome = Result<(), Box<dyn Error>>;

fn docs(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

fn blocks(name: &str, language: &str) -> Vec<String> {
    let (text, start) = (docs(name), format!("```{language}\n"));
    let starts = text.split(&start).skip(1);
    starts.map(|rest| rest.split_once("```").expect("an end").0.to_owned()).collect()
}

/// Lines without their indentation; no empty ones.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_rust_in_the_pages_is_what_this_program_runs() {
    let here = lines(include_str!("pages.rs"));
    let mut blocks = [blocks("REGISTRIES.md", "rust"), blocks("COMPOSITES.md", "rust")].concat();
    assert!(blocks.len() >= 7, "{}", blocks.len());
    blocks.retain(|block| !here.windows(lines(block).len()).any(|window| window == lines(block)));
    assert!(blocks.is_empty(), "in no function of this file: {}", blocks.join("---\n"));
}

fn serve(registry: &Registry) -> Result<(), dyn_metrics::Error> {
    registry.create_counter_vec("requests_total", "", &["model"])?.with_label_values(&["llama"]).inc();
    Ok(())
}

/// In a process whose own registry is a file that nobody else has.
#[test]
fn the_pages_run() {
    if std::env::var_os("PAGES_RUN").is_some() {
        return run().unwrap();
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_pages_run"])
        .env("PAGES_RUN", "")
        .env("DYN_METRICS_SHM", directory.path().join("segment"))
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

#[rustfmt::skip]
fn run() -> Outcome {
    use dyn_metrics::{DistributedRuntime, MetricsRegistry};

    let runtime = DistributedRuntime::new()?;                       // the process's registry
    let generate = runtime.namespace("prod")?.component("backend")?.endpoint("generate")?;
    let requests = generate.create_counter_vec("requests_total", "Requests answered", &["model"])?;
    requests.with_label_values(&["llama"]).inc();                  // dynamo_requests_total{namespace="prod",...}

    structs(&generate)?;
    let registry = Registry::root()?;
    callbacks(&registry, &generate)?;
    composites(&registry.child("dynamo_", &[])?)?;
    // Nobody listens there, which flush() says; what comes before it works.
    if let Err(error) = otel() {
        assert!(error.to_string().starts_with("registry otel: metric \"*\": "), "{error}");
    }
    fake()?;
    let text = registry.render()?;
    for line in [
        r#"dynamo_requests_total{component="backend",endpoint="generate",model="llama",namespace="prod"} 1"#,
        r#"dynamo_router_requests_total{component="backend",endpoint="generate",model="llama",namespace="prod",zone="a"} 1"#,
        r#"dynamo_queue_depth{component="backend",endpoint="generate",namespace="prod"} 2"#,
        "pool_used 3",
        "pool_free 5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    Ok(())
}

#[rustfmt::skip]
fn structs(generate: &Endpoint) -> Outcome {
    use dyn_metrics::{Counter, Family, Histogram, Metrics};

    #[derive(Metrics)]
    #[metrics(prefix = "router_", labels(zone = "a"))]
    struct Router {
        /// Requests routed
        #[metric(label_names = ["model"])]
        requests_total: Family<Counter>,
        /// Time to route a request
        #[metric(unit = "seconds", buckets = [0.001, 0.01, 0.1, 1])]
        duration_seconds: Histogram,
    }

    let router = Router::new(&generate)?;
    router.requests_total.with(&["llama"]).inc();
    router.duration_seconds.observe(0.5);
    Ok(())
}

struct Pool;

impl Pool {
    fn used(&self) -> i64 {
        3
    }

    fn free(&self) -> i64 {
        5
    }
}

#[rustfmt::skip]
fn callbacks(registry: &Registry, endpoint: &Endpoint) -> Outcome {
    let (queue, pool) = ([1, 2], Pool);
    let used = registry.create_intgauge("pool_used", "", &[])?;
    let free = registry.create_intgauge("pool_free", "", &[])?;

    let depth = endpoint.create_intgauge("queue_depth", "Requests that wait", &[])?;
    depth.set_function(move || queue.len() as i64).keep();         // this one gauge
    registry.on_scrape(move || { used.set(pool.used()); free.set(pool.free()) }).keep(); // several at once

    use dyn_metrics::watch::{Threshold, Watched};

    let rule = Threshold::above(100.0).hysteresis(20.0);
    let alarm = registry.on_threshold(Watched::family("queue_depth"), rule, |event| {
        println!("{} {:?}: {:?}", event.name(), event.labels(), event.value());
    })?;                                            // ends when it is dropped, or by alarm.cancel()
    alarm.cancel();
    Ok(())
}

#[rustfmt::skip]
fn composites(registry: &Registry) -> Outcome {
    let family = registry.family::<Gauge>(&Opts::new("queue_depth", "Requests that wait"), &["model"])?;
    family.with(&["llama"]).set(4);

    use dyn_metrics::composite::{Composite, Reading};

    let depth = Composite::avg("queue_depth").matching("model", "llama").over_processes();
    let mut depth = registry.composite(&depth)?;
    if let Reading::Value(depth) = depth.read() { println!("{depth}"); }

    assert_eq!(depth.read(), Reading::Value(4.0));
    Ok(())
}

#[rustfmt::skip]
fn otel() -> Outcome {
    let otel = Arc::new(OpenTelemetry::builder().endpoint("http://127.0.0.1:4318/v1/metrics").build()?);
    let registry = Registry::with_backend(otel.clone());
    serve(&registry)?;
    registry.flush(Duration::from_secs(2))?;        // before the process ends: nothing else exports the rest
    eprintln!("{:?}", otel.exports());              // succeeded, failed, rejected points, last error, left out
    Ok(())
}

#[rustfmt::skip]
fn fake() -> Outcome {
    let fake = dyn_metrics::testing::Fake::new();
    serve(&fake.registry())?;
    assert_eq!(fake.total("requests_total", &[("model", "llama")]), Some(1.0));
    Ok(())
}

/// What the C++ blocks stand in; the plugin's, a file of its own, is run by the tests of plugins.
#[test]
fn the_cpp_in_the_pages_compiles() {
    if !have("c++") {
        return;
    }
    let blocks = [blocks("REGISTRIES.md", "cpp"), blocks("COMPOSITES.md", "cpp")].concat();
    let mut blocks: Vec<_> = blocks.iter().filter(|code| !code.contains("plugin.hpp")).collect();
    let composite = blocks.pop().expect("a composite");
    let (declared, used) = blocks.pop().expect("a struct").split_once("};\n").expect("a struct's end");
    assert!(blocks.is_empty(), "{blocks:?}");
    let includes = ["composite", "describe", "hierarchy", "metrics", "registry"];
    let includes = includes.map(|name| format!("#include <dyn_metrics/{name}.hpp>\n")).concat();
    let code = format!(
        "{includes}#include <cstdio>\nusing namespace dyn_metrics;\n{declared}}};\nint main() {{\n{used}\nconst Registry \
         registry;\n{composite}return table.empty();\n}}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("pages.cpp");
    fs::write(&source, &code).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cpp/include");
    let compiler = Command::new("c++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .arg(&source)
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{}{code}", String::from_utf8_lossy(&compiler.stderr));
}

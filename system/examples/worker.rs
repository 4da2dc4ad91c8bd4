//! A worker with every kind of check: the one of docs/HEALTH.md.
//!
//! ```sh
//! DYN_SYSTEM_ENABLED=true DYN_SYSTEM_PORT=8081 ETCD=http://127.0.0.1:2379 NATS=nats://127.0.0.1:4222 \
//!     cargo run -p dyn-metrics-system --example worker
//! ```

use std::time::Duration;

use dyn_metrics::Registry;
use dyn_metrics_system::checks::{Canary, Etcd, Nats, Progress, Space};
use dyn_metrics_system::{Beat, Builder, Context, Probe, Spec, from_fn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::open()?;
    let done = registry.counter("worker_requests_total", "Requests answered")?;
    let pending = registry.gauge("worker_pending_requests", "Requests that wait")?;
    let Some(builder) = Builder::from_env()? else { return Err("DYN_SYSTEM_ENABLED is not true".into()) };
    let beat = Beat::new();
    let idle = pending.clone();
    let mut builder = builder
        .registry(&registry)
        .version("1.4.2")
        // Only a restart helps against a loop that hangs for good: liveness. That it is slow shows long before.
        .check(
            Spec::new("main_loop").probe(Probe::Health).every(Duration::from_secs(1)),
            beat.stalls_after(Duration::from_secs(5)),
        )
        .check(
            Spec::new("main_loop_dead").probe(Probe::Liveness),
            beat.stalls_after(Duration::from_secs(120)),
        )
        .check(Spec::new("engine"), Progress::new(&done, &pending, Duration::from_secs(10)))
        .check(Spec::new("model"), from_fn(|| -> Result<(), String> { Ok(()) }))
        .check(Spec::new("shm").informative(), Space::new("/dev/shm", 16 << 20))
        .check(
            Spec::new("canary").every(Duration::from_secs(30)).timeout(Duration::from_secs(5)).failures(2),
            Canary::new(|_: &Context| Ok("1 token in 12 ms".to_owned())).when(move || idle.value() == 0),
        );
    if let Ok(url) = std::env::var("ETCD") {
        let mut etcd = Etcd::new(&url)?.key_prefix("/services/worker/");
        if let Ok(lease) = std::env::var("LEASE") {
            etcd = etcd.lease(lease.parse()?).keep_alive();
        }
        builder = builder.check(Spec::new("etcd").every(Duration::from_secs(3)), etcd);
    }
    if let Ok(url) = std::env::var("NATS") {
        builder = builder.check(Spec::new("nats"), Nats::new(&url)?.service("generate")?);
    }
    let system = builder.start()?;
    println!("http://{}/health", system.address());
    loop {
        beat.beat();
        done.inc();
        std::thread::sleep(Duration::from_millis(100));
    }
}

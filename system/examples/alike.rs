//! One of three small workers with the same checks: this one, `python/tests/alike.py` and `cpp/tests/cpp/alike.cpp`. A test asks all
//! three, and compares what they answer.
//!
//! Prints its port; drains when it reads a line, and ends with its input.

use std::io::Write;
use std::time::Duration;

use dyn_metrics_system::checks::{Etcd, Space};
use dyn_metrics_system::{Beat, Builder, Context, Outcome, Probe, Spec, State, System, from_fn};

fn often(name: &str) -> Spec {
    Spec::new(name).every(Duration::from_millis(50)).timeout(Duration::from_secs(30))
}

fn checks(builder: Builder) -> Result<Builder, Box<dyn std::error::Error>> {
    let beat = Beat::new();
    Ok(builder
        .check(often("good"), |_: &Context| -> Outcome { Ok("12 entries".to_owned()) })
        .check(often("silent").probe(Probe::Liveness), from_fn(|| Ok::<(), String>(())))
        .check(often("failing").probe(Probe::Health), from_fn(|| Err::<(), _>("no model")))
        .check(often("empty").informative(), from_fn(|| Err::<(), _>("")))
        .check(often("raising").informative(), |_: &Context| -> Outcome { panic!("on purpose") })
        .check(
            often("hung").probe(Probe::Health).timeout(Duration::from_millis(200)),
            |_: &Context| -> Outcome {
                loop {
                    std::thread::park();
                }
            },
        )
        .check(often("third").failures(1000).probe(Probe::Health), from_fn(|| Err::<(), _>("not yet")))
        .check(often("beat").informative(), beat.stalls_after(Duration::from_millis(1)))
        .check(often("space"), Space::new("/proc", 0))
        .check(often("etcd").informative(), Etcd::new("http://127.0.0.1:1")?))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = checks(System::builder().host("127.0.0.1").port(0).version("1.2.3"))?.start()?;
    println!("{}", system.address().port());
    std::io::stdout().flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    system.set_state(State::Draining)?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

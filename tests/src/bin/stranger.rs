//! Does one thing in a process of its own, as somebody else or in another place: see `refusals.rs`.
//!
//! `stranger [wait] [uid=N] [gid=N] [shm] ACTION ...` waits for the end of its input, changes its user, mounts an
//! empty `/dev/shm` that only it sees, and then acts. It prints `ok` or `error`, and on the next lines what it has
//! to say.

use std::error::Error;
use std::io::Read;

use dyn_metrics::{Counter, Gauge, GaugeMode, Histogram, Info, Opts, Registry, StateSet, Tally};
use dyn_metrics_reader::{Collector, check};
use dyn_metrics_tests::every_kind::{COUNTING, SETTING};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match prepare(&words).and_then(act) {
        Ok(text) => print!("ok\n{text}"),
        Err(error) => print!("error\n{error}"),
    }
}

/// Becomes who it is to be; the words that are left say what to do.
fn prepare<'w, 'a>(mut words: &'w [&'a str]) -> Outcome<&'w [&'a str]> {
    while let [first, rest @ ..] = words {
        match first.split_once('=').unwrap_or((first, "")) {
            ("wait", _) => drop(std::io::stdin().read_to_end(&mut Vec::new())?),
            ("gid", id) => {
                let gid = Gid::from_raw(id.parse()?);
                setgroups(&[])?;
                setresgid(gid, gid, gid)?;
            }
            ("uid", id) => {
                let uid = Uid::from_raw(id.parse()?);
                setresuid(uid, uid, uid)?;
            }
            ("shm", _) => mount_private("/dev/shm")?,
            _ => break,
        }
        words = rest;
    }
    Ok(words)
}

fn mount_private(place: &str) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), None::<&str>)
}

fn act(words: &[&str]) -> Outcome<String> {
    match *words {
        ["open", path] => Ok(Registry::open_at(path)?.path().display().to_string()),
        ["open-allowing", uid, path] => {
            let registry = Registry::builder().path(path).allow_uid(uid.parse()?).open()?;
            Ok(registry.path().display().to_string())
        }
        ["default"] => Ok(Registry::open()?.path().display().to_string()),
        ["read", path] => read(path),
        ["check", path] => {
            let report = check::check(path)?;
            if report.is_sound() { Ok(String::new()) } else { Err(format!("{:?}", report.faults).into()) }
        }
        ["register", path, kind, name, ref options @ ..] => {
            register(&Registry::open_at(path)?, kind, name, options)?;
            Ok(String::new())
        }
        ["move", from, to, path] => {
            std::env::set_current_dir(from)?;
            let registry = Registry::open_at(path)?;
            registry.counter("first_total", "")?.inc();
            std::env::set_current_dir(to)?;
            registry.counter("second_total", "")?.inc();
            Ok(registry.path().display().to_string())
        }
        ["use", ref paths @ ..] => {
            for path in paths {
                // Whoever dies has named the segment that killed it.
                eprintln!("{path}");
                use_segment(path);
            }
            Ok(String::new())
        }
        ["race", path, me, other, kind, suffix, rounds] => {
            race(path, [me, other], kind, suffix, rounds.parse()?)
        }
        _ => Err(format!("what is {words:?}?").into()),
    }
}

/// Does whatever can be done with a segment, and minds no error.
fn use_segment(path: &str) {
    let Ok(registry) = Registry::open_at(path) else { return };
    for number in [5, 6] {
        for step in COUNTING.iter().chain(&SETTING) {
            let _ = step(&registry, number);
        }
    }
    for n in 0..5 {
        if let Ok(counter) = registry.counter(&format!("another_{n}_total"), "") {
            counter.inc();
            let _ = counter.value();
        }
        if let Ok(gauge) = registry.gauge(&format!("another_{n}"), "") {
            gauge.inc();
            let _ = gauge.value();
        }
    }
}

/// Registers `race_N` with a suffix, N from 0 on, in step with another process that does the same with another kind
/// or suffix. A line for each: `ok`, or the error.
fn race(path: &str, [me, other]: [&str; 2], kind: &str, suffix: &str, rounds: u64) -> Outcome<String> {
    let mut cpu = CpuSet::new();
    cpu.set(usize::from(me > other))?;
    // Each on a CPU of its own, if there are two: only then do they meet.
    let _ = sched_setaffinity(Pid::from_raw(0), &cpu);
    let registry = Registry::open_at(path)?;
    let [mine, others] = [me, other].map(|who| registry.counter(&format!("arrived_{who}_total"), ""));
    let (mine, others, mut lines) = (mine?, others?, String::new());
    for round in 0..rounds {
        mine.inc();
        for turn in 0_u64.. {
            if others.value() > round {
                break;
            }
            if turn > 1000 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let line = match register(&registry, kind, &format!("race_{round}{suffix}"), &[]) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok(lines)
}

/// The names of all families, or why the segment can't be read.
fn read(path: &str) -> Outcome<String> {
    let snapshot = Collector::new(&[path.to_owned()]).collect();
    match &snapshot.segments[0].state {
        dyn_metrics_reader::SegmentState::Unreadable(error) => Err(error.clone().into()),
        _ => Ok(snapshot.families.iter().map(|family| family.name.as_str()).collect::<Vec<_>>().join(" ")),
    }
}

/// Registers a metric as the options say: `unit=U`, `bounds=B,B`, `mode=M`, `states=S,S`, `L=V` for a label.
fn register(registry: &Registry, kind: &str, name: &str, options: &[&str]) -> Outcome<()> {
    let mut opts = Opts::new(name, "A metric of a stranger");
    for option in options {
        let (key, value) = option.split_once('=').ok_or("options have values")?;
        opts = match key {
            "unit" => opts.unit(value),
            "bounds" => opts.bounds(&value.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?),
            "mode" => opts
                .mode(GaugeMode::EVERY.into_iter().find(|mode| mode.name() == value).ok_or("no such mode")?),
            "states" => opts.states(&value.split(',').collect::<Vec<_>>()),
            _ => opts.label(key, value),
        };
    }
    match kind {
        "counter" => registry.create::<Counter>(&opts)?.inc(),
        "gauge" => registry.create::<Gauge>(&opts)?.set(1),
        "histogram" => registry.create::<Histogram>(&opts)?.observe(0.1),
        "tally" => registry.create::<Tally>(&opts)?.observe(0.1),
        "stateset" => registry.create::<StateSet>(&opts).map(|_| ())?,
        "info" => registry.create::<Info>(&opts).map(|_| ())?,
        _ => return Err(format!("what is a {kind}?").into()),
    }
    Ok(())
}

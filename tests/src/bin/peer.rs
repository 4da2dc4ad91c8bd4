//! A writer process that does what it is told: see `stage.rs` for the test's side.
//!
//! `peer serve CONTROL` reads commands, one a line, from its standard input, which is a socket, and answers each
//! with `ok ...` or `error ...` there. A forked child connects to the socket at CONTROL and reads its own
//! commands. `peer steady PATH TIMES yes|no` is the subject of a tracer; `peer idle` waits for the end of its input;
//! `peer delays PATH pinned|moving armed|unarmed THREADS MILLISECONDS` is a process of `tests/delays.rs`.
//! It ends with its input.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Family, FloatCounter, FloatGauge, Gauge, GaugeMode, Histogram,
    Opts, Registry, StateSet, Tally,
};
use dyn_metrics_tests::asked::Asked;
use dyn_metrics_tests::delays::{self, Plan, Where};
use dyn_metrics_tests::work::{self, Disturbance, Kinds, Metrics, Spinning};
use dyn_metrics_tests::{forks, host, rseq, steady};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if std::env::var_os("PEER_REGISTERS_RSEQ").is_some() {
        rseq::register_own()?;
    }
    match words[..] {
        ["serve", control] => serve(Session::new(control.into()), host::input()),
        ["steady", path, times, warm_up] => steady::run(Path::new(path), times.parse()?, warm_up == "yes"),
        ["delays", path, place, armed, threads, milliseconds] => {
            let plan = Plan {
                place: if place == "pinned" { Where::Pinned } else { Where::Moving },
                armed: armed == "armed",
                threads: threads.parse()?,
                time: Duration::from_millis(milliseconds.parse()?),
            };
            let totals = delays::run(Path::new(path), plan)?;
            println!("{} {}", totals.integers, totals.doubles);
            Ok(())
        }
        ["idle"] => std::io::stdin().read_to_end(&mut Vec::new()).map(drop).map_err(Into::into),
        _ => Err("usage: see the first lines of this program".into()),
    }
}

/// Reads and answers commands until the input ends.
fn serve(session: Session, socket: UnixStream) -> Outcome<()> {
    serve_from(session, BufReader::new(socket))
}

/// Ends the process, whose first thread has ended.
fn end_as(outcome: Outcome<()>) {
    std::process::exit(i32::from(outcome.is_err()));
}

fn serve_from(mut session: Session, mut stream: BufReader<UnixStream>) -> Outcome<()> {
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["end"] {
            break;
        }
        let answer = session.obey(&words);
        let answer = match answer {
            Ok(Answer::Moved(socket)) => {
                // Its descriptor is closed already.
                std::mem::forget(std::mem::replace(&mut stream, BufReader::new(socket)));
                "ok".to_owned()
            }
            Ok(Answer::Alone) => {
                writeln!(stream.get_mut(), "ok")?;
                line.clear();
                std::thread::spawn(move || end_as(serve_from(session, stream)));
                host::end_this_thread();
            }
            Ok(Answer::Child) => {
                // The parent answers. Ours becomes descriptor 0, as the parent's was.
                drop(stream);
                stream = BufReader::new(UnixStream::connect(&session.control)?);
                line.clear();
                continue;
            }
            Ok(Answer::Text(text)) => format!("ok {text}"),
            Err(error) => format!("error {error}").replace('\n', " "),
        };
        writeln!(stream.get_mut(), "{answer}")?;
        line.clear();
    }
    Ok(())
}

enum Answer {
    Text(String),
    /// This process is a forked child.
    Child,
    /// Commands come from here now.
    Moved(UnixStream),
    /// The process goes on without its first thread.
    Alone,
}

fn text(value: impl ToString) -> Outcome<Answer> {
    Ok(Answer::Text(value.to_string()))
}

/// A handle of any kind.
enum Handle {
    Counter(Counter),
    Float(FloatCounter),
    Duration(DurationCounter),
    Tally(Tally),
    Histogram(Histogram),
    Gauge(Gauge),
    FloatGauge(FloatGauge),
    DurationGauge(DurationGauge),
    StateSet(StateSet),
}

impl Handle {
    /// Registers; `rest` is a gauge's mode and how many dead processes it keeps.
    fn register(registry: &Registry, kind: &str, name: &str, rest: &[&str]) -> Outcome<Self> {
        let mut opts = Opts::new(name, "A metric of a test");
        if let Some(mode) = rest.first() {
            let found = GaugeMode::EVERY.into_iter().find(|known| known.name() == *mode);
            opts = opts.mode(found.ok_or("no such mode")?);
        }
        if let Some(dead) = rest.get(1) {
            opts = opts.keep_dead(dead.parse()?);
        }
        Ok(match kind {
            "counter" => Self::Counter(registry.create(&opts)?),
            "float" => Self::Float(registry.create(&opts)?),
            "duration" => Self::Duration(registry.create(&opts)?),
            "tally" => Self::Tally(registry.create(&opts)?),
            "histogram" => Self::Histogram(registry.create(&opts)?),
            "gauge" => Self::Gauge(registry.create(&opts)?),
            "fgauge" => Self::FloatGauge(registry.create(&opts)?),
            "dgauge" => Self::DurationGauge(registry.create(&opts)?),
            "state" => Self::StateSet(registry.create(&opts.states(&["starting", "ready"]))?),
            _ => return Err("no such kind".into()),
        })
    }

    /// Adds to a counter, observes, sets a gauge.
    fn update(&self, value: f64) {
        match self {
            Self::Counter(counter) => counter.inc_by(value as u64),
            Self::Float(counter) => counter.inc_by(value),
            Self::Duration(counter) => counter.inc_by(Duration::from_secs_f64(value)),
            Self::Tally(tally) => tally.observe(value),
            Self::Histogram(histogram) => histogram.observe(value),
            Self::Gauge(gauge) => gauge.set(value as i64),
            Self::FloatGauge(gauge) => gauge.set(value),
            Self::DurationGauge(gauge) => gauge.set(Duration::from_secs_f64(value)),
            Self::StateSet(state) => drop(state.set(if value > 0.0 { "ready" } else { "starting" })),
        }
    }

    /// Adds to a gauge.
    fn add(&self, value: f64) {
        match self {
            Self::Gauge(gauge) => gauge.add(value as i64),
            Self::FloatGauge(gauge) => gauge.add(value),
            Self::DurationGauge(gauge) => gauge.add(Duration::from_secs_f64(value)),
            _ => self.update(value),
        }
    }

    fn value(&self) -> f64 {
        match self {
            Self::Counter(counter) => counter.value() as f64,
            Self::Float(counter) => counter.value(),
            Self::Duration(counter) => counter.value().as_secs_f64(),
            Self::Tally(tally) => tally.count() as f64,
            Self::Histogram(histogram) => histogram.count() as f64,
            Self::Gauge(gauge) => gauge.value() as f64,
            Self::FloatGauge(gauge) => gauge.value(),
            Self::DurationGauge(gauge) => gauge.value(),
            Self::StateSet(state) => f64::from(u8::from(state.is_on("ready"))),
        }
    }
}

struct Session {
    control: PathBuf,
    registry: Option<Registry>,
    handles: HashMap<String, Handle>,
    families: HashMap<String, Family<Counter>>,
    spinning: Option<Spinning>,
    claimable: Vec<forks::Claimable>,
    asked: Asked,
}

impl Session {
    fn new(control: PathBuf) -> Self {
        let (registry, spinning, asked) = (None, None, Asked::default());
        let (handles, families) = (HashMap::new(), HashMap::new());
        Self { control, registry, handles, families, spinning, claimable: Vec::new(), asked }
    }

    fn obey(&mut self, words: &[&str]) -> Outcome<Answer> {
        match *words {
            ["open", path, ref options @ ..] => self.open(path, options),
            ["register", kind, name, ref rest @ ..] => {
                let handle = Handle::register(self.registry()?, kind, name, rest)?;
                self.handles.insert(name.to_owned(), handle);
                text("")
            }
            ["update", name, value] => {
                self.handle(name)?.update(value.parse()?);
                text("")
            }
            ["add", name, value] => {
                self.handle(name)?.add(value.parse()?);
                text("")
            }
            ["value", name] => text(self.handle(name)?.value()),
            ["series", family, max, from, to] => {
                self.series(family, max.parse()?, from.parse()?, to.parse()?)
            }
            ["labelled", name, value, n] => text(self.labelled(name, value, n.parse()?)?),
            ["remove", name, value] => text(self.registry()?.remove(name, &[("n", value)])?),
            ["race-for-the-last", rounds, threads] => {
                work::race_for_the_last(self.registry()?, rounds.parse()?, threads.parse()?)?;
                text(rounds)
            }
            ["claim-in-signals", count] => text(work::claim_in_signals(self.registry()?, count.parse()?)?),
            ["open-at-once", path, threads] => {
                work::open_at_once(path, threads.parse()?)?;
                text("")
            }
            ["wide-histograms", count, bounds] => {
                work::wide_histograms(self.registry()?, count.parse()?, bounds.parse()?)?;
                text("")
            }
            ["count", kinds, disturbance, threads, each] => self.count(kinds, disturbance, threads, each),
            ["spin", threads] => {
                let metrics = Metrics::register(self.registry()?)?;
                self.spinning = Some(Spinning::start(&metrics, threads.parse()?));
                text("")
            }
            ["path"] => text(dyn_metrics::update_path()),
            ["stop"] => text(self.spinning.take().ok_or("nothing spins")?.stop()),
            _ => self.obey_threads_and_forks(words),
        }
    }

    fn obey_threads_and_forks(&mut self, words: &[&str]) -> Outcome<Answer> {
        match *words {
            ["in-thread", name, value] => {
                let (handle, value) = (self.handle(name)?, value.parse()?);
                std::thread::scope(|scope| scope.spawn(|| handle.update(value)).join())
                    .map_err(|_| "panicked")?;
                text("")
            }
            ["race", name, threads] => {
                let (handle, threads) = (self.handle(name)?, threads.parse()?);
                let barrier = Barrier::new(threads);
                let add = || {
                    barrier.wait();
                    handle.add(1.0);
                };
                std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(add))));
                text("")
            }
            ["in-another-thread", ref words @ ..] => std::thread::scope(|scope| {
                let done = scope.spawn(|| self.obey(words).map_err(|error| error.to_string())).join();
                done.map_err(|_| "panicked")?.map_err(Into::into)
            }),
            ["end-first-thread"] => Ok(Answer::Alone),
            ["fork"] => self.fork(),
            ["exec"] => Err(std::process::Command::new(std::env::current_exe()?).arg("idle").exec().into()),
            ["exec-and-serve"] => {
                let mut command = std::process::Command::new(std::env::current_exe()?);
                Err(command.arg("serve").arg(&self.control).exec().into())
            }
            // Lives on when this one dies, until the input of both ends.
            ["spawn-idle"] => {
                let mut command = std::process::Command::new(std::env::current_exe()?);
                text(command.arg("idle").stdin(std::process::Stdio::inherit()).spawn()?.id())
            }
            ["fork-while-registering", times] => {
                text(forks::while_registering(self.registry()?, times.parse()?)?)
            }
            ["make-claimable", directory, times] => {
                self.claimable = forks::claimable(Path::new(directory), times.parse()?)?;
                text("")
            }
            ["fork-while-claiming", microseconds] => {
                let latest = Duration::from_micros(microseconds.parse()?);
                text(forks::while_claiming(std::mem::take(&mut self.claimable), latest))
            }
            ["fork-after-collisions", times] => {
                text(forks::after_collisions(self.registry()?, times.parse()?)?)
            }
            _ => self.obey_as_host(words),
        }
    }

    fn obey_as_host(&mut self, words: &[&str]) -> Outcome<Answer> {
        match *words {
            ["replace-descriptors", directory, count] => {
                host::replace_descriptors(Path::new(directory), count.parse()?)?;
                text("")
            }
            ["replace-descriptors-by", path, count] => {
                host::replace_descriptors_by(Path::new(path), count.parse()?)?;
                text("")
            }
            ["leak-descriptors"] => text(host::leak_descriptors()?),
            ["become", uid, gid] => {
                host::become_other(uid.parse()?, gid.parse()?)?;
                text("")
            }
            ["unregister-rseq"] => {
                rseq::unregister()?;
                text("")
            }
            ["register-rseq"] => {
                rseq::register_own()?;
                text("")
            }
            ["close-standard"] => Ok(Answer::Moved(host::close_standard()?)),
            ["write-standard"] => text(host::write_standard().iter().filter(|written| **written).count()),
            ["limit", what, soft] => {
                host::limit(what, soft.parse()?)?;
                text("")
            }
            ["chdir", directory] => {
                std::env::set_current_dir(directory)?;
                text("")
            }
            ["keeps-errno", name, value] => {
                let (handle, value) = (self.handle(name)?, value.parse()?);
                text(u8::from(host::keeps_errno(|| handle.update(value))))
            }
            ["on-scrape", ref what @ ..] => {
                let registry = self.registry.as_ref().ok_or("nothing is open")?;
                text(self.asked.obey(registry, what)?)
            }
            _ => Err(format!("no such command: {words:?}").into()),
        }
    }

    fn registry(&self) -> Outcome<&Registry> {
        self.registry.as_ref().ok_or_else(|| "nothing is open".into())
    }

    fn handle(&self, name: &str) -> Outcome<&Handle> {
        self.handles.get(name).ok_or_else(|| format!("{name} is not registered").into())
    }

    fn open(&mut self, path: &str, options: &[&str]) -> Outcome<Answer> {
        let mut builder = Registry::builder().path(path);
        for option in options {
            builder = match option.split_once('=').unwrap_or((option, "")) {
                ("fresh", _) => builder.fresh(true),
                ("force", _) => builder.force(true),
                ("role", role) => builder.role(role),
                ("group", gid) => builder.group(gid.parse()?),
                ("allow_uid", uid) => builder.allow_uid(uid.parse()?),
                ("processes", slots) => builder.processes(slots.parse()?),
                ("max_bytes", bytes) => builder.max_bytes(bytes.parse()?),
                ("max_series", series) => builder.max_series_per_family(series.parse()?),
                _ => return Err(format!("no such option: {option}").into()),
            };
        }
        self.registry = Some(builder.open()?);
        text("")
    }

    /// Registers the series `from..to` of a family and counts each once; how many are private.
    fn series(&self, family: &str, max: u32, from: u32, to: u32) -> Outcome<Answer> {
        let opts = Opts::new(family, "A family of a test").max_series(max);
        let family = self.registry()?.family::<Counter>(&opts, &["n"])?;
        let mut private = 0;
        for n in from..to {
            let counter = family.with(&[&n.to_string()]);
            counter.inc();
            private += u32::from(counter.is_private());
        }
        text(private)
    }

    /// Adds to the series of a family of counters, which is kept; its value afterwards.
    fn labelled(&mut self, name: &str, value: &str, n: u64) -> Outcome<u64> {
        if !self.families.contains_key(name) {
            let opts = Opts::new(name, "A family of a test").max_series(4);
            self.families.insert(name.to_owned(), self.registry()?.family(&opts, &["n"])?);
        }
        let counter = self.families[name].try_with(&[value])?;
        counter.inc_by(n);
        Ok(counter.value())
    }

    fn count(&self, kinds: &str, disturbance: &str, threads: &str, each: &str) -> Outcome<Answer> {
        let kinds = if kinds == "all" { Kinds::All } else { Kinds::Main };
        let disturbance = match disturbance {
            "none" => Disturbance::None,
            "pinned" => Disturbance::Pinned,
            "moving" => Disturbance::Moving,
            "signals" => Disturbance::Signals,
            _ => return Err("no such disturbance".into()),
        };
        text(work::count(self.registry()?, threads.parse()?, each.parse()?, kinds, disturbance)?)
    }

    fn fork(&mut self) -> Outcome<Answer> {
        match forks::fork_and_go_on()? {
            Some(child) => text(child),
            None => {
                if let Some(spinning) = self.spinning.take() {
                    std::mem::forget(spinning); // its threads are the parent's
                }
                Ok(Answer::Child)
            }
        }
    }
}

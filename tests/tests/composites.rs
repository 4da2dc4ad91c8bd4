//! What composites say: the script that Rust, Python and C++ replay, and who dies.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dyn_metrics::composite::{Composite, LiveComposite, Reading};
use dyn_metrics::{Counter, FloatGauge, Histogram, Metric, Opts, Registry};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/composites/");

/// Does what `script.txt` says.
struct Replayer {
    registry: Registry,
    composites: HashMap<String, LiveComposite>,
    answers: String,
}

/// The series of these labels: `name=value,name=value`, or `-`.
fn series<M: Metric>(registry: &Registry, opts: &Opts, labels: &str) -> M {
    let pairs: Vec<_> = labels.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let (names, values): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
    registry.family::<M>(opts, &names).unwrap().with(&values)
}

fn composite(family: &str, words: &[&str]) -> dyn_metrics::Result<Composite> {
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let number = |key| value(key).map(|number: &str| number.parse().unwrap());
    let mut made = Composite::from_parts(words[0], family, number("q="), number("window="))?;
    for word in &words[1..] {
        made = match word.split_once('=').unwrap_or((word, "")) {
            ("match", rest) => match rest.split_once(':').unwrap() {
                (label, values) if values.contains('|') => made.matching_any(label, values.split('|')),
                (label, value) => made.matching(label, value),
            },
            ("without", rest) => {
                let (label, value) = rest.split_once(':').unwrap();
                made.not_matching(label, value)
            }
            ("having", label) => made.having(label),
            ("processes", _) => made.over_processes(),
            ("q" | "window", _) => made,
            other => panic!("{other:?}"),
        };
    }
    Ok(made)
}

impl Replayer {
    fn step(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["counter", name, labels, amount] => {
                series::<Counter>(&self.registry, &Opts::new(name, ""), labels)
                    .inc_by(amount.parse().unwrap());
            }
            ["gauge", name, labels, value] => {
                series::<FloatGauge>(&self.registry, &Opts::new(name, ""), labels)
                    .set(value.parse().unwrap());
            }
            ["observe", name, labels, value] => {
                let opts = Opts::new(name, "").bounds(&[1.0, 2.0, 4.0]);
                series::<Histogram>(&self.registry, &opts, labels).observe(value.parse().unwrap());
            }
            ["composite", key, family, ref words @ ..] => {
                let live = self.registry.composite(&composite(family, words).unwrap()).unwrap();
                self.composites.insert(key.to_owned(), live);
            }
            ["read", key] => {
                let reading = self.composites.get_mut(key).unwrap().read();
                let number = reading.value().map_or(String::new(), |value| format!(" {value:.6}"));
                self.answers += &format!("{key} {}{number}\n", reading.name());
            }
            ["sample", key] => self.composites.get_mut(key).unwrap().sample(),
            ["refuse", family, ref words @ ..] => {
                let made = composite(family, words).and_then(|made| self.registry.composite(&made));
                self.answers += &format!("{}\n", made.unwrap_err());
            }
            _ => panic!("{line}"),
        }
    }
}

#[test]
fn rust_answers_the_script() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = Registry::builder().path(directory.path().join("s")).max_bytes(4 << 20).open().unwrap();
    let mut replayer = Replayer { registry, composites: HashMap::new(), answers: String::new() };
    let script = fs::read_to_string(DATA.to_owned() + "script.txt").unwrap();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        replayer.step(line);
    }
    let path = DATA.to_owned() + "answers.txt";
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &replayer.answers).unwrap();
    }
    assert_eq!(replayer.answers, fs::read_to_string(path).unwrap());
}

/// This test program again, as a process that does what `role` says and waits.
fn start(role: &str, segment: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "another_process", "--ignored", "--nocapture"]);
    let mut child = command
        .env("COMPOSITES_ROLE", role)
        .env("COMPOSITES_SEGMENT", segment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")));
    child
}

/// Not a test: what [`start`] starts.
#[test]
#[ignore = "a process of another test"]
fn another_process() {
    let Some(role) = std::env::var_os("COMPOSITES_ROLE") else { return };
    let registry = Registry::builder().path(std::env::var_os("COMPOSITES_SEGMENT").unwrap()).open().unwrap();
    let number: i64 = role.to_str().unwrap().parse().unwrap();
    registry.gauge("depth", "").unwrap().set(number);
    registry.counter("c_total", "").unwrap().inc_by(number as u64);
    println!("ready");
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Reads until it says so; generous, as liveness is asked for only now and then.
fn wait_for(live: &mut LiveComposite, expected: Reading) {
    let started = Instant::now();
    loop {
        let reading = live.read();
        if reading == expected {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{reading:?}, expected {expected:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn processes_are_composed_while_they_live_and_are_dead_when_the_last_one_is() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let segment = directory.path().join("s");
    let children = [3, 5].map(|number| start(&number.to_string(), &segment));
    // From outside, and by a registry that has the segment open itself.
    let registry = Registry::builder().path(&segment).open().unwrap();
    let depth = |composite: Composite| registry.composite(&composite.over_processes()).unwrap();
    let mut average = depth(Composite::avg("depth"));
    let mut largest = depth(Composite::max("depth").window(Duration::from_secs(3600)));
    let mut number = depth(Composite::count("depth"));
    let mut median = depth(Composite::quantile("depth", 0.5));
    let mut total = registry.composite(&Composite::sum("c_total")).unwrap();
    for (live, expected) in [(&mut average, 4.0), (&mut largest, 5.0), (&mut number, 2.0), (&mut median, 4.0)]
    {
        assert_eq!(live.read(), Reading::Value(expected), "{live:?}");
    }
    assert_eq!(total.read(), Reading::Value(8.0));
    let [small, large] = children;
    kill(large);
    wait_for(&mut average, Reading::Value(3.0));
    assert_eq!(total.read(), Reading::Value(8.0), "totals stay");
    wait_for(&mut largest, Reading::Value(5.0));
    kill(small);
    wait_for(&mut average, Reading::Dead);
    wait_for(&mut largest, Reading::Dead);
    assert_eq!(total.read(), Reading::Value(8.0), "this process has the segment open: it may count");
}

#[test]
fn totals_of_a_segment_that_nobody_has_open_are_dead() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let segment = directory.path().join("s");
    let mut total = Composite::sum("c_total").open_at(&segment).unwrap();
    assert_eq!(total.read(), Reading::Unknown);
    let child = start("7", &segment);
    assert_eq!(total.read(), Reading::Value(7.0));
    kill(child);
    wait_for(&mut total, Reading::Dead);
    let child = start("2", &segment);
    wait_for(&mut total, Reading::Value(9.0));
    kill(child);
}

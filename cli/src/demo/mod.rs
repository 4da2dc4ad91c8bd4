//! `dyn-metrics demo`: a small LLM service that counts into a segment, with the exporter beside it.
//!
//! A front end and several workers run as processes of their own: this binary, started again with a hidden verb.
//! The front end plays the clients: requests come from a seeded random process, go to the workers over sockets, and
//! come back as tokens. Workers batch as vLLM does, but sleep where it computes. So latencies are not drawn, they are
//! measured. One worker is killed on the way and started again, while the counts go on.

mod arrivals;
mod children;
mod engine;
mod exporter;
mod flights;
mod frontend;
mod metrics;
mod models;
mod process;
mod summary;
mod supervisor;
mod wire;
mod worker;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use clap::builder::NonEmptyStringValueParser;
use clap::value_parser;
use dyn_metrics::Registry;

use children::Launcher;
use exporter::Exporter;
use metrics::SupervisorMetrics;
use process::Stop;
use summary::Screen;
use supervisor::{Plan, Supervisor};

use crate::segment::{NotUtf8, choose};

/// Where the demo's segment is by default; not that of real services.
const DEFAULT_SHM: &str = "/dev/shm/dynamo-demo";

const EXAMPLES: &str = "\
Examples:
  dyn-metrics demo
  dyn-metrics demo --seconds 30 --workers 4 --seed 7
  dyn-metrics demo /dev/shm/my-demo --listen 0.0.0.0:9464
and meanwhile, in another terminal:
  curl -s http://127.0.0.1:9464/metrics | grep time_to_first_token
  dyn-metrics dump /dev/shm/dynamo-demo --family '*worker*'

Exit status: 0 fine, 1 a process that must stay ended by itself, 2 could not start.";

/// Run a demonstration LLM service with the exporter beside it.
///
/// Starts a front end, several workers and dyn-metrics-exporter as separate processes, feeds them requests from a
/// seeded random process, kills a worker and starts it again. At the end it shows what the segment holds, and leaves
/// it for `dyn-metrics dump` and `dyn-metrics check`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Stop after so many seconds instead of at Ctrl-C.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=31_536_000))]
    pub seconds: Option<u64>,

    /// Number of worker processes, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=64))]
    pub workers: u32,

    /// Segment to create [default: DYN_METRICS_SHM, else /dev/shm/dynamo-demo]
    ///
    /// The segment of an earlier demo is replaced; whatever else is there is left alone, and the demo doesn't start.
    #[arg(value_name = "SEGMENT", value_parser = NonEmptyStringValueParser::new())]
    segment: Option<String>,

    /// The same, as an option
    #[arg(long, value_name = "SEGMENT", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "segment")]
    shm: Option<String>,

    /// Address of the exporter [default: 127.0.0.1:9464, or a free port where that is taken].
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub listen: Option<SocketAddr>,

    /// Seed of the random process: the same seed gives the same requests at the same times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// One process of the demo; not for people.
#[derive(Clone, Debug, clap::Args)]
pub struct ProcessArgs {
    /// Process that this one ends with.
    #[arg(long)]
    parent: u32,
    #[arg(long)]
    shm: PathBuf,
    #[arg(long)]
    seed: u64,
    #[command(subcommand)]
    role: Role,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Role {
    /// Listens on standard input.
    Frontend {
        #[arg(long)]
        workers: u32,
        /// Longest wait for requests under way at the end.
        #[arg(long)]
        drain_ms: u64,
    },
    Worker {
        #[arg(long)]
        index: u32,
        /// Name of the front end's socket.
        #[arg(long)]
        socket: String,
    },
    /// Becomes the exporter.
    Exporter {
        #[arg(long)]
        program: PathBuf,
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// Why the demo could not run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// An operation of the system failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Standard output has gone.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The segment cannot be created, or a metric not registered.
    #[error(transparent)]
    Segment(Box<dyn_metrics::Error>),
    /// Something is there that no demo has made.
    #[error(
        "{}{}: is no segment of an earlier demo, and would be replaced; name another path with --shm, or remove it",
        path.display(),
        if *by_environment { " (from DYN_METRICS_SHM)" } else { "" }
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whether the environment named it.
        by_environment: bool,
    },
    /// The environment names the segment in bytes that are no text.
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
    /// Processes use the segment.
    #[error(
        "{}: in use by {}, perhaps of another demo; name another path with --shm",
        path.display(),
        pid.map_or("a process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The segment.
        path: PathBuf,
        /// One of them, if its pid is known.
        pid: Option<u32>,
    },
    /// There is no exporter beside this binary.
    #[error("{}: no such file; the demo needs the exporter beside dyn-metrics (cargo build --bins)", path.display())]
    ExporterMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The address that was asked for cannot be had.
    #[error("cannot listen on {address}: {source}; name another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The exporter did not start to listen.
    #[error("{}: did not start to listen: {detail}", path.display())]
    ExporterFailed {
        /// The binary.
        path: PathBuf,
        /// The last line it logged.
        detail: String,
    },
    /// A process that must stay has ended.
    #[error("{name} ended by itself: {status}")]
    Ended {
        /// Which.
        name: String,
        /// How.
        status: ExitStatus,
    },
}

impl DemoError {
    fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    fn output(source: io::Error) -> Self {
        Self::Output(source)
    }

    fn segment(source: dyn_metrics::Error) -> Self {
        Self::Segment(Box::new(source))
    }
}

/// Runs the demo to its end and shows with `print_dump` what the segment holds.
///
/// Returns when all processes that it started have ended, also after an error. A second Ctrl-C ends it at once; the
/// others then end by themselves.
pub fn run(args: DemoArgs, print_dump: fn(&Path) -> io::Result<()>) -> Result<(), DemoError> {
    let start = Instant::now();
    let stop = Stop::on_signals().map_err(|source| DemoError::io("handle signals", source))?;
    let program = std::env::current_exe().map_err(|source| DemoError::io("find this program", source))?;
    let exporter_path = exporter::find(&program)?;
    let (listen, moved) = exporter::choose_address(args.listen)?;
    let chosen = choose(&args.segment, &args.shm, DEFAULT_SHM)?;
    let shm = PathBuf::from(&chosen.path);
    let metrics = create_segment(&shm, chosen.by_environment, &args)?;
    let plan = Plan::new(start, args.seconds.map(Duration::from_secs));
    let launcher = Launcher {
        program,
        shm,
        socket: socket_name(),
        seed: args.seed,
        workers: args.workers,
        drain: plan.drain,
    };
    let frontend = start_frontend(&launcher)?;
    let exporter = Exporter::start(&launcher, &exporter_path, listen)?;
    let mut screen = Screen::stdout();
    introduce(&mut screen, &args, &launcher.shm, &exporter, moved).map_err(DemoError::Output)?;
    let mut supervisor = Supervisor::start(launcher, [frontend, exporter.process], metrics, screen, plan)?;
    supervisor.run(&stop)?;
    conclude(&supervisor.stop()?, print_dump).map_err(DemoError::Output)
}

/// Runs one of the demo's processes.
pub fn run_process(args: &ProcessArgs) -> Result<(), DemoError> {
    process::die_with(args.parent).map_err(|source| DemoError::io("stay with the demo", source))?;
    let stop = || Stop::on_signals().map_err(|source| DemoError::io("handle signals", source));
    match &args.role {
        Role::Frontend { workers, drain_ms } => {
            let drain = Duration::from_millis(*drain_ms);
            frontend::run(*workers, args.seed, &args.shm, drain, &stop()?)
        }
        Role::Worker { index, socket } => worker::run(*index, args.seed, &args.shm, socket, &stop()?),
        Role::Exporter { program, listen } => {
            let mut command = Command::new(program);
            let error = command.arg("--shm").arg(&args.shm).args(["--listen", &listen.to_string()]).exec();
            Err(DemoError::io(format!("run {}", program.display()), error))
        }
    }
}

/// Makes an empty segment.
fn create_segment(shm: &Path, by_environment: bool, args: &DemoArgs) -> Result<SupervisorMetrics, DemoError> {
    if summary::is_foreign(shm) {
        return Err(DemoError::Foreign { path: shm.to_owned(), by_environment });
    }
    let open = || {
        let registry = Registry::builder().path(shm).role("supervisor").fresh(true).open()?;
        SupervisorMetrics::register(&registry, args.seed, args.workers)
    };
    open().map_err(|source| match source {
        dyn_metrics::Error::InUse { path, pid } => DemoError::InUse { path, pid },
        source => DemoError::segment(source),
    })
}

/// An abstract socket's name, so that nothing is left in the file system whatever happens.
fn socket_name() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("dyn-metrics-demo/{}/{:x}", std::process::id(), now.as_nanos())
}

fn start_frontend(launcher: &Launcher) -> Result<children::Process, DemoError> {
    let listener = std::os::unix::net::SocketAddr::from_abstract_name(&launcher.socket)
        .and_then(|address| std::os::unix::net::UnixListener::bind_addr(&address))
        .map_err(|source| DemoError::io("listen for workers", source))?;
    launcher.frontend(listener)
}

fn introduce(
    screen: &mut Screen<io::Stdout>,
    args: &DemoArgs,
    shm: &Path,
    exporter: &Exporter,
    moved: bool,
) -> io::Result<()> {
    let address = exporter.address;
    if moved {
        screen
            .print(format_args!("{} is taken, so the exporter has another port", exporter::DEFAULT_LISTEN))?;
    }
    let end = args.seconds.map_or("at Ctrl-C".into(), |seconds| format!("after {seconds} s, or at Ctrl-C"));
    screen.print(format_args!(
        "LLM service with a front end and {} workers, seed {}",
        args.workers, args.seed
    ))?;
    screen.print(format_args!("metrics  http://{address}/metrics"))?;
    screen.print(format_args!("segment  {}", shm.display()))?;
    screen.print(format_args!("stops    {end}"))?;
    screen.print("")
}

fn conclude(shm: &Path, print_dump: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut screen = Screen::stdout();
    screen.print(format_args!("\nWhat the segment holds, now that all but this process are gone:\n"))?;
    print_dump(shm)?;
    let program =
        std::env::args_os().next().map_or("dyn-metrics".into(), |name| name.to_string_lossy().into_owned());
    let (program, path) = (shell_word(program), shell_word(shm.display()));
    screen.print(format_args!("\nIt stays there. Look at it again, or verify it, with"))?;
    screen.print(format_args!("  {program} dump {path}\n  {program} check {path}"))
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|error| format!("{error}; expected ADDR:PORT, such as 127.0.0.1:9464"))
}

/// `path` as a shell reads it.
fn shell_word(path: impl Display) -> String {
    let path = path.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(args: &[&str]) -> Result<DemoArgs, String> {
        let args = ["demo"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| cli.demo).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_have_defaults() {
        let args = parse(&[]).unwrap();
        assert_eq!((args.workers, args.seed, args.seconds, args.listen), (3, 1, None, None));
    }

    #[test]
    fn bad_arguments_are_named_in_one_error() {
        for (args, expected) in [
            (["--workers", "0"], "0 is not in 1..=64"),
            (["--workers", "65"], "65 is not in 1..=64"),
            (["--seconds", "0"], "0 is not in 1..="),
            (["--listen", "somewhere"], "invalid value 'somewhere' for '--listen <ADDR:PORT>'"),
            (["--seed", "-1"], "'-1'"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }

    #[test]
    fn paths_are_quoted_for_the_shell_only_where_they_must() {
        assert_eq!(shell_word("/dev/shm/dynamo-demo"), "/dev/shm/dynamo-demo");
        assert_eq!(shell_word("/tmp/my demo's"), r"'/tmp/my demo'\''s'");
    }
}

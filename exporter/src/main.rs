//! The program `dyn-metrics-exporter`: arguments, logs, signals and exit codes around the library.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use dyn_metrics_exporter::{
    Config, DEFAULT_CALLBACK_TIMEOUT, DEFAULT_LISTEN, DEFAULT_SHM, Error, SHM_VARIABLE, bind, parse_listen,
    raise_limit,
};
use dyn_metrics_layout::FORMAT_VERSION;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

/// It ran, with problems that the log names.
const PROBLEMS: u8 = 1;

/// It could not start; clap exits with the same for wrong arguments.
const NOT_STARTED: u8 = 2;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (segment format {FORMAT_VERSION})", env!("CARGO_PKG_VERSION")));

const EXAMPLES: &str = "\
Examples:
  dyn-metrics-exporter
      serve /dev/shm/dynamo on port 9464
  dyn-metrics-exporter --shm /dev/shm/dynamo --shm '/run/dynamo/*.metrics' --listen 127.0.0.1:9464
      serve several segments as one, to this machine only
  curl http://localhost:9464/metrics
      what Prometheus will see
  curl 'http://localhost:9464/metrics?level=0'
      of that the most important families; for Prometheus, `params: {level: ['0']}` in the scrape job

Segments may come, go and be replaced at any time. The log goes to stderr, with a line whenever that happens.
Exit status: 0 after SIGTERM or SIGINT, 1 if there were problems on the way, 2 if it could not start.";

/// Serves dyn-metrics segments to Prometheus.
#[derive(Debug, Parser)]
#[command(name = "dyn-metrics-exporter", version = VERSION.as_str(), after_help = EXAMPLES)]
struct Arguments {
    /// Segment to serve: a file, a directory or a glob; may be given several times
    /// [default: DYN_METRICS_SHM, else /dev/shm/dynamo]
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    shm: Vec<String>,

    /// Serve what a directory or a glob leads to also if it belongs to this user; may be repeated
    ///
    /// Without it such a file must belong to the exporter's own user or to root: whoever may create a file there could
    /// change the numbers of others. A file that is named by --shm is served whoever owns it.
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,

    /// Serve families up to this priority level alone, 0 (most important) to 255; what is above is not even read
    ///
    /// A scrape may ask for fewer: /metrics?level=N.
    #[arg(long, value_name = "N", default_value_t = u8::MAX)]
    level: u8,

    /// Address to listen on, such as 127.0.0.1:9464; port 0 takes a free one, which the log names
    #[arg(long, value_name = "ADDR:PORT", default_value_t = DEFAULT_LISTEN, value_parser = parse_listen)]
    listen: SocketAddr,

    /// Milliseconds to wait, at a scrape, for processes to run their on-scrape callbacks; 0 asks nobody
    ///
    /// Whoever is late is served with its last values, and not waited for again until it has answered.
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_CALLBACK_TIMEOUT.as_millis() as u32, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    callback_timeout: u32,

    /// Least important events to log: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value_t = LevelFilter::INFO)]
    log_level: LevelFilter,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(arguments.log_level);
    let shm = match patterns(arguments.shm, std::env::var_os(SHM_VARIABLE)) {
        Ok(shm) => shm,
        Err(error) => return not_started(&error),
    };
    if let Err(error) = raise_limit() {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
    dyn_metrics_reader::heap::give_back_large_blocks();
    if let Err(error) = dyn_metrics_reader::guard::install() {
        tracing::warn!(%error, "running without a guard: a truncated segment would end the exporter");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return not_started(&error),
    };
    let Arguments { allow_uid: allow_uids, level: max_level, listen, callback_timeout, .. } = arguments;
    let callback_timeout = Duration::from_millis(u64::from(callback_timeout));
    let code = runtime.block_on(serve(Config { shm, allow_uids, max_level, listen, callback_timeout }));
    // A collection may still run for a client that was cut; nothing is lost with it.
    runtime.shutdown_background();
    code
}

/// What to serve: as the arguments say, else the environment, in which an empty variable is none, else the default.
fn patterns(arguments: Vec<String>, variable: Option<OsString>) -> Result<Vec<String>, Error> {
    if !arguments.is_empty() {
        return Ok(arguments);
    }
    match variable.filter(|value| !value.is_empty()).map(OsString::into_string) {
        None => Ok(vec![DEFAULT_SHM.to_owned()]),
        Some(Ok(pattern)) => Ok(vec![pattern]),
        Some(Err(value)) => Err(Error::NotUtf8 { variable: SHM_VARIABLE, value }),
    }
}

/// From binding to the last response.
async fn serve(config: Config) -> ExitCode {
    let (terminate, interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return not_started(&error),
    };
    let server = match bind(config).await {
        Ok(server) => server,
        Err(error) => return not_started(&error),
    };
    match server.run(stop(terminate, interrupt)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(PROBLEMS)
        }
    }
}

async fn stop(mut terminate: Signal, mut interrupt: Signal) {
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal, "asked to stop");
}

fn not_started(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(NOT_STARTED)
}

/// Logs to stderr, one event a line; in colour on a terminal, unless `NO_COLOR` is set.
fn start_log(level: LevelFilter) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .compact()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && !plain)
        .with_writer(io::stderr)
        // Whoever reads the log may go; that must not end the exporter by a panic.
        .log_internal_errors(false)
        .init();
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn shm_may_be_repeated() {
        let arguments =
            ["exporter", "--shm", "/a", "--shm", "/b/*", "--listen", "[::1]:0", "--log-level", "warn"];
        let arguments = Arguments::try_parse_from(arguments).expect("arguments");
        assert_eq!(arguments.shm, ["/a", "/b/*"]);
        assert_eq!(arguments.level, 255, "everything");
        assert_eq!(arguments.listen, "[::1]:0".parse().expect("an address"));
        assert_eq!(arguments.log_level, LevelFilter::WARN);
    }

    #[test]
    fn the_environment_counts_where_it_says_something() {
        let text = |text: &str| Some(OsString::from(text));
        let given = || vec!["/a".to_owned()];
        assert_eq!(patterns(given(), text("/b")).expect("patterns"), ["/a"]);
        assert_eq!(patterns(Vec::new(), text("/b")).expect("patterns"), ["/b"]);
        for nothing in [None, text("")] {
            assert_eq!(patterns(Vec::new(), nothing).expect("patterns"), [DEFAULT_SHM]);
        }
        let error = patterns(Vec::new(), Some(OsString::from_vec(b"/a\xff".to_vec()))).expect_err("no UTF-8");
        assert_eq!(error.to_string(), "DYN_METRICS_SHM: found \"/a\\xFF\", expected UTF-8");
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [
            ["--shm", ""],
            ["--listen", "9464"],
            ["--log-level", "loud"],
            ["--level", "256"],
            ["--level", "x"],
            ["--callback-timeout", "1s"],
            ["--callback-timeout", "10001"],
        ] {
            assert!(Arguments::try_parse_from(["exporter"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_version_names_the_format() {
        let version = Arguments::command().render_version();
        assert!(version.contains(&format!("segment format {FORMAT_VERSION}")), "{version}");
    }
}

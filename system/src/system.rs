//! The server and the checks of a process: started by one call, on threads of their own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use dyn_metrics::Registry;
use dyn_metrics_exporter::serving::{connections, host, listen};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::check::{Check, Spec};
use crate::checks::SegmentAttached;
use crate::config::Builder;
use crate::engine::{Engine, lock};
use crate::fork;
use crate::http::App;
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::report::Report;
use crate::threads;
use crate::{Error, Probe, Result, State};

/// Threads of the runtime that may block: pages, and the application's format.
const BLOCKING_THREADS: usize = 4;

/// Name of the check of the segment, which every system has.
pub const SEGMENT_CHECK: &str = "segment";

/// A running server with its checks. Dropping it stops both.
///
/// Threads do not survive a fork: in a forked child every method says so ([`Error::Forked`]), nothing waits for them, and the
/// child may start a system of its own.
pub struct System {
    engine: Arc<Engine>,
    address: SocketAddr,
    metrics: Option<Metrics>,
    pid: u32,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    monitor: JoinHandle<()>,
}

impl System {
    /// Options for a system.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts what the environment asks for: none unless `DYN_SYSTEM_ENABLED` is true.
    ///
    /// # Errors
    /// As [`Builder::from_env`] and [`Builder::start`].
    pub fn from_env() -> Result<Option<Self>> {
        Builder::from_env()?.map(Builder::start).transpose()
    }

    pub(crate) fn start(mut builder: Builder) -> Result<Self> {
        let asked = builder.address()?;
        let engine = Engine::new(builder.ready_by_checks, &builder.version);
        let segment = match builder.refused.take() {
            Some(reason) => Err(reason),
            None => open(builder.registry.as_ref()),
        };
        let (check, metrics) = match &segment {
            Ok(metrics) => (SegmentAttached::new(metrics.registry()), Some(metrics.clone())),
            Err(reason) => {
                tracing::warn!(reason, "no segment: only probes are served");
                (SegmentAttached::refused(reason), None)
            }
        };
        let pages = segment.map(|metrics| {
            let (engine, uptime) = (Arc::clone(&engine), metrics.clone());
            (Pages::new(metrics.registry(), move || uptime.set_uptime(engine.uptime())), metrics)
        });
        let checks = std::mem::take(&mut builder.checks);
        let app = App::new(&builder, Arc::clone(&engine), pages)?;
        let (stop, stopped) = oneshot::channel();
        let (address, server) = serve(asked, app, stopped)?;
        let shown = metrics.clone();
        let monitor = {
            let engine = Arc::clone(&engine);
            Arc::clone(&engine).start(move || {
                let Some(metrics) = &shown else { return };
                if !engine.is_stopping() {
                    metrics.set_uptime(engine.uptime());
                    metrics.set_port(address.port());
                }
            })?
        };
        let running = Mutex::new(Some(Running { stop, server, monitor }));
        let system = Self { engine, address, metrics, pid: std::process::id(), running };
        if let Some(metrics) = &system.metrics {
            metrics.set_port(address.port());
        }
        // Where one is refused, dropping the system ends the others.
        system.add_boxed(Spec::new(SEGMENT_CHECK).probe(Probe::Health).informative(), Box::new(check))?;
        for (spec, check) in checks {
            system.add_boxed(spec, check)?;
        }
        tracing::info!(%address, "system server listening");
        Ok(system)
    }

    /// Where it listens: with the real port where 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Registers a check, which runs at once and from then on at its interval.
    ///
    /// # Errors
    /// What is wrong with its name or options, [`Error::DuplicateCheck`], [`Error::NetworkLiveness`],
    /// [`Error::TooManyChecks`], [`Error::Forked`], [`Error::Stopped`].
    pub fn add(&self, spec: Spec, check: impl Check) -> Result<()> {
        self.add_boxed(spec, Box::new(check))
    }

    /// As [`Self::add`], of what is boxed already: for bindings.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_boxed(&self, spec: Spec, check: Box<dyn Check>) -> Result<()> {
        self.here()?;
        self.engine.add(spec, check, |name| Some(self.metrics.as_ref()?.check(name)))
    }

    /// Forgets a check; false when there is none of this name.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.here()?;
        Ok(self.engine.remove(name))
    }

    /// Says where the process is in its life.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn set_state(&self, state: State) -> Result<()> {
        self.here()?;
        self.engine.set_state(state);
        Ok(())
    }

    /// What the process says of itself, or has become.
    #[must_use]
    pub fn state(&self) -> State {
        self.engine.state()
    }

    /// What a probe would be answered with.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn report(&self, probe: Probe) -> Result<Report> {
        self.here()?;
        Ok(self.engine.report(probe))
    }

    /// Stops server and checks; the port is free when it returns. Answers on their way may take up to 5 seconds. Checks that
    /// run are told to stop and not waited for. Doing it again does nothing, and so does doing it in a forked child.
    pub fn stop(&self) {
        if self.here().is_err() {
            return;
        }
        let Some(running) = lock(&self.running).take() else { return };
        let Running { stop, server, monitor } = running;
        self.engine.stop();
        let _ = stop.send(());
        monitor.thread().unpark();
        // A panic of theirs would have been a defect of ours: nothing to do about it here.
        let _ = (server.join(), monitor.join());
        if let Some(metrics) = &self.metrics {
            metrics.set_port(0);
        }
        tracing::info!("system server stopped");
    }

    /// Whether this is the process that started it.
    fn here(&self) -> Result<()> {
        if std::process::id() == self.pid { Ok(()) } else { Err(Error::Forked { parent: self.pid }) }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.stop();
        if self.here().is_err() {
            // Its threads are not there to be joined, and what they held is as they left it.
            let running = self.running.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::forget(running.take());
        }
    }
}

/// The segment and our metrics in it, or why not.
fn open(registry: Option<&Registry>) -> std::result::Result<Metrics, String> {
    let opened = match registry {
        Some(registry) => Ok(registry.clone()),
        None => Registry::root(),
    };
    opened.and_then(|registry| Metrics::new(&registry)).map_err(|error| error.to_string())
}

/// Starts the server's thread; returns when it listens, or can't.
fn serve(
    asked: SocketAddr,
    app: App,
    stopped: oneshot::Receiver<()>,
) -> Result<(SocketAddr, JoinHandle<()>)> {
    let (report, reported) = mpsc::channel();
    let server = threads::spawn_quiet("dyn-system", move || {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(error))),
        };
        runtime.block_on(async {
            match bind(asked) {
                Ok((listener, address, listens)) => {
                    let _ = report.send(Ok(address));
                    let stopped = async move {
                        let _ = stopped.await;
                        // Before the socket is closed: its number may then be somebody else's.
                        drop(listens);
                    };
                    host(listener, app, connections(), stopped).await;
                }
                Err(error) => drop(report.send(Err(error))),
            }
        });
        // A format of the application's that never returns isn't waited for.
        runtime.shutdown_background();
    })?;
    match reported.recv() {
        Ok(Ok(address)) => Ok((address, server)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Thread {
            name: "dyn-system".to_owned(),
            source: std::io::Error::other("it ended before it listened"),
        }),
    }
}

fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS).thread_name("dyn-system-page");
    builder.build().map_err(|source| Error::Thread { name: "dyn-system".to_owned(), source })
}

fn bind(asked: SocketAddr) -> Result<(TcpListener, SocketAddr, fork::Listens)> {
    let wrong = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::AddressInUse { address: asked },
        _ => Error::Listen { address: asked, source },
    };
    let listener = listen(asked).map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    let listens = fork::Listens::new(&listener);
    Ok((listener, address, listens))
}

//! The process's own server: `dyn_metrics.system` is made of this.

use dyn_metrics_system::{Builder, Error, Probe, Rendered, Scope, State};
use pyo3::PyErrArguments;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::errors::{conflict, invalid_value};
use crate::registry::Registry;
use crate::system_calls::SystemCalls;
use crate::system_checks::{SystemCheck, spec};

const EADDRINUSE: i32 = 98;

/// An exception of `dyn_metrics.system`.
fn own(py: Python<'_>, class: &'static str, arguments: impl PyErrArguments + 'static) -> PyErr {
    static LISTEN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static STOPPED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let kept = if class == "ListenError" { &LISTEN } else { &STOPPED };
    match kept.import(py, "dyn_metrics.system", class) {
        Ok(class) => PyErr::from_type(class.clone(), arguments),
        Err(error) => error,
    }
}

/// The exception for `error`.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::DuplicateCheck { .. } => conflict(py, text),
        Error::AddressInUse { .. } => own(py, "ListenError", (EADDRINUSE, text)),
        Error::Listen { source, .. } => own(py, "ListenError", (source.raw_os_error().unwrap_or(0), text)),
        Error::Forked { .. } | Error::Stopped => own(py, "StoppedError", (text,)),
        Error::Thread { source, .. } => PyOSError::new_err((source.raw_os_error().unwrap_or(0), text)),
        _ => invalid_value(py, text),
    }
}

/// A running server with its checks, from `dyn_metrics.system.start()`.
///
/// Its threads never wait for the interpreter.
#[pyclass(frozen, module = "dyn_metrics.system", name = "System")]
pub(crate) struct System(dyn_metrics_system::System);

/// A check, and the fields of its Spec.
type Given<'py> = (PyRef<'py, SystemCheck>, String, String, bool, f64, f64, i64, i64);

fn probe(py: Python<'_>, name: &str) -> PyResult<Probe> {
    Probe::from_name(name).ok_or_else(|| {
        invalid_value(py, format!("probe: found {name:?}, expected liveness, readiness or health"))
    })
}

/// What is left of a builder is how the answers look.
fn formatted(builder: Builder, calls: Option<&SystemCalls>) -> Builder {
    let Some(calls) = calls else { return builder };
    let caller = calls.caller();
    builder.format_or_ours(move |report| {
        let answer = caller.call(report.to_json())?;
        let (content_type, body) = (answer.content_type, answer.text);
        answer.is_ok.then_some(Rendered { content_type, body })
    })
}

#[pymethods]
impl System {
    /// Starts one; None where the environment is asked, and says no.
    #[staticmethod]
    #[pyo3(signature = (from_env, registry, host, port, health_path, live_path, scope, version, starts_until_told, format, checks))]
    #[allow(clippy::too_many_arguments, reason = "the options of a Builder")]
    fn start(
        py: Python<'_>,
        from_env: bool,
        registry: &Registry,
        host: Option<&str>,
        port: Option<u16>,
        health_path: Option<&str>,
        live_path: Option<&str>,
        scope: &str,
        version: Option<&str>,
        starts_until_told: bool,
        format: Option<&SystemCalls>,
        checks: Vec<Given<'_>>,
    ) -> PyResult<Option<Self>> {
        let refused = |error: Error| raise(py, &error);
        let builder =
            if from_env { py.detach(Builder::from_env).map_err(refused)? } else { Some(Builder::default()) };
        let Some(mut builder) = builder else { return Ok(None) };
        builder = host.into_iter().fold(builder, |builder, host| builder.host(host));
        builder = port.into_iter().fold(builder, Builder::port);
        builder = health_path.into_iter().fold(builder, |builder, path| builder.health_path(path));
        builder = live_path.into_iter().fold(builder, |builder, path| builder.live_path(path));
        builder = version.into_iter().fold(builder, |builder, version| builder.version(version));
        builder = match scope {
            "process" => builder.scope(Scope::Process),
            "segment" => builder.scope(Scope::Segment),
            _ => {
                let text = format!("scope: found {scope:?}, expected process or segment");
                return Err(invalid_value(py, text));
            }
        };
        if starts_until_told {
            builder = builder.starts_until_told();
        }
        builder = match registry.attached(py, None) {
            Ok(registry) => builder.registry(registry),
            Err(error) => builder.without_segment(&error.value(py).to_string()),
        };
        let mut builder = formatted(builder, format);
        for (check, name, probe, required, interval, timeout, failures, successes) in checks {
            let spec = spec(py, &name, &probe, required, (interval, timeout), (failures, successes))?;
            builder = builder.check_boxed(spec, check.make());
        }
        py.detach(|| builder.start()).map(|system| Some(Self(system))).map_err(refused)
    }

    /// Where it listens, with the real port where 0 was asked for.
    #[getter]
    fn address(&self) -> (String, u16) {
        let address = self.0.address();
        (address.ip().to_string(), address.port())
    }

    /// The real port.
    #[getter]
    fn port(&self) -> u16 {
        self.0.address().port()
    }

    /// `http://` and where it listens.
    #[getter]
    fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }

    /// Where the process is in its life: starting, ready or draining.
    #[getter]
    fn state(&self) -> &'static str {
        self.0.state().name()
    }

    /// Says where the process is in its life.
    fn set_state(&self, py: Python<'_>, state: &str) -> PyResult<()> {
        let states = [State::Starting, State::Ready, State::Draining];
        let Some(known) = states.into_iter().find(|known| known.name() == state) else {
            let text = format!("state: found {state:?}, expected starting, ready or draining");
            return Err(invalid_value(py, text));
        };
        self.0.set_state(known).map_err(|error| raise(py, &error))
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a Spec")]
    fn add(
        &self,
        py: Python<'_>,
        check: &SystemCheck,
        name: &str,
        probe: &str,
        required: bool,
        interval: f64,
        timeout: f64,
        failures: i64,
        successes: i64,
    ) -> PyResult<()> {
        let spec = spec(py, name, probe, required, (interval, timeout), (failures, successes))?;
        let check = check.make();
        py.detach(|| self.0.add_boxed(spec, check)).map_err(|error| raise(py, &error))
    }

    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        py.detach(|| self.0.remove(name)).map_err(|error| raise(py, &error))
    }

    /// What a probe would be answered with: whether it passes, and the JSON.
    fn report(&self, py: Python<'_>, probe: &str) -> PyResult<(bool, String)> {
        let probe = self::probe(py, probe)?;
        let report = py.detach(|| self.0.report(probe)).map_err(|error| raise(py, &error))?;
        Ok((report.passes, report.to_json()))
    }

    /// Stops server and checks; the port is free then. Doing it again does nothing.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

//! A process's own server: its paths, its answers, its environment, its end.

use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use dyn_metrics::Registry;
use dyn_metrics_system::{Builder, Error, Probe, Rendered, Scope, Spec, State, System, from_fn};
use dyn_metrics_tests::clients::{Client, exchange};
use dyn_metrics_tests::exposition;
use dyn_metrics_tests::forks::{child, ended_well};
use dyn_metrics_tests::servers::{sample, wait_for};
use dyn_metrics_tests::systems::{Scene, get, often, wait_for_check};

fn text(body: &[u8]) -> &str {
    std::str::from_utf8(body).expect("UTF-8")
}

#[test]
fn the_three_probes_and_their_aliases_differ() {
    let scene = Scene::start(|builder| builder.version("1.2.3").starts_until_told());
    for (paths, status, word) in [
        (&["/liveness", "/live", "/livez"][..], 200, "live"),
        (&["/readiness", "/ready", "/readyz"], 503, "starting"),
        (&["/health", "/healthz"], 503, "starting"),
    ] {
        for path in paths {
            let found = scene.probe(path);
            assert_eq!((found.status, found.word()), (status, word), "{path}");
        }
    }
    scene.system.set_state(State::Ready).unwrap();
    scene.wait_for_check("segment", |check| check["status"] == "ok");
    let health = scene.probe("/health");
    assert_eq!((health.status, health.word()), (200, "healthy"));
    assert_eq!(health.report["version"], "1.2.3");
    assert_eq!(health.report["pid"], std::process::id());
    assert_eq!(health.check("segment")["status"], "ok");
    assert!(health.report["uptime_seconds"].as_f64().is_some_and(|uptime| uptime > 0.0));
    scene.system.set_state(State::Draining).unwrap();
    assert_eq!(scene.probe("/readiness").word(), "draining");
    assert_eq!(scene.probe("/liveness").status, 200, "who drains is alive");
}

#[test]
fn a_process_is_ready_once_its_required_checks_have_passed() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let waits = from_fn(move || gate.lock().unwrap().recv().map_err(|_| "closed"));
    let spec = Spec::new("model").timeout(std::time::Duration::from_secs(60));
    let scene = Scene::start(|builder| builder.check(spec, waits));
    let found = scene.probe("/readiness");
    assert_eq!((found.status, found.word()), (503, "starting"));
    assert_eq!(found.check("model")["reason"], "it has not run yet");
    open.send(()).unwrap();
    wait_for("readiness", || (scene.probe("/readiness").status == 200).then_some(()));
    assert_eq!(scene.system.state(), State::Ready);
}

#[test]
fn answers_are_json_text_or_a_word() {
    let scene = Scene::start(|builder| builder);
    let address = scene.system.address();
    scene.wait_for_check("segment", |check| check["status"] == "ok");
    let answer = get(address, "/health", "");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let answer = get(address, "/health", "Accept: text/plain\r\n");
    assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    let lines: Vec<_> = text(&answer.body).lines().collect();
    assert_eq!(lines[0], "healthy");
    assert!(lines[1].starts_with("state ready, up "), "{lines:?}");
    assert!(lines[2].starts_with("ok       segment (health, informative), "), "{lines:?}");
    for (query, status, body) in [
        ("?verbose=0", 200, "live\n"),
        ("?a=b&verbose=false", 200, "live\n"),
        ("?verbose=no", 400, "parameter verbose: found \"no\", expected 0 or 1\n"),
    ] {
        let answer = get(address, &format!("/live{query}"), "");
        assert_eq!((answer.status, text(&answer.body)), (status, body));
    }
    let mut client = Client::connect(address).unwrap();
    client
        .send(b"HEAD /health HTTP/1.1\r\nHost: a\r\n\r\nGET /live?verbose=0 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let head = client.answer(true).unwrap().unwrap();
    assert_eq!(head.status, 200);
    assert_ne!(head.field("content-length"), Some("0"));
    assert_eq!(client.answer(false).unwrap().unwrap().body, b"live\n");
}

#[test]
fn applications_may_write_answers_their_way() {
    let scene = Scene::start(|builder| {
        builder.format(|report| {
            assert_ne!(report.probe, Probe::Liveness, "on purpose");
            let body = format!("<{} {}/>", report.probe, report.status);
            Rendered { content_type: "application/xml".to_owned(), body }
        })
    });
    // On a busy machine one may take too long, and is answered in our format.
    let answer = wait_for("its format", || {
        Some(scene.get("/readiness")).filter(|answer| answer.field("content-type") == Some("application/xml"))
    });
    assert_eq!((answer.status, text(&answer.body)), (200, "<readiness ready/>"));
    assert_eq!(scene.get("/readiness?verbose=0").body, b"ready\n");
    assert_eq!(scene.probe("/liveness").word(), "live", "ours where the application's panics");
}

#[test]
fn a_format_that_never_returns_blocks_nobody() {
    let (_open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let scene = Scene::start(|builder| {
        builder.format(move |_| {
            let _ = gate.lock().unwrap().recv();
            unreachable!("nobody sends")
        })
    });
    for _ in 0..6 {
        assert_eq!(scene.probe("/readiness").word(), "ready");
    }
    assert_eq!(scene.get("/metrics").status, 200, "pages have threads left");
}

#[test]
fn metrics_are_those_of_the_process_or_of_the_segment() {
    let scene = Scene::start(|builder| builder);
    scene.registry.counter("mine_total", "Mine").unwrap().inc_by(5);
    scene.wait_for_check("segment", |check| check["status"] == "ok");
    let page = scene.get("/metrics");
    assert_eq!(page.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = text(&page.body).to_owned();
    // The strict parser takes no comments, which the format allows.
    let after: String = page.split_inclusive('\n').skip(3).collect();
    exposition::parse(after.as_bytes()).expect("a faultless page");
    assert!(page.starts_with(&format!("# Series that process {} has registered in ", std::process::id())));
    assert_eq!(sample(&page, "mine_total"), Some(5.0));
    assert!(sample(&page, "dynamo_system_uptime_seconds").is_some_and(|uptime| uptime > 0.0), "{page}");
    let port = f64::from(scene.system.address().port());
    assert_eq!(sample(&page, "dynamo_system_port"), Some(port));
    assert_eq!(sample(&page, "dynamo_health_check_status{check=\"segment\"}"), Some(1.0));
    assert!(!page.contains("dyn_metrics_segments"), "{page}");
    let again = text(&scene.get("/metrics").body).to_owned();
    assert_eq!(
        sample(&again, "dynamo_system_http_requests_total{code=\"200\",path=\"/metrics\"}"),
        Some(1.0)
    );
    let segment = text(&scene.get("/metrics?scope=segment").body).to_owned();
    exposition::parse(segment.as_bytes()).expect("a faultless page");
    let pid = std::process::id();
    assert_eq!(sample(&segment, &format!("dynamo_system_port{{pid=\"{pid}\"}}")), Some(port));
    assert_eq!(sample(&segment, "dyn_metrics_segments"), Some(1.0));
    assert_eq!(scene.get("/metrics?scope=all").status, 400);
}

#[test]
fn what_no_segment_keeps_is_shown_all_the_same() {
    let theirs = dyn_metrics::backend::Prometheus::new(prometheus::Registry::new());
    let root = Registry::with_backend(Arc::new(theirs));
    let component = root.child("app_", &[("zone", "a")]).unwrap();
    component.counter("mine_total", "Mine").unwrap().inc_by(5);
    root.counter("other_total", "").unwrap().inc();
    let _depth = component.gauge("depth", "").unwrap().set_function(|| 7);
    let start = |registry| System::builder().registry(registry).host("127.0.0.1").port(0).start().unwrap();
    let system = start(&component);
    wait_for_check(system.address(), "segment", |check| {
        check["status"] == "ok" && check["reason"] == "no segment: the registry is prometheus"
    });
    // Callbacks are waited for a bounded time.
    let page = wait_for("a page", || {
        let page = text(&get(system.address(), "/metrics", "").body).to_owned();
        (sample(&page, "app_depth{zone=\"a\"}") == Some(7.0)).then_some(page)
    });
    let segment = text(&get(system.address(), "/metrics?scope=segment", "").body).to_owned();
    for page in [page, segment] {
        assert_eq!(sample(&page, "app_mine_total{zone=\"a\"}"), Some(5.0), "{page}");
        assert_eq!(sample(&page, "other_total"), Some(1.0));
        let port = f64::from(system.address().port());
        assert_eq!(sample(&page, "dynamo_system_port{zone=\"a\"}"), Some(port));
    }
    let system = start(&Registry::null());
    let page = get(system.address(), "/metrics", "");
    assert_eq!(page.status, 200);
    assert!(text(&page.body).ends_with("its registry is null.\n"), "{}", text(&page.body));
}

#[test]
fn the_whole_segment_may_be_the_default() {
    let scene = Scene::start(|builder| builder.scope(Scope::Segment));
    assert!(text(&scene.get("/metrics").body).contains("dyn_metrics_segments 1\n"));
    assert!(!text(&scene.get("/metrics?scope=process").body).contains("dyn_metrics_segments"));
}

#[test]
fn tools_find_the_port_in_the_segment() {
    let scene = Scene::start(|builder| builder);
    let pattern = scene.registry.path().to_string_lossy().into_owned();
    let mut collector = dyn_metrics_reader::Collector::new(&[pattern]);
    let mut port = || collector.collect().segments[0].processes[0].http_port;
    assert_eq!(port(), scene.system.address().port());
    scene.system.stop();
    assert_eq!(port(), 0);
}

#[test]
fn without_a_segment_probes_are_served_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let opened = dyn_metrics::Registry::open_at(directory.path());
    let reason = opened.expect_err("a directory is no segment").to_string();
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "helper_starts_from_the_environment", "--nocapture", "--ignored"])
        .env("DYN_METRICS_SHM", directory.path())
        .env("DYN_SYSTEM_ENABLED", "true")
        .env("DYN_SYSTEM_PORT", "0")
        .env("DYN_SYSTEM_HOST", "localhost")
        .env("DYN_SYSTEM_HEALTH_PATH", "/my/health")
        .env("DYN_SYSTEM_LIVE_PATH", "/my/live")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("live: 200, health: 200 degraded"), "{output}");
    assert!(output.contains(&format!("segment: no segment: {reason}")), "{output}");
    assert!(output.contains(&format!("metrics: 503 no segment: {reason}")), "{output}");
}

#[test]
#[ignore = "run by the test above, with an environment"]
fn helper_starts_from_the_environment() {
    let system = System::from_env().expect("a system").expect("one that is enabled");
    let address = system.address();
    let live = get(address, "/my/live", "").status;
    let health = wait_for("the segment's check", || {
        let health = dyn_metrics_tests::systems::probe(address, "/my/health");
        (health.check("segment")["status"] != "starting").then_some(health)
    });
    println!("live: {live}, health: {} {}", health.status, health.word());
    println!("segment: {}", health.check("segment")["reason"].as_str().unwrap());
    let metrics = get(address, "/metrics", "");
    println!("metrics: {} {}", metrics.status, text(&metrics.body));
}

/// What the environment with these variables gives.
fn from(variables: &[(&str, &str)]) -> Result<Option<Builder>, Error> {
    Builder::from_variables(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    })
}

#[test]
fn the_environment_enables_and_bad_values_are_named() {
    assert!(from(&[]).unwrap().is_none());
    assert!(from(&[("DYN_SYSTEM_ENABLED", ""), ("DYN_SYSTEM_PORT", "x")]).unwrap().is_none());
    for (value, enabled) in
        [("true", true), ("TRUE", true), ("1", true), ("on", true), ("false", false), ("0", false)]
    {
        assert_eq!(from(&[("DYN_SYSTEM_ENABLED", value)]).unwrap().is_some(), enabled, "{value}");
    }
    let bad = |name: &str, value: &str| {
        let error = from(&[("DYN_SYSTEM_ENABLED", "true"), (name, value)]).err().expect("an error");
        error.to_string()
    };
    let error = from(&[("DYN_SYSTEM_ENABLED", "maybe")]).err().unwrap().to_string();
    assert_eq!(error, "DYN_SYSTEM_ENABLED: found \"maybe\", expected true or false");
    for port in ["65536", "-1", "http", "80 ", "8081.0"] {
        let expected =
            format!("DYN_SYSTEM_PORT: found {port:?}, expected a port, 0 to 65535, 0 for any free one");
        assert_eq!(bad("DYN_SYSTEM_PORT", port), expected);
    }
    assert!(
        bad("DYN_SYSTEM_HOST", "no such host")
            .starts_with("DYN_SYSTEM_HOST: found \"no such host\", expected ")
    );
    for path in ["health", "/a b", "/a?b", "/ü", "/\n"] {
        let error = bad("DYN_SYSTEM_HEALTH_PATH", path);
        assert!(error.starts_with("DYN_SYSTEM_HEALTH_PATH: found "), "{error}");
    }
    let not_text = Builder::from_variables(|_| Some(OsString::from_vec(b"\xff".to_vec())));
    assert_eq!(not_text.err().unwrap().to_string(), "DYN_SYSTEM_ENABLED: found \"\u{fffd}\", expected UTF-8");
}

#[test]
fn one_path_answers_one_thing() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = dyn_metrics::Registry::open_at(directory.path().join("s")).unwrap();
    let builder = || System::builder().registry(&registry).host("127.0.0.1").port(0);
    let error = builder().health_path("/live").start().err().unwrap().to_string();
    assert_eq!(error, "path \"/live\": found liveness and health at the same path, expected different ones");
    let error = builder().health_path("/x").live_path("/x").start().err().unwrap().to_string();
    assert_eq!(error, "path \"/x\": found health and liveness at the same path, expected different ones");
    assert!(builder().health_path("/healthz").start().is_ok(), "what it is anyway");
}

#[test]
fn a_port_in_use_is_an_error_and_free_again_after_a_stop() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = dyn_metrics::Registry::open_at(directory.path().join("s")).unwrap();
    let start = || System::builder().registry(&registry).host("127.0.0.1").port(port).start();
    let error = start().err().expect("an error");
    assert!(matches!(error, Error::AddressInUse { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on 127.0.0.1:{port}: the address is already in use, choose another DYN_SYSTEM_PORT, or 0 for any"
        )
    );
    drop(taken);
    for _ in 0..3 {
        let system = start().expect("it is free");
        assert_eq!(get(system.address(), "/live", "").status, 200);
        system.stop();
        system.stop();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        let refused = system.add(often("late"), from_fn(|| Ok::<(), String>(()))).err().unwrap();
        assert!(matches!(refused, Error::Stopped));
    }
}

#[test]
fn malformed_and_oversize_requests_are_refused() {
    let scene = Scene::start(|builder| builder);
    let address = scene.system.address();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(1000));
    for (request, status) in [
        ("nonsense\r\n\r\n", 400),
        (long.as_str(), 414),
        (many.as_str(), 431),
        ("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ] {
        let (answers, _) = exchange(address, request.as_bytes());
        let found: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        let shown: String = request.chars().take(40).collect();
        assert!(found == [status] || (status == 414 && found == [431]), "{found:?} to {shown}");
    }
    let (answers, _) = exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text(&answers[0].body).contains("/readyz readiness\n"));
    assert_eq!(get(address, "/live", "").status, 200);
    let page = text(&scene.get("/metrics").body).to_owned();
    assert_eq!(sample(&page, "dynamo_system_http_requests_total{code=\"404\",path=\"other\"}"), Some(1.0));
}

#[test]
fn a_forked_child_is_told_so_and_starts_its_own() {
    let scene = Scene::start(|builder| builder);
    let (system, registry) = (&scene.system, &scene.registry);
    let parent = std::process::id();
    let in_child = child(|| {
        let error = system.add(often("x"), from_fn(|| Ok::<(), String>(()))).expect_err("an error");
        assert!(matches!(error, Error::Forked { parent: found } if found == parent));
        system.stop();
        let own = System::builder().registry(registry).host("127.0.0.1").port(0).start().expect("its own");
        assert_eq!(get(own.address(), "/live", "").status, 200);
        own.stop();
    });
    assert!(ended_well(in_child));
    assert_eq!(scene.get("/live").status, 200);
}

#[test]
fn a_forked_child_does_not_keep_the_port() {
    let scene = Scene::start(|builder| builder);
    let address = scene.system.address();
    let in_child = child(|| {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    });
    scene.system.stop();
    // The child gives it up as soon as it runs.
    let again = (0..1200).find_map(|_| {
        let bound = TcpListener::bind(address).ok();
        if bound.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        bound
    });
    nix::sys::signal::kill(in_child, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(in_child, None).unwrap();
    again.expect("the port is free although the child lives");
}

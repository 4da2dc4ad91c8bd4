//! etcd and NATS come and go, and say what they like: readiness says so with the reason, and liveness stays up.

use std::time::Duration;

use dyn_metrics_system::checks::{Etcd, Nats};
use dyn_metrics_system::{Beat, Error, Probe, Spec};
use dyn_metrics_tests::brokers::{Broker, Service, babbler, mute};
use dyn_metrics_tests::servers::{have, wait_for};
use dyn_metrics_tests::systems::{Scene, fails_with};
use nix::sys::signal::Signal;
use serde_json::Value;

fn soon(name: &str) -> Spec {
    Spec::new(name).every(Duration::from_millis(100)).timeout(Duration::from_millis(800))
}

fn url(scheme: &str, address: std::net::SocketAddr) -> String {
    format!("{scheme}://{address}")
}

fn is_ok(check: &Value) -> bool {
    check["status"] == "ok"
}

/// Waits until `name` fails with this reason, in readiness and health, while liveness passes.
fn shows(scene: &Scene, name: &str, reason: &str) {
    scene.wait_for_check(name, |check| fails_with(check, reason));
    // Each probe in one answer: between two the check may have run again.
    for (path, word) in [("/readiness", "not_ready"), ("/health", "unhealthy")] {
        wait_for("the probe", || {
            let found = scene.probe(path);
            let shows = fails_with(found.check(name), reason);
            (found.status == 503 && found.word() == word && shows).then_some(())
        });
    }
    let live = scene.probe("/liveness");
    assert_eq!((live.status, live.word()), (200, "live"), "{:?}", live.report);
    assert_eq!(live.check(name), &Value::Null, "liveness doesn't even show it");
}

/// Waits until `name` passes again.
fn recovers(scene: &Scene, name: &str) -> Value {
    let found = scene.wait_for_check(name, is_ok);
    wait_for("readiness", || (scene.probe("/readiness").status == 200).then_some(()));
    found
}

#[test]
fn etcd_stopped_killed_and_restarted_shows() {
    if !have("etcd") {
        return;
    }
    let mut etcd = Broker::etcd();
    let check = Etcd::new(&url("http", etcd.address)).unwrap();
    let scene = Scene::start(|builder| builder.check(soon("etcd"), check));
    let found = recovers(&scene, "etcd");
    assert!(found["reason"].as_str().unwrap().starts_with("version 3."), "{found}");
    etcd.signal(Signal::SIGSTOP);
    shows(&scene, "etcd", &format!("{}: no answer within 0.7", url("http", etcd.address)));
    etcd.signal(Signal::SIGCONT);
    recovers(&scene, "etcd");
    etcd.kill();
    shows(&scene, "etcd", "no connection: Connection refused");
    etcd.start();
    recovers(&scene, "etcd");
}

#[test]
fn a_lease_that_expires_or_is_revoked_shows() {
    if !have("etcd") {
        return;
    }
    let etcd = Broker::etcd();
    let new = || Etcd::new(&url("http", etcd.address)).unwrap();
    let (short, long) = (etcd.grant(2), etcd.grant(600));
    let scene = Scene::start(|builder| {
        builder.check(soon("short"), new().lease(short)).check(soon("long"), new().lease(long))
    });
    let found = scene.wait_for_check("long", is_ok);
    assert!(found["reason"].as_str().unwrap().contains(&format!("lease {long} has ")), "{found}");
    shows(&scene, "short", &format!("lease {short} has expired or was revoked"));
    assert!(is_ok(scene.probe("/health").check("long")));
    let _ = etcd.ask("/v3/lease/revoke", &format!("{{\"ID\": \"{long}\"}}"));
    shows(&scene, "long", &format!("lease {long} has expired or was revoked"));
}

#[test]
fn a_lease_is_renewed_while_the_process_is_live_and_lapses_when_not() {
    if !have("etcd") {
        return;
    }
    let etcd = Broker::etcd();
    let lease = etcd.grant(2);
    let value = format!("{{\"key\": \"L2k=\", \"value\": \"eA==\", \"lease\": \"{lease}\"}}");
    let _ = etcd.ask("/v3/kv/put", &value); // /i
    let check = Etcd::new(&url("http", etcd.address)).unwrap().lease(lease).keep_alive().key_prefix("/i");
    let beat = Beat::new();
    let live = Spec::new("loop").probe(Probe::Liveness).every(Duration::from_millis(50));
    let scene = Scene::start(|builder| {
        let stalls = beat.stalls_after(Duration::from_secs(20));
        builder.check(soon("etcd"), check).check(live, stalls)
    });
    // Longer than the lease would live without.
    let found = recovers(&scene, "etcd");
    assert!(found["reason"].as_str().unwrap().ends_with("1 keys begin with \"/i\""), "{found}");
    let start = std::time::Instant::now();
    wait_for("some time", || (start.elapsed() > Duration::from_secs(5)).then(|| beat.beat()));
    assert!(is_ok(scene.probe("/health").check("etcd")));
    // The loop stands still: the lease goes with it.
    let stuck = Spec::new("stuck").probe(Probe::Liveness);
    scene.system.add(stuck, |_: &dyn_metrics_system::Context| Err("stuck".to_owned())).unwrap();
    scene.wait_for_check("etcd", |check| fails_with(check, "is not renewed, for this process is not live"));
    scene.wait_for_check("etcd", |check| {
        fails_with(check, &format!("lease {lease} has expired or was revoked"))
    });
    let found = etcd.ask("/v3/kv/range", "{\"key\": \"L2k=\"}");
    assert_eq!(found["kvs"], Value::Null, "what was bound to the lease is gone");
    assert_eq!(scene.probe("/liveness").status, 503);
}

#[test]
fn a_lease_that_is_renewed_too_seldom_is_told_so() {
    if !have("etcd") {
        return;
    }
    let etcd = Broker::etcd();
    let check = Etcd::new(&url("http", etcd.address)).unwrap().lease(etcd.grant(5)).keep_alive();
    let spec = Spec::new("etcd").every(Duration::from_secs(5));
    let scene = Scene::start(|builder| builder.check(spec, check));
    scene.wait_for_check("etcd", |check| fails_with(check, "lives 5 s and is renewed every 5 s"));
}

#[test]
fn a_component_that_is_not_registered_shows() {
    if !have("etcd") {
        return;
    }
    let etcd = Broker::etcd();
    let check = Etcd::new(&url("http", etcd.address)).unwrap().key_prefix("/dynamo/backend/");
    let scene = Scene::start(|builder| builder.check(soon("registration"), check));
    shows(&scene, "registration", "no key begins with \"/dynamo/backend/\"");
    // "/dynamo/backend/1"
    let put = "{\"key\": \"L2R5bmFtby9iYWNrZW5kLzE=\", \"value\": \"eA==\"}";
    let _ = etcd.ask("/v3/kv/put", put);
    let found = recovers(&scene, "registration");
    assert!(found["reason"].as_str().unwrap().ends_with("1 keys begin with \"/dynamo/backend/\""), "{found}");
    let _ = etcd.ask("/v3/kv/deleterange", "{\"key\": \"L2R5bmFtby9iYWNrZW5kLzE=\"}");
    shows(&scene, "registration", "no key begins with");
}

#[test]
fn nats_stopped_killed_and_restarted_shows() {
    if !have("nats-server") {
        return;
    }
    let mut nats = Broker::nats();
    let check = Nats::new(&url("nats", nats.address)).unwrap();
    let scene = Scene::start(|builder| builder.check(soon("nats"), check));
    let found = recovers(&scene, "nats");
    assert!(found["reason"].as_str().unwrap().starts_with("version 2."), "{found}");
    nats.signal(Signal::SIGSTOP);
    shows(&scene, "nats", &format!("{}: no answer within 0.7", url("nats", nats.address)));
    nats.signal(Signal::SIGCONT);
    recovers(&scene, "nats");
    nats.kill();
    shows(&scene, "nats", "no connection: Connection refused");
    nats.start();
    recovers(&scene, "nats");
}

#[test]
fn a_service_that_is_not_registered_shows() {
    if !have("nats-server") {
        return;
    }
    let nats = Broker::nats();
    let new = || Nats::new(&url("nats", nats.address)).unwrap();
    let scene = Scene::start(|builder| {
        let any = soon("any").informative();
        builder
            .check(any, new().service("generate").unwrap())
            .check(soon("mine"), new().service_instance("generate", "7").unwrap())
    });
    shows(&scene, "mine", "service generate.7 is not registered: nobody answers $SRV.PING.generate.7");
    let other = Service::register(nats.address, "generate", "8");
    let found = scene.wait_for_check("any", is_ok);
    assert!(
        found["reason"].as_str().unwrap().ends_with("service generate answers with id 8, version 2.1.0"),
        "{found}"
    );
    shows(&scene, "mine", "is not registered");
    let mine = Service::register(nats.address, "generate", "7");
    recovers(&scene, "mine");
    drop((mine, other));
    shows(&scene, "mine", "is not registered");
    scene.wait_for_check("any", |check| fails_with(check, "service generate is not registered"));
}

#[test]
fn servers_that_say_nothing_or_nonsense_fail_within_the_limit() {
    let silent = mute(b"");
    let half = mute(b"INFO {\"version\":\"2\"}\r\n");
    let endless = babbler(vec![b'x'; 1 << 20]);
    let html = babbler(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_vec());
    let huge = babbler(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n".to_vec(), vec![b'{'; 1 << 20]].concat(),
    );
    let refuses = babbler(b"INFO {}\r\n-ERR 'Authorization Violation'\r\n".to_vec());
    let tls = mute(b"INFO {\"tls_required\":true}\r\n");
    let etcd = |address| Etcd::new(&url("http", address)).unwrap();
    let nats = |address| Nats::new(&url("nats", address)).unwrap();
    let scene = Scene::start(|builder| {
        builder
            .check(soon("etcd_silent"), etcd(silent))
            .check(soon("etcd_html"), etcd(html))
            .check(soon("etcd_huge"), etcd(huge))
            .check(soon("etcd_endless"), etcd(endless))
            .check(soon("nats_silent"), nats(silent))
            .check(soon("nats_half"), nats(half))
            .check(soon("nats_endless"), nats(endless))
            .check(soon("nats_html"), nats(html))
            .check(soon("nats_refuses"), nats(refuses))
            .check(soon("nats_tls"), nats(tls))
            .check(soon("no_host"), Etcd::new("http://no-such-host.invalid").unwrap())
    });
    for (name, reason) in [
        ("etcd_silent", "no answer within 0.7"),
        ("etcd_html", "the answer is no JSON"),
        ("etcd_huge", "length limit exceeded"),
        ("etcd_endless", "POST /v3/maintenance/status: "),
        ("nats_silent", "no answer within 0.7"),
        ("nats_half", "no answer within 0.7"),
        ("nats_endless", "its line never ends"),
        ("nats_html", "it doesn't begin as NATS does"),
        ("nats_refuses", "it says 'Authorization Violation'"),
        ("nats_tls", "it requires TLS"),
        ("no_host", "http://no-such-host.invalid:2379: no "),
    ] {
        let check = scene.wait_for_check(name, |check| check["status"] == "failing");
        assert!(fails_with(&check, reason), "{check}");
    }
    assert_eq!(scene.probe("/liveness").status, 200);
}

#[test]
fn what_others_do_never_feeds_liveness() {
    let scene = Scene::start(|builder| builder);
    let spec = soon("etcd").probe(Probe::Liveness);
    let error = scene.system.add(spec, Etcd::new("http://localhost:2379").unwrap()).unwrap_err();
    assert!(matches!(error, Error::NetworkLiveness { .. }));
    assert_eq!(
        error.to_string(),
        "check \"etcd\": it asks others over the network, expected another probe than liveness: \
         their failure would restart this process"
    );
}

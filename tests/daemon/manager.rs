//! What the service manager hears, on a socket that the test holds in its place.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::daemon::{Daemon, Footing, Site, ganger, wait_for};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::wait::{patience, until, within};

on_both_footings! {
    a_life_is_told_in_its_order
    a_start_that_fails_is_never_ready
    a_node_that_was_told_to_drain_takes_nothing_more_and_stays_up
}

/// The manager's end of the socket. It writes down what it hears.
struct Manager {
    path: std::path::PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    fn of(site: &Site) -> Self {
        let path = site.folder().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let writing = heard.clone();
        // Ends with the test's process: nobody else is left then who could say anything.
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                writing.lock().unwrap().extend(text.lines().map(str::to_owned));
            }
        });
        Self { path, heard }
    }

    /// A daemon under this manager, whose watchdog bites after `watchdog_ms`.
    fn watches(&self, mut command: Command, watchdog_ms: u64) -> Command {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", (watchdog_ms * 1_000).to_string());
        command
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// How many lines were heard that begin so.
    fn count(&self, start: &str) -> usize {
        self.heard().iter().filter(|line| line.starts_with(start)).count()
    }

    /// Waits for a line that begins so, after the first `skipped` lines; answers its place.
    async fn hears(&self, start: &str, skipped: usize) -> usize {
        until(&format!("the manager hears {start}"), || async {
            self.heard().iter().skip(skipped).position(|line| line.starts_with(start)).map(|place| place + skipped)
        })
        .await
    }
}

async fn a_life_is_told_in_its_order(footing: Footing) {
    let site = Site::new(footing).await;
    let manager = Manager::of(&site);
    let live = site.folder().join("live.toml");
    std::fs::write(&live, "").unwrap();
    let mut command = site.command("[shutdown]\nsoft_ms = 60000\n");
    command.arg("--config").arg(&live);
    let mut daemon = Daemon::spawn(manager.watches(command, 1_000)).await;

    // The start asks for time before it is over, and what is ready answers.
    let ready = manager.hears("READY=1", 0).await;
    assert_eq!(daemon.call("GET", "/livez", None).await.0, 200);
    let before = manager.heard()[..ready].to_vec();
    assert!(before.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{before:?}");
    assert!(before.iter().all(|line| !line.starts_with("WATCHDOG") && !line.starts_with("STOPPING")), "{before:?}");
    manager.hears("WATCHDOG=1", ready).await;

    // No child hears of the manager.
    let line = "echo ${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none}";
    let id = daemon.submit(json!({"type": "shell", "payload": line})).await;
    assert_eq!(daemon.at_rest(&id).await["result"], "none none\n");

    // The status follows what happens.
    let gate = site.folder().join("gate");
    let long = daemon.submit(json!({"type": "shell", "payload": wait_for(&gate)})).await;
    daemon.in_state(&long, "running").await;
    manager.hears("STATUS=0 jobs wait, 1 run on 6 workers, shedding level 0", ready).await;

    // A reload is over when it is over, good or bad.
    for text in ["", "[queues.work]\nprioritys = 3\n"] {
        std::fs::write(&live, text).unwrap();
        let skipped = manager.heard().len();
        daemon.signal(Signal::SIGHUP);
        let reloading = manager.hears("RELOADING=1", skipped).await;
        let stamp = manager.heard()[reloading + 1].clone();
        let since: i64 = stamp.strip_prefix("MONOTONIC_USEC=").expect("a stamp").parse().expect("a number");
        assert!(since > 0 && since <= ganger::service::notify::monotonic_us());
        manager.hears("READY=1", reloading).await;
    }

    // The stop asks for time too, and the watchdog is fed while jobs may finish.
    daemon.signal(Signal::SIGTERM);
    let stopping = manager.hears("STOPPING=1", ready).await;
    let asked = manager.hears("EXTEND_TIMEOUT_USEC=", stopping).await;
    manager.hears("STATUS=draining, no new jobs", asked).await;
    manager.hears("WATCHDOG=1", manager.heard().len()).await;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(daemon.ended().await, Some(0), "{}", daemon.log());
    assert_eq!((manager.count("READY=1"), manager.count("STOPPING=1")), (3, 1), "{:?}", manager.heard());
}

async fn a_start_that_fails_is_never_ready(footing: Footing) {
    let site = Site::new(footing).await;
    let manager = Manager::of(&site);
    let mut command = site.command("");
    // One footing has a folder that cannot be made, the other a database that does not answer.
    command.env("GANGER__STARTUP__WAIT_MS", "300").arg("--data-dir").arg("/dev/null/x");
    if footing == Footing::Cluster {
        command.env("GANGER__LEDGER__URL", "postgres://nobody@127.0.0.1:1/none");
    }
    let output = crate::support::daemon::run(&mut manager.watches(command, 1_000));
    assert_ne!(output.status, Some(0), "{}", output.stderr);
    assert_eq!(manager.count("READY=1"), 0, "{:?}", manager.heard());
}

async fn a_node_that_was_told_to_drain_takes_nothing_more_and_stays_up(footing: Footing) {
    let site = Site::new(footing).await;
    let mut daemon = site.start("").await;
    let gate = site.folder().join("gate");
    let long = daemon.submit(json!({"type": "shell", "payload": wait_for(&gate)})).await;
    daemon.in_state(&long, "running").await;
    let drain = |wait: &str| ganger(&["drain", "--server", &daemon.url, "--wait", wait, "--by", "ada"]);
    let early = drain("100ms");
    assert_eq!(early.status, Some(1), "{early:?}");
    assert!(early.stdout.contains("1 still run after"), "{early:?}");
    assert_eq!(daemon.post("/v1/jobs", json!({"type": "echo"})).await.0, 503);
    assert_eq!(daemon.call("GET", "/readyz", None).await.0, 503);
    assert_eq!(daemon.call("GET", "/livez", None).await.0, 200);
    std::fs::write(&gate, "").unwrap();
    let done = drain("1m");
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.stdout.contains("nothing runs there"), "{done:?}");
    let job = daemon.at_rest(&long).await;
    assert_eq!((&job["state"], &job["attempts"], &job["deferrals"]), (&json!("succeeded"), &json!(1), &json!(0)));
    let refused = daemon.post("/v1/node/drain", json!({"wait_s": 601})).await;
    assert_eq!((refused.0, &refused.1["code"]), (422, &json!("bad_field")), "{refused:?}");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended().await, Some(0), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_stops_no_ping() {
    let redis = Redis::start().await;
    let database = Postgres::shared().await.database().await;
    let site = Site::on(&redis.url(), &database.url);
    let manager = Manager::of(&site);
    // Short calls, so that the time for which a service may stand still is the shortest: 20 s.
    let quick = "[redis]\ntimeout_ms = 500\n[ledger]\ntimeout_ms = 2000\n";
    let daemon = Daemon::spawn(manager.watches(site.command(quick), 500)).await;
    let ready = manager.hears("READY=1", 0).await;
    redis.freeze();
    let id = daemon.submit(json!({"type": "echo", "payload": 1})).await;
    until("it tells that the broker is away", || async {
        manager.heard().iter().skip(ready).any(|line| line.contains("broker away")).then_some(())
    })
    .await;
    // 120 pings at a quarter of a second are half a minute.
    let fed = manager.count("WATCHDOG=1");
    within(2 * patience(), "the watchdog is fed for half a minute more", || async {
        (manager.count("WATCHDOG=1") >= fed + 120).then_some(())
    })
    .await;
    assert_eq!(manager.count("STATUS=stuck"), 0, "{:?}", manager.heard());
    assert_eq!(daemon.call("GET", "/livez", None).await.0, 200);
    redis.thaw();
    assert_eq!(daemon.at_rest(&id).await["result"], 1);
}

//! A full disk under the embedded ledger: new jobs are refused by name, and nothing accepted is lost.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::daemon::{Daemon, Footing, Site, wait_for};
use crate::support::wait::until;

/// The daemon in a mount namespace of its own, in which its data folder is a small file system that
/// a ballast file fills by half. `unshare` makes the caller root there where it is not root already.
fn on_a_small_disk(command: &Command, data: &str) -> Command {
    let script = format!(
        "mkdir -p '{data}' && mount -t tmpfs -o size=12m tmpfs '{data}' && head -c 6291456 /dev/zero > '{data}/ballast' && exec \"$0\" \"$@\""
    );
    let mut wrapped = Command::new("unshare");
    wrapped.args(if std::fs::metadata("/proc/self").unwrap().uid() == 0 { &["-m"][..] } else { &["-r", "-m"][..] });
    wrapped.args(["sh", "-c", &script]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_jobs_and_loses_none() {
    let site = Site::new(Footing::Embedded).await;
    let data = site.folder().join("data");
    let command = on_a_small_disk(&site.command(""), data.to_str().unwrap());
    let daemon = Daemon::spawn(command).await;
    let gate = site.folder().join("gate");
    let hold = format!("{}; echo done", wait_for(&gate));
    let running = daemon.submit(json!({"type": "shell", "payload": hold})).await;
    daemon.in_state(&running, "running").await;

    // Jobs that wait, until the disk is full.
    let mut accepted = vec![running];
    let refusal = loop {
        let submit = json!({"type": "side_sleep", "payload": {"ms": 0, "pad": "x".repeat(100_000)}, "delay_ms": 1});
        let (status, answer) = daemon.post("/v1/jobs", submit).await;
        if status != 201 {
            break (status, answer);
        }
        accepted.push(answer["id"].as_str().unwrap().to_owned());
        assert!(accepted.len() < 1_000, "the disk does not fill up");
    };
    let (status, problem) = refusal;
    assert_eq!((status, &problem["code"]), (503, &json!("ledger_unavailable")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("full") && detail.contains("ganger.db"), "{detail}");

    // The running job ends while the disk is full; its outcome is held.
    std::fs::write(&gate, "").unwrap();
    let ballast = PathBuf::from(format!("/proc/{}/root{}/ballast", daemon.pid(), data.display()));
    std::fs::remove_file(&ballast).unwrap_or_else(|error| panic!("{}: {error}", ballast.display()));
    for id in &accepted {
        let job = daemon.at_rest(id).await;
        assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "{job}");
    }
    until("new jobs are accepted again", || async {
        (daemon.post("/v1/jobs", json!({"type": "noop"})).await.0 == 201).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_held_while_the_disk_is_full_and_land_once_there_is_room() {
    let site = Site::new(Footing::Embedded).await;
    let data = site.folder().join("data");
    let daemon = Daemon::spawn(on_a_small_disk(&site.command(""), data.to_str().unwrap())).await;
    let gate = site.folder().join("gate");
    let ran = |name: &str| site.folder().join(name);
    // The second goes on for more than a lease (3 s) after the first has ended.
    let mut jobs = Vec::new();
    for (name, more) in [("ran-1", ""), ("ran-2", "sleep 4;")] {
        let line = format!("{}; {more} echo ran >> {}; echo done", wait_for(&gate), ran(name).display());
        let id = daemon.submit(json!({"type": "shell", "payload": line})).await;
        daemon.in_state(&id, "running").await;
        jobs.push(id);
    }
    let disk = PathBuf::from(format!("/proc/{}/root{}", daemon.pid(), data.display()));
    let rest = std::fs::File::create(disk.join("rest")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(0), &mut &rest).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    std::fs::write(&gate, "").unwrap();

    until("the second handler has ended", || async { ran("ran-2").exists().then_some(()) }).await;
    until("the ledger is known to be full", || async {
        (daemon.metric("ganger_ledger_up").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(daemon.post("/v1/jobs", json!({"type": "noop"})).await.0, 503);
    for id in &jobs {
        // What is known is told: the disk can be read.
        assert_eq!(daemon.job(id).await["state"], "running");
    }

    for ballast in ["ballast", "rest"] {
        std::fs::remove_file(disk.join(ballast)).unwrap();
    }
    for (id, name) in jobs.iter().zip(["ran-1", "ran-2"]) {
        let job = daemon.at_rest(id).await;
        let figures = (&job["state"], &job["attempts"], &job["deliveries"], &job["crashes"]);
        assert_eq!(figures, (&json!("succeeded"), &json!(1), &json!(1), &json!(0)), "{job}");
        assert_eq!(std::fs::read_to_string(ran(name)).unwrap(), "ran\n", "one run");
    }
    assert_eq!(daemon.metric("ganger_stale_results_total{queue=\"work\"}").await, 0.0);
    daemon.submit(json!({"type": "noop"})).await;
}

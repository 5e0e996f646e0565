//! Commands: each way a child can end, and that none is left behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use ganger::config::{Config, ConfigFile, Sources};
use ganger::handler::command::{CommandHandler, CommandParams};
use ganger::handler::{Handler as _, Ran};
use ganger::job::TypeName;
use ganger::policy::catalog::HandlerSpec;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

use super::{PATIENCE, failure, invocation, result, run};

/// A shell script as a handler.
fn shell(script: &str) -> CommandHandler {
    CommandHandler::new(CommandParams {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
        exit_classes: BTreeMap::from([(2, "assertion_failure".to_owned())]),
        term_grace_ms: 5_000,
    })
}

async fn run_script(script: &str, payload: &str) -> Ran {
    run(&shell(script), payload).await
}

/// Waits until a look finds something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The process id that a script wrote into a file.
async fn written_pid(file: &Path) -> Pid {
    let read = || std::fs::read_to_string(file).ok()?.strip_suffix('\n')?.parse().ok();
    Pid::from_raw(eventually("a process id", read).await)
}

/// Whether a process has ended, collected by its parent or not.
pub(crate) fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim().chars().next();
    kill(pid, None).is_err() || matches!(state, None | Some('Z' | 'X'))
}

/// Waits until a process has ended.
pub(crate) async fn gone(pid: Pid) {
    eventually("the process ends", || has_ended(pid).then_some(())).await;
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    (folder, file)
}

#[tokio::test]
async fn a_command_gets_payload_and_facts_and_its_output_is_the_result() {
    let ran = run_script(
        r#"printf '{"payload":%s,"facts":"%s"}' "$(cat)" \
           "$GANGER_JOB_ID $GANGER_JOB_TYPE $GANGER_QUEUE $GANGER_PRIORITY $GANGER_ATTEMPT $GANGER_FENCE $GANGER_DEADLINE $GREETING""#,
        r#"{"a":"ä'"}"#,
    )
    .await;
    let facts = "order-7 letter mail high 2 4294967297 2026-01-02T03:04:05.678Z hello";
    assert_eq!(result(&ran), json!({"payload": {"a": "ä'"}, "facts": facts}));
    assert_eq!(result(&run_script("echo plain", "{}").await), json!("plain\n"));
    assert_eq!(run_script("cat >/dev/null", "{}").await, Ran::returned("null"));
}

#[tokio::test]
async fn exit_codes_become_classes() {
    let ran = run_script("echo nothing; echo why >&2; exit 3", "{}").await;
    assert_eq!(failure(&ran), ("exit_3", "why", None));
    assert_eq!(
        failure(&run_script("exit 75", "{}").await),
        ("temporary_failure", "`sh` ended with exit code 75", None)
    );
    assert_eq!(failure(&run_script("exit 2", "{}").await).0, "assertion_failure");
}

#[tokio::test]
async fn an_envelope_beats_the_exit_code() {
    let reply = r#"printf '{"ganger":{"error":{"class":"browser_crash","message":"m"},"retry_after_ms":7}}'"#;
    for code in [0, 3] {
        let ran = run_script(&format!("{reply}; exit {code}"), "{}").await;
        assert_eq!(failure(&ran), ("browser_crash", "m", Some(7)));
    }
    let ran = run_script(r#"printf '{"a":1,"ganger":{"review":{"reason":"odd"}}}'"#, "{}").await;
    assert_eq!(result(&ran), json!({"a": 1}));
    let Ran::Returned { envelope, .. } = ran else { unreachable!() };
    assert_eq!(envelope.review.unwrap().reason, "odd");
    assert_eq!(failure(&run_script(r#"printf '{"ganger":1}'"#, "{}").await).0, "bad_envelope");
}

#[tokio::test]
async fn a_foreign_signal_is_a_crash() {
    let ran = run_script("echo last words >&2; kill -SEGV $$", "{}").await;
    let Ran::Crashed { message } = ran else { panic!("{ran:?}") };
    assert!(message.contains("SIGSEGV") && message.contains("last words"), "{message}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let mut params = CommandParams {
        program: "/nowhere/program".into(),
        args: Vec::new(),
        env: BTreeMap::new(),
        exit_classes: BTreeMap::new(),
        term_grace_ms: 5_000,
    };
    let ran = run(&CommandHandler::new(params.clone()), "{}").await;
    let (class, message, _) = failure(&ran);
    assert!(class == "spawn_failed" && message.contains("/nowhere/program"), "{message}");
    params.program = "/etc".into();
    assert_eq!(failure(&run(&CommandHandler::new(params), "{}").await).0, "spawn_failed");
}

#[tokio::test]
async fn output_beyond_the_limit_kills_the_child() {
    let (_folder, file) = scratch();
    let script = format!("echo $$ > {}; exec yes", file.display());
    assert_eq!(failure(&run_script(&script, "{}").await).0, "output_too_large");
    gone(written_pid(&file).await).await;
    let ran = run_script("head -c 1048576 /dev/zero | tr '\\0' x", "{}").await;
    assert_eq!(result(&ran).to_string().len(), "\"\"".len() + 1_048_576, "exactly the limit is allowed");
}

#[tokio::test]
async fn large_payloads_and_talk_cannot_block_each_other() {
    let payload = format!("\"{}\"", "x".repeat(900_000));
    assert_eq!(result(&run_script("cat; yes error | head -c 900000 >&2", &payload).await), payload[1..900_001]);
    assert_eq!(result(&run_script("echo 1", &payload).await), 1, "a child need not read its payload");
    assert_eq!(result(&run_script("exec <&-; yes error | head -c 900000 >&2; echo 2", &payload).await), 2);
    let ran = run_script("yes error | head -c 900000 >&2; exit 1", &payload).await;
    assert!(failure(&ran).1.len() <= 4_096 && failure(&ran).1.len() > 4_000);
}

#[tokio::test]
async fn a_grandchild_that_keeps_stdout_does_not_hold_the_run() {
    let (_folder, file) = scratch();
    let script = format!("sleep 3600 & echo $! > {}; echo 5", file.display());
    assert_eq!(result(&run_script(&script, "{}").await), 5);
    gone(written_pid(&file).await).await;
}

/// Runs a script that writes its process id into `{pid}`, stops it then, and gives back what it has
/// written into `{done}` while it was stopping.
async fn stopped(script: &str) -> String {
    let (_folder, file) = scratch();
    let done = file.with_extension("done");
    let script = script.replace("{pid}", &file.display().to_string()).replace("{done}", &done.display().to_string());
    let asked = invocation("{}");
    let stop = asked.stop.clone();
    let handler = shell(&script);
    let run = tokio::time::timeout(PATIENCE, handler.run(asked));
    let (ran, ()) = tokio::join!(run, async {
        written_pid(&file).await;
        stop.cancel();
    });
    assert_eq!(ran.unwrap(), Ran::Stopped);
    std::fs::read_to_string(done).unwrap_or_default()
}

#[tokio::test]
async fn a_stop_asks_the_whole_group_and_waits_for_it() {
    let slow = "(trap 'sleep 0.1; echo all > {done}; exit' TERM; echo $$ > {pid}; while :; do sleep 0.01; done) & wait";
    assert_eq!(stopped(slow).await, "all\n", "the shell leaves at once, its child takes its time");
}

#[tokio::test]
async fn a_stop_goes_on_reading() {
    let loud = "trap 'yes | head -c 500000; yes | head -c 500000 >&2; echo all > {done}; exit' TERM
                echo $$ > {pid}; while :; do sleep 0.01; done";
    assert_eq!(stopped(loud).await, "all\n");
}

#[tokio::test]
async fn who_does_not_stop_is_killed_after_the_grace() {
    let (_folder, file) = scratch();
    let script = format!("trap '' TERM; sleep 3600 & echo $! > {}; while :; do sleep 0.1; done", file.display());
    let handler = CommandHandler::new(CommandParams {
        program: "sh".into(),
        args: vec!["-c".into(), script],
        env: BTreeMap::new(),
        exit_classes: BTreeMap::new(),
        term_grace_ms: 50,
    });
    let asked = invocation("{}");
    let stop = asked.stop.clone();
    let run = tokio::time::timeout(PATIENCE, handler.run(asked));
    let (ran, grandchild) = tokio::join!(run, async {
        let grandchild = written_pid(&file).await;
        stop.cancel();
        grandchild
    });
    assert_eq!(ran.unwrap(), Ran::Stopped);
    gone(grandchild).await;
}

#[tokio::test]
async fn a_dropped_run_takes_its_group_along() {
    let (_folder, file) = scratch();
    let script = format!("sleep 3600 & echo $! > {}; wait", file.display());
    let handler = shell(&script);
    let grandchild = tokio::select! {
        ran = handler.run(invocation("{}")) => panic!("ended: {ran:?}"),
        pid = written_pid(&file) => pid,
    };
    gone(grandchild).await;
}

#[tokio::test]
async fn a_child_leads_its_own_group() {
    let ran = run_script("kill -TERM 0; sleep 3600", "{}").await;
    assert!(matches!(ran, Ran::Crashed { .. }), "and it was not ours: {ran:?}");
    assert!(killpg(nix::unistd::getpgrp(), None::<Signal>).is_ok());
}

/// The script of `examples/checksums`, out of its configuration.
#[tokio::test]
async fn the_checksum_example_reads_any_file_name() {
    let config = include_str!("../../examples/checksums/ganger.toml");
    let files = vec![ConfigFile::Text { name: "ganger.toml".into(), text: config.into() }];
    let config = Config::load(&Sources { files, ..Sources::default() }).unwrap();
    let HandlerSpec::Command { program, args, env, exit_classes } =
        config.catalog.types[&TypeName::stored("sha256")].handler.clone()
    else {
        panic!("not a command");
    };
    let handler = CommandHandler::new(CommandParams { program, args, env, exit_classes, term_grace_ms: 5_000 });
    let folder = tempfile::tempdir().unwrap();
    let payload = |path: &Path| {
        let code = base64::engine::general_purpose::STANDARD.encode(path.as_os_str().as_bytes());
        format!(r#"{{"path_base64":"{code}"}}"#)
    };
    for name in [&b"plain"[..], b"a b  'c' \"d\" $e `f`", "\u{e4}\u{20ac}".as_bytes(), b"-n", b"line\nend\n", b"\xff\\"]
    {
        let path = folder.path().join(OsStr::from_bytes(name));
        std::fs::write(&path, "abc").unwrap();
        let ran = run(&handler, &payload(&path)).await;
        let line = result(&ran);
        let hash = line.as_str().unwrap().trim_start_matches('\\').split("  ").next().unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "{path:?}");
    }
    assert_eq!(failure(&run(&handler, &payload(Path::new("/nowhere"))).await).0, "unreadable");
}

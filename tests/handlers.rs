//! Handlers against real children and a real HTTP server: each way a run can end.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use ganger::clock::{ManualClock, Timestamp};
use ganger::config::{Config, ConfigFile, Sources};
use ganger::handler::builtin::BuiltinHandler;
use ganger::handler::command::{CommandHandler, CommandParams};
use ganger::handler::http::{HttpHandler, HttpParams, client};
use ganger::handler::{Handler, Invocation, Ran};
use ganger::job::{JobId, Priority, QueueName, TypeName};
use ganger::policy::catalog::{Builtin, HandlerSpec, Secret};
use hmac::Mac as _;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn invocation(payload: &str) -> Invocation {
    Invocation {
        id: JobId::stored("order-7"),
        job_type: TypeName::stored("letter"),
        queue: QueueName::stored("mail"),
        priority: Priority::from_number(2).unwrap(),
        attempt: 2,
        fence: 4_294_967_297,
        labels: BTreeMap::from([("environment".to_owned(), "staging".to_owned())]),
        deadline: Timestamp(1_767_323_045_678),
        payload: payload.to_owned().into(),
        result_bytes_max: 1_048_576,
        stop: CancellationToken::new(),
    }
}

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

async fn run(handler: &impl Handler, payload: &str) -> Ran {
    tokio::time::timeout(PATIENCE, handler.run(invocation(payload))).await.expect("the run hangs")
}

async fn run_script(script: &str, payload: &str) -> Ran {
    run(&shell(script), payload).await
}

fn result(ran: &Ran) -> Value {
    match ran {
        Ran::Returned { result, .. } => serde_json::from_slice(result).unwrap(),
        other => panic!("no result: {other:?}"),
    }
}

/// Class, message and the time asked for.
fn failure(ran: &Ran) -> (&str, &str, Option<u64>) {
    match ran {
        Ran::Failed { failure, retry_after_ms, .. } => (&failure.class, &failure.message, *retry_after_ms),
        other => panic!("no failure: {other:?}"),
    }
}

/// Waits until a look finds something.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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

/// Waits until a process has ended, collected by its parent or not.
async fn gone(pid: Pid) {
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim().chars().next();
        (kill(pid, None).is_err() || matches!(state, None | Some('Z' | 'X'))).then_some(())
    };
    eventually("the process ends", is_gone).await;
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    (folder, file)
}

// === builtins ===

#[tokio::test]
async fn builtins_do_what_they_say() {
    let run = async |builtin, payload| run(&BuiltinHandler::new(builtin), payload).await;
    assert_eq!(run(Builtin::Noop, "{}").await, Ran::returned("null"));
    assert_eq!(run(Builtin::Echo, r#"{"a": 1}"#).await, Ran::returned(r#"{"a": 1}"#));
    assert_eq!(run(Builtin::Sleep, r#"{"ms":1}"#).await, Ran::returned("null"));
    assert_eq!(failure(&run(Builtin::Sleep, "{}").await).0, "bad_payload");
    assert_eq!(failure(&run(Builtin::Fail, r#"{"class":"x","times":2}"#).await).0, "x");
    assert_eq!(failure(&run(Builtin::Fail, r#"{"class":"x","message":"no"}"#).await), ("x", "no", None));
    assert_eq!(result(&run(Builtin::Fail, r#"{"class":"x","times":1}"#).await), json!({"attempt": 2}));
}

#[tokio::test]
async fn a_sleep_can_be_stopped() {
    let asked = invocation(r#"{"ms":3600000}"#);
    asked.stop.cancel();
    assert_eq!(BuiltinHandler::new(Builtin::Sleep).run(asked).await, Ran::Stopped);
}

// === commands ===

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
    let ran = run_script("head -c 1048576 /dev/zero | tr '\\0' 1", "{}").await;
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

#[tokio::test]
async fn a_stop_asks_the_group_first() {
    let (_folder, file) = scratch();
    let clean = file.with_extension("clean");
    // The shell waits for a child that takes its time to clean up; both are asked.
    let script = format!(
        "trap '' TERM; (trap 'echo done > {}; exit' TERM; echo $$ > {}; while :; do sleep 0.01; done) & wait",
        clean.display(),
        file.display()
    );
    let asked = invocation("{}");
    let stop = asked.stop.clone();
    let handler = shell(&script);
    let (ran, ()) = tokio::join!(handler.run(asked), async {
        written_pid(&file).await;
        stop.cancel();
    });
    assert_eq!(ran, Ran::Stopped);
    assert_eq!(std::fs::read_to_string(clean).unwrap(), "done\n");
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
    let config = include_str!("../examples/checksums/ganger.toml");
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

// === HTTP ===

/// What the server answers next, and what it was asked.
#[derive(Debug, Default)]
struct Script {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    seen: Vec<(HeaderMap, Bytes)>,
}

type Shared = Arc<Mutex<Script>>;

struct Server {
    url: String,
    script: Shared,
    _tasks: JoinSet<()>,
}

async fn answer(State(script): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap, String) {
    let mut script = script.lock().unwrap();
    script.seen.push((headers, body));
    let headers = script.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    (StatusCode::from_u16(script.status).unwrap(), headers, script.body.clone())
}

async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Server {
    async fn start() -> Self {
        let (listener, address) = listener().await;
        let script = Shared::default();
        let app = axum::Router::new().fallback(answer).with_state(script.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { url: format!("http://{address}/hook"), script, _tasks: tasks }
    }

    /// One run against this answer.
    async fn run(&self, status: u16, headers: &[(&'static str, &str)], body: &str) -> Ran {
        {
            let mut script = self.script.lock().unwrap();
            script.status = status;
            script.headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            body.clone_into(&mut script.body);
        }
        run(&http(&self.url, None), r#"{"n": 1.0}"#).await
    }
}

fn http(url: &str, secret: Option<&[u8]>) -> HttpHandler {
    let client = client(Duration::from_secs(5)).unwrap();
    let clock = ManualClock::at(Timestamp::parse("1994-11-06T08:49:30Z").unwrap());
    let secret = secret.map(|bytes| Secret(bytes.to_vec()));
    HttpHandler::new(HttpParams { url: url.to_owned(), secret, client }).with_clock(Arc::new(clock))
}

#[tokio::test]
async fn each_status_has_its_class() {
    let server = Server::start().await;
    assert_eq!(result(&server.run(200, &[], r#"{"a":1}"#).await), json!({"a": 1}));
    assert_eq!(result(&server.run(204, &[], "").await), Value::Null);
    assert_eq!(result(&server.run(201, &[], "text").await), json!("text"));
    for (status, class) in [
        (301, "http_3xx"),
        (400, "http_4xx"),
        (422, "http_4xx"),
        (408, "timeout"),
        (504, "timeout"),
        (429, "rate_limit"),
        (502, "temporary_failure"),
        (503, "temporary_failure"),
        (500, "http_5xx"),
        (507, "http_5xx"),
    ] {
        let ran = server.run(status, &[("location", "/elsewhere")], "the reason").await;
        let (said, message, retry_after_ms) = failure(&ran);
        assert_eq!((said, retry_after_ms), (class, None), "{status}");
        assert!(message.contains(&status.to_string()) && message.contains("the reason"), "{message}");
    }
    assert_eq!(server.script.lock().unwrap().seen.len(), 13, "no redirect was followed");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let server = Server::start().await;
    let deferred = |ran: &Ran| match ran {
        Ran::Deferred { retry_after_ms, .. } => *retry_after_ms,
        other => panic!("not deferred: {other:?}"),
    };
    assert_eq!(deferred(&server.run(429, &[("retry-after", "3")], "").await), 3_000);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(deferred(&server.run(429, &[("retry-after", date)], "{}").await), 7_000);
    assert_eq!(failure(&server.run(429, &[("retry-after", "soon")], "").await).0, "rate_limit");
    let ran = server.run(503, &[("retry-after", "3")], "").await;
    assert_eq!((failure(&ran).0, failure(&ran).2), ("temporary_failure", Some(3_000)));
}

#[tokio::test]
async fn an_envelope_beats_the_status() {
    let server = Server::start().await;
    let reply = r#"{"ganger":{"error":{"class":"rude","message":"go away"}}}"#;
    for status in [200, 400, 429, 503] {
        let ran = server.run(status, &[("retry-after", "3")], reply).await;
        assert_eq!(failure(&ran), ("rude", "go away", Some(3_000)), "{status}");
    }
}

#[tokio::test]
async fn a_request_carries_facts_payload_and_a_signature() {
    let server = Server::start().await;
    server.run(200, &[], "").await;
    run(&http(&server.url, Some(b"key")), r#"{"n": 1.0}"#).await;
    let script = server.script.lock().unwrap();
    let [(plain, _), (headers, body)] = script.seen.as_slice() else { panic!("{:?}", script.seen) };
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    assert!(!plain.contains_key("webhook-signature"));
    let text = std::str::from_utf8(body).unwrap();
    assert!(text.ends_with(r#","payload":{"n": 1.0}}"#), "the payload is as it came: {text}");
    let facts: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        facts["job"],
        json!({
            "id": "order-7", "type": "letter", "queue": "mail", "priority": 2, "attempt": 2, "fence": 4_294_967_297_u64,
            "labels": {"environment": "staging"}, "deadline": "2026-01-02T03:04:05.678Z",
        })
    );
    assert_eq!(header("content-type"), "application/json");
    assert!(header("user-agent").starts_with("ganger/"));
    assert_eq!((header("ganger-job-id"), header("ganger-attempt")), ("order-7", "2"));
    assert_eq!((header("ganger-fence"), header("idempotency-key")), ("4294967297", "order-7"));
    let lengths: Vec<usize> = header("traceparent").split('-').map(str::len).collect();
    assert_eq!(lengths, [2, 32, 16, 2]);
    assert_ne!(plain["traceparent"], headers["traceparent"]);
    assert_eq!((header("webhook-id"), header("webhook-timestamp")), ("order-7", "784111770"));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"key").unwrap();
    mac.update(b"order-7.784111770.");
    mac.update(body);
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
}

#[tokio::test]
async fn a_reply_beyond_the_limit_is_a_failure() {
    let server = Server::start().await;
    let body = "1".repeat(1_048_577);
    assert_eq!(failure(&server.run(200, &[], &body).await).0, "output_too_large");
    assert_eq!(result(&server.run(200, &[], &"x".repeat(1_048_576)).await).as_str().unwrap().len(), 1_048_576);
    assert_eq!(failure(&server.run(500, &[], &body).await).0, "http_5xx");
}

#[tokio::test]
async fn a_broken_connection_is_told_from_a_slow_one() {
    let (listener, address) = listener().await;
    let url = format!("http://user:hunter2@{address}/");
    let reset = async {
        // Accepted and dropped at once.
        drop(listener.accept().await.unwrap());
        drop(listener);
    };
    let handler = http(&url, None);
    let (ran, ()) = tokio::join!(run(&handler, "{}"), reset);
    assert_eq!(failure(&ran).0, "connection");
    let ran = run(&handler, "{}").await;
    assert_eq!(failure(&ran).0, "connection", "refused");
    assert!(!failure(&ran).1.contains("hunter2"), "{}", failure(&ran).1);
}

#[tokio::test]
async fn a_stop_drops_the_request() {
    let (listener, address) = listener().await;
    let asked = invocation("{}");
    let stop = asked.stop.clone();
    let handler = http(&format!("http://{address}/"), None);
    let (ran, ()) = tokio::join!(handler.run(asked), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stop.cancel();
        // The server sees the end of it.
        tokio::time::timeout(PATIENCE, tokio::io::copy(&mut stream, &mut tokio::io::sink()))
            .await
            .unwrap()
            .unwrap_or(0);
    });
    assert_eq!(ran, Ran::Stopped);
}

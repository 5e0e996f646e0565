//! `ganger demo`, from the first line to the last, and what is left of it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::daemon::GANGER;
use crate::support::wait::within;

/// A whole day in an unoptimised build on a machine that has other work.
const DAY: Duration = Duration::from_secs(600);

/// A demo, with a folder in the place of the system's for what is temporary.
struct Demo {
    child: Child,
    temporary: tempfile::TempDir,
    out: Arc<Mutex<String>>,
    talk: Arc<Mutex<String>>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Command::new(GANGER);
        command.arg("demo").args(arguments).env("TMPDIR", temporary.path());
        // Settings of another daemon must not reach this one.
        command.env("GANGER__QUEUES__PLAN__PRIORITIES", "none");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, talk) = (gather(child.stdout.take().unwrap()), gather(child.stderr.take().unwrap()));
        Self { child, temporary, out, talk }
    }

    async fn says(&self, words: &str) {
        within(DAY, &format!("the demo says {words:?}"), || async {
            self.talk.lock().unwrap().contains(words).then_some(())
        })
        .await;
    }

    /// Its exit status; nothing may be left of it.
    async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = within(DAY, "the demo ends", || {
            let status = child.try_wait().unwrap();
            async move { status }
        });
        let status = status.await.code();
        let left: Vec<_> =
            std::fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?} is left");
        let processes = processes_of(self.temporary.path());
        assert!(processes.is_empty(), "{processes:?} still run");
        status
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- demo:\n{}\n{}\n---", self.talk.lock().unwrap(), self.out.lock().unwrap());
        }
        // It may have ended already; while it lives it ends its own children.
        self.signal_if_alive();
        self.child.wait().ok();
    }
}

impl Demo {
    fn signal_if_alive(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGTERM);
        }
    }
}

/// Gathers what comes out.
fn gather(mut from: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text: Arc<Mutex<String>> = Arc::default();
    let (into, mut buffer) = (text.clone(), [0; 4096]);
    std::thread::spawn(move || {
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    text
}

/// Processes whose command line names this folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&*folder.to_string_lossy())).collect()
}

/// The figures behind a line of the closing table.
fn figures<'a>(text: &'a str, begins: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(begins));
    line.unwrap_or_else(|| panic!("no line begins with {begins:?}:\n{text}")).trim()
}

fn first_number(text: &str) -> u64 {
    let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{text:?} has no number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_ends_as_it_should_and_leaves_nothing() {
    let mut demo = Demo::start(&["--once", "--seed", "7"]);
    let status = demo.ended().await;
    let text = demo.out.lock().unwrap().clone();
    assert_eq!(status, Some(0), "{text}");
    for job_type in [
        "plan_generation",
        "test_execution",
        "element_healing",
        "batch_locator_generation",
        "analytics_queries",
        "report_generation",
    ] {
        assert!(first_number(figures(&text, job_type)) > 0);
    }
    let held = figures(&text, "held by it");
    assert!(first_number(held) > 0 && held.contains("spent 0 attempts"), "{held}");
    assert!(first_number(figures(&text, "refused for load")) > 0);
    let series = text.split("THE RUNBOOK'S SERIES").nth(1).unwrap();
    for name in [
        "test_execution_success_rate",
        "element_healing_success_rate",
        "healing_success_rate_24h",
        "heal_success_rate",
        "heal_confidence",
        "manual_review_rate",
        "user_satisfaction_score",
        "element_repository_hit_rate  cache_level=\"l1\"",
        "element_repository_hit_rate  cache_level=\"l2\"",
        "policy_evaluation_duration_ms  policy=\"seating_selection\"",
        "queue_processing_rate",
        "queue_depth",
        "worker_utilization",
        "mcp_server_health_check",
        "mcp_tool_call_duration_seconds",
    ] {
        let words: Vec<&str> = name.split_whitespace().collect();
        let has = |line: &&str| words.iter().all(|word| line.split_whitespace().any(|own| own.contains(word)));
        let line = series.lines().find(has).unwrap_or_else(|| panic!("{name} is missing:\n{series}"));
        assert!(!line.contains("none"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_nothing() {
    for (signal, moment) in [(Signal::SIGINT, "morning"), (Signal::SIGTERM, "the breaker is open")] {
        let mut demo = Demo::start(&["--seed", "7"]);
        demo.says(moment).await;
        demo.signal(signal);
        assert_eq!(demo.ended().await, Some(1));
        assert!(demo.talk.lock().unwrap().contains("interrupted"));
    }
}

#[test]
fn a_folder_with_something_in_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old"), "").unwrap();
    let output = crate::support::daemon::ganger(&["demo", "--data-dir", folder.path().to_str().unwrap()]);
    assert_eq!(output.status, Some(2));
    assert!(output.stderr.contains("not empty"), "{}", output.stderr);
}

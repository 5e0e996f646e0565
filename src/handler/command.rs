//! Commands: a child process for each run.
//!
//! A child leads a process group of its own, and the group dies with the run: at its end, when it is
//! told to stop, and when its future is dropped. Only a daemon that is itself killed by SIGKILL
//! leaves children behind; their lease lapses, their job runs again under a higher fence, and whoever
//! checks `GANGER_FENCE` refuses the orphan.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::job::{ERROR_MESSAGE_BYTES_MAX, Failure};

use super::{Handler, Invocation, Ran};

/// How long output may still come after the child itself is gone. What it wrote is in the pipe
/// already; only a grandchild that kept the pipe would make us wait.
const EOF_GRACE: Duration = Duration::from_millis(250);
/// How often a group that was told to stop is looked at for survivors of its leader.
const SURVIVORS_LOOK: Duration = Duration::from_millis(20);
/// BSD's `EX_TEMPFAIL`.
const EXIT_TEMPORARY_FAILURE: i32 = 75;
/// Variables that are the daemon's own: its configuration (secrets among it) and its service manager.
const PRIVATE_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "CREDENTIALS_DIRECTORY"];

/// What a command handler is made from.
#[derive(Debug, Clone)]
pub struct CommandParams {
    /// The program, found on PATH or by its path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to its environment.
    pub env: BTreeMap<String, String>,
    /// Error classes by exit code.
    pub exit_classes: BTreeMap<i32, String>,
    /// Milliseconds from SIGTERM to SIGKILL.
    pub term_grace_ms: u64,
}

/// Runs a command.
#[derive(Debug)]
pub struct CommandHandler {
    params: CommandParams,
    /// Variables that no child inherits.
    hidden: Vec<OsString>,
}

/// A process group that is killed when this is dropped.
///
/// Its id cannot be another group's as long as one of its processes lives. Once all are gone the id is
/// free, so the guard never outlives the child by more than [`EOF_GRACE`].
#[derive(Debug)]
struct Group(Pid);

/// The child wrote more than counts.
#[derive(Debug)]
struct TooLarge;

/// How the talk with a child ended.
enum Ended {
    Exited(std::io::Result<ExitStatus>),
    TooLarge,
    Told,
}

// === impl CommandHandler ===

impl CommandHandler {
    /// A handler that runs this command.
    #[must_use]
    pub fn new(params: CommandParams) -> Self {
        let hidden = std::env::vars_os().map(|(name, _)| name).filter(|name| is_private(name)).collect();
        Self { params, hidden }
    }

    fn spawn(&self, invocation: &Invocation) -> std::io::Result<Child> {
        let mut command = Command::new(&self.params.program);
        for name in &self.hidden {
            command.env_remove(name);
        }
        command
            .args(&self.params.args)
            .envs(&self.params.env)
            .env("GANGER_JOB_ID", invocation.id.as_str())
            .env("GANGER_JOB_TYPE", invocation.job_type.as_str())
            .env("GANGER_QUEUE", invocation.queue.as_str())
            .env("GANGER_PRIORITY", invocation.priority.name())
            .env("GANGER_ATTEMPT", invocation.attempt.to_string())
            .env("GANGER_FENCE", invocation.fence.to_string())
            .env("GANGER_DEADLINE", invocation.deadline.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            // The group's guard kills it too; this lets the runtime collect what is left of the child.
            .kill_on_drop(true)
            .spawn()
    }

    fn judge(&self, status: ExitStatus, output: &[u8], errors: &Tail) -> Ran {
        let Some(code) = status.code() else {
            let signal = status.signal().unwrap_or_default();
            let name = Signal::try_from(signal).map_or("an unknown signal", Signal::as_str);
            let message = format!("`{}` was killed by {name} ({signal}) {}", self.params.program, errors.text());
            return Ran::Crashed { message: message.trim_end().to_owned() };
        };
        let class = match (code, self.params.exit_classes.get(&code)) {
            (0, _) => return Ran::replied(output, None, None),
            (_, Some(class)) => class.clone(),
            (EXIT_TEMPORARY_FAILURE, None) => "temporary_failure".to_owned(),
            _ => format!("exit_{code}"),
        };
        let said = errors.text();
        let message =
            if said.is_empty() { format!("`{}` ended with exit code {code}", self.params.program) } else { said };
        Ran::replied(output, Some(Failure::new(class, message)), None)
    }
}

#[async_trait]
impl Handler for CommandHandler {
    async fn run(&self, invocation: Invocation) -> Ran {
        if invocation.stop.is_cancelled() {
            return Ran::Stopped;
        }
        let mut child = match self.spawn(&invocation) {
            Ok(child) => child,
            Err(error) => {
                return Ran::failed("spawn_failed", format!("`{}` cannot be started: {error}", self.params.program));
            }
        };
        let Some(group) = Group::of(&child) else {
            return Ran::failed("spawn_failed", format!("`{}` was gone at once", self.params.program));
        };
        let noted = invocation.footprint.note(group.0.as_raw());
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Tail::default());
        let ended = {
            let talk = async {
                tokio::try_join!(
                    feed(stdin, &invocation.payload),
                    collect(stdout, &mut output, invocation.result_bytes_max),
                    follow(stderr, &mut errors),
                )
            };
            let mut talk = std::pin::pin!(talk.fuse());
            let ended = converse(&mut child, talk.as_mut(), &invocation.stop).await;
            if matches!(ended, Ended::Told) {
                let grace = Duration::from_millis(self.params.term_grace_ms);
                // The talk goes on meanwhile, so that nobody is stuck on a full pipe with its clean-up.
                tokio::select! {
                    () = group.stop(&mut child, grace) => {}
                    () = drained(talk) => {}
                }
            }
            ended
        };
        drop(noted);
        drop(group);
        match ended {
            Ended::Told => Ran::Stopped,
            Ended::TooLarge => {
                let most = invocation.result_bytes_max;
                Ran::failed("output_too_large", format!("`{}` wrote more than {most} bytes", self.params.program))
            }
            Ended::Exited(Ok(status)) => self.judge(status, &output, &errors),
            Ended::Exited(Err(error)) => Ran::Crashed { message: format!("the child's end was not seen: {error}") },
        }
    }
}

/// Whether a variable is the daemon's own business.
fn is_private(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("GANGER__") || PRIVATE_VARIABLES.contains(&name))
}

/// Waits for the child's end, its output too large, or the word to stop, whichever comes first.
async fn converse<T>(
    child: &mut Child,
    mut talk: std::pin::Pin<&mut impl Future<Output = Result<T, TooLarge>>>,
    stop: &CancellationToken,
) -> Ended {
    let mut closed = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Told,
            said = talk.as_mut(), if !closed => match said {
                Ok(_) => closed = true,
                Err(TooLarge) => return Ended::TooLarge,
            },
            status = child.wait() => {
                if !closed && let Ok(Err(TooLarge)) = timeout(EOF_GRACE, talk).await {
                    return Ended::TooLarge;
                }
                return Ended::Exited(status);
            }
        }
    }
}

/// Lets the talk go on, and never returns.
async fn drained<T>(talk: impl Future<Output = T>) {
    talk.await;
    std::future::pending::<()>().await;
}

/// Writes the payload. A child that does not read it has its reasons.
async fn feed(stdin: Option<ChildStdin>, payload: &[u8]) -> Result<(), TooLarge> {
    if let Some(mut stdin) = stdin {
        stdin.write_all(payload).await.unwrap_or_default();
    }
    Ok(())
}

/// Reads until the end, or until it is more than `most`.
async fn collect(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>, most: usize) -> Result<(), TooLarge> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    // A pipe that breaks has ended too.
    while pipe.read_buf(into).await.unwrap_or(0) > 0 {
        if into.len() > most {
            return Err(TooLarge);
        }
    }
    Ok(())
}

/// Reads until the end and keeps the last of it.
async fn follow(pipe: Option<impl AsyncRead + Unpin>, tail: &mut Tail) -> Result<(), TooLarge> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    while pipe.read_buf(&mut tail.0).await.unwrap_or(0) > 0 {
        tail.shorten();
    }
    Ok(())
}

// === impl Group ===

impl Group {
    fn of(child: &Child) -> Option<Self> {
        child.id().and_then(|id| i32::try_from(id).ok()).map(|id| Self(Pid::from_raw(id)))
    }

    /// SIGTERM, then the grace. SIGKILL follows when the guard is dropped.
    async fn stop(&self, child: &mut Child, grace: Duration) {
        let end = Instant::now() + grace;
        // It may be gone already: then nothing needs to be told.
        killpg(self.0, Signal::SIGTERM).unwrap_or_default();
        let leader_left = timeout_at(end, child.wait()).await.is_ok();
        // A shell leaves at once, while what it had started may still be cleaning up.
        while leader_left && Instant::now() < end && killpg(self.0, None).is_ok() {
            sleep(SURVIVORS_LOOK).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // No such group is what we want to hear.
        killpg(self.0, Signal::SIGKILL).unwrap_or_default();
    }
}

/// The last of what a child said on stderr.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Shortened only at twice the size that counts, so that long talk is not moved for every read.
    fn shorten(&mut self) {
        if self.0.len() >= 2 * ERROR_MESSAGE_BYTES_MAX {
            self.0.drain(..self.0.len() - ERROR_MESSAGE_BYTES_MAX);
        }
    }

    /// At most [`ERROR_MESSAGE_BYTES_MAX`] bytes, from a character's edge on. No store takes a NUL.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0).replace('\0', "\u{fffd}");
        let text = text.trim();
        let from = text.len().saturating_sub(ERROR_MESSAGE_BYTES_MAX);
        text[text.ceil_char_boundary(from)..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_do_not_inherit_the_daemons_secrets() {
        let private = |name: &str| is_private(OsStr::new(name));
        assert!(private("GANGER__REDIS__URL") && private("NOTIFY_SOCKET"));
        assert!(!private("GANGER_SERVER") && !private("PATH"));
    }

    #[test]
    fn the_tail_is_the_last_of_it_from_a_character_on() {
        let mut tail = Tail::default();
        for _ in 0..5_000 {
            tail.0.extend_from_slice("ä\0".as_bytes());
            tail.shorten();
        }
        tail.0.extend_from_slice(b"the end\n");
        let text = tail.text();
        assert!(text.len() <= ERROR_MESSAGE_BYTES_MAX && text.len() > ERROR_MESSAGE_BYTES_MAX - 8);
        assert!(text.ends_with("the end") && !text.contains('\0'));
    }
}

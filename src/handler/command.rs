//! Commands: a child process for each run.
//!
//! A child leads a process group of its own, and the group dies with the run: at its end, when it is
//! told to stop, and when its future is dropped. Only a daemon that is itself killed by SIGKILL
//! leaves children behind; their lease lapses, their job runs again under a higher fence, and whoever
//! checks `GANGER_FENCE` refuses the orphan.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::job::Failure;

use super::child::{EOF_GRACE, Group, Tail, ending, private_variables};
use super::{Handler, Invocation, Ran};

pub mod errand;

/// BSD's `EX_TEMPFAIL`.
const EXIT_TEMPORARY_FAILURE: i32 = 75;
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

/// The child wrote more than counts.
#[derive(Debug)]
struct TooLarge;

/// What became of a child, and what it said.
struct Heard {
    ended: Ended,
    output: Vec<u8>,
    errors: Tail,
}

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
        Self { params, hidden: private_variables() }
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
            .envs((!invocation.overrides.is_empty()).then(|| ("GANGER_OVERRIDES", invocation.overrides.to_string())))
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
            let message = format!("`{}` {} {}", self.params.program, ending(status), errors.text());
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
        let child = match self.spawn(&invocation) {
            Ok(child) => child,
            Err(error) => {
                return Ran::failed("spawn_failed", format!("`{}` cannot be started: {error}", self.params.program));
            }
        };
        let Some(group) = Group::of(&child) else {
            return Ran::failed("spawn_failed", format!("`{}` was gone at once", self.params.program));
        };
        let noted = invocation.footprint.note(group.id());
        let (most, grace) = (invocation.result_bytes_max, Duration::from_millis(self.params.term_grace_ms));
        let heard = attend(child, &group, &invocation.payload, most, grace, &invocation.stop).await;
        drop(noted);
        drop(group);
        match heard.ended {
            Ended::Told => Ran::Stopped,
            Ended::TooLarge => {
                Ran::failed("output_too_large", format!("`{}` wrote more than {most} bytes", self.params.program))
            }
            Ended::Exited(Ok(status)) => self.judge(status, &heard.output, &heard.errors),
            Ended::Exited(Err(error)) => Ran::Crashed { message: format!("the child's end was not seen: {error}") },
        }
    }
}

/// Talks with a child to its end, or until it is told to stop; `most` bounds its output, in bytes.
async fn attend(
    mut child: Child,
    group: &Group,
    input: &[u8],
    most: usize,
    grace: Duration,
    stop: &CancellationToken,
) -> Heard {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut output, mut errors) = (Vec::new(), Tail::default());
    let ended = {
        let talk = async {
            tokio::try_join!(feed(stdin, input), collect(stdout, &mut output, most), follow(stderr, &mut errors))
        };
        let mut talk = std::pin::pin!(talk.fuse());
        let ended = converse(&mut child, talk.as_mut(), stop).await;
        if matches!(ended, Ended::Told) {
            // The talk goes on meanwhile, so that nobody is stuck on a full pipe with its clean-up.
            tokio::select! {
                () = group.stop(&mut child, grace) => {}
                () = drained(talk) => {}
            }
        }
        ended
    };
    Heard { ended, output, errors }
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
    while pipe.read_buf(tail.buffer()).await.unwrap_or(0) > 0 {
        tail.shorten();
    }
    Ok(())
}

//! A server that is a child process: its start, its talk on stderr, its end.
//!
//! One task owns the child from start to end. It ends with its session: stdin is closed, then SIGTERM, then SIGKILL
//! to the whole group; and when the task itself is dropped, the group is killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::params::{ServerParams, Target};
use crate::handler::child::{EOF_GRACE, Group, Tail, ending, private_variables};
use crate::policy::catalog::Secret;
use crate::service::lock;

/// Where a child finds the token that it shows to the daemon; the platform and the client commands read it.
const API_TOKEN_VARIABLE: &str = "GANGER_TOKEN";
/// How long a server may take to leave by itself once its stdin is closed.
const LEAVE_GRACE: Duration = Duration::from_secs(1);
/// How long the news of a child's end may take once its pipe is closed.
const NEWS_GRACE: Duration = Duration::from_millis(500);
/// Lines of stderr that are logged a second; a server that talks more is not worth a full disk.
const LOGGED_LINES_PER_SECOND: u32 = 20;
/// The longest part of a line of stderr that is logged, in bytes.
const LOGGED_LINE_BYTES_MAX: usize = 500;

/// What every child of this daemon is given.
#[derive(Debug, Clone)]
pub struct ChildEnvironment {
    /// What stands for the program `ganger`: the running executable.
    pub own_program: PathBuf,
    /// Variables that hold unless the server's own `env` says otherwise.
    pub variables: BTreeMap<String, String>,
    /// What children that may ask the daemon show there; `None` where it asks nobody.
    api_token: Option<Secret>,
    /// Variables of the daemon that no child inherits.
    hidden: Vec<OsString>,
}

/// What a session knows of its child.
#[derive(Debug)]
pub(super) struct ChildHandle {
    /// Its process group.
    pub(super) group: i32,
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
    tail: Arc<Mutex<Tail>>,
    /// The child is told to leave when this is dropped.
    _leave: DropGuard,
}

/// A child that runs, and the ends of its pipes.
pub(super) struct Spawned {
    pub(super) handle: ChildHandle,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

// === impl ChildEnvironment ===

impl ChildEnvironment {
    /// An environment with these variables, less the daemon's own.
    #[must_use]
    pub fn new(own_program: PathBuf, variables: BTreeMap<String, String>, api_token: Option<Secret>) -> Self {
        Self { own_program, variables, api_token, hidden: private_variables() }
    }
}

/// Starts the server's program. `permit` is given back when the child is gone; it is told to go when `leave` fires, or
/// its handle is dropped.
pub(super) fn spawn(
    params: &ServerParams,
    environment: &ChildEnvironment,
    permit: OwnedSemaphorePermit,
    tasks: &TaskTracker,
    leave: CancellationToken,
) -> io::Result<Spawned> {
    let Target::Command { program, args, env, term_grace } = &params.target else {
        return Err(io::Error::other("the server is no child process"));
    };
    let mut command = if program == "ganger" { Command::new(&environment.own_program) } else { Command::new(program) };
    for name in &environment.hidden {
        command.env_remove(name);
    }
    let api_token = environment.api_token.as_ref().filter(|_| params.gets_api_token).map(Target::text);
    let mut child = command
        .args(args)
        .envs(&environment.variables)
        .envs(api_token.map(|token| (API_TOKEN_VARIABLE, token)))
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let gone = || io::Error::other("it was gone at once");
    let group = Group::of(&child).ok_or_else(gone)?;
    let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or_else(gone)?;
    let (tell, ended) = watch::channel(None);
    let tail = Arc::new(Mutex::new(Tail::default()));
    let handle = ChildHandle { group: group.id(), ended, tail: tail.clone(), _leave: leave.clone().drop_guard() };
    let minder = Minder { name: params.name.clone(), child, group, leave, grace: *term_grace, tell, tail };
    tasks.spawn(async move {
        minder.run().await;
        drop(permit);
    });
    Ok(Spawned { handle, stdin, stdout })
}

// === impl ChildHandle ===

impl ChildHandle {
    /// How the child ended, as a sentence, with the last of what it said; waits a moment for the news.
    pub(super) async fn obituary(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        let how = timeout(NEWS_GRACE, ended.wait_for(Option::is_some)).await.ok()?.ok()?.clone()?;
        let said = lock(&self.tail).text();
        Some(if said.is_empty() { how } else { format!("{how}: {said}") })
    }
}

/// Owns a child.
struct Minder {
    name: String,
    child: Child,
    group: Group,
    leave: CancellationToken,
    grace: Duration,
    tell: watch::Sender<Option<String>>,
    tail: Arc<Mutex<Tail>>,
}

impl Minder {
    async fn run(self) {
        let Self { name, mut child, group, leave, grace, tell, tail } = self;
        let stderr = child.stderr.take();
        let listening = async {
            if let Some(stderr) = stderr {
                listen(&name, stderr, &tail).await;
            }
        };
        let mut listening = std::pin::pin!(listening);
        let mut has_heard = false;
        let was_told = loop {
            tokio::select! {
                _ = child.wait() => break false,
                () = leave.cancelled() => break true,
                () = listening.as_mut(), if !has_heard => has_heard = true,
            }
        };
        if was_told {
            let leaving = async {
                if timeout(LEAVE_GRACE, child.wait()).await.is_err() {
                    group.stop(&mut child, grace).await;
                }
            };
            tokio::select! {
                () = leaving => {}
                // Its stderr is read meanwhile, so that it is not stuck on a full pipe with its clean-up.
                () = async { listening.as_mut().await; std::future::pending::<()>().await }, if !has_heard => {}
            }
        } else if !has_heard && timeout(EOF_GRACE, listening).await.is_err() {
            tracing::debug!(mcp.server = %name, "Something of MCP server {name} keeps its stderr open");
        }
        // Whatever the child left running goes with it.
        drop(group);
        let how = match child.wait().await {
            Ok(status) => ending(status),
            Err(error) => format!("ended unseen ({error})"),
        };
        if was_told {
            tracing::debug!(mcp.server = %name, "The child of MCP server {name} {how}, as it was told to leave");
        } else {
            tracing::warn!(mcp.server = %name, "The child of MCP server {name} {how}");
        }
        tell.send_replace(Some(how));
    }
}

/// Keeps the last of what a child says, and logs its lines.
async fn listen(name: &str, mut stderr: impl AsyncRead + Unpin, tail: &Mutex<Tail>) {
    let mut log = LineLog { name, line: Vec::new(), is_over: false, window: Instant::now(), logged: 0, unlogged: 0 };
    let mut chunk = vec![0; 4_096];
    // A pipe that breaks has ended too.
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        {
            let mut tail = lock(tail);
            tail.buffer().extend_from_slice(&chunk[..count]);
            tail.shorten();
        }
        chunk[..count].iter().for_each(|byte| log.read(*byte));
    }
}

/// Logs lines, cut and at a bounded rate.
struct LineLog<'a> {
    name: &'a str,
    line: Vec<u8>,
    is_over: bool,
    window: Instant,
    logged: u32,
    unlogged: u64,
}

impl LineLog<'_> {
    fn read(&mut self, byte: u8) {
        if byte == b'\n' {
            self.log();
            self.line.clear();
            self.is_over = false;
        } else if self.line.len() < LOGGED_LINE_BYTES_MAX {
            self.line.push(byte);
        } else {
            self.is_over = true;
        }
    }

    fn log(&mut self) {
        let name = self.name;
        if self.window.elapsed() >= Duration::from_secs(1) {
            if self.unlogged > 0 {
                tracing::info!(mcp.server = %name, "{name}: {} more lines were not logged", self.unlogged);
            }
            (self.window, self.logged, self.unlogged) = (Instant::now(), 0, 0);
        }
        if self.logged >= LOGGED_LINES_PER_SECOND {
            self.unlogged += 1;
            return;
        }
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim();
        if !text.is_empty() {
            self.logged += 1;
            tracing::info!(mcp.server = %name, "{name}: {text}{}", if self.is_over { "..." } else { "" });
        }
    }
}

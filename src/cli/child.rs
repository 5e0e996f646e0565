//! Processes of this executable that another command needs: a daemon to measure, a platform to call.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::job::JobId;

use super::failure::Failure;

/// What is not ready by then will not be; Postgres may have to make its schema first.
const START_TIME: Duration = Duration::from_mins(1);

/// A daemon stops within its own bound, which is shorter than this.
const STOP_TIME: Duration = Duration::from_secs(40);

/// What the ready line starts with.
const READY: &str = "listening on ";

/// The most bytes of the log that a failed start shows.
const LOG_BYTES_SHOWN: usize = 4096;

/// This executable, with these arguments.
pub(super) fn ganger(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command, Failure> {
    let own = std::env::current_exe();
    let own = own.map_err(|error| Failure::failed(format!("this program cannot find itself: {error}")))?;
    let mut command = Command::new(own);
    command.args(arguments);
    Ok(command)
}

/// A process that listens. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    address: String,
}

impl Child {
    /// Starts a [`ganger`] and waits until it says where it listens. Its talk goes to `log`.
    pub(super) async fn start(command: Command, log: &Path) -> Result<Self, Failure> {
        Self::spawn(command, log).await.map_err(|error| Failure::failed(format!("{error}\n{}", tail(log))))
    }

    async fn spawn(mut command: Command, log: &Path) -> io::Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        // A group of its own: Ctrl-C is for us, and we stop our children in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn()?;
        let output = process.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = line.strip_prefix(READY) {
                    return Ok(address.trim().to_owned());
                }
            }
            Err(io::Error::other("it ended before it listened"))
        };
        let address = timeout(START_TIME, ready).await.map_err(|_late| io::Error::other("it took too long"))??;
        Ok(Self { process, address })
    }

    /// Where it listens: `http://` and the address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it has ended by itself, and how.
    pub(super) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Stops it in order and waits until it is gone.
    pub(super) async fn stop(mut self) {
        if let Some(id) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            kill(Pid::from_raw(id), Signal::SIGTERM).ok();
        }
        if timeout(STOP_TIME, self.process.wait()).await.is_err() {
            self.process.kill().await.ok();
        }
    }

    /// Ends it at once, as a crash would.
    pub(super) async fn kill(mut self) {
        self.process.kill().await.ok();
    }
}

/// The end of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_BYTES_SHOWN)..]).into_owned()
}

/// A folder that goes away with this.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// An empty folder that nobody else has.
    pub(super) fn new(prefix: &str) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("{prefix}-{}", JobId::generate()));
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::failed(format!("{} cannot be made: {error}", folder.display())))?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What is left of a temporary folder does no harm.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

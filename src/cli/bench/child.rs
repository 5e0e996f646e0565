//! A daemon of the bench's own, in a folder that goes away with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::failure::Failure;
use crate::job::JobId;

/// One queue, one pool, one type that does nothing.
const CONFIG: &str = include_str!("../../../examples/bench/ganger.toml");

/// A daemon that is not ready by then will not be; Postgres may have to make its schema first.
const START_TIME: Duration = Duration::from_mins(1);

/// A daemon stops within its own bound, which is shorter than this.
const STOP_TIME: Duration = Duration::from_secs(40);

/// What the ready line starts with.
const READY: &str = "listening on ";

/// The most bytes of the log that a failed start shows.
const LOG_BYTES_SHOWN: usize = 4096;

/// A running daemon.
pub(super) struct Child {
    process: tokio::process::Child,
    folder: PathBuf,
    server: String,
}

impl Child {
    /// Starts `ganger serve` and waits until it listens.
    pub(super) async fn start(redis_url: Option<&str>, database_url: Option<&str>) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("ganger-bench-{}", JobId::generate()));
        let started = Self::start_in(&folder, redis_url, database_url).await;
        started.map_err(|error| {
            let log = std::fs::read(folder.join("serve.log")).unwrap_or_default();
            let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_BYTES_SHOWN)..]).into_owned();
            remove(&folder);
            Failure::failed(format!("the daemon to be measured did not start: {error}\n{tail}"))
        })
    }

    async fn start_in(folder: &Path, redis_url: Option<&str>, database_url: Option<&str>) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let config = folder.join("ganger.toml");
        std::fs::write(&config, CONFIG)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--config").arg(&config).arg("--data-dir").arg(folder);
        command.args(["--listen", "127.0.0.1:0", "--migrate"]);
        for (flag, url) in [("--redis-url", redis_url), ("--database-url", database_url)] {
            if let Some(url) = url {
                command.args([flag, url]);
            }
        }
        let log = std::fs::File::create(folder.join("serve.log"))?;
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn()?;
        let output = process.stdout.take().ok_or_else(|| std::io::Error::other("it has no output"))?;
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(server) = line.strip_prefix(READY) {
                    return Ok(server.trim().to_owned());
                }
            }
            Err(std::io::Error::other("it ended before it listened"))
        };
        let late = |_| std::io::Error::other("it took too long");
        let server = timeout(START_TIME, ready).await.map_err(late)??;
        Ok(Self { process, folder: folder.to_owned(), server })
    }

    /// Where it listens.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Stops it in order and removes its folder.
    pub(super) async fn stop(mut self) {
        if let Some(id) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            kill(Pid::from_raw(id), Signal::SIGTERM).ok();
        }
        if timeout(STOP_TIME, self.process.wait()).await.is_err() {
            self.process.kill().await.ok();
        }
        remove(&self.folder);
    }
}

/// What is left of a temporary folder does no harm.
fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).ok();
}

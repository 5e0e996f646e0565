//! Real Redis servers: private ones that a test may stop and kill, and one that a test binary shares.
//!
//! Each server listens on a free port of 127.0.0.1 and on a socket in a folder of its own. Beside it
//! stands a watchdog, a shell that waits for the end of its input. The other end of that pipe is ours
//! alone, so it ends when the test process does, however that happens; the watchdog then kills the
//! server and removes the folder.

#![allow(unreachable_pub, reason = "each test binary sees the harness as a private module")]
#![allow(clippy::expect_used, reason = "a harness that cannot do its work fails the test")]

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;

use super::wait;

/// Scripts with flags came with this version.
const VERSION_MIN: u32 = 7;

/// Remembers the newest process id it reads; at the end of its input that process and the folder go.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
last=
while read -r pid; do last=$pid; done
[ -n "$last" ] && kill -KILL "$last" 2>/dev/null
rm -rf -- "$1"
"#;

/// How a private server differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it writes an append-only file, and so survives a kill with its data.
    pub appendonly: bool,
    /// The password that it asks for, and that it gives its master.
    pub password: Option<String>,
    /// Whether it is a node of a cluster.
    pub cluster: bool,
    /// The text of its configuration file, for a Sentinel.
    pub sentinel: Option<String>,
    /// Further settings, as on its command line without the dashes.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// The same with one more setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A private server.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    bus_port: u16,
    folder: PathBuf,
    options: Options,
    server: Option<Child>,
    watchdog: Child,
    leash: Option<ChildStdin>,
}

impl Redis {
    /// A usual server: no persistence, nothing is evicted.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// A server with options.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it is too old or does not come up.
    pub async fn start_with(options: Options) -> Self {
        check_binary();
        let folder = tempfile::Builder::new().prefix("ganger-redis-").tempdir().expect("a temporary folder").keep();
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "ganger-redis-watchdog"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell as watchdog");
        let leash = watchdog.stdin.take();
        let mut redis =
            Self { port: free_port(), bus_port: free_port(), folder, options, server: None, watchdog, leash };
        // Another process may take the free port first; then the next one does.
        for _ in 0..5 {
            if redis.launch().await {
                return redis;
            }
            (redis.port, redis.bus_port) = (free_port(), free_port());
        }
        panic!("redis-server did not come up: {}", redis.log());
    }

    /// Its address over TCP.
    pub fn url(&self) -> String {
        let login = self.options.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{login}127.0.0.1:{}/", self.port)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens to the other nodes of its cluster.
    pub fn bus_port(&self) -> u16 {
        self.bus_port
    }

    /// Whether it was started and not killed since.
    pub fn is_running(&self) -> bool {
        self.server.is_some()
    }

    /// Sends one command; gives its answer.
    ///
    /// # Panics
    /// When it is refused or not answered.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = self.try_ask(words).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}\n{}", self.log()))
    }

    /// The same for a command that may fail.
    pub async fn try_ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connect(&self.url()).await?).await
    }

    /// One field of its `INFO`; empty when it does not answer.
    pub async fn info(&self, field: &str) -> String {
        let text: String = self.try_ask(&["INFO"]).await.unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }

    /// Its address over the socket.
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A connection of the test's own, which waits as long as needed.
    pub async fn connection(&self) -> MultiplexedConnection {
        connect(&self.url()).await.expect("a connection to the test's server")
    }

    /// SIGKILL: what was not written is gone.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("kill of the server");
            server.wait().expect("end of the server");
        }
    }

    /// SIGSTOP: connections stay, answers do not come.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts it again on the same port, with what its append-only file has.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        // While it was down a client's own end of a connection may have had its port.
        let end = tokio::time::Instant::now() + wait::PATIENCE;
        while !self.launch().await {
            assert!(tokio::time::Instant::now() < end, "redis-server did not come up again: {}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// Starts it again on the same port with nothing.
    pub async fn restart_empty(&mut self) {
        self.kill();
        for name in ["appendonlydir", "dump.rdb"] {
            let path = self.folder.join(name);
            if path.is_dir() {
                std::fs::remove_dir_all(path).expect("removal of the append-only files");
            } else if path.exists() {
                std::fs::remove_file(path).expect("removal of the dump");
            }
        }
        self.restart().await;
    }

    /// Has it written down what it has; answers a copy of the file.
    pub async fn dump(&self) -> PathBuf {
        redis::cmd("SAVE").exec_async(&mut self.connection().await).await.expect("SAVE");
        let copy = self.folder.join("old.rdb");
        std::fs::copy(self.folder.join("dump.rdb"), &copy).expect("a copy of the dump");
        copy
    }

    /// Kills it and starts it again on the same port with what `dump` has.
    pub async fn restart_from(&mut self, dump: &Path) {
        self.kill();
        std::fs::copy(dump, self.folder.join("dump.rdb")).expect("the dump in its place");
        self.restart().await;
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("a running server");
        kill(pid_of(server), signal).expect("a signal to the server");
    }

    /// Starts the process and waits until it answers; `false` when it ended instead.
    async fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(text) = &self.options.sentinel {
            // A Sentinel keeps what it learns in this file, so one that comes back has it already.
            let file = self.folder.join("sentinel.conf");
            if !file.exists() {
                std::fs::write(&file, text).expect("a Sentinel's configuration");
            }
            command.arg(file).arg("--sentinel");
        }
        let mut set = |name: &str, value: &str| {
            command.arg(format!("--{name}")).arg(value);
        };
        set("port", &self.port.to_string());
        set("bind", "127.0.0.1");
        set("dir", &self.folder.display().to_string());
        set("logfile", "log");
        if self.options.sentinel.is_none() {
            set("unixsocket", &self.socket().display().to_string());
            set("save", "");
            set("appendonly", if self.options.appendonly { "yes" } else { "no" });
        }
        if let Some(password) = &self.options.password {
            set("requirepass", password);
            if self.options.sentinel.is_none() {
                set("masterauth", password);
            }
        }
        if self.options.cluster {
            set("cluster-enabled", "yes");
            set("cluster-port", &self.bus_port.to_string());
        }
        let chosen = self.options.settings.iter().any(|(name, _)| name == "maxmemory-policy");
        if self.options.sentinel.is_none() && !chosen {
            set("maxmemory-policy", "noeviction");
        }
        self.options.settings.iter().for_each(|(name, value)| set(name, value));
        let server = self.server.insert(command.spawn().expect("redis-server"));
        let leash = self.leash.as_mut().expect("the watchdog's pipe");
        writeln!(leash, "{}", server.id()).expect("a word to the watchdog");
        let url = self.url();
        wait::until("redis-server answers or ends", || {
            let ended = self.server.as_mut().is_none_or(|server| server.try_wait().ok().flatten().is_some());
            let url = url.clone();
            async move {
                if ended {
                    return Some(false);
                }
                let mut connection = connect(&url).await.ok()?;
                redis::cmd("PING").query_async::<String>(&mut connection).await.ok().map(|_| true)
            }
        })
        .await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
        // The end of its input sends the watchdog to work; it knows a process that is gone already.
        if let Some(mut leash) = self.leash.take() {
            drop(writeln!(leash));
        }
        drop(self.watchdog.wait());
    }
}

/// The server that the tests of one binary share. Each test takes a key prefix of its own.
pub async fn shared_url() -> String {
    static SHARED: OnceCell<(String, Option<Redis>)> = OnceCell::const_new();
    let shared = SHARED.get_or_init(|| async {
        if let Ok(url) = std::env::var("GANGER_TEST_REDIS_URL") {
            return (url, None);
        }
        let redis = Redis::start().await;
        (redis.url(), Some(redis))
    });
    shared.await.0.clone()
}

/// A key prefix that no other test has.
pub fn random_prefix() -> String {
    format!("test-{}:", uuid::Uuid::now_v7().simple())
}

/// A connection that waits ten seconds for an answer instead of half of one.
pub async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A missing server fails the test: a suite that skips proves nothing.
fn check_binary() {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| is_file(&folder.join("redis-server"))));
    assert!(
        found,
        "redis-server is not on PATH: install the package redis-server (7.0 or later), or set GANGER_TEST_REDIS_URL"
    );
    let output = Command::new("redis-server").arg("--version").output().expect("redis-server --version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = text.split("v=").nth(1).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    assert!(major.is_some_and(|major| major >= VERSION_MIN), "redis-server {VERSION_MIN}.0 or later is needed: {text}");
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

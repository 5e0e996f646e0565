//! The real binary, started as an operator starts it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::wait::{PATIENCE, patience, until};
use super::{postgres, redis};

/// The program under test.
pub const GANGER: &str = env!("CARGO_BIN_EXE_ganger");

/// The program that daemons run: `GANGER_TEST_BINARY`, so that another build can be put to the same
/// tests, else [`GANGER`].
fn serving() -> PathBuf {
    std::env::var_os("GANGER_TEST_BINARY").map_or_else(|| PathBuf::from(GANGER), PathBuf::from)
}

/// Types, queues and pools that the tests use, with short intervals.
const BASE: &str = include_str!("base.toml");

/// Where a daemon keeps its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footing {
    /// SQLite and the broker in process.
    Embedded,
    /// Postgres and Redis, any number of nodes.
    Cluster,
}

/// One installation: its stores, and as many daemons as are started on them.
pub struct Site {
    pub footing: Footing,
    folder: TempDir,
    stores: Vec<(String, String)>,
    _database: Option<postgres::TestDatabase>,
}

impl Site {
    /// A fresh installation on shared real servers (cluster) or in a folder (embedded).
    pub async fn new(footing: Footing) -> Self {
        install_crypto();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (stores, database) = match footing {
            Footing::Embedded => (Vec::new(), None),
            Footing::Cluster => {
                let database = postgres::Postgres::shared().await.database().await;
                let stores = vec![
                    ("GANGER__REDIS__URL".to_owned(), redis::shared_url().await),
                    ("GANGER__REDIS__KEY_PREFIX".to_owned(), redis::random_prefix()),
                    ("GANGER__LEDGER__URL".to_owned(), database.url.clone()),
                ];
                (stores, Some(database))
            }
        };
        Self { footing, folder, stores, _database: database }
    }

    /// A fresh installation on servers of the test's own.
    pub fn on(redis_url: &str, database_url: &str) -> Self {
        install_crypto();
        let stores = vec![
            ("GANGER__REDIS__URL".to_owned(), redis_url.to_owned()),
            ("GANGER__LEDGER__URL".to_owned(), database_url.to_owned()),
        ];
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { footing: Footing::Cluster, folder, stores, _database: None }
    }

    /// The key prefix of this installation in Redis.
    pub fn prefix(&self) -> String {
        let set = self.stores.iter().find(|(name, _)| name == "GANGER__REDIS__KEY_PREFIX");
        set.map_or_else(|| "ganger:".to_owned(), |(_, prefix)| prefix.clone())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command line of a daemon, with `extra` configuration over the tests' own.
    pub fn command(&self, extra: &str) -> Command {
        self.command_on(0, extra)
    }

    /// The same, listening on `port`; 0 is a free one.
    pub fn command_on(&self, port: u16, extra: &str) -> Command {
        let file = |name: &str, text: &str| {
            let path = self.folder().join(name);
            std::fs::write(&path, text).expect("a configuration file");
            path
        };
        // Each start has a file of its own: an older daemon may read its one again.
        let number = self.folder().read_dir().expect("the folder").count();
        let mut command = Command::new(serving());
        command.arg("serve").args(["--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--config").arg(file("base.toml", BASE));
        command.arg("--config").arg(file(&format!("extra-{number}.toml"), extra));
        command.arg("--data-dir").arg(self.folder().join("data"));
        if self.footing == Footing::Cluster {
            command.arg("--migrate");
        }
        command.envs(self.stores.iter().cloned()).env_remove("RUST_LOG");
        command
    }

    /// Starts a daemon and waits until it says that it is ready.
    pub async fn start(&self, extra: &str) -> Daemon {
        Daemon::spawn(self.command(extra)).await
    }
}

/// A running daemon. It is killed when this is dropped.
pub struct Daemon {
    child: Child,
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
    pub client: reqwest::Client,
}

impl Daemon {
    /// Starts `command` and waits for its line.
    ///
    /// # Panics
    /// When it ends instead, with its log.
    pub async fn spawn(mut command: Command) -> Self {
        install_crypto();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ganger starts");
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (errors, lines) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let said = Arc::new(Mutex::new(None));
        let (out, hear) = (child.stdout.take().unwrap(), said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                hear.lock().unwrap().get_or_insert(line);
            }
        });
        let url = until("ganger says where it listens", || {
            let ended = child.try_wait().unwrap();
            if let Some(status) = ended {
                panic!("ganger ended with {status}:\n{}", log.lock().unwrap().join("\n"));
            }
            let line = said.lock().unwrap().clone();
            async move { line.map(|line| line.trim_start_matches("listening on ").to_owned()) }
        })
        .await;
        let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { child, url, log, client }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the daemon is there");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("it ends");
    }

    /// Waits for its end; answers the exit status.
    pub async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        until("ganger ends", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
        .code()
    }

    /// Sends a request; answers status and JSON.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{path}: {error:?}\n{}", self.log()));
        let status = response.status().as_u16();
        let text = response.text().await.expect("an answer");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {answer}");
        answer
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }

    /// Submits one job that must be accepted; answers its id.
    pub async fn submit(&self, submit: Value) -> String {
        let (status, job) = self.post("/v1/jobs", submit).await;
        assert_eq!(status, 201, "{job}");
        job["id"].as_str().expect("an id").to_owned()
    }

    /// Submits `count` equal jobs in batches; answers their ids.
    pub async fn submit_many(&self, submit: &Value, count: usize) -> Vec<String> {
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            let batch = vec![submit.clone(); (count - ids.len()).min(1_000)];
            let (status, answer) = self.post("/v1/jobs/batch", json!(batch)).await;
            assert_eq!(status, 200, "{answer}");
            for item in answer.as_array().expect("an array") {
                assert_eq!(item["status"], 201, "{item}");
                ids.push(item["id"].as_str().unwrap().to_owned());
            }
        }
        ids
    }

    /// One job.
    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// One job once it is at rest.
    pub async fn at_rest(&self, id: &str) -> Value {
        let job = self.get(&format!("/v1/jobs/{id}?wait={}s", patience().as_secs())).await;
        let state = job["state"].as_str().unwrap_or_default();
        let rest = ["succeeded", "failed", "in_review", "cancelled", "expired"].contains(&state);
        assert!(rest, "job {id} does not come to rest: {job}\n{}", self.log());
        job
    }

    /// Waits until a job is in `state`.
    pub async fn in_state(&self, id: &str, state: &str) -> Value {
        until(&format!("job {id} is {state}"), || async move {
            let job = self.job(id).await;
            (job["state"] == state).then_some(job)
        })
        .await
    }

    /// The value of one series of `/metrics`, given as it is printed; 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.client.get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}\n---", self.url, self.log());
        }
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program with these arguments to its end.
pub fn ganger(arguments: &[&str]) -> Output {
    run(Command::new(GANGER).args(arguments))
}

/// Runs a command to its end.
///
/// # Panics
/// When it does not end by itself; then it is killed.
pub fn run(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let pid = Pid::from_raw(child.id().cast_signed());
    let (ended, heard) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = heard.recv_timeout(patience()) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            kill(pid, Signal::SIGKILL).ok();
        }
        late
    });
    let output = child.wait_with_output().expect("its output");
    drop(ended);
    assert!(!watch.join().unwrap(), "{command:?} did not end by itself: {output:?}");
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Shell words that wait for a file. They end with the test's folder too: a killed daemon leaves its children.
pub fn wait_for(gate: &Path) -> String {
    let folder = gate.parent().expect("a gate stands in a folder");
    format!("while test -d {} && ! test -e {}; do sleep 0.02; done", folder.display(), gate.display())
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The same provider that the program installs first.
fn install_crypto() {
    let _already = rustls::crypto::ring::default_provider().install_default();
}

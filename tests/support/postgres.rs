//! A real `PostgreSQL` server of our own: private, on a free port, gone with the test process.
//!
//! Its programs are found on PATH or where Debian keeps them. `GANGER_TEST_POSTGRES_URL` names a
//! running server instead. Nothing is ever skipped: without a server the tests fail and say what to
//! install.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use super::wait;

/// The running server to use instead of a private one.
const URL_VARIABLE: &str = "GANGER_TEST_POSTGRES_URL";

/// Ends a server and its folder when standard input closes, that is when the test process lets go of
/// it or dies in whatever way. Asks for an immediate shutdown first, then insists.
const WATCHDOG: &str = r#"
cat > /dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null)
if [ -n "$pid" ]; then
    kill -CONT "$pid" 2> /dev/null
    kill -QUIT "$pid" 2> /dev/null
    tries=0
    while kill -0 "$pid" 2> /dev/null && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    kill -KILL "$pid" 2> /dev/null
fi
rm -rf "$1"
"#;

static SHARED: OnceCell<Postgres> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// One server.
#[derive(Debug)]
pub struct Postgres {
    /// Without a database name at its end.
    base_url: String,
    /// `None` for a server that was there before us.
    private: Option<Private>,
    /// A database with the schema, from which others are copied.
    template: OnceCell<String>,
}

#[derive(Debug)]
struct Private {
    folder: PathBuf,
    port: u16,
    programs: PathBuf,
    user: Option<String>,
    server: Mutex<Option<Child>>,
    watchdog: Mutex<Option<Child>>,
}

/// A fresh database; dropped with this value when the server is not ours.
#[derive(Debug)]
pub struct TestDatabase {
    /// Where it is.
    pub url: String,
    name: String,
    /// Where to drop it; `None` when its server goes as a whole.
    admin_url: Option<String>,
}

// === impl Postgres ===

impl Postgres {
    /// The server that all tests of this process share.
    pub async fn shared() -> &'static Self {
        let start = async {
            match std::env::var(URL_VARIABLE) {
                Ok(url) => Self::running(&url),
                Err(_) => Self::start().await,
            }
        };
        SHARED.get_or_init(|| start).await
    }

    /// A server of its own, for tests that stop or kill it.
    pub async fn start() -> Self {
        let private = Private::prepare();
        private.launch();
        let server = Self {
            base_url: format!("postgres://postgres@127.0.0.1:{}", private.port),
            private: Some(private),
            template: OnceCell::new(),
        };
        server.ready().await;
        server
    }

    fn running(url: &str) -> Self {
        let mut base = url::Url::parse(url).unwrap_or_else(|error| panic!("{URL_VARIABLE} is no URL: {error}"));
        base.set_path("");
        Self { base_url: base.to_string(), private: None, template: OnceCell::new() }
    }

    /// Stops it in order.
    pub async fn stop(&self) {
        self.private().end("-INT").await;
    }

    /// Kills it as a power cut would.
    pub async fn kill9(&self) {
        self.private().end("-KILL").await;
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill9`], on the same port and data.
    pub async fn restart(&self) {
        self.private().launch();
        self.ready().await;
    }

    /// An empty database.
    pub async fn database(&self) -> TestDatabase {
        self.create("").await
    }

    /// A database that has the schema.
    pub async fn migrated(&self) -> TestDatabase {
        let make = async {
            let mut template = self.create("").await;
            ganger::ledger::postgres::migrate(&template.url).await.expect("the migrations run");
            // It stays until the server goes, or until the tests on a foreign server start anew.
            template.admin_url = None;
            template.name.clone()
        };
        let template = self.template.get_or_init(|| make).await;
        let database = self.create(&format!("TEMPLATE {template}")).await;
        // Each ledger has an id of its own.
        database.execute("UPDATE meta SET ledger_id = gen_random_uuid()::text").await;
        database
    }

    async fn create(&self, from: &str) -> TestDatabase {
        let nth = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("ganger_test_{}_{nth}", std::process::id());
        let admin = self.url("postgres");
        execute(&admin, &format!("CREATE DATABASE {name} {from}")).await;
        let admin_url = self.private.is_none().then_some(admin);
        TestDatabase { url: self.url(&name), name, admin_url }
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.base_url.trim_end_matches('/'))
    }

    fn private(&self) -> &Private {
        self.private.as_ref().unwrap_or_else(|| panic!("{URL_VARIABLE} names a server that is not ours to stop"))
    }

    async fn ready(&self) {
        let url = self.url("postgres");
        let what = format!("PostgreSQL answers; its log is {}/log", self.private().folder.display());
        let look = || async {
            self.private().launch_again_if_gone();
            PgConnection::connect(&url).await.ok()
        };
        let connected = wait::until(&what, look).await;
        connected.close().await.ok();
    }
}

// === impl Private ===

impl Private {
    fn prepare() -> Self {
        let programs = programs();
        let user = is_root().then(unprivileged_user);
        let folder = tempfile::Builder::new().prefix("ganger-pg-").tempdir().expect("a temporary folder").keep();
        // PostgreSQL refuses to run as root, so its folder belongs to another user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("permissions");
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(&folder));
        }
        let watchdog = watchdog(&folder);
        let private = Self {
            port: free_port(),
            programs,
            user,
            server: Mutex::new(None),
            watchdog: Mutex::new(Some(watchdog)),
            folder,
        };
        let data = private.folder.join("data");
        let mut initdb = private.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"]);
        run(initdb.arg(&data));
        private
    }

    /// Starts the server process.
    fn launch(&self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let mut server = self.command("postgres");
        server
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-k")
            .arg(&self.folder)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-c", "max_connections=300", "-c", "shared_buffers=64MB"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            // A signal to the tests' own group is not for it; the watchdog ends it.
            .process_group(0);
        let child = server.spawn().expect("PostgreSQL starts");
        *self.server.lock().unwrap() = Some(child);
    }

    /// Starts it again if it could not start. While it was down a client's own end of a connection may have had its
    /// port, or a backend of the killed server its memory.
    fn launch_again_if_gone(&self) {
        let gone = self.server.lock().unwrap().as_mut().is_some_and(|server| !matches!(server.try_wait(), Ok(None)));
        if gone {
            self.launch();
        }
    }

    /// Ends the server process and waits until it is gone.
    async fn end(&self, signal: &str) {
        let server = self.server.lock().unwrap().take();
        let Some(mut server) = server else { return };
        run(Command::new("kill").args([signal, &server.id().to_string()]));
        wait::until("PostgreSQL is gone", || {
            let gone = server.try_wait().expect("its process can be asked").map(drop);
            async move { gone }
        })
        .await;
        // Backends hold its shared memory a moment longer than a killed postmaster lives.
        if signal == "-KILL" {
            fs::remove_file(self.folder.join("data/postmaster.pid")).ok();
        }
    }

    /// One of `PostgreSQL`'s programs, as the user it may run as.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match &self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={}", group_of(user)));
                command.arg("--clear-groups").arg(program);
                command
            }
        };
        command.current_dir(&self.folder).env("LC_ALL", "C").env("TZ", "UTC");
        command
    }
}

impl Drop for Private {
    /// Lets go of the watchdog, which ends the server and removes the folder.
    fn drop(&mut self) {
        if let Some(mut watchdog) = self.watchdog.lock().unwrap().take() {
            drop(watchdog.stdin.take());
            watchdog.wait().ok();
        }
        if let Some(mut server) = self.server.lock().unwrap().take() {
            server.wait().ok();
        }
    }
}

// === impl TestDatabase ===

impl TestDatabase {
    /// Runs one statement in it.
    pub async fn execute(&self, statement: &str) {
        execute(&self.url, statement).await;
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(admin) = self.admin_url.take() else { return };
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A destructor cannot wait in the test's own runtime.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(execute(&admin, &statement));
        });
        dropping.join().ok();
    }
}

async fn execute(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the test's server answers");
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    connection.close().await.ok();
}

// === the machine ===

/// Where `initdb` and `postgres` are: on PATH, else the newest of Debian's versions.
fn programs() -> PathBuf {
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let mut folders: Vec<PathBuf> = on_path;
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
    let has = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file());
    let Some(folder) = folders.into_iter().find(has) else {
        panic!("no PostgreSQL server found: install the package `postgresql` (15 or newer) or set {URL_VARIABLE}");
    };
    // The programs look for their share of the installation beside the real file.
    fs::canonicalize(folder.join("postgres")).ok().and_then(|real| Some(real.parent()?.to_owned())).unwrap_or(folder)
}

/// Starts the process that outlives us just long enough to clean up.
fn watchdog(folder: &Path) -> Child {
    Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
        .expect("a shell")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}

fn unprivileged_user() -> String {
    let known = |user: &&str| output(Command::new("id").args(["-u", user])).is_ok();
    let user = ["postgres", "nobody"].iter().find(|user| known(user));
    (*user.expect("a user `postgres` or `nobody`, because PostgreSQL refuses to run as root")).to_owned()
}

fn group_of(user: &str) -> String {
    output(Command::new("id").args(["-g", user])).expect("the user's group")
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(command: &mut Command) {
    if let Err(error) = output(command) {
        panic!("{command:?} failed: {error}");
    }
}

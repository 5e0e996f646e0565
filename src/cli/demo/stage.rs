//! What the demo plays on: a booking site, the reference platform and a daemon, all on free ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::cli::child::{Child, TemporaryFolder, ganger, tail};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::platform::server;
use crate::platform::site::{Site, Version};

/// What is changed of the built-in configuration.
const CONFIG: &str = include_str!("../../../examples/demo/ganger.toml");

/// What the variables of a configuration start with: those of the shell are meant for another daemon.
const CONFIGURATION: &str = "GANGER__";

/// Ports below those that systems hand out by themselves. The platform's has to be free again after the outage.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Tries to find a free one.
const PORT_TRIES: usize = 100;

/// How long the site may take to end its last answers.
const SITE_TIME: std::time::Duration = std::time::Duration::from_millis(500);

/// Everything that runs. Processes are killed and a temporary folder is removed when this is dropped; [`Stage::end`] does
/// the same in order.
#[derive(Debug)]
pub(super) struct Stage {
    daemon: Child,
    platform: Option<Child>,
    platform_address: SocketAddr,
    site: Site,
    site_address: String,
    site_task: JoinSet<std::io::Result<()>>,
    site_stop: CancellationToken,
    client: Client,
    folder: Folder,
}

/// Where the daemon keeps its data.
#[derive(Debug)]
enum Folder {
    Temporary(TemporaryFolder),
    /// The caller's own; it stays.
    Given(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }

    /// A folder with nothing in it: the closing table tells of this day alone.
    fn open(given: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(folder) = given else { return TemporaryFolder::new("ganger-demo").map(Self::Temporary) };
        let wrong = |error| Failure::failed(format!("--data-dir {}: {error}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(wrong)?;
        if std::fs::read_dir(&folder).map_err(wrong)?.next().is_some() {
            return Err(Failure::usage(format!(
                "--data-dir {} is not empty; the demo begins with an empty ledger. To look at an old one: ganger serve \
                 --data-dir {}",
                folder.display(),
                folder.display()
            )));
        }
        Ok(Self::Given(folder))
    }
}

impl Stage {
    /// Starts site, platform and daemon.
    pub(super) async fn set(data_dir: Option<PathBuf>, listen: Option<&str>) -> Result<Self, Failure> {
        let folder = Folder::open(data_dir)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| no_port(&error))?;
        let site_address = format!("http://{}", listener.local_addr().map_err(|error| no_port(&error))?);
        let site = Site::new(Version::V1, None).map_err(Failure::failed)?;
        let site_stop = CancellationToken::new();
        let mut site_task = JoinSet::new();
        site_task.spawn(server::serve_http(listener, site.router(), site_stop.clone()));

        let config = folder.path().join("demo.toml");
        std::fs::write(&config, CONFIG)
            .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", config.display())))?;
        let platform_address = free_address()?;
        let own = if listen.is_none() { free_address()?.to_string() } else { String::new() };
        let daemon = start_daemon(folder.path(), &config, listen.unwrap_or(&own), platform_address).await?;
        let client = Client::for_servers(daemon.address(), None)?;
        let mut stage =
            Self { daemon, platform: None, platform_address, site, site_address, site_task, site_stop, client, folder };
        stage.platform_up().await?;
        Ok(stage)
    }

    /// The daemon's address.
    pub(super) fn server(&self) -> &str {
        self.daemon.address()
    }

    /// A client of the daemon.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The site's address, without a slash at its end.
    pub(super) fn site_address(&self) -> &str {
        &self.site_address
    }

    /// The site.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// Where the data are.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the platform where the daemon expects it.
    pub(super) async fn platform_up(&mut self) -> Result<(), Failure> {
        let (listen, data_dir) = (self.platform_address.to_string(), self.folder().to_string_lossy().into_owned());
        let arguments = ["platform-tools", "--listen", &listen, "--data-dir", &data_dir, "--server", self.server()];
        let command = ganger(arguments)?;
        let started = Child::start(command, &self.folder().join("platform.log")).await;
        self.platform = Some(started.map_err(|failure| because("the platform did not start", &failure))?);
        Ok(())
    }

    /// The platform is gone at once, as if its machine had lost power.
    pub(super) async fn platform_down(&mut self) {
        if let Some(platform) = self.platform.take() {
            platform.kill().await;
        }
    }

    /// Adds what the daemon said last to a failure, where it is the daemon that ended.
    pub(super) fn explain(&mut self, failure: Failure) -> Failure {
        match self.daemon.ended() {
            Some(status) => {
                let said = tail(&self.folder().join("serve.log"));
                because(&format!("the daemon ended with {status}; its log ends with:\n{said}"), &failure)
            }
            None => failure,
        }
    }

    /// Ends everything in order.
    pub(super) async fn end(mut self) {
        self.daemon.stop().await;
        if let Some(platform) = self.platform {
            platform.stop().await;
        }
        self.site_stop.cancel();
        // Browsers of people who look around keep connections open.
        tokio::time::timeout(SITE_TIME, self.site_task.join_next()).await.ok();
    }
}

async fn start_daemon(folder: &Path, config: &Path, listen: &str, platform: SocketAddr) -> Result<Child, Failure> {
    let (config, data_dir) = (config.to_string_lossy(), folder.to_string_lossy());
    let mut command = ganger(["serve", "--config", &*config, "--data-dir", &*data_dir, "--listen", listen])?;
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(CONFIGURATION)) {
        command.env_remove(name);
    }
    command.env("GANGER__MCP_SERVERS__PLATFORM__URL", format!("http://{platform}/mcp"));
    let started = Child::start(command, &folder.join("serve.log")).await;
    started.map_err(|failure| because("the daemon did not start", &failure))
}

fn because(what: &str, failure: &Failure) -> Failure {
    Failure::failed(format!("{what}: {}", failure.message().unwrap_or("nobody said why")))
}

fn no_port(error: &std::io::Error) -> Failure {
    Failure::failed(format!("no port is free on this machine: {error}"))
}

/// An address that nobody listens on.
fn free_address() -> Result<SocketAddr, Failure> {
    let chance = Chance::from_entropy();
    let mut last = std::io::Error::other("none was tried");
    for _ in 0..PORT_TRIES {
        let port = PORTS.start + u16::try_from(chance.bits() % u64::from(PORTS.end - PORTS.start)).unwrap_or(0);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match std::net::TcpListener::bind(address) {
            Ok(_free) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(no_port(&last))
}

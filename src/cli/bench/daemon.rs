//! A daemon of the bench's own, in a folder that goes away with it.

use crate::cli::child::{Child, TemporaryFolder, ganger};
use crate::cli::failure::Failure;

/// One queue, one pool, one type that does nothing.
const CONFIG: &str = include_str!("../../../examples/bench/ganger.toml");

/// A running daemon.
pub(super) struct Daemon {
    process: Child,
    _folder: TemporaryFolder,
}

impl Daemon {
    /// Starts `ganger serve` and waits until it listens.
    pub(super) async fn start(redis_url: Option<&str>, database_url: Option<&str>) -> Result<Self, Failure> {
        let folder = TemporaryFolder::new("ganger-bench")?;
        let (config, log) = (folder.path().join("ganger.toml"), folder.path().join("serve.log"));
        std::fs::write(&config, CONFIG)
            .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", config.display())))?;
        let (config, data_dir) = (config.to_string_lossy(), folder.path().to_string_lossy());
        let mut arguments = vec!["serve", "--config", &config, "--data-dir", &data_dir];
        arguments.extend(["--listen", "127.0.0.1:0", "--migrate"]);
        arguments.extend(redis_url.into_iter().flat_map(|url| ["--redis-url", url]));
        arguments.extend(database_url.into_iter().flat_map(|url| ["--database-url", url]));
        let process = Child::start(ganger(arguments)?, &log).await;
        let process = process.map_err(|failure| {
            let why = failure.message().unwrap_or_default();
            Failure::failed(format!("the daemon to be measured did not start: {why}"))
        })?;
        Ok(Self { process, _folder: folder })
    }

    /// Where it listens.
    pub(super) fn server(&self) -> &str {
        self.process.address()
    }

    /// Stops it in order and removes its folder.
    pub(super) async fn stop(self) {
        self.process.stop().await;
    }
}

//! The reference platform: an MCP server that tests web pages by their HTML.
//!
//! It gives the default configuration real work to do: plans from forms and links, tests in a static
//! browser, locators and their healing, figures and reports. It is a program of its own that happens to
//! be in the same binary: it imports nothing of the daemon and talks to it over HTTP only
//! (`docs/PLATFORM.md`, ADR 0026).

pub mod analytics;
pub mod browser;
mod daemon;
pub mod elements;
pub mod fetch;
pub mod healing;
pub mod locators;
pub mod observation;
pub mod page;
pub mod plan;
pub mod reply;
pub mod repository;
pub mod run;
pub mod seating;
pub mod server;
pub mod site;
pub mod tools;

#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::browser::Browsers;
use self::elements::Elements;
use self::fetch::Fetcher;
use self::page::Limits;
use self::reply::ToolError;
use self::repository::Repository;
use self::server::Progress;

/// How the platform is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pages may be read from files below this folder; without it from none.
    pub root: Option<PathBuf>,
    /// Where the element repository keeps its file; without it nothing is kept.
    pub data_dir: Option<PathBuf>,
    /// The daemon whose figures are asked for.
    pub daemon: Option<String>,
    /// The token to show there.
    pub token: Option<String>,
    /// What a page may cost.
    pub limits: Limits,
    /// Time for one page to come, with all its redirects.
    pub fetch_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let fetch_time = Duration::from_secs(10);
        Self { root: None, data_dir: None, daemon: None, token: None, limits: Limits::default(), fetch_time }
    }
}

/// What every tool works with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// How the platform is set up.
    pub settings: Arc<Settings>,
    /// Where pages come from.
    pub fetcher: Fetcher,
    /// The browsers that are open.
    pub browsers: Arc<Browsers>,
    /// What is known of elements from before, for those who only look them up.
    pub elements: Arc<dyn Elements>,
    /// The same, for those who write there.
    pub repository: Arc<Repository>,
    /// Where the call that is served tells how far it is.
    pub progress: Progress,
    /// What the daemon tells this call otherwise (`_meta.ganger.overrides`).
    pub overrides: serde_json::Map<String, serde_json::Value>,
}

impl Context {
    /// Sets everything up.
    pub fn new(settings: Settings) -> Result<Self, ToolError> {
        let fetcher = Fetcher::new(&settings)?;
        let repository = Arc::new(Repository::new(settings.data_dir.as_deref()));
        let elements = Arc::clone(&repository) as Arc<dyn Elements>;
        let (browsers, progress) = (Arc::default(), Progress::default());
        let (settings, overrides) = (Arc::new(settings), serde_json::Map::new());
        Ok(Self { settings, fetcher, browsers, elements, repository, progress, overrides })
    }
}

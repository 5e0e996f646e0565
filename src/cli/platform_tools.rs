//! `ganger platform-tools`

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use clap::ValueEnum;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::platform::site::{Site, Version};
use crate::platform::{Context, Settings, server};

use super::failure::{DONE, Failure, Outcome};
use super::output;

/// Calls that run have this long once a signal says to stop; then they are cut off.
const END_TIME: Duration = Duration::from_secs(5);

/// The flags of `platform-tools`.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are help texts, which a terminal shows as they are")]
#[command(after_help = "Without --listen it speaks MCP on stdin and stdout, as a child of whoever calls its tools.")]
pub(super) struct Args {
    /// Serve streamable HTTP on this address, at /mcp; port 0 takes a free one and says which.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// A name under which clients may reach --listen, beside localhost and 127.0.0.1.
    #[arg(long, value_name = "HOST", requires = "listen")]
    allow_host: Vec<String>,
    /// Pages may be read from files below this folder; without it from none.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where the element repository keeps its file; without it nothing is kept.
    #[arg(long, env = "GANGER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The daemon that query_analytics and render_report ask, or several separated by commas.
    #[arg(long, env = "GANGER_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The token to show there. Better given as GANGER_TOKEN: arguments can be seen by others.
    #[arg(long, env = "GANGER_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Serve the sample booking site in this version on --listen, instead of the tools.
    #[arg(long, value_name = "VERSION", requires = "listen")]
    site: Option<SiteVersion>,
    /// Take the site's files from this folder, laid out like examples/booking-site.
    #[arg(long, value_name = "DIR", requires = "site")]
    site_files: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SiteVersion {
    /// Tables and ids.
    V1,
    /// After the redesign.
    V2,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        if let Some(version) = self.site {
            let version = match version {
                SiteVersion::V1 => Version::V1,
                SiteVersion::V2 => Version::V2,
            };
            let site = Site::new(version, self.site_files.as_deref()).map_err(Failure::failed)?;
            return serve(self.listen.as_deref(), |_| Ok(site.router())).await;
        }
        let settings = Settings {
            root: self.root,
            data_dir: self.data_dir,
            daemon: self.server,
            token: self.token,
            ..Settings::default()
        };
        let context = Context::new(settings).map_err(|error| Failure::usage(error.message))?;
        if self.listen.is_some() {
            return serve(self.listen.as_deref(), |stop| Ok(server::router(&context, &self.allow_host, stop))).await;
        }
        server::serve_stdio(context).await.map_err(Failure::failed)?;
        Ok(DONE)
    }
}

/// Serves until a signal says to stop.
async fn serve(address: Option<&str>, router: impl FnOnce(&CancellationToken) -> Result<Router, Failure>) -> Outcome {
    let address = address.ok_or_else(|| Failure::usage("--listen is missing"))?;
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let own = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, own, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    };
    let (listener, own, mut terminate, mut interrupt) =
        bound.await.map_err(|error| Failure::failed(format!("--listen {address}: {error}")))?;
    let stop = CancellationToken::new();
    let router = router(&stop)?;
    output::data(&format!("listening on http://{own}"))?;
    let stopping = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        tokio::time::sleep(END_TIME).await;
    };
    tokio::select! {
        served = server::serve_http(listener, router, stop.clone()) => {
            served.map_err(|error| Failure::failed(format!("the listener broke off: {error}")))?;
        }
        () = stopping => {}
    }
    Ok(DONE)
}

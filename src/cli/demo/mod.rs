//! `ganger demo`: a day's work over a sample site, with an outage and a redesign in it.
//!
//! Everything is real: a daemon as `serve` starts it, the reference platform behind MCP over HTTP, and a booking site that
//! it tests. What is shown at the end is what these three did.

mod catalogue;
mod closing;
mod desk;
mod metrics;
mod outage;
mod scenario;
mod signals;
mod stage;
mod story;
mod watch;

use std::path::PathBuf;

use self::closing::Closing;
use self::desk::Desk;
use self::signals::Signals;
use self::stage::Stage;
use self::watch::Watch;
use super::failure::{DONE, FAILED, Failure, Outcome};
use super::output;

/// The flags of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// End after the closing table: status 0 if every job came to rest as it should, else 1.
    #[arg(long)]
    once: bool,
    /// The number that the day's work follows from; the same one gives the same jobs.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The daemon's address; a free port of this machine when left out.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// An empty folder for the daemon's data, which stays; a temporary one when left out.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What the flags do not say.
const HELP: &str = "Nothing needs to be installed or running. Without --once the daemon, the platform and the site stay \
                    up for a look around until Ctrl-C. Variables that configure a daemon (GANGER__*) do not count here.";

/// Seeds that people can read and type.
const SEEDS: u64 = 1_000_000;

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let mut signals = Signals::new()?;
        let seed = self.seed.unwrap_or_else(|| rand::random_range(0..SEEDS));
        let setting = Stage::set(self.data_dir, self.listen.as_deref());
        let mut stage = tokio::select! {
            stage = setting => stage?,
            () = signals.next() => return Err(interrupted()),
        };
        let watch = Watch::new();
        watch.say(&format!("seed {seed}; daemon at {}, site at {}", stage.server(), stage.site_address()));
        let outcome = tokio::select! {
            outcome = day(&mut stage, &watch, seed) => outcome,
            () = signals.next() => Err(interrupted()),
        };
        watch.close();
        let outcome = match outcome {
            Ok(closing) => show(&stage, &closing, seed, self.once, &mut signals).await,
            Err(failure) => Err(stage.explain(failure)),
        };
        tokio::select! {
            () = stage.end() => {}
            // Whoever says it twice does not want to wait; what is dropped is killed.
            () = signals.next() => {}
        }
        outcome
    }
}

async fn day(stage: &mut Stage, watch: &Watch, seed: u64) -> Result<Closing, Failure> {
    let mut desk = Desk::new(stage.client().clone());
    let day = story::play(stage, &mut desk, watch, seed).await?;
    closing::close(stage, &desk, watch, &day).await
}

/// Shows what happened and, unless it is to end, waits until somebody has seen enough.
async fn show(stage: &Stage, closing: &Closing, seed: u64, once: bool, signals: &mut Signals) -> Outcome {
    output::data(&closing.text)?;
    let status = if closing.wrong.is_empty() {
        output::data("Every job came to rest as it should, and every series has figures.")?;
        DONE
    } else {
        output::data(&format!("Not as it should be (again with --seed {seed}):\n  {}", closing.wrong.join("\n  ")))?;
        FAILED
    };
    if !once {
        output::data(&closing.next)?;
        output::talk(&format!("{} stays up for a look around until Ctrl-C", stage.server()));
        signals.next().await;
    }
    Ok(status)
}

fn interrupted() -> Failure {
    Failure::failed("interrupted")
}

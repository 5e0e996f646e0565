//! Sums on their way to the ledger and back.
//!
//! Additions are numbered, and the ledger takes each number once. So an addition whose answer was lost is made again as
//! it was, and counts once. While the ledger is away the sums wait in memory; what has waited longer than its window is
//! forgotten.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::{LedgerError, Outlived, Result, Tally};
use crate::mutant::mutant;
use crate::policy::measures::Measure;
use crate::policy::measures::book::{Key, Sum, minute};
use crate::service::{lock, periodic};

use super::Core;

/// Between two looks: what a node that is killed may lose, and by how much others are behind.
const PERIOD: Duration = Duration::from_secs(5);
/// Between two readings of whole windows. Between them only the last minutes are read: others add to older ones only
/// after they could not reach the ledger.
const WHOLE_PERIOD: Duration = Duration::from_secs(60);
/// The minutes that are read in between.
const RECENT_MIN: i64 = 3;
/// Sums added by one statement.
const ADDITION_MAX: usize = 2_000;

/// Sums that are added together, under a number.
#[derive(Debug)]
pub(super) struct Addition {
    number: i64,
    pub(super) tallies: Vec<Tally>,
}

/// How far the exchange with the ledger is.
#[derive(Debug, Default)]
pub(in super::super) struct Keeping {
    /// The number of the last addition.
    number: i64,
    /// When whole windows were last read.
    read_at: Option<Instant>,
}

/// Exchanges sums with the ledger, until `stop`.
pub(in super::super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    periodic(PERIOD, &core.chance, &never, &stop, || look(&core)).await;
}

async fn look(core: &Core) {
    let exchanged = async {
        let mut keeping = core.measures.keeping.lock().await;
        add(core, &mut keeping).await?;
        read(core, &mut keeping).await
    };
    if let Err(error) = exchanged.await {
        tell(core, &error);
    }
}

fn tell(core: &Core, error: &LedgerError) {
    if error.is_transient() {
        core.session.ledger_failed(error);
    } else {
        tracing::error!("Business measures cannot be kept: {error}");
    }
}

/// Adds to the ledger what it does not have yet.
pub(in super::super) async fn keep(core: &Core) -> Result<()> {
    add(core, &mut *core.measures.keeping.lock().await).await
}

async fn add(core: &Core, keeping: &mut Keeping) -> Result<()> {
    lock(&core.measures.sums).unkept.forget_outlived(&core.setup.load().measures, core.clock.now());
    while let Some(addition) = next(core, keeping) {
        let answer = core.ledger.add_tallies(&core.params.node, addition.number, &addition.tallies).await;
        // One that is refused would be refused again, and would keep all others out.
        if answer.as_ref().err().is_none_or(|error| !error.is_transient()) {
            lock(&core.measures.sums).addition = None;
        }
        answer?;
    }
    Ok(())
}

/// The addition whose answer is not known, as it is; else a new one of what has gathered.
fn next(core: &Core, keeping: &mut Keeping) -> Option<Arc<Addition>> {
    let mut sums = lock(&core.measures.sums);
    if sums.addition.is_none() {
        let tallies: Vec<Tally> = sums.unkept.take(ADDITION_MAX).into_iter().map(tally).collect();
        if !tallies.is_empty() {
            keeping.number += 1;
            sums.addition = Some(Arc::new(Addition { number: keeping.number, tallies }));
        }
    }
    mutant!(additions_are_renumbered => {
        keeping.number += 1;
        let tallies = sums.addition.as_ref().map(|addition| addition.tallies.clone());
        return tallies.map(|tallies| Arc::new(Addition { number: keeping.number, tallies }));
    });
    sums.addition.clone()
}

fn tally(((measure, label, minute), sum): (Key, Sum)) -> Tally {
    Tally { measure: measure.name().to_owned(), label, minute, count: sum.count, total: sum.total }
}

/// Reads what the ledger has, as far as others may have changed it.
async fn read(core: &Core, keeping: &mut Keeping) -> Result<()> {
    let is_whole = keeping.read_at.is_none_or(|at| at.elapsed() >= WHOLE_PERIOD);
    let is_alone = core.membership.others().iter().all(|node| node.id == core.params.node);
    let (setup, now) = (core.setup.load_full(), core.clock.now());
    if keeping.read_at.is_none() || !is_alone {
        let back_min =
            if is_whole { Measure::ALL.map(|of| setup.measures.longest_min(of)).into_iter().max() } else { None };
        let since = minute(now) - back_min.unwrap_or(RECENT_MIN) + 1;
        let tallies = core.ledger.tallies(since).await?;
        let mut sums = lock(&core.measures.sums);
        // Nothing is on its way to the ledger now, so what was read has everything but what was counted since.
        let super::Sums { whole, unkept, .. } = &mut *sums;
        whole.forget_since(since);
        for Tally { measure, label, minute, count, total } in tallies {
            // One of another version of this program.
            let Some(measure) = Measure::from_name(&measure) else { continue };
            whole.add((measure, label, minute), Sum { count, total });
        }
        whole.add_since(since, unkept);
    }
    if is_whole {
        keeping.read_at = Some(Instant::now());
    }
    lock(&core.measures.sums).whole.forget_outlived(&setup.measures, now);
    Ok(())
}

/// Drops from the ledger what no window looks at any more.
pub(in super::super) async fn drop_outlived(core: &Core) {
    let (setup, now) = (core.setup.load_full(), minute(core.clock.now()));
    let outlived = Measure::ALL.map(|measure| Outlived {
        measure: measure.name().to_owned(),
        before: now - setup.measures.longest_min(measure),
    });
    if let Err(error) = core.ledger.drop_tallies(&outlived).await {
        tell(core, &error);
    }
}

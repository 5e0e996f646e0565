//! Retention: what is no longer kept goes, one node at a time.
//!
//! It looks every half minute, and sooner when the ledger has grown by so much that the clock would let
//! it grow beyond its bound. A look goes on until everything is within the limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::service::periodic;
use crate::telemetry::metrics;

use super::core::Core;
use super::measures;

/// Between two passes of retention.
const PERIOD: Duration = Duration::from_secs(30);
/// Retention looks sooner when jobs of more than this have finished.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// What a finished job takes beside its payload and result, about.
const ROW_BYTES: usize = 512;
/// Between two looks at the least: each counts the whole past.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// The pause between two steps of one pass, so that retention never crowds out work.
const PAUSE: Duration = Duration::from_millis(50);
/// The term that lets one node at a time do retention.
const TERM: &str = "retention";

/// Drops what retention no longer covers, until `stop`; one node at a time.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    periodic(PERIOD, &core.chance, &core.growth.is_much, &stop, || look(&core)).await;
}

async fn look(core: &Core) {
    let period_ms = i64::try_from(PERIOD.as_millis()).unwrap_or(i64::MAX);
    core.growth.start_anew();
    loop {
        match core.ledger.take_term(TERM, &core.params.node, 2 * period_ms).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return core.session.ledger_failed(&error),
        }
        match core.ledger.retain(core.params.retention, core.clock.now()).await {
            Ok(dropped) => {
                metrics::retention_dropped(dropped.jobs, dropped.keys);
                if !dropped.more {
                    measures::drop_outlived(core).await;
                    return tokio::time::sleep(LOOK_PAUSE).await;
                }
            }
            Err(error) if error.is_transient() => return core.session.ledger_failed(&error),
            Err(error) => return tracing::error!("Retention failed: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What came to rest since retention last looked, so that the ledger's size is bounded by what comes and
/// not by the clock.
#[derive(Debug, Default)]
pub(super) struct Growth {
    bytes: AtomicU64,
    is_much: Notify,
}

impl Growth {
    /// Notes finished jobs by the bytes of their payloads and results.
    pub(super) fn note(&self, jobs: impl Iterator<Item = usize>) {
        let more = jobs.map(|bytes| (bytes + ROW_BYTES) as u64).sum::<u64>();
        if self.bytes.fetch_add(more, Ordering::Relaxed) + more > GROWTH_BYTES_MAX {
            self.is_much.notify_one();
        }
    }

    fn start_anew(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }
}

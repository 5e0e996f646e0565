//! Integrity: what cannot be unless data is damaged, or somebody else has written it.
//!
//! Each finding is counted and noted, and nothing else is done: what the sweep may put right it has put right, and the
//! rest is for people.

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::job::Job;
use crate::ledger::{JobFilter, LedgerError};
use crate::operations::{EventKind, Flaw};
use crate::service::periodic;
use crate::telemetry::metrics;

use super::core::Core;

/// Between two looks at the ledger: it reads much, and damage is rare.
const PERIOD: Duration = Duration::from_hours(1);
/// The term that lets one node at a time look.
const TERM: &str = "integrity";
/// Pages of the latest jobs whose payloads and results are read as what they should be.
const SAMPLE_PAGES: usize = 20;
/// Jobs of one page: each may have megabytes.
const SAMPLE_PAGE: u32 = 5;
/// For so long after a store was away or a node was lost, repairs have an explanation.
const EXPLAINED: Duration = Duration::from_secs(120);

/// Counts a finding and notes it.
pub(super) fn violated(core: &Core, kind: &'static str, words: &str) {
    metrics::integrity_violated(kind, 1);
    tracing::error!(integrity.kind = kind, "Integrity is violated ({kind}): {words}");
    core.timeline.note(EventKind::Integrity, kind, words, Some(json!({ "count": 1 })));
}

/// The sweep has put entries right. Where nothing explains it, somebody's hand or damage does.
pub(super) fn repaired(core: &Core, kind: &str, queue: &str, count: usize) {
    let is_explained =
        core.session.open_for() < EXPLAINED || core.membership.lost_at().is_some_and(|at| at.elapsed() < EXPLAINED);
    // An entry that stands in no place cannot come of a loss.
    if count == 0 || (is_explained && kind != "misplaced") {
        return;
    }
    metrics::integrity_violated("unexplained_repair", count as u64);
    let words =
        format!("{count} entries of queue {queue} were out of step ({kind}), and no outage or lost node explains it");
    let detail = json!({ "count": count, "queue": queue, "repair": kind });
    core.timeline.note(EventKind::Integrity, "unexplained_repair", words, Some(detail));
}

/// Looks at the ledger at once and every hour, until `stop`.
pub(super) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let never = Notify::new();
    periodic(PERIOD, &core.chance, &never, &stop, || look(&core)).await;
}

async fn look(core: &Core) {
    match check(core).await {
        Ok(flaws) => {
            for flaw in flaws {
                violated(core, flaw.kind, &flaw.words);
            }
        }
        Err(error) if error.is_transient() => {
            tracing::info!("The integrity of the ledger could not be checked: {error}");
        }
        Err(error) => violated(core, "unreadable_row", &error.to_string()),
    }
}

async fn check(core: &Core) -> Result<Vec<Flaw>, LedgerError> {
    let ttl_ms = i64::try_from(PERIOD.as_millis() / 2).unwrap_or(i64::MAX);
    if !core.ledger.take_term(TERM, &core.params.node, ttl_ms).await? {
        return Ok(Vec::new());
    }
    let mut flaws = core.ledger.flaws().await?;
    // Rows that cannot be read at all are an error of this call.
    let mut before = None;
    for _ in 0..SAMPLE_PAGES {
        let jobs = core.ledger.page(&JobFilter::default(), before, SAMPLE_PAGE, core.clock.now()).await?;
        flaws.extend(jobs.iter().filter_map(flaw_of));
        let Some(last) = jobs.last() else { break };
        before = Some(last.seq);
    }
    Ok(flaws)
}

/// Payloads and results were JSON when they were written.
fn flaw_of(job: &Job) -> Option<Flaw> {
    let is_json = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text).is_ok();
    let result = job.rest.as_ref().and_then(|rest| rest.result.as_ref());
    let what = match (is_json(&job.spec.payload), result) {
        (false, _) => "payload",
        (true, Some(result)) if !is_json(result) => "result",
        (true, _) => return None,
    };
    Some(Flaw { kind: "not_json", words: format!("the {what} of job {} is not JSON", job.spec.id) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::Timestamp;
    use crate::engine::tests::job;
    use crate::job::{Rest, State};

    #[test]
    fn what_is_not_json_is_a_flaw() {
        let mut whole = job(1);
        assert_eq!(flaw_of(&whole), None);
        let result = Some(Bytes::from_static(b"{\"a\":"));
        whole.rest = Some(Rest { state: State::Succeeded, result, finished_at: Timestamp(0) });
        assert_eq!(flaw_of(&whole).unwrap().words, "the result of job job-1 is not JSON");
        whole.spec.payload = Bytes::from_static(b"\xff");
        assert_eq!(flaw_of(&whole).unwrap().words, "the payload of job job-1 is not JSON");
    }
}

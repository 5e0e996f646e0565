//! The platform is lost in the middle of the day, and comes back.

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::waiting::JobBody;

use super::desk::Desk;
use super::stage::Stage;
use super::watch::Watch;

/// Jobs that arrive before anybody knows: as many as open the breaker, and some that are claimed at the same time.
const UNAWARE: usize = 12;

/// The level at which the first types are refused.
const SHEDDING_LEVEL: u8 = 1;

/// What was seen of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outage {
    /// When the breaker opened and closed, RFC 3339.
    pub(super) opened_at: String,
    pub(super) closed_at: String,
    /// Jobs that waited for the platform just before it came back.
    pub(super) held: usize,
    /// Attempts that jobs spent on runs that began while the breaker was not closed.
    pub(super) attempts_spent: u64,
    /// Failed probes.
    pub(super) probes_failed: u64,
}

/// Plays it; `work` goes on arriving, and of `office` the operator lets nothing in.
pub(super) async fn play(
    stage: &mut Stage,
    desk: &mut Desk,
    watch: &Watch,
    work: &[Value],
    office: &[Value],
) -> Result<Outage, Failure> {
    stage.platform_down().await;
    watch.say("the platform is lost; work goes on arriving");
    let (unaware, rest) = work.split_at(UNAWARE.min(work.len()));
    desk.submit(unaware).await?;
    let opened = watch.until(desk, "the breaker opens", async |desk: &Desk| {
        Ok(Some(desk.breaker().await?).filter(|breaker| breaker.state == "open"))
    });
    let opened_at = opened.await?.since.unwrap_or_default();
    watch.say("the breaker is open: jobs wait where they are, and spend no attempt");
    desk.submit(rest).await?;
    desk.set_shedding(Some(SHEDDING_LEVEL)).await?;
    desk.submit(office).await?;
    let shed: u64 = desk.shed.values().sum();
    watch.say(&format!("an operator sheds load by hand: {shed} queries and reports are refused for now"));
    let probes = watch.until(desk, "a probe finds the platform still away", async |desk: &Desk| {
        Ok(Some(failed_probes(desk).await?).filter(|failed| *failed > 0))
    });
    let probes_failed = probes.await?;
    let held = desk.live_jobs().await?;
    watch.say(&format!("{} jobs are held; the platform comes back", held.len()));
    stage.platform_up().await?;
    let closed = watch.until(desk, "the breaker closes", async |desk: &Desk| {
        Ok(Some(desk.breaker().await?).filter(super::desk::Breaker::is_closed))
    });
    let closed_at = closed.await?.since.unwrap_or_default();
    desk.set_shedding(None).await?;
    watch.say("a probe succeeded: the held jobs start 1, 2, 4, ... at a time");
    watch.until_rest(desk).await?;
    let attempts_spent = attempts_spent(&desk.jobs().await?, &opened_at, &closed_at);
    Ok(Outage { opened_at, closed_at, held: held.len(), attempts_spent, probes_failed })
}

/// Failed attempts that began between two times; the successful probe, and what ran already, are none.
fn attempts_spent(jobs: &[JobBody], from: &str, to: &str) -> u64 {
    let attempts = jobs.iter().flat_map(|job| &job.history);
    // All times are the daemon's, in one form. What began in the millisecond in which the breaker opened was under way.
    let meanwhile = |started_at: &str| from < started_at && started_at < to;
    let spent = attempts.filter(|run| run.error.is_some() && meanwhile(&run.started_at));
    spent.count() as u64
}

async fn failed_probes(desk: &Desk) -> Result<u64, Failure> {
    let metrics = desk.metrics().await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Ok(metrics.sum("ganger_breaker_probes_total", Some(("outcome", "failed"))) as u64)
}

//! Remedies: whether one may begin, decided alone, so that the limits hold over all nodes.

use super::{Arg, Statements};
use crate::clock::Timestamp;
use crate::ledger::row::{Cells, odd};
use crate::mutant::mutant;
use crate::operations::{Begun, NewRemediation, RemediationLimits, RemediationState, SuppressedBy};

/// What the limits of an hour are about, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

const SUPPRESSED: [SuppressedBy; 4] =
    [SuppressedBy::Repeated, SuppressedBy::CoolDown, SuppressedBy::ActionBudget, SuppressedBy::Budget];

/// Writes down that a remedy begins, or which limit stands against it.
pub(in super::super) async fn begin_remediation(
    steps: &mut impl Statements,
    asked: &NewRemediation,
    limits: &RemediationLimits,
    now: Timestamp,
) -> sqlx::Result<Begun> {
    steps.alone().await?;
    if let Some(answer) = answered(steps, asked).await? {
        return Ok(answer);
    }
    if let Some(limit) = limit(steps, asked, limits, now).await? {
        let held = NewRemediation { words: limits.words(limit, &asked.words), ..asked.clone() };
        add(steps, &held, Some(limit.name()), now).await?;
        return Ok(Begun::Suppressed(limit));
    }
    add(steps, asked, None, now).await?.map(Begun::Begun).ok_or(sqlx::Error::RowNotFound)
}

/// What was answered to this ticket before.
async fn answered(steps: &mut impl Statements, asked: &NewRemediation) -> sqlx::Result<Option<Begun>> {
    let found = steps.fetch(include_str!("sql/remedy_ticket.sql"), &[Arg::Text(&asked.ticket)]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    if row.text("state")? != RemediationState::Suppressed.name() {
        return Ok(Some(Begun::Begun(row.int("number")?)));
    }
    let reason = row.text("reason")?;
    let limit = SUPPRESSED.into_iter().find(|limit| limit.name() == reason);
    limit.map(|limit| Some(Begun::Suppressed(limit))).ok_or_else(|| odd(format!("the limit {reason:?}")))
}

/// The limit that stands against it.
async fn limit(
    steps: &mut impl Statements,
    asked: &NewRemediation,
    limits: &RemediationLimits,
    now: Timestamp,
) -> sqlx::Result<Option<SuppressedBy>> {
    let (fingerprint, starts_at) =
        asked.cause.as_ref().map_or(("", 0), |cause| (cause.fingerprint.as_str(), cause.starts_at.millis()));
    let args = [
        Arg::Text(&asked.action),
        Arg::Text(&asked.target),
        Arg::Text(fingerprint),
        Arg::Int(starts_at),
        Arg::Int(i64::from(asked.is_dry)),
        Arg::Int(now.plus_ms(-HOUR_MS).millis()),
        Arg::Int(now.plus_ms(-limits.cool_down_ms).millis()),
    ];
    let found = steps.fetch(include_str!("sql/remedy_recent.sql"), &args).await?;
    let recent = found.first().ok_or(sqlx::Error::RowNotFound)?;
    // The clock of another node may be ahead: without a cool-down that is no reason.
    let has_cool_down = limits.cool_down_ms > 0;
    let reaches = |column, most: u32| Ok::<_, sqlx::Error>(recent.int(column)? >= i64::from(most));
    Ok(if reaches("repeated", 1)? && !mutant!(remedy_begins_twice) {
        Some(SuppressedBy::Repeated)
    } else if has_cool_down && reaches("cooling", 1)? && !mutant!(no_cool_down) {
        Some(SuppressedBy::CoolDown)
    } else if reaches("of_action", limits.per_hour_max)? {
        Some(SuppressedBy::ActionBudget)
    } else if reaches("of_all", limits.all_per_hour_max)? {
        Some(SuppressedBy::Budget)
    } else {
        None
    })
}

/// Writes a remedy down; its number, unless it was there.
async fn add(
    steps: &mut impl Statements,
    asked: &NewRemediation,
    suppressed: Option<&str>,
    now: Timestamp,
) -> sqlx::Result<Option<i64>> {
    let state = match suppressed {
        Some(_) => RemediationState::Suppressed,
        None if asked.is_dry => RemediationState::DryRun,
        None => RemediationState::Running,
    };
    let ended_at = (state != RemediationState::Running).then_some(now.millis());
    let (alert, fingerprint, starts_at) = asked
        .cause
        .as_ref()
        .map_or(("", "", 0), |cause| (cause.alert.as_str(), cause.fingerprint.as_str(), cause.starts_at.millis()));
    let args = [
        Arg::Text(&asked.ticket),
        Arg::MaybeInt(asked.incident),
        Arg::Text(alert),
        Arg::Text(fingerprint),
        Arg::Int(starts_at),
        Arg::Text(&asked.action),
        Arg::Text(&asked.kind),
        Arg::Text(&asked.target),
        Arg::Text(asked.node.as_str()),
        Arg::Text(&asked.node_name),
        Arg::Text(&asked.by),
        Arg::Int(i64::from(asked.is_dry)),
        Arg::Int(now.millis()),
        Arg::MaybeInt(ended_at),
        Arg::Text(state.name()),
        Arg::Text(suppressed.unwrap_or_default()),
        Arg::Text(&asked.words),
        Arg::MaybeText(asked.before.as_deref()),
    ];
    let added = steps.fetch(include_str!("sql/remedy_add.sql"), &args).await?;
    added.first().map(|row| row.int("number")).transpose()
}

/// Writes down that a remedy was suppressed for a reason apart from its limits.
pub(in super::super) async fn suppress_remediation(
    steps: &mut impl Statements,
    asked: &NewRemediation,
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<()> {
    add(steps, asked, Some(reason), now).await.map(drop)
}

/// Ends a remedy that runs.
pub(in super::super) async fn end_remediation(
    steps: &mut impl Statements,
    number: i64,
    state: RemediationState,
    words: &str,
    after: Option<&str>,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let args =
        [Arg::Int(number), Arg::Text(state.name()), Arg::Text(words), Arg::MaybeText(after), Arg::Int(now.millis())];
    Ok(steps.execute(include_str!("sql/remedy_end.sql"), &args).await? > 0)
}

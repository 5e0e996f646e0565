//! Breakers: how they stand, and what operators do with them.

use axum::extract::{Extension, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::engine::BreakerView;
use crate::policy::breaker::{NEVER, Phase, State as BreakerState};

use super::auth::Caller;
use super::params::{self, Named};
use super::problem::Problem;
use super::queues::{by, reason};
use super::wire::Time;
use super::{Api, answer, body};

/// The longest that a breaker is held open by a time, in seconds: thirty days. Without a time it is until reset.
const TRIP_S_MAX: u64 = 30 * 86_400;

type Answer = Result<Response, Problem>;

/// Who does something, why, and for how long.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TripWords {
    by: Option<String>,
    reason: Option<String>,
    for_s: Option<u64>,
}

/// Who and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetWords {
    by: Option<String>,
    reason: Option<String>,
}

/// A breaker on the wire.
#[derive(Serialize)]
struct BreakerBody<'a> {
    name: &'a str,
    state: &'static str,
    since: Option<Time>,
    /// When it looks again by itself.
    until: Option<Time>,
    why: &'a str,
    /// Counted failures in a row on this node, while closed.
    failures: u32,
    /// Runs of this node that need it.
    in_flight: u32,
    /// How many of its jobs may run at once on this node while it starts slowly after an opening.
    at_once: Option<u32>,
    /// Jobs that are due and wait for it; null while the broker is away.
    held_jobs: Option<u64>,
    openings: u32,
    probes: Vec<ProbeBody<'a>>,
    types: Vec<&'a str>,
}

#[derive(Serialize)]
struct ProbeBody<'a> {
    node: &'a str,
    deadline: Time,
    state: &'static str,
}

impl<'a> BreakerBody<'a> {
    fn of(view: &'a BreakerView) -> Self {
        let record = &view.record;
        let probes: &[_] = match &record.state {
            BreakerState::HalfOpen { permits } => permits,
            _ => &[],
        };
        let probe = |permit: &'a crate::policy::breaker::Permit| ProbeBody {
            node: &permit.node,
            deadline: Time(permit.deadline),
            state: match permit.phase {
                Phase::Out => "running",
                Phase::Returned => "returned",
                Phase::Passed => "succeeded",
            },
        };
        Self {
            name: &view.name,
            state: record.state.name(),
            since: (record.generation > 0).then_some(Time(record.since)),
            until: match &record.state {
                BreakerState::Open { until } | BreakerState::Forced { until } if *until != NEVER => Some(Time(*until)),
                _ => None,
            },
            why: &record.why,
            failures: view.failures,
            in_flight: view.in_flight,
            at_once: view.at_once,
            held_jobs: view.held_jobs,
            openings: record.openings,
            probes: probes.iter().map(probe).collect(),
            types: view.types.iter().map(crate::job::TypeName::as_str).collect(),
        }
    }
}

#[derive(Serialize)]
struct BreakersBody<'a> {
    breakers: Vec<BreakerBody<'a>>,
}

/// `GET /v1/breakers`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let breakers = api.engine.breakers().await;
    Ok(answer::ok(&BreakersBody { breakers: breakers.iter().map(BreakerBody::of).collect() }))
}

/// `GET /v1/breakers/{b}`
pub(super) async fn show(State(api): State<Api>, Named(name): Named) -> Answer {
    Ok(answer::ok(&BreakerBody::of(&api.engine.breaker(&name).await?)))
}

/// `POST /v1/breakers/{b}/trip`
pub(super) async fn trip(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    // Known before the body is judged: a misspelt name is told first.
    api.engine.breaker(&name).await?;
    let words: TripWords = body::order(&api.budget, request).await?;
    if words.for_s.is_some_and(|seconds| !(1..=TRIP_S_MAX).contains(&seconds)) {
        let said = words.for_s.unwrap_or_default();
        return Err(Problem::bad_field("for_s", &format!("is {said}; it takes whole seconds from 1 to {TRIP_S_MAX}")));
    }
    let for_ms = words.for_s.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
    let (by, reason) = (by(words.by, caller)?, reason(words.reason)?);
    let engine = api.engine.clone();
    let view = api.whole(async move { engine.trip_breaker(&name, &by, &reason, for_ms).await }).await??;
    Ok(answer::ok(&BreakerBody::of(&view)))
}

/// `POST /v1/breakers/{b}/reset`
pub(super) async fn reset(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    api.engine.breaker(&name).await?;
    let words: ResetWords = body::order(&api.budget, request).await?;
    let (by, reason) = (by(words.by, caller)?, reason(words.reason)?);
    let engine = api.engine.clone();
    let view = api.whole(async move { engine.reset_breaker(&name, &by, &reason).await }).await??;
    Ok(answer::ok(&BreakerBody::of(&view)))
}

#[cfg(test)]
mod tests {
    use super::super::submit::object;
    use super::*;

    #[test]
    fn a_time_that_is_none_is_told_by_its_name() {
        for body in [r#"{"for_s":"5m"}"#, r#"{"for_s":-1}"#, r#"{"for_s":1.5}"#, r#"{"for_s":1e30,"by":"ann"}"#] {
            let problem = object::<TripWords>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.status.as_u16(), 422, "{body}");
            assert!(
                problem.detail.starts_with("`for_s` is a") && problem.detail.contains("seconds"),
                "{body}: {}",
                problem.detail
            );
        }
    }
}

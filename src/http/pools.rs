//! Pools: their sizes on all nodes with the reasons, and their bounds.

use axum::extract::{Extension, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::engine::{Figure, PoolOnNode, PoolView, ProposalView, Refusal, Scale};

use super::auth::Caller;
use super::params::{self, Named};
use super::problem::Problem;
use super::queues::{by, reason};
use super::{Api, answer, body};

/// The longest that a bound may hold before it must be set again or for good, in seconds: 30 days.
const TTL_S_MAX: u64 = 30 * 24 * 3_600;
/// More workers than this in one pool of one node are a slip of the pen.
const WORKERS_MAX: u64 = 10_000;

type Answer = Result<Response, Problem>;

/// What is to change. `null` lifts a figure, a missing one stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleBody {
    #[serde(default, deserialize_with = "said")]
    min: Option<Value>,
    #[serde(default, deserialize_with = "said")]
    max: Option<Value>,
    #[serde(default, deserialize_with = "said")]
    floor: Option<Value>,
    ttl_s: Option<Value>,
    by: Option<String>,
    reason: Option<String>,
}

/// Tells `null` from a missing member.
fn said<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(input).map(Some)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct PoolsBody {
    pools: Vec<PoolBody>,
}

/// A pool on the wire.
#[derive(Debug, Serialize)]
struct PoolBody {
    name: String,
    queue: String,
    worker_type: String,
    scale_on: Vec<&'static str>,
    /// In force now, overrides included.
    min: usize,
    max: usize,
    floor: Option<usize>,
    configured: BoundsBody,
    #[serde(rename = "override")]
    overrides: Option<OverrideBody>,
    /// Over all nodes.
    desired: usize,
    idle: usize,
    busy: usize,
    draining: usize,
    nodes: Vec<NodeBody>,
}

#[derive(Debug, Serialize)]
struct BoundsBody {
    min: usize,
    max: usize,
}

#[derive(Debug, Serialize)]
struct OverrideBody {
    min: Option<FigureBody>,
    max: Option<FigureBody>,
    floor: Option<FigureBody>,
    /// A floor that a remedy has set; the larger one holds.
    remedy: Option<FigureBody>,
    by: String,
    since: String,
}

#[derive(Debug, Serialize)]
struct FigureBody {
    workers: usize,
    until: Option<String>,
    by: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct NodeBody {
    node: String,
    desired: usize,
    idle: usize,
    busy: usize,
    draining: usize,
    decision: Option<DecisionBody>,
}

#[derive(Debug, Serialize)]
struct DecisionBody {
    at: String,
    direction: String,
    metric: Option<String>,
    limiter: String,
    reason: String,
    proposals: Vec<ProposalView>,
}

impl PoolBody {
    fn of(view: PoolView) -> Self {
        let PoolView { pool, bounds, figures, setting, nodes } = view;
        let figure = |figure: Option<Figure>| -> Option<FigureBody> {
            let Figure { workers, until_ms, by, reason } = figure?;
            Some(FigureBody { workers, until: until_ms.map(|until| Timestamp(until).to_string()), by, reason })
        };
        let sum = |count: fn(&PoolOnNode) -> usize| nodes.iter().map(count).sum();
        Self {
            name: pool.name.to_string(),
            queue: pool.queue.to_string(),
            worker_type: pool.worker_type,
            scale_on: pool.scale_on.iter().map(|signal| signal.name()).collect(),
            min: bounds.min,
            max: bounds.max,
            floor: bounds.floor.map(|_| bounds.low),
            configured: BoundsBody { min: pool.min, max: pool.max },
            overrides: setting.map(|setting| OverrideBody {
                min: figure(figures.min),
                max: figure(figures.max),
                floor: figure(figures.floor),
                remedy: figure(figures.remedy),
                by: setting.by,
                since: setting.since.to_string(),
            }),
            desired: sum(|node| node.desired),
            idle: sum(|node| node.idle),
            busy: sum(|node| node.busy),
            draining: sum(|node| node.draining),
            nodes: nodes.into_iter().map(NodeBody::of).collect(),
        }
    }
}

impl NodeBody {
    fn of(on_node: PoolOnNode) -> Self {
        let PoolOnNode { node, desired, idle, busy, draining, .. } = on_node;
        let decision = (on_node.decided_ms > 0).then(|| DecisionBody {
            at: Timestamp(on_node.decided_ms).to_string(),
            direction: on_node.direction,
            metric: on_node.metric,
            limiter: on_node.limiter,
            reason: on_node.reason,
            proposals: on_node.proposals,
        });
        Self { node, desired, idle, busy, draining, decision }
    }
}

/// `GET /v1/pools`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let pools = api.engine.pools().into_iter().map(PoolBody::of).collect();
    Ok(answer::ok(&PoolsBody { pools }))
}

/// `GET /v1/pools/{p}`
pub(super) async fn show(State(api): State<Api>, Named(name): Named) -> Answer {
    one(&api, &name)
}

fn one(api: &Api, name: &str) -> Answer {
    let pools = api.engine.pools();
    let names: Vec<String> = pools.iter().map(|view| view.pool.name.to_string()).collect();
    let view = pools.into_iter().find(|view| view.pool.name.as_str() == name);
    let view =
        view.ok_or_else(|| Refusal::NotFound { what: "pool", name: name.to_owned(), known: Some(names.join(", ")) })?;
    Ok(answer::ok(&PoolBody::of(view)))
}

/// `PUT /v1/pools/{p}`
pub(super) async fn scale(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    // Which pool is meant is settled first, so that a wrong name is what a caller hears of.
    one(&api, &name)?;
    let said: ScaleBody = body::order(&api.budget, request).await?;
    let change = change(&said)?;
    let (by, reason) = (by(said.by, caller)?, reason(said.reason)?);
    let (engine, pool) = (api.engine.clone(), name.clone());
    api.whole(async move { engine.scale_pool(&pool, change, &by, &reason).await }).await??;
    one(&api, &name)
}

/// The change that a body asks for.
fn change(said: &ScaleBody) -> Result<Scale, Problem> {
    if said.min.is_none() && said.max.is_none() && said.floor.is_none() {
        return Err(Problem::bad_field("min", "is missing; expected at least one of min, max and floor"));
    }
    let figure = |field: &str, said: &Option<Value>| match said {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(workers) => {
            whole(field, workers, WORKERS_MAX, "workers, or null").map(|it| Some(usize::try_from(it).ok()))
        }
    };
    let ttl_s = said.ttl_s.as_ref().map(|ttl_s| whole("ttl_s", ttl_s, TTL_S_MAX, "s")).transpose()?;
    Ok(Scale {
        min: figure("min", &said.min)?,
        max: figure("max", &said.max)?,
        floor: figure("floor", &said.floor)?,
        ttl_ms: ttl_s.and_then(|ttl_s| i64::try_from(ttl_s * 1_000).ok()),
    })
}

/// A whole number from 1 to `most`.
fn whole(field: &str, said: &Value, most: u64, unit: &str) -> Result<u64, Problem> {
    let fits = said.as_u64().filter(|number| (1..=most).contains(number));
    fits.ok_or_else(|| Problem::bad_field(field, &format!("is {said}; expected 1 to {most} {unit}")))
}

/// `DELETE /v1/pools/{p}`: its configured bounds hold again.
pub(super) async fn reset(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    request: Request,
) -> Answer {
    one(&api, &name)?;
    let said: Words = body::order(&api.budget, request).await?;
    let (by, reason) = (by(said.by, caller)?, reason(said.reason)?);
    let (engine, pool) = (api.engine.clone(), name.clone());
    api.whole(async move { engine.lift_pool(&pool, &by, &reason).await }).await??;
    one(&api, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scale, Problem> {
        change(&super::super::submit::object(text.as_bytes())?)
    }

    #[test]
    fn null_lifts_and_missing_leaves() {
        let scale = read(r#"{"min": 3, "floor": null, "ttl_s": 60}"#).unwrap();
        assert_eq!(scale, Scale { min: Some(Some(3)), max: None, floor: Some(None), ttl_ms: Some(60_000) });
    }

    #[test]
    fn what_makes_no_sense_is_told_by_its_name() {
        for (text, field) in [
            ("{}", "min"),
            (r#"{"ttl_s": 5}"#, "min"),
            (r#"{"min": 0}"#, "min"),
            (r#"{"min": -1}"#, "min"),
            (r#"{"max": 1.5}"#, "max"),
            (r#"{"floor": "many"}"#, "floor"),
            (r#"{"floor": 3, "ttl_s": 0}"#, "ttl_s"),
            (r#"{"floor": 3, "ttl": 5}"#, "ttl"),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!(problem.status.as_u16(), 422, "{text}");
            assert!(problem.detail.contains(&format!("`{field}`")), "{text}: {}", problem.detail);
        }
    }
}

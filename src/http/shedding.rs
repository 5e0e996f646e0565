//! Load shedding: what it does and why, and the operator's word.

use axum::extract::{Extension, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{NodeShedding, SheddingView};
use crate::job::TypeName;
use crate::policy::shedding::Mode;

use super::auth::Caller;
use super::problem::Problem;
use super::queues::{by, reason};
use super::wire::Time;
use super::{Api, answer, body, params};

type Answer = Result<Response, Problem>;

/// `{"mode": "auto"}`, `{"mode": "off"}`, `{"mode": "level", "level": 2}` or `{"level": 2}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    mode: Option<Value>,
    level: Option<Value>,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct SheddingBody<'a> {
    mode: &'static str,
    /// The level that an operator or the configuration fixes.
    level: Option<u8>,
    /// Who set it at run time; null: the configuration.
    set_by: Option<&'a str>,
    set_at: Option<Time>,
    /// Why; null where nothing was said.
    reason: Option<&'a str>,
    first: Vec<&'a str>,
    /// The level that a remedy holds at least while the rules decide; null without one.
    floor: Option<FloorBody<'a>>,
    /// The node that answers.
    #[serde(flatten)]
    own: Option<&'a NodeShedding>,
    nodes: Vec<NodeBody<'a>>,
}

#[derive(Serialize)]
struct FloorBody<'a> {
    level: u8,
    by: &'a str,
    reason: &'a str,
    until: Option<Time>,
}

#[derive(Serialize)]
struct NodeBody<'a> {
    node: &'a str,
    name: &'a str,
    #[serde(flatten)]
    shedding: &'a NodeShedding,
}

/// `GET /v1/shedding`
pub(super) async fn show(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    Ok(told(&api.engine.shedding()))
}

/// `PUT /v1/shedding`
pub(super) async fn set(State(api): State<Api>, Extension(caller): Extension<Caller>, request: Request) -> Answer {
    let order: Order = body::order(&api.budget, request).await?;
    let (mode, by, reason) = (mode(&order)?, by(order.by, caller)?, reason(order.reason)?);
    let engine = api.engine.clone();
    let view = api.whole(async move { engine.set_shedding(mode, &by, &reason).await }).await??;
    Ok(told(&view))
}

fn told(view: &SheddingView) -> Response {
    let (mode, level) = match view.mode {
        Mode::Auto => ("auto", None),
        Mode::Off => ("off", None),
        Mode::Level(level) => ("level", Some(level)),
    };
    answer::ok(&SheddingBody {
        mode,
        level,
        set_by: view.set.as_ref().map(|set| set.by.as_str()),
        set_at: view.set.as_ref().map(|set| Time(set.at)),
        reason: view.set.as_ref().map(|set| set.reason.as_str()).filter(|reason| !reason.is_empty()),
        first: view.first.iter().map(TypeName::as_str).collect(),
        floor: view.floor.as_ref().map(|floor| FloorBody {
            level: floor.level,
            by: &floor.by,
            reason: &floor.reason,
            until: floor.until.map(Time),
        }),
        own: view.nodes.first().map(|(.., own)| own),
        nodes: view.nodes.iter().map(|(node, name, shedding)| NodeBody { node, name, shedding }).collect(),
    })
}

/// What an order asks for. A level may stand in either member, as number or text.
fn mode(order: &Order) -> Result<Mode, Problem> {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (mode, level) = (order.mode.as_ref().map(word), order.level.as_ref().map(word));
    let asked = match (mode.as_deref(), level.as_deref()) {
        (Some("level") | None, Some(level)) => Mode::parse(level).filter(|mode| matches!(mode, Mode::Level(_))),
        (Some("level"), None) => return Err(Problem::bad_field("level", "is missing; it takes 1 to 5")),
        (Some(mode), None) => Mode::parse(mode),
        (Some(_), Some(_)) => return Err(Problem::bad_field("level", "goes with the mode \"level\" only")),
        (None, None) => return Err(Problem::bad_field("mode", "is missing; it takes auto, off or level")),
    };
    let (field, value) = if order.level.is_some() { ("level", &level) } else { ("mode", &mode) };
    let takes = if field == "level" { "1 to 5" } else { "auto, off or level" };
    let said = value.as_deref().unwrap_or_default();
    asked.ok_or_else(|| Problem::bad_field(field, &format!("is {said}; it takes {takes}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Mode, u16> {
        mode(&serde_json::from_str(text).unwrap()).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn an_order_is_a_mode_or_a_level() {
        for (text, mode) in [
            (r#"{"mode":"auto"}"#, Ok(Mode::Auto)),
            (r#"{"mode":"off","by":"ada"}"#, Ok(Mode::Off)),
            (r#"{"mode":"level","level":2}"#, Ok(Mode::Level(2))),
            (r#"{"level":5}"#, Ok(Mode::Level(5))),
            (r#"{"mode":3}"#, Ok(Mode::Level(3))),
            (r#"{"mode":"level"}"#, Err(422)),
            (r#"{"mode":"level","level":0}"#, Err(422)),
            (r#"{"mode":"level","level":6}"#, Err(422)),
            (r#"{"mode":"level","level":"off"}"#, Err(422)),
            (r#"{"mode":"auto","level":2}"#, Err(422)),
            (r#"{"mode":"full"}"#, Err(422)),
            (r#"{"mode":2.5}"#, Err(422)),
            ("{}", Err(422)),
        ] {
            assert_eq!(read(text), mode, "{text}");
        }
    }
}

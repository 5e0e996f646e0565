//! Names in paths, parameters in queries, and durations.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::clock::Timestamp;
use crate::job::review::{ReviewReason, Verdict};
use crate::job::{InvalidName, JobId, QueueName, Seq, State, TypeName};
use crate::ledger::{JobFilter, RemediationFilter, ReviewFilter, ReviewOrder, ReviewStanding};
use crate::operations::RemediationState;

use super::problem::Problem;

/// The longest that a request may wait for a job.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// The most jobs of a page: with full payloads a page is already a large answer.
const PAGE_MAX: u32 = 1_000;

/// Jobs of a page when the caller does not say.
const PAGE_DEFAULT: u32 = 100;

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {0:?}, which is not a duration; write a number and a unit of ms, s, m, h or d, such as 500ms, 30s or 5m")]
pub struct InvalidDuration(String);

/// Reads `500ms`, `30s`, `5m`, `2h` or `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(invalid()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(invalid)
}

/// The one name in a path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::malformed(rejection.body_text()))?;
        Ok(Self(name))
    }
}

/// The job named in a path; a text that cannot be an id names no job.
pub(super) fn job_id(text: &str) -> Result<JobId, Problem> {
    JobId::given(text)
        .map_err(|reason| Problem::not_found(format!("there is no job {text:?}: an id {}", says(&reason))))
}

fn says(reason: &InvalidName) -> String {
    match reason {
        InvalidName::Empty => "is not empty".to_owned(),
        InvalidName::TooLong(_) => "is at most 128 bytes long".to_owned(),
        InvalidName::Character(..) => "has letters, digits and . _ : - only".to_owned(),
        InvalidName::Reserved(word) => format!("is never {word:?}"),
    }
}

/// All parameters of a query, decoded, in order.
fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned()
}

fn unknown(name: &str, known: &str) -> Problem {
    Problem::bad_field(name, &format!("is not a parameter of this call; known are {known}"))
}

/// How long a `GET` of one job waits; zero when it does not ask to.
pub(super) fn wait(query: Option<&str>) -> Result<Duration, Problem> {
    let mut wait = None;
    for (name, value) in pairs(query) {
        if name != "wait" {
            return Err(unknown(&name, "wait"));
        }
        let asked = parse_duration(&value).map_err(|error| Problem::bad_field("wait", &error.to_string()))?;
        once("wait", &mut wait, asked.min(WAIT_MAX))?;
    }
    Ok(wait.unwrap_or_default())
}

/// Refuses query parameters on calls that take none.
pub(super) fn none(query: Option<&str>) -> Result<(), Problem> {
    match pairs(query).next() {
        Some((name, _)) => Err(Problem::bad_field(&name, "is not a parameter of this call; it takes none")),
        None => Ok(()),
    }
}

/// A page that was asked for.
#[derive(Debug, Default)]
pub(super) struct PageQuery {
    /// Which jobs.
    pub(super) filter: JobFilter,
    /// Only older lives than this one.
    pub(super) before: Option<Seq>,
    /// The most jobs.
    pub(super) limit: u32,
}

/// Reads the parameters of `GET /v1/jobs`.
pub(super) fn page(query: Option<&str>) -> Result<PageQuery, Problem> {
    let mut filter = JobFilter::default();
    let (mut before, mut limit) = (None, None);
    for (name, value) in pairs(query) {
        let bad = |reason: &str| Problem::bad_field(&name, reason);
        match name.as_str() {
            "queue" => once(&name, &mut filter.queue, QueueName::new(&value).map_err(|e| bad(&e.to_string()))?)?,
            "type" => once(&name, &mut filter.job_type, TypeName::new(&value).map_err(|e| bad(&e.to_string()))?)?,
            "state" => once(&name, &mut filter.state, state(&value)?)?,
            "error_class" => once(&name, &mut filter.error_class, value)?,
            "limit" => once(&name, &mut limit, page_size(&value, PAGE_MAX)?)?,
            "cursor" => once(&name, &mut before, cursor(&value)?)?,
            label if label.len() > 6 && label.starts_with("label.") => {
                let pair = (label["label.".len()..].to_owned(), value);
                if filter.label.replace(pair).is_some() {
                    return Err(bad("is a second label; one label can be asked for"));
                }
            }
            other => return Err(unknown(other, "queue, type, state, label.NAME, error_class, limit and cursor")),
        }
    }
    Ok(PageQuery { filter, before, limit: limit.unwrap_or(PAGE_DEFAULT) })
}

/// A page of reviews that was asked for.
#[derive(Debug, Default)]
pub(super) struct ReviewQuery {
    /// Which reviews.
    pub(super) filter: ReviewFilter,
    /// Which end comes first.
    pub(super) order: ReviewOrder,
    /// Only beyond this number.
    pub(super) from: Option<i64>,
    /// The most reviews.
    pub(super) limit: u32,
}

/// Reads the parameters of `GET /v1/reviews`.
pub(super) fn reviews(query: Option<&str>) -> Result<ReviewQuery, Problem> {
    let mut filter = ReviewFilter::default();
    let (mut order, mut from, mut limit, mut decided) = (None, None, None, None);
    for (name, value) in pairs(query) {
        let bad = |reason: &str| Problem::bad_field(&name, reason);
        match name.as_str() {
            "queue" => once(&name, &mut filter.queue, QueueName::new(&value).map_err(|e| bad(&e.to_string()))?)?,
            "type" => once(&name, &mut filter.job_type, TypeName::new(&value).map_err(|e| bad(&e.to_string()))?)?,
            "reason" => once(&name, &mut filter.reason, reason(&value)?)?,
            "decided" => once(&name, &mut decided, verdict(&value)?)?,
            "order" => once(&name, &mut order, review_order(&value)?)?,
            "limit" => once(&name, &mut limit, page_size(&value, PAGE_MAX)?)?,
            "cursor" => once(&name, &mut from, cursor(&value)?)?,
            other => return Err(unknown(other, "queue, type, reason, decided, order, limit and cursor")),
        }
    }
    filter.standing = decided.map_or(ReviewStanding::Open, ReviewStanding::Decided);
    Ok(ReviewQuery { filter, order: order.unwrap_or_default(), from, limit: limit.unwrap_or(PAGE_DEFAULT) })
}

/// A page of the audit of remediation that was asked for.
#[derive(Debug, Default)]
pub(super) struct RemediationQuery {
    /// Which rows.
    pub(super) filter: RemediationFilter,
    /// Only numbers below this one.
    pub(super) before: Option<i64>,
    /// The most rows.
    pub(super) limit: u32,
}

/// Reads the parameters of `GET /v1/remediations`.
pub(super) fn remediations(query: Option<&str>) -> Result<RemediationQuery, Problem> {
    let mut filter = RemediationFilter::default();
    let (mut before, mut limit) = (None, None);
    for (name, value) in pairs(query) {
        match name.as_str() {
            "action" => once(&name, &mut filter.action, value)?,
            "state" => once(&name, &mut filter.state, remediation_state(&value)?)?,
            "incident" => once(&name, &mut filter.incident, incident(&value)?)?,
            "limit" => once(&name, &mut limit, page_size(&value, PAGE_MAX)?)?,
            "cursor" => once(&name, &mut before, cursor(&value)?)?,
            other => return Err(unknown(other, "action, state, incident, limit and cursor")),
        }
    }
    Ok(RemediationQuery { filter, before, limit: limit.unwrap_or(PAGE_DEFAULT) })
}

fn remediation_state(value: &str) -> Result<RemediationState, Problem> {
    RemediationState::from_name(value).ok_or_else(|| {
        let known = RemediationState::ALL.map(RemediationState::name).join(", ");
        Problem::bad_field("state", &format!("is {value:?}; known are {known}"))
    })
}

fn incident(value: &str) -> Result<i64, Problem> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Problem::bad_field("incident", &format!("is {value:?}; expected its number")))
}

/// A page of incidents that was asked for.
#[derive(Debug, Default)]
pub(super) struct IncidentQuery {
    /// Only those that fire, or only those that do not.
    pub(super) is_firing: Option<bool>,
    /// Only older ones than this.
    pub(super) before: Option<i64>,
    /// The most incidents.
    pub(super) limit: u32,
}

/// Reads the parameters of `GET /v1/incidents`.
pub(super) fn incidents(query: Option<&str>) -> Result<IncidentQuery, Problem> {
    let (mut is_firing, mut before, mut limit) = (None, None, None);
    for (name, value) in pairs(query) {
        match name.as_str() {
            "firing" => once(&name, &mut is_firing, yes_or_no(&name, &value)?)?,
            "limit" => once(&name, &mut limit, page_size(&value, PAGE_MAX)?)?,
            "cursor" => once(&name, &mut before, cursor(&value)?)?,
            other => return Err(unknown(other, "firing, limit and cursor")),
        }
    }
    Ok(IncidentQuery { is_firing, before, limit: limit.unwrap_or(PAGE_DEFAULT) })
}

fn yes_or_no(name: &str, value: &str) -> Result<bool, Problem> {
    value.parse().map_err(|_| Problem::bad_field(name, &format!("is {value:?}; must be true or false")))
}

/// A part of the timeline that was asked for.
#[derive(Debug, Default)]
pub(super) struct TimelineQuery {
    /// From when on.
    pub(super) since: Option<Timestamp>,
    /// Before when.
    pub(super) until: Option<Timestamp>,
    /// The most events.
    pub(super) limit: u32,
}

/// Reads the parameters of `GET /v1/timeline`.
pub(super) fn timeline(query: Option<&str>) -> Result<TimelineQuery, Problem> {
    let (mut since, mut until, mut limit) = (None, None, None);
    for (name, value) in pairs(query) {
        let at = || {
            let bad = |error| Problem::bad_field(&name, &format!("is {value:?}, which is no RFC 3339 time: {error}"));
            Timestamp::parse(&value).map_err(bad)
        };
        match name.as_str() {
            "since" => once(&name, &mut since, at()?)?,
            "until" => once(&name, &mut until, at()?)?,
            "limit" => once(&name, &mut limit, page_size(&value, PAGE_MAX)?)?,
            other => return Err(unknown(other, "since, until and limit")),
        }
    }
    Ok(TimelineQuery { since, until, limit: limit.unwrap_or(PAGE_MAX) })
}

fn reason(value: &str) -> Result<ReviewReason, Problem> {
    ReviewReason::from_name(value).ok_or_else(|| {
        let known = ReviewReason::ALL.map(ReviewReason::name).join(", ");
        Problem::bad_field("reason", &format!("is {value:?}; known are {known}"))
    })
}

/// One verdict, or `any`.
fn verdict(value: &str) -> Result<Option<Verdict>, Problem> {
    if value == "any" {
        return Ok(None);
    }
    Verdict::from_name(value).map(Some).ok_or_else(|| {
        let known = Verdict::ALL.map(Verdict::name).join(", ");
        Problem::bad_field("decided", &format!("is {value:?}; known are any, {known}"))
    })
}

fn review_order(value: &str) -> Result<ReviewOrder, Problem> {
    match value {
        "newest" => Ok(ReviewOrder::NewestFirst),
        "oldest" => Ok(ReviewOrder::OldestFirst),
        _ => Err(Problem::bad_field("order", &format!("is {value:?}; known are newest and oldest"))),
    }
}

fn once<T>(name: &str, slot: &mut Option<T>, value: T) -> Result<(), Problem> {
    if slot.replace(value).is_some() {
        return Err(Problem::bad_field(name, "is given twice"));
    }
    Ok(())
}

fn state(value: &str) -> Result<State, Problem> {
    State::from_name(value).ok_or_else(|| {
        let known: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
        Problem::bad_field("state", &format!("is {value:?}; known are {}", known.join(", ")))
    })
}

fn page_size(value: &str, max: u32) -> Result<u32, Problem> {
    let size = value.parse().ok().filter(|size| (1..=max).contains(size));
    size.ok_or_else(|| Problem::bad_field("limit", &format!("is {value:?}; must be 1 to {max}")))
}

/// The `limit` of a call that takes nothing else.
pub(super) fn limit(query: Option<&str>, default: u32, max: u32) -> Result<u32, Problem> {
    let mut limit = None;
    for (name, value) in pairs(query) {
        if name != "limit" {
            return Err(unknown(&name, "limit"));
        }
        once("limit", &mut limit, page_size(&value, max)?)?;
    }
    Ok(limit.unwrap_or(default))
}

/// A cursor is the last life of the page before, with a letter in front so that nobody counts with it.
pub(super) fn cursor_text(before: Seq) -> String {
    format!("s{before}")
}

fn cursor(value: &str) -> Result<Seq, Problem> {
    let seq = value.strip_prefix('s').and_then(|digits| digits.parse().ok()).filter(|&seq: &Seq| seq >= 0);
    seq.ok_or_else(|| Problem::bad_field("cursor", "is not one that this API gave; take `next_cursor` as it is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(problem: &Problem) -> serde_json::Value {
        serde_json::to_value(problem).unwrap()["field"].clone()
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_hours(2)));
        for odd in ["", "30", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(wait(None).unwrap(), Duration::ZERO);
        assert_eq!(wait(Some("wait=30s")).unwrap(), Duration::from_secs(30));
        assert_eq!(wait(Some("wait=2h")).unwrap(), Duration::from_mins(10));
        assert_eq!(field(&wait(Some("wait=soon")).unwrap_err()), "wait");
        assert_eq!(field(&wait(Some("weit=3s")).unwrap_err()), "weit");
    }

    #[test]
    fn a_page_has_filters_and_a_cursor() {
        let page = page(Some("queue=plan&type=x&state=failed&label.team=a%20b&error_class=timeout&limit=7&cursor=s41"))
            .unwrap();
        assert_eq!(page.filter.queue, Some(QueueName::stored("plan")));
        assert_eq!(page.filter.state, Some(State::Failed));
        assert_eq!(page.filter.label, Some(("team".into(), "a b".into())));
        assert_eq!((page.limit, page.before), (7, Some(41)));
        assert_eq!(cursor(&cursor_text(41)).unwrap(), 41);
    }

    #[test]
    fn a_page_of_reviews_has_open_ones_unless_it_asks_for_decided_ones() {
        let open = reviews(None).unwrap();
        assert_eq!(
            (open.filter.standing, open.order, open.from),
            (ReviewStanding::Open, ReviewOrder::NewestFirst, None)
        );
        let query = reviews(Some("decided=edited&reason=poison&order=oldest&queue=q&type=t&cursor=s7")).unwrap();
        assert_eq!(query.filter.standing, ReviewStanding::Decided(Some(Verdict::Edited)));
        assert_eq!((query.filter.reason, query.order), (Some(ReviewReason::Poison), ReviewOrder::OldestFirst));
        assert_eq!(query.from, Some(7));
        assert_eq!(reviews(Some("decided=any")).unwrap().filter.standing, ReviewStanding::Decided(None));
        for (query, name) in
            [("decided=no", "decided"), ("reason=x", "reason"), ("order=age", "order"), ("state=failed", "state")]
        {
            assert_eq!(field(&reviews(Some(query)).unwrap_err()), name, "{query}");
        }
    }

    #[test]
    fn a_page_of_the_audit_has_filters_and_a_cursor() {
        let page = remediations(Some("action=a&state=dry_run&incident=3&limit=7&cursor=s41")).unwrap();
        assert_eq!((page.filter.action.as_deref(), page.filter.incident), (Some("a"), Some(3)));
        assert_eq!(page.filter.state, Some(RemediationState::DryRun));
        assert_eq!((page.limit, page.before), (7, Some(41)));
        for (query, name) in [("state=done", "state"), ("incident=x", "incident"), ("alert=a", "alert")] {
            assert_eq!(field(&remediations(Some(query)).unwrap_err()), name, "{query}");
        }
    }

    #[test]
    fn incidents_and_the_timeline_have_parameters_of_their_own() {
        let query = incidents(Some("firing=true&limit=5&cursor=s9")).unwrap();
        assert_eq!((query.is_firing, query.limit, query.before), (Some(true), 5, Some(9)));
        assert_eq!(field(&incidents(Some("firing=maybe")).unwrap_err()), "firing");
        let query = timeline(Some("since=2026-01-02T03:04:05.678Z&limit=5")).unwrap();
        assert_eq!((query.since, query.until, query.limit), (Some(Timestamp(1_767_323_045_678)), None, 5));
        assert_eq!(field(&timeline(Some("until=soon")).unwrap_err()), "until");
        assert_eq!(field(&timeline(Some("cursor=s1")).unwrap_err()), "cursor");
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("state=done", "state"),
            ("cursor=12", "cursor"),
            ("queue=a%20b", "queue"),
            ("colour=red", "colour"),
            ("label.=x", "label."),
            ("label.a=x&label.b=y", "label.b"),
            ("queue=a&queue=b", "queue"),
        ] {
            let problem = page(Some(query)).unwrap_err();
            assert_eq!((problem.status.as_u16(), field(&problem)), (422, name.into()), "{query}");
        }
    }
}

//! `query_analytics` and `render_report`: what the daemon's own figures say.

mod figures;
mod report;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::daemon::Daemon;
use super::reply::{Reply, ToolError, ToolResult, class};

pub use self::report::{Format, ReportArgs, render_report};

/// Jobs that one page of the API has at most.
const PAGE_JOBS: usize = 1_000;

/// Jobs that are looked at in one query, whatever is asked for: their payloads come with them.
const JOBS_MAX: usize = 50_000;

/// The series of the runbook that go into a result, by how their names begin.
const MEASURES: [&str; 12] = [
    "test_execution_success_rate",
    "element_healing_success_rate",
    "healing_success_rate_24h",
    "heal_success_rate",
    "heal_confidence",
    "manual_review_rate",
    "user_satisfaction_score",
    "element_repository_hit_rate",
    "mcp_server_health_check",
    "error_rate_5m",
    "response_time_p95",
    "wait_time_p95",
];

/// Arguments of `query_analytics`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Only jobs of this type.
    #[serde(rename = "type")]
    pub job_type: Option<String>,
    /// Only jobs of this queue.
    pub queue: Option<String>,
    /// Only jobs that were accepted in the last so many seconds; without it as many as `jobs_max` allows.
    pub window_s: Option<u32>,
    /// The most jobs to look at, newest first; 5,000 if nobody says.
    pub jobs_max: Option<usize>,
}

/// `query_analytics`
pub async fn query_analytics(context: &Context, query: Query) -> ToolResult {
    Ok(Reply::new(figures_of(context, &query).await?))
}

/// The figures that a query asks for.
async fn figures_of(context: &Context, query: &Query) -> Result<Value, ToolError> {
    let daemon = Daemon::of(&context.settings)?;
    let (queues, date) = daemon.json("/v1/queues", &[]).await?;
    let (pools, _) = daemon.json("/v1/pools", &[]).await?;
    let metrics = daemon.get("/metrics", &[]).await?.body;
    let now =
        date.as_deref().and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|now| now.with_timezone(&Utc));
    let since = query.window_s.map(|window| {
        let now = now.ok_or_else(|| ToolError::new(class::INTERNAL, "the daemon's answer has no date"))?;
        Ok(now - TimeDelta::seconds(i64::from(window)))
    });
    let (jobs, complete) = jobs(&daemon, query, since.transpose()?).await?;
    Ok(json!({
        "taken_at": now.map(|now| now.to_rfc3339_opts(SecondsFormat::Secs, true)),
        "asked": { "type": query.job_type, "queue": query.queue, "window_s": query.window_s, "all_seen": complete },
        "jobs": figures::of_jobs(&jobs),
        "queues": figures::of_queues(&queues),
        "pools": figures::of_pools(&pools),
        "measures": figures::of_metrics(&metrics, &MEASURES),
    }))
}

/// The jobs that fit, newest first, and whether these are all.
async fn jobs(daemon: &Daemon, query: &Query, since: Option<DateTime<Utc>>) -> Result<(Vec<Value>, bool), ToolError> {
    let most = query.jobs_max.unwrap_or(5_000).clamp(1, JOBS_MAX);
    let (mut jobs, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut asked = vec![("limit", PAGE_JOBS.min(most - jobs.len()).to_string())];
        asked.extend(query.job_type.clone().map(|name| ("type", name)));
        asked.extend(query.queue.clone().map(|name| ("queue", name)));
        asked.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let (mut page, _) = daemon.json("/v1/jobs", &asked).await?;
        let Value::Array(found) = page["jobs"].take() else {
            return Err(ToolError::new(class::INTERNAL, "/v1/jobs has no jobs in it"));
        };
        for mut job in found {
            let accepted = job["accepted_at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
            if since.is_some_and(|since| accepted.is_some_and(|at| at < since)) {
                return Ok((jobs, true));
            }
            // Only figures are wanted, and payloads may be large.
            job["payload"].take();
            job["result"].take();
            jobs.push(job);
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || jobs.len() >= most {
            return Ok((jobs, cursor.is_none()));
        }
    }
}

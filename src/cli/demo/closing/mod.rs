//! The closing table: what happened, with the figures, and whether it ended as it should.

mod jobs;
mod series;
mod verdict;

use std::collections::BTreeMap;

use chrono::DateTime;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::waiting::JobBody;

use super::desk::{BREAKER, Desk};
use super::stage::Stage;
use super::story::{Day, Healing};
use super::watch::Watch;

use self::series::Series;

/// What is told at the end.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) text: String,
    /// Addresses and commands for whoever looks around.
    pub(super) next: String,
    /// What did not end as it should; empty if all did.
    pub(super) wrong: Vec<String>,
}

/// Gathers the figures of the day.
pub(super) async fn close(stage: &Stage, desk: &Desk, watch: &Watch, day: &Day) -> Result<Closing, Failure> {
    watch.say("the day is over; the last figures come together");
    // Measures go to the ledger every few seconds, and come back from there.
    let complete = watch.until(desk, "every series of the runbook has figures", async |desk: &Desk| {
        Ok(Some(Series::read(desk).await?).filter(|series| series.missing().is_empty()))
    });
    let series = match complete.await {
        Ok(series) => series,
        // What is missing is told by the verdict.
        Err(_late) => Series::read(desk).await?,
    };
    let jobs = desk.jobs().await?;
    let wrong = verdict::wrong(&jobs, &series, &day.outage);
    let parts = [
        format!("JOBS\n{}", jobs::table(&jobs)),
        format!("WHAT HAPPENED\n{}", output::table(&["", ""], story(&jobs, desk, day))),
        format!("THE RUNBOOK'S SERIES\n{}", series.table()),
    ];
    let next = format!("WHERE TO LOOK NEXT\n{}", next(stage, &jobs));
    Ok(Closing { text: parts.join("\n"), next, wrong })
}

/// The day in a few lines.
fn story(jobs: &[JobBody], desk: &Desk, day: &Day) -> Vec<Vec<String>> {
    let outage = &day.outage;
    let shed = desk.shed.iter().map(|(job_type, count)| format!("{job_type} {count}")).collect::<Vec<_>>();
    let with = |job: &&JobBody, act: &str| job.labels.get("act").is_some_and(|own| own == act);
    let tests = |act: &str, succeeded: bool| {
        let all = jobs.iter().filter(|job| job.job_type == "test_execution" && job.has_succeeded() == succeeded);
        all.filter(|job| with(job, act)).count()
    };
    let line = |what: &str, figures: String| vec![what.to_owned(), figures];
    vec![
        line("tests before the redesign", format!("{} passed", tests("morning", true) + tests("outage", true))),
        line(
            "the same tests after it",
            format!("{} passed, {} broken", tests("redesign", true), tests("redesign", false)),
        ),
        line("elements healed", healed(jobs)),
        line(
            "reviews",
            format!("{} opened, {} approved here, {} open", day.reviews, day.approved, day.reviews - day.approved),
        ),
        line(
            "broken tests after healing",
            format!("{} repeated, {} passed", tests("healed", true) + tests("healed", false), tests("healed", true)),
        ),
        line("tests of new plans", format!("{} passed", tests("evening", true))),
        line("bookings at the site", day.bookings.to_string()),
        line(
            &format!("breaker {BREAKER}"),
            format!("open for {}, {} probes failed", span(&outage.opened_at, &outage.closed_at), outage.probes_failed),
        ),
        line("held by it", format!("{} jobs, which spent {} attempts meanwhile", outage.held, outage.attempts_spent)),
        line("refused for load", if shed.is_empty() { "none".to_owned() } else { shed.join(", ") }),
    ]
}

/// How many elements each strategy found again.
fn healed(jobs: &[JobBody]) -> String {
    let mut by_strategy: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut unbroken, mut missing) = (0, 0);
    for job in jobs.iter().filter(|job| job.job_type == "element_healing") {
        let Some(healing) = Healing::of(job) else {
            missing += 1;
            continue;
        };
        match healing.strategy {
            Some(strategy) => {
                let counts = by_strategy.entry(strategy).or_default();
                counts.0 += usize::from(healing.healed);
                counts.1 += 1;
            }
            None => unbroken += 1,
        }
    }
    let strategies = by_strategy.iter().map(|(strategy, (healed, all))| format!("{strategy} {healed} of {all}"));
    let others = [format!("{unbroken} not broken"), format!("{missing} not on the page any more")];
    strategies.chain(others).collect::<Vec<_>>().join(", ")
}

/// The time between two points.
fn span(from: &str, to: &str) -> String {
    let read = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    match (read(from), read(to)) {
        (Some(from), Some(to)) => format!("{:.1} s", (to - from).as_seconds_f64()),
        _ => "?".to_owned(),
    }
}

fn next(stage: &Stage, jobs: &[JobBody]) -> String {
    let server = stage.server();
    let in_review = jobs.iter().find(|job| job.state == "in_review").map_or("ID", |job| job.id.as_str());
    let failed = jobs.iter().find(|job| job.state == "failed").map_or("ID", |job| job.id.as_str());
    let lines = [
        ("the site".to_owned(), stage.site_address().to_owned()),
        ("metrics, measures".to_owned(), format!("{server}/metrics  {server}/v1/measures")),
        ("what waits for a person".to_owned(), format!("ganger reviews list --server {server}")),
        ("why, with the candidates".to_owned(), format!("ganger reviews show {in_review} --server {server}")),
        ("take the proposal".to_owned(), format!("ganger reviews approve {in_review} --server {server}")),
        ("a broken test".to_owned(), format!("ganger jobs show {failed} --server {server}")),
        (
            "pools, breakers".to_owned(),
            format!("ganger pools list --server {server};  ganger breakers list --server {server}"),
        ),
        ("logs and data".to_owned(), stage.folder().display().to_string()),
    ];
    output::table(&["", ""], lines.into_iter().map(|(what, how)| vec![what, how]).collect())
}

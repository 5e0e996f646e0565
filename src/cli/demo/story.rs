//! The day, from the first plan to the last report.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::waiting::JobBody;
use crate::platform::site::Version;

use super::catalogue::Catalogue;
use super::desk::{Desk, Review};
use super::outage::{self, Outage};
use super::scenario::{Act, Scenario, healing, test_again};
use super::stage::Stage;
use super::watch::Watch;

/// What is known at the end of the day beside what the daemon knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Day {
    pub(super) outage: Outage,
    /// Reviews that were opened, and those that the demo approved.
    pub(super) reviews: usize,
    pub(super) approved: usize,
    /// Bookings at the site.
    pub(super) bookings: usize,
}

/// Plays the day.
pub(super) async fn play(stage: &mut Stage, desk: &mut Desk, watch: &Watch, seed: u64) -> Result<Day, Failure> {
    let scenario = Scenario::new(seed, stage.site_address(), stage.site().shows());

    watch.say("morning: locators for every page; plans, and the tests that follow from them; figures and reports");
    let mut work = [scenario.locators(Act::Morning), scenario.plans(Act::Morning)].concat();
    work.extend(scenario.office(Act::Morning, 6, 2));
    desk.submit(&scenario.shuffled(work)).await?;
    watch.until_rest(desk).await?;
    let catalogue = Catalogue::of(&desk.jobs_of("batch_locator_generation").await?);
    let tests = |act| {
        let bookings = scenario.bookings(act, &catalogue).map_err(Failure::failed)?;
        Ok::<_, Failure>(scenario.shuffled([scenario.checks(act, &catalogue), bookings].concat()))
    };
    watch.say("tests by the repository's elements; parties book seats by a policy");
    desk.submit(&tests(Act::Morning)?).await?;
    desk.feedback(&scenario.feedback(9)).await?;
    watch.until_rest(desk).await?;

    let work = [tests(Act::Outage)?, scenario.locators(Act::Outage)].concat();
    let office = scenario.office(Act::Outage, 4, 1);
    let outage = outage::play(stage, desk, watch, &scenario.shuffled(work), &office).await?;

    stage.site().redesign(Version::V2);
    watch.say("the site is redesigned; the same tests run again");
    desk.submit(&tests(Act::Redesign)?).await?;
    desk.submit(&scenario.office(Act::Redesign, 4, 1)).await?;
    watch.until_rest(desk).await?;
    let (reviews, approved) = mend(desk, watch, &catalogue).await?;

    watch.say("evening: plans for the new site, their tests, the last report");
    let evening = [scenario.plans(Act::Evening), scenario.office(Act::Evening, 4, 2)].concat();
    desk.submit(&scenario.shuffled(evening)).await?;
    desk.feedback(&scenario.feedback(9)).await?;
    watch.until_rest(desk).await?;
    Ok(Day { outage, reviews, approved, bookings: stage.site().bookings() })
}

/// A test that failed because elements are not where they were.
struct Broken {
    payload: Value,
    elements: BTreeSet<String>,
}

/// Heals what the failed tests look for, decides on one proposal, and tries again what may work now. Answers how many
/// reviews there were and how many were approved.
async fn mend(desk: &mut Desk, watch: &Watch, catalogue: &Catalogue) -> Result<(usize, usize), Failure> {
    let tests = desk.jobs_of("test_execution").await?;
    let broken: Vec<Broken> = tests.iter().filter(|job| is_broken(job)).filter_map(read_broken).collect();
    let elements: BTreeSet<&String> = broken.iter().flat_map(|test| &test.elements).collect();
    watch.say(&format!("{} tests do not find their elements; {} elements are looked at", broken.len(), elements.len()));
    let jobs = elements.iter().filter_map(|element| Some(healing(catalogue.page_of(element)?, element)));
    desk.submit(&jobs.collect::<Vec<_>>()).await?;
    watch.until_rest(desk).await?;
    let mut found = found_again(&desk.jobs_of("element_healing").await?);

    let reviews = desk.reviews().await?;
    let approved = decide(desk, watch, &reviews).await?;
    found.extend(approved.clone());
    let again = broken.iter().filter(|test| test.elements.is_subset(&found));
    let again: Vec<Value> = again.map(|test| test_again(Act::Healed, &test.payload)).collect();
    watch.say(&format!("{} of the {} tests have all their elements again and are repeated", again.len(), broken.len()));
    desk.submit(&again).await?;
    watch.until_rest(desk).await?;
    Ok((reviews.len(), approved.len()))
}

fn is_broken(job: &JobBody) -> bool {
    let class = job.error.as_ref().map(|error| error.class.as_str());
    job.labels.get("act").is_some_and(|act| act == Act::Redesign.name()) && class == Some("element_not_found")
}

fn read_broken(job: &JobBody) -> Option<Broken> {
    let payload: Value = serde_json::from_str(job.payload.as_ref()?.get()).ok()?;
    let steps = payload["steps"].as_array()?;
    let elements = steps.iter().filter_map(|step| step["target"]["element"].as_str()).map(str::to_owned).collect();
    Some(Broken { payload, elements })
}

/// What a healing answers.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Healing {
    #[serde(default)]
    pub(super) broken: bool,
    #[serde(default)]
    pub(super) healed: bool,
    pub(super) strategy: Option<String>,
}

impl Healing {
    pub(super) fn of(job: &JobBody) -> Option<Self> {
        serde_json::from_str(job.result.as_ref()?.get()).ok()
    }
}

/// Elements that are where they were, or were found elsewhere.
fn found_again(jobs: &[JobBody]) -> BTreeSet<String> {
    let found = jobs.iter().filter(|job| job.has_succeeded());
    let found = found.filter(|job| Healing::of(job).is_some_and(|healing| healing.healed || !healing.broken));
    found
        .filter_map(|job| {
            let payload: BTreeMap<String, Value> = serde_json::from_str(job.payload.as_ref()?.get()).ok()?;
            Some(payload.get("element")?.as_str()?.to_owned())
        })
        .collect()
}

/// Approves the proposal that is surest and leaves the others to whoever looks around. Answers the elements approved.
async fn decide(desk: &mut Desk, watch: &Watch, reviews: &[Review]) -> Result<Vec<String>, Failure> {
    let confidence = |review: &Review| review.proposal.as_ref().and_then(|proposal| proposal["confidence"].as_f64());
    let proposals = reviews.iter().filter(|review| review.on_approve.as_ref().is_some_and(|jobs| !jobs.is_empty()));
    let best =
        proposals.max_by(|one, other| confidence(one).unwrap_or(0.0).total_cmp(&confidence(other).unwrap_or(0.0)));
    let Some(best) = best else { return Ok(Vec::new()) };
    let proposal = best.proposal.clone().unwrap_or_else(|| json!({}));
    desk.approve(&best.id, "the surest of today's proposals").await?;
    watch.say(&format!(
        "of {} proposals that are not sure enough the surest is approved: {} for {}",
        reviews.len(),
        proposal["locator"].as_str().unwrap_or("?"),
        proposal["element"].as_str().unwrap_or("?")
    ));
    watch.until_rest(desk).await?;
    Ok(proposal["element"].as_str().map(str::to_owned).into_iter().collect())
}

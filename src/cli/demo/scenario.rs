//! What is submitted: the work of one day over the booking site, as its seed says.

use serde_json::{Value, json};

use crate::chance::Chance;

use super::catalogue::Catalogue;

/// As many elements as the largest page has, a seat map.
const PAGE_ELEMENTS: usize = 200;

/// Elements of a test that looks whether they are there.
const CHECK_ELEMENTS: usize = 4;

/// A seat in the middle of a hall, where no party of the day is put: the checkout can be looked at with it all day.
const SEAT_TO_LOOK_AT: &str = "E-5";

/// The part of the day that a job belongs to; it is the job's label `act`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Everything is in order.
    Morning,
    /// The platform is away.
    Outage,
    /// The site looks different.
    Redesign,
    /// What was healed is tried again.
    Healed,
    /// The new site is planned for.
    Evening,
}

impl Act {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Morning => "morning",
            Self::Outage => "outage",
            Self::Redesign => "redesign",
            Self::Healed => "healed",
            Self::Evening => "evening",
        }
    }
}

/// Writes submits.
#[derive(Debug)]
pub(super) struct Scenario {
    chance: Chance,
    site: String,
    shows: Vec<String>,
}

impl Scenario {
    pub(super) fn new(seed: u64, site: &str, shows: Vec<String>) -> Self {
        Self { chance: Chance::seeded(seed), site: site.to_owned(), shows }
    }

    /// The pages that anybody can look at.
    fn pages(&self) -> Vec<String> {
        let shows = self.shows.iter().map(|show| format!("/shows/{show}"));
        let all = ["/", "/search", "/help"].into_iter().map(str::to_owned).chain(shows);
        all.map(|path| format!("{}{path}", self.site)).collect()
    }

    /// The checkout of a seat that stays free.
    fn checkout(&self) -> Option<String> {
        let show = self.shows.first()?;
        Some(format!("{}/checkout?show={show}&seat={SEAT_TO_LOOK_AT}", self.site))
    }

    /// A batch for each page fills the element repository.
    pub(super) fn locators(&self, act: Act) -> Vec<Value> {
        let job = |page: &String| {
            job("batch_locator_generation", act, "production", &json!({ "page": page, "limit": PAGE_ELEMENTS }))
        };
        self.shuffled(self.pages().iter().chain(&self.checkout()).map(job).collect())
    }

    /// Plans for each page; their tests follow by themselves. Nothing that books is planned, neither flows nor the forms of
    /// the checkout: one of the tests would take the seats that the others want.
    pub(super) fn plans(&self, act: Act) -> Vec<Value> {
        let job = |page: &String| {
            let environment = self.environment();
            let labels = json!({ "act": act.name(), "environment": environment });
            let payload = json!({ "page": page, "flow_pages_max": 0, "enqueue": true, "labels": labels });
            job("plan_generation", act, environment, &payload)
        };
        self.shuffled(self.pages().iter().map(job).collect())
    }

    /// Tests that the elements of all pages are there, by the repository.
    pub(super) fn checks(&self, act: Act, catalogue: &Catalogue) -> Vec<Value> {
        let mut jobs = Vec::new();
        for (page, elements) in catalogue.pages() {
            for (part, elements) in elements.chunks(CHECK_ELEMENTS).enumerate() {
                let mut steps = vec![json!({ "action": "load", "url": page })];
                let look = |id: &String| json!({ "action": "assert_element", "target": { "element": id } });
                steps.extend(elements.iter().map(|element| look(&element.id)));
                let name = format!("elements of {}, part {}", page.trim_start_matches(&self.site), part + 1);
                jobs.push(job("test_execution", act, self.environment(), &json!({ "name": name, "steps": steps })));
            }
        }
        self.shuffled(jobs)
    }

    /// A party books for each show, from the seat map to the confirmation.
    pub(super) fn bookings(&self, act: Act, catalogue: &Catalogue) -> Result<Vec<Value>, String> {
        let jobs: Result<Vec<Value>, String> =
            self.shows.iter().map(|show| self.booking(act, show, catalogue)).collect();
        jobs.map(|jobs| self.shuffled(jobs))
    }

    fn booking(&self, act: Act, show: &str, catalogue: &Catalogue) -> Result<Value, String> {
        let page = format!("/shows/{show}");
        let element = |page: &str, name: &str| Ok::<_, String>(json!({ "element": catalogue.find(page, name)? }));
        let checkout = |name: &str| element("/checkout", name);
        let rules = json!({
            "count": self.pick(&[1, 2, 2, 3, 4]),
            "prefer": self.pick(&["front", "back", "cheap"]),
            "adjacent": true,
        });
        let steps = json!([
            { "action": "load", "url": format!("{}{page}", self.site) },
            { "action": "policy", "policy": "seating_selection", "rules": rules },
            { "action": "submit", "target": element(&page, "Continue to checkout")? },
            { "action": "fill", "target": checkout("Full name")?, "value": self.pick(&["Ada Lovelace", "Alan Turing", "Grace Hopper"]) },
            { "action": "fill", "target": checkout("E-mail address")?, "value": "party@example.org" },
            { "action": "select", "target": checkout("Delivery")?, "option": self.pick(&["email", "post", "box-office"]) },
            { "action": "check", "target": checkout("Card at the door")? },
            { "action": "check", "target": checkout("I accept the terms")? },
            { "action": "submit", "target": checkout("Confirm booking")? },
            { "action": "assert_url", "contains": "/bookings/" },
        ]);
        let payload = json!({ "name": format!("a party books {show}"), "steps": steps });
        Ok(job("test_execution", act, self.environment(), &payload))
    }

    /// Work that can wait: figures and reports.
    pub(super) fn office(&self, act: Act, queries: usize, reports: usize) -> Vec<Value> {
        let query = |_| {
            let job_type = self.pick(&["test_execution", "plan_generation", "batch_locator_generation"]);
            let payload = json!({ "type": job_type, "window_s": self.pick(&[60, 300, 3600]) });
            job("analytics_queries", act, "production", &payload)
        };
        let report = |number: usize| {
            let payload = json!({ "title": format!("{}, report {}", act.name(), number + 1), "format": self.pick(&["markdown", "html", "both"]) });
            job("report_generation", act, "production", &payload)
        };
        (0..queries).map(query).chain((0..reports).map(report)).collect()
    }

    /// What users think of what they got, mostly well.
    pub(super) fn feedback(&self, count: usize) -> Vec<Value> {
        let features = ["plan_generation", "test_execution", "element_healing"];
        let item =
            |at: usize| json!({ "feature": features[at % features.len()], "score": self.pick(&[3, 4, 4, 5, 5, 5]) });
        (0..count).map(item).collect()
    }

    /// Mixed, as work comes in.
    pub(super) fn shuffled(&self, mut jobs: Vec<Value>) -> Vec<Value> {
        for at in (1..jobs.len()).rev() {
            jobs.swap(at, self.below(at + 1));
        }
        jobs
    }

    fn environment(&self) -> &'static str {
        self.pick(&["production", "production", "staging"])
    }

    fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn below(&self, most: usize) -> usize {
        usize::try_from(self.chance.bits() % most as u64).unwrap_or(0)
    }
}

/// An element that a test could not find is looked for again.
pub(super) fn healing(page: &str, element: &str) -> Value {
    job("element_healing", Act::Redesign, "production", &json!({ "page": page, "element": element }))
}

/// A test once more.
pub(super) fn test_again(act: Act, payload: &Value) -> Value {
    job("test_execution", act, "production", payload)
}

fn job(job_type: &str, act: Act, environment: &str, payload: &Value) -> Value {
    let labels = json!({ "act": act.name(), "environment": environment });
    json!({ "type": job_type, "payload": payload, "labels": labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(seed: u64) -> Scenario {
        Scenario::new(seed, "http://site", vec!["hamlet".to_owned(), "tempest".to_owned()])
    }

    #[test]
    fn a_seed_gives_the_same_day() {
        let day = |seed| {
            let scenario = scenario(seed);
            (
                scenario.locators(Act::Morning),
                scenario.plans(Act::Morning),
                scenario.office(Act::Morning, 5, 2),
                scenario.feedback(6),
            )
        };
        assert_eq!(day(7), day(7));
        assert_ne!(day(7), day(8));
    }

    #[test]
    fn nothing_is_lost_in_a_shuffle() {
        let jobs: Vec<Value> = (0..20).map(|number| json!(number)).collect();
        let mut shuffled = scenario(3).shuffled(jobs.clone());
        assert_ne!(shuffled, jobs);
        shuffled.sort_by_key(Value::as_u64);
        assert_eq!(shuffled, jobs);
    }
}

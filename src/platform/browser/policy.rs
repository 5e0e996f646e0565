//! Letting a policy choose seats on the open page.

use serde_json::{Value, json};
use tokio::time::Instant;

use ego_tree::NodeId;

use super::super::observation::policy_evaluation;
use super::super::page::{accessible_name, selector};
use super::super::reply::{ToolError, class};
use super::super::seating::{self, Rules, Seat};
use super::controls::{self, Kind};
use super::{Browser, View};

/// The name under which the policy is measured.
const POLICY: &str = "seating_selection";

impl Browser {
    /// Chooses seats by the rules and ticks them.
    pub(super) fn choose_seats(&mut self, rules: &Rules, boxes: Option<&str>) -> Result<Value, ToolError> {
        let begun = Instant::now();
        let seats = seats(self.open()?, boxes)?;
        let plan: Vec<Seat> = seats.iter().map(|(_, seat)| seat.clone()).collect();
        let chosen = seating::choose(&plan, rules);
        let took = begun.elapsed();
        self.observations.push(policy_evaluation(POLICY, took));
        let chosen = chosen.map_err(|why| {
            ToolError::new(class::ASSERTION_FAILURE, format!("{POLICY}: {why}"))
                .with_evidence(json!({ "policy": POLICY, "rules": rules, "seats": plan.len() }))
        })?;
        for at in &chosen.seats {
            self.set_tick(seats[*at].0, true)?;
        }
        let names: Vec<String> = chosen.seats.iter().map(|at| plan[*at].name()).collect();
        Ok(json!({
            "policy": POLICY, "seats": names, "total": chosen.total, "considered": plan.len(),
            "free": plan.iter().filter(|seat| seat.free).count(),
        }))
    }
}

/// The seats of a page, with the boxes that stand for them.
fn seats(view: &View, boxes: Option<&str>) -> Result<Vec<(NodeId, Seat)>, ToolError> {
    let css = selector(boxes.unwrap_or("input[type=checkbox]"))?;
    let mut seats = Vec::new();
    let budget = view.page.budget();
    for element in view.page.select(&css) {
        budget.check("reading a seat map")?;
        if controls::kind(&element) != Some(Kind::Checkbox) {
            continue;
        }
        let words = format!("{} {}", accessible_name(&view.page, &element), element.attr("title").unwrap_or(""));
        let free = !controls::is_disabled(&element) && element.attr("aria-disabled") != Some("true");
        if let Some(seat) = Seat::read(element.attr("value").unwrap_or(""), &words, element.attr("data-price"), free) {
            seats.push((element.id(), seat));
        }
    }
    if seats.is_empty() {
        let message = format!("{} has no boxes that stand for seats", view.page.url);
        return Err(ToolError::new(class::ELEMENT_NOT_FOUND, message).with_evidence(json!({ "selector": boxes })));
    }
    Ok(seats)
}

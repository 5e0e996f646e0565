//! Observations as they arrive: JSON objects with a `kind`, read into samples or refused with the member that is wrong.
//!
//! Unknown members are refused like those of every other request: a misspelt one would be a loss that nobody notices.

use serde_json::{Map, Value};

use super::{Measure, Rules, Sample};
use crate::job::TypeName;

/// The most observations of one run or one request: what a batch of work says, and no stream.
pub const OBSERVATIONS_MAX: usize = 1_000;
/// The longest duration that can be meant: a day, in milliseconds.
const DURATION_MS_MAX: f64 = 24.0 * 3_600_000.0;

/// What is wrong with an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// In a word, for a counter.
    pub code: &'static str,
    /// The member.
    pub field: String,
    /// What it is and what it should be.
    pub reason: String,
}

impl Bad {
    fn new(code: &'static str, field: &str, reason: impl Into<String>) -> Self {
        // The name of an unknown member comes from outside.
        Self { code, field: field.chars().take(64).collect(), reason: reason.into() }
    }
}

/// The kinds of observations with their members, the label first.
const KINDS: [(Measure, &[&str]); 4] = [
    (Measure::CacheLookup, &["cache_level", "hit"]),
    (Measure::PolicyEvaluation, &["policy", "duration_ms"]),
    (Measure::Healing, &["strategy", "healed", "confidence"]),
    (Measure::Feedback, &["feature", "score"]),
];

/// Reads one observation and adds what it says to `samples`.
///
/// # Errors
/// The member that is wrong; then nothing was added.
pub fn read(observation: &Value, rules: &Rules, samples: &mut Vec<Sample>) -> Result<(), Bad> {
    let Some(members) = observation.as_object() else {
        return Err(Bad::new("not_an_object", "kind", "is missing: an observation is an object with a `kind`"));
    };
    let (measure, known) = kind(members)?;
    if let Some(odd) = members.keys().find(|name| *name != "kind" && !known.contains(&name.as_str())) {
        let reason = format!("is not known in a {} observation; known are {}", measure.name(), known.join(", "));
        return Err(Bad::new("unknown_member", odd, reason));
    }
    let label = text(members, known[0]).and_then(|text| name(text).map_err(|reason| bad_member(known[0], reason)))?;
    let sample = |value| Sample { measure, label: label.to_owned(), value };
    match measure {
        Measure::CacheLookup => samples.push(sample(yes_or_no(members, "hit")?)),
        Measure::PolicyEvaluation => samples.push(sample(number(members, "duration_ms", (0.0, DURATION_MS_MAX))?)),
        Measure::Feedback => samples.push(sample(number(members, "score", rules.score)?)),
        _healing => {
            let healed = yes_or_no(members, "healed")?;
            let confidence = match members.get("confidence") {
                None | Some(Value::Null) => None,
                Some(_) => Some(number(members, "confidence", (0.0, 1.0))?),
            };
            samples.push(sample(healed));
            samples.extend(confidence.map(|value| Sample {
                measure: Measure::HealConfidence,
                label: String::new(),
                value,
            }));
        }
    }
    Ok(())
}

/// Checks the value of a label: it is a name, as those of queues and types are.
///
/// # Errors
/// What is wrong with it.
pub fn name(text: &str) -> Result<&str, String> {
    TypeName::new(text).map(|_fits| text).map_err(|error| error.to_string())
}

fn kind(members: &Map<String, Value>) -> Result<(Measure, &'static [&'static str]), Bad> {
    let said = text(members, "kind")?;
    KINDS.into_iter().find(|(measure, _)| measure.name() == said).ok_or_else(|| {
        let known = KINDS.map(|(measure, _)| measure.name()).join(", ");
        Bad::new("unknown_kind", "kind", format!("is no kind of observation; known are {known}"))
    })
}

fn bad_member(field: &str, reason: impl Into<String>) -> Bad {
    Bad::new("bad_member", field, reason)
}

fn member<'a>(members: &'a Map<String, Value>, field: &str) -> Result<&'a Value, Bad> {
    members.get(field).ok_or_else(|| bad_member(field, "is missing"))
}

fn text<'a>(members: &'a Map<String, Value>, field: &str) -> Result<&'a str, Bad> {
    member(members, field)?.as_str().ok_or_else(|| bad_member(field, "must be a string"))
}

fn yes_or_no(members: &Map<String, Value>, field: &str) -> Result<f64, Bad> {
    let said = member(members, field)?.as_bool().ok_or_else(|| bad_member(field, "must be true or false"))?;
    Ok(f64::from(u8::from(said)))
}

fn number(members: &Map<String, Value>, field: &str, (least, most): (f64, f64)) -> Result<f64, Bad> {
    let number = member(members, field)?.as_f64().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| bad_member(field, format!("must be a number from {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(observation: &Value) -> Result<Vec<Sample>, (&'static str, String)> {
        let mut samples = Vec::new();
        let read = read(observation, &Rules::default(), &mut samples);
        read.map(|()| samples).map_err(|bad| (bad.code, bad.field))
    }

    #[test]
    fn the_contracts_observations_are_read() {
        let lookup = json!({"kind": "cache_lookup", "cache_level": "l1", "hit": true});
        assert_eq!(said(&lookup), Ok(vec![Sample::of(Measure::CacheLookup, "l1", true)]));
        let policy = json!({"kind": "policy_evaluation", "policy": "seating_selection", "duration_ms": 1.2});
        let took = Sample { measure: Measure::PolicyEvaluation, label: "seating_selection".into(), value: 1.2 };
        assert_eq!(said(&policy), Ok(vec![took]));
        let healing = json!({"kind": "healing", "strategy": "semantic_match", "healed": true, "confidence": 0.93});
        let sure = Sample { measure: Measure::HealConfidence, label: String::new(), value: 0.93 };
        assert_eq!(said(&healing), Ok(vec![Sample::of(Measure::Healing, "semantic_match", true), sure]));
        let unsure = json!({"kind": "healing", "strategy": "id_match", "healed": false, "confidence": null});
        assert_eq!(said(&unsure), Ok(vec![Sample::of(Measure::Healing, "id_match", false)]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (observation, code, field) in [
            (json!(7), "not_an_object", "kind"),
            (json!({}), "bad_member", "kind"),
            (json!({"kind": 7}), "bad_member", "kind"),
            (json!({"kind": "mood"}), "unknown_kind", "kind"),
            (json!({"kind": "test_execution"}), "unknown_kind", "kind"),
            (json!({"kind": "cache_lookup", "hit": true}), "bad_member", "cache_level"),
            (json!({"kind": "cache_lookup", "cache_level": "l 1", "hit": true}), "bad_member", "cache_level"),
            (json!({"kind": "cache_lookup", "cache_level": "", "hit": true}), "bad_member", "cache_level"),
            (json!({"kind": "cache_lookup", "cache_level": "l1"}), "bad_member", "hit"),
            (json!({"kind": "cache_lookup", "cache_level": "l1", "hit": 1}), "bad_member", "hit"),
            (json!({"kind": "cache_lookup", "cache_level": "l1", "hit": true, "hat": 1}), "unknown_member", "hat"),
            (json!({"kind": "policy_evaluation", "policy": "p", "duration_ms": -1}), "bad_member", "duration_ms"),
            (json!({"kind": "policy_evaluation", "policy": "p", "duration_ms": 1e300}), "bad_member", "duration_ms"),
            (
                json!({"kind": "healing", "strategy": "s", "healed": true, "confidence": 1.1}),
                "bad_member",
                "confidence",
            ),
            (json!({"kind": "feedback", "feature": "f", "score": 0}), "bad_member", "score"),
            (json!({"kind": "feedback", "feature": "f", "score": 5.5}), "bad_member", "score"),
            (json!({"kind": "feedback", "feature": "f", "score": "5"}), "bad_member", "score"),
            (json!({"kind": "feedback", "feature": "f".repeat(129), "score": 5}), "bad_member", "feature"),
        ] {
            assert_eq!(said(&observation), Err((code, field.to_owned())), "{observation}");
        }
    }
}

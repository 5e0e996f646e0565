//! Texts with places for facts: `{alert} fires for {label.queue}`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::alert::FiredAlert;

/// A text with places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Fact(Fact),
    Label(String),
    Annotation(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Alert,
    Severity,
    Fingerprint,
    StartsAt,
    Incident,
    Action,
    Target,
    Node,
}

/// What may stand in braces beside `label.NAME` and `annotation.NAME`.
const FACTS: [(&str, Fact); 8] = [
    ("alert", Fact::Alert),
    ("severity", Fact::Severity),
    ("fingerprint", Fact::Fingerprint),
    ("starts_at", Fact::StartsAt),
    ("incident", Fact::Incident),
    ("action", Fact::Action),
    ("target", Fact::Target),
    ("node", Fact::Node),
];

/// Why a text cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A place without an end.
    #[error("has a `{{` that nothing closes; a brace for itself is written twice")]
    Open,
    /// A place for nothing that is known.
    #[error(
        "has {{{0}}}; expected alert, severity, fingerprint, starts_at, incident, action, target, node, label.NAME or annotation.NAME"
    )]
    Unknown(String),
}

/// What an action is told of its occasion.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The alert.
    pub alert: &'a FiredAlert,
    /// The action's name.
    pub action: &'a str,
    /// What it is done to.
    pub target: &'a str,
    /// The node that does it.
    pub node: &'a str,
    /// Its number in the audit.
    pub number: i64,
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with its braces.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
            } else if brace == "}" {
                plain.push('}');
                rest = after;
            } else {
                let (name, after) = after.split_once('}').ok_or(InvalidTemplate::Open)?;
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::of(name.trim())?);
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The text with the facts in their places. What an alert does not have is empty.
    #[must_use]
    pub fn render(&self, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Label(name) => text.push_str(facts.alert.label(name).unwrap_or_default()),
                Piece::Annotation(name) => {
                    text.push_str(facts.alert.annotations.get(name).map(String::as_str).unwrap_or_default());
                }
                Piece::Fact(fact) => facts.write(*fact, &mut text),
            }
        }
        text
    }
}

impl Piece {
    fn of(name: &str) -> Result<Self, InvalidTemplate> {
        if let Some((_, fact)) = FACTS.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Fact(*fact));
        }
        match name.split_once('.') {
            Some(("label", label)) if !label.is_empty() => Ok(Self::Label(label.to_owned())),
            Some(("annotation", annotation)) if !annotation.is_empty() => Ok(Self::Annotation(annotation.to_owned())),
            _ => Err(InvalidTemplate::Unknown(name.to_owned())),
        }
    }
}

impl Facts<'_> {
    fn write(&self, fact: Fact, text: &mut String) {
        let alert = self.alert;
        match fact {
            Fact::Alert => text.push_str(&alert.name),
            Fact::Severity => text.push_str(&alert.severity),
            Fact::Fingerprint => text.push_str(&alert.fingerprint),
            Fact::StartsAt => text.push_str(&alert.starts_at.to_string()),
            // A text takes everything that is written to it.
            Fact::Incident => alert.incident.map_or((), |number| write!(text, "{number}").unwrap_or_default()),
            Fact::Action => text.push_str(self.action),
            Fact::Target => text.push_str(self.target),
            Fact::Node => text.push_str(self.node),
        }
    }

    /// All of them, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let alert = self.alert;
        json!({
            "remediation": self.number,
            "action": self.action,
            "target": self.target,
            "node": self.node,
            "incident": alert.incident,
            "alert": {
                "name": alert.name,
                "severity": alert.severity,
                "fingerprint": alert.fingerprint,
                "starts_at": alert.starts_at.to_string(),
                "labels": alert.labels,
                "annotations": alert.annotations,
            },
        })
    }

    /// The same as variables of a command's environment. A label `pod-name` is `GANGER_LABEL_POD_NAME`.
    #[must_use]
    pub fn variables(&self) -> BTreeMap<String, String> {
        let alert = self.alert;
        let mut variables = BTreeMap::new();
        for (name, value) in &alert.labels {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            variables.insert(format!("GANGER_LABEL_{name}"), value.clone());
        }
        let incident = alert.incident.map(|number| number.to_string()).unwrap_or_default();
        for (name, value) in [
            ("GANGER_REMEDIATION", self.number.to_string()),
            ("GANGER_ACTION", self.action.to_owned()),
            ("GANGER_TARGET", self.target.to_owned()),
            ("GANGER_NODE", self.node.to_owned()),
            ("GANGER_INCIDENT", incident),
            ("GANGER_ALERT", alert.name.clone()),
            ("GANGER_ALERT_SEVERITY", alert.severity.clone()),
            ("GANGER_ALERT_FINGERPRINT", alert.fingerprint.clone()),
            ("GANGER_ALERT_STARTS_AT", alert.starts_at.to_string()),
        ] {
            variables.insert(name.to_owned(), value);
        }
        // No program takes a NUL in its environment.
        variables.into_iter().map(|(name, value)| (name, value.replace('\0', "\u{fffd}"))).collect()
    }
}

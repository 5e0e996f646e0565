//! The steps of a test, as callers write them.

use rmcp::schemars::{self, JsonSchema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::super::seating::Rules;
use super::target::Target;

/// One step of a test: an action, and a name for people.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Step {
    /// What it is for; reports and errors name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
}

/// What the browser can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Opens a page.
    Load {
        /// Its address; may be relative to the page before it or to `base_url`.
        url: String,
    },
    /// Goes where a link leads.
    Follow {
        /// The link.
        target: Target,
    },
    /// Does what a click does without scripts: follows a link, submits a form, ticks a box.
    Click {
        /// What is clicked.
        target: Target,
    },
    /// Types into a field, in place of what stood there.
    Fill {
        /// The field.
        target: Target,
        /// What is typed.
        value: String,
    },
    /// Chooses an option of a list.
    Select {
        /// The list.
        target: Target,
        /// The option's value or text; several where the list takes several.
        option: OneOrMany,
    },
    /// Ticks a box or chooses a radio button.
    Check {
        /// The box.
        target: Target,
    },
    /// Takes the tick away.
    Uncheck {
        /// The box.
        target: Target,
    },
    /// Sends a form, if the browser finds it well filled in.
    Submit {
        /// The button, the form, or a field of it; without one the form that was worked on last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
    },
    /// Lets a policy choose, and does what it says.
    Policy {
        /// Which one.
        policy: Policy,
        /// What it has to obey.
        #[serde(default)]
        rules: Rules,
        /// The boxes of the seats; without it every box whose value or name is that of a seat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seats: Option<String>,
    },
    /// The page, or one element, has this text.
    AssertText {
        /// The text; runs of white space count as one blank.
        text: String,
        /// Where it should stand; without it anywhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
        /// It should not stand there.
        #[serde(default, skip_serializing_if = "is_false")]
        absent: bool,
    },
    /// An element is there.
    AssertElement {
        /// The element.
        target: Target,
        /// So often.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<usize>,
        /// It should not be there.
        #[serde(default, skip_serializing_if = "is_false")]
        absent: bool,
    },
    /// The page's address is this, or has this in it.
    AssertUrl {
        /// The whole address; may be relative.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// A part of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contains: Option<String>,
    },
    /// This stands in a field; for lists the value or text of what is chosen.
    AssertValue {
        /// The field.
        target: Target,
        /// What should stand there.
        value: String,
    },
    /// The site answered with this HTTP status; without one, with success.
    AssertStatus {
        /// The status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// The browser would not send the form, because of this field or of any.
    AssertInvalid {
        /// The field; without it the form that was worked on last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
    },
}

/// The policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Which seats a party gets.
    SeatingSelection,
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl<'de> Deserialize<'de> for Step {
    /// By hand, because a flattened member would let unknown ones pass.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = serde_json::Map::<String, Value>::deserialize(deserializer)?;
        let name = match members.remove("name") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return Err(D::Error::custom(format!("a step's name is a text, not {other}"))),
        };
        let action = serde_json::from_value(Value::Object(members)).map_err(D::Error::custom)?;
        Ok(Self { name, action })
    }
}

impl Step {
    /// A step with a name.
    pub fn new(name: impl Into<String>, action: Action) -> Self {
        Self { name: Some(name.into()), action }
    }

    /// The action's own name.
    pub(super) fn verb(&self) -> String {
        let action = serde_json::to_value(&self.action).unwrap_or_default();
        action["action"].as_str().unwrap_or("step").to_owned()
    }
}

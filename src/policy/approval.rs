//! What an approval makes of a review: the result of its job, and the jobs that follow from it.

use bytes::Bytes;
use serde_json::{Map, Value};

/// The member of results and payloads that holds a proposal.
const PROPOSAL: &str = "proposal";

/// The result of an approved job whose handler returned `own`: an object holds the proposal as its member
/// `proposal`, whatever the handler had there; nothing and `null` become such an object; any other result stays as
/// it is. `None` when there is neither a result nor a proposal, so that somebody has to say what the result is.
#[must_use]
pub fn result(own: Option<&Bytes>, proposal: Option<&Value>) -> Option<Bytes> {
    let Some(proposal) = proposal else { return own.cloned() };
    let read = own.map_or(Ok(Value::Null), |own| serde_json::from_slice(own));
    let mut members = match read {
        Ok(Value::Object(members)) => members,
        Ok(Value::Null) => Map::new(),
        _ => return own.cloned(),
    };
    members.insert(PROPOSAL.to_owned(), proposal.clone());
    Some(Value::Object(members).to_string().into())
}

/// The submits that follow an approval. One whose payload is an object with a member `proposal` gets the edited
/// proposal there; all others are as the handler wrote them.
#[must_use]
pub fn follow_ups(mut submits: Vec<Value>, edited: Option<&Value>) -> Vec<Value> {
    for submit in &mut submits {
        let place = submit.get_mut("payload").and_then(|payload| payload.get_mut(PROPOSAL));
        if let (Some(place), Some(edited)) = (place, edited) {
            *place = edited.clone();
        }
    }
    submits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(own: Option<&str>, proposal: Option<&Value>) -> Option<String> {
        let own = own.map(|own| Bytes::copy_from_slice(own.as_bytes()));
        result(own.as_ref(), proposal).map(|result| String::from_utf8(result.to_vec()).unwrap())
    }

    #[test]
    fn an_approved_result_holds_the_proposal_where_it_can() {
        for (own, proposal, expected) in [
            (Some(r#"{"healed":false}"#), None, Some(r#"{"healed":false}"#)),
            (Some(r#"{"n":1}"#), Some(json!("#buy")), Some(r##"{"n":1,"proposal":"#buy"}"##)),
            (Some(r#"{"proposal":"a"}"#), Some(json!({"b": 1})), Some(r#"{"proposal":{"b":1}}"#)),
            (Some("null"), Some(json!(7)), Some(r#"{"proposal":7}"#)),
            (None, Some(json!(7)), Some(r#"{"proposal":7}"#)),
            (Some("[1]"), Some(json!(7)), Some("[1]")),
            (Some("null"), None, Some("null")),
            (None, None, None),
        ] {
            assert_eq!(after(own, proposal.as_ref()).as_deref(), expected, "{own:?} {proposal:?}");
        }
    }

    #[test]
    fn an_edited_proposal_reaches_the_payloads_that_have_a_place_for_one() {
        let submits = vec![
            json!({"type": "a", "payload": {"proposal": 1, "page": "x"}}),
            json!({"type": "b", "payload": {"page": "x"}}),
            json!({"type": "c", "payload": "proposal"}),
            json!({"type": "d"}),
        ];
        assert_eq!(follow_ups(submits.clone(), None), submits);
        let edited = follow_ups(submits.clone(), Some(&json!([2])));
        assert_eq!(edited[0], json!({"type": "a", "payload": {"proposal": [2], "page": "x"}}));
        assert_eq!(edited[1..], submits[1..]);
    }
}

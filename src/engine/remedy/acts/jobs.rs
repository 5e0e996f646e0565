//! Jobs as remedies.

use serde_json::value::RawValue;

use crate::job::TypeName;
use crate::policy::remediation::Facts;

use super::super::super::core::Core;
use super::super::super::views::Fate;
use super::super::super::{Submit, admission};
use super::{Done, Goal};

/// Submits a job. Its key is the occurrence of the alert, so that no repetition makes a second one.
pub(super) async fn enqueue(
    core: &Core,
    job_type: &TypeName,
    payload: &str,
    facts: &Facts<'_>,
) -> Result<Done, String> {
    let payload = RawValue::from_string(payload.to_owned()).map_err(|error| format!("its payload: {error}"))?;
    let key = match facts.alert.fingerprint.as_str() {
        "" => format!("remediation:{}:{}", facts.action, facts.number),
        _ => format!("remediation:{}:{}", facts.action, facts.alert.occurrence()),
    };
    let labels = [("remediation".to_owned(), facts.number.to_string())];
    let submit = Submit {
        job_type: job_type.to_string(),
        payload: Some(payload),
        id: None,
        queue: None,
        priority: None,
        delay_ms: None,
        run_at: None,
        timeout_ms: None,
        labels: labels.into(),
        idempotency_key: Some(key),
    };
    let answers = admission::submit(core, vec![submit]).await;
    let submitted = answers.into_iter().next().ok_or_else(|| "the job had no answer".to_owned())?;
    let submitted = submitted.map_err(|refusal| refusal.to_string())?;
    let what = if submitted.fate == Fate::Created { "submitted" } else { "known already" };
    Ok(Done::of(format!("job {} of type {job_type} is {what}", submitted.id), Goal::Job(submitted.id)))
}

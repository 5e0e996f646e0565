//! The shared logbook as one node reaches it.

use async_trait::async_trait;
use ganger::clock::Timestamp;
use ganger::job::TypeName;
use ganger::ledger::{IncidentFilter, Logbook, LogbookRetention, RemediationFilter, Result};
use ganger::operations::{
    Alert, AlertNote, Begun, Event, FilledPart, Flaw, Impact, Incident, NewEvent, NewRemediation, Noted, Remediation,
    RemediationLimits, RemediationState,
};

use crate::ledger::SiteLedger;
use crate::support::model_ledger::ModelLedger;

/// Passes calls on over the wire. What they are given is owned before it is sent: a call may take effect after its
/// caller has given up.
macro_rules! pass {
    ($($name:ident($($arg:ident: $type:ty $(=> $owned:ident)?),*) -> $out:ty;)+) => {
        #[async_trait]
        impl Logbook for SiteLedger {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                $($(let $arg = ToOwned::$owned($arg);)?)*
                let effect =
                    move |model: ModelLedger| async move { model.$name($(pass!(@given $arg $($owned)?)),*).await };
                self.call(concat!("ledger.", stringify!($name)), effect).await
            })+

            async fn end_remediation(
                &self,
                number: i64,
                state: RemediationState,
                words: &str,
                after: Option<&str>,
                now: Timestamp,
            ) -> Result<bool> {
                let (words, after) = (words.to_owned(), after.map(ToOwned::to_owned));
                let effect = move |model: ModelLedger| async move {
                    model.end_remediation(number, state, &words, after.as_deref(), now).await
                };
                self.call("ledger.end_remediation", effect).await
            }
        }
    };
    (@given $arg:ident to_owned) => { &$arg };
    (@given $arg:ident) => { $arg };
}

pass! {
    note_events(events: &[NewEvent] => to_owned) -> ();
    events(from: Timestamp, until: Timestamp, limit: u32) -> Vec<Event>;
    note_alerts(notes: &[AlertNote] => to_owned, now: Timestamp, quiet_ms: i64) -> Vec<Noted>;
    lapse_alerts(heard_before: Timestamp) -> Vec<Alert>;
    alerts_of(incident: i64, limit: u32) -> Vec<Alert>;
    incidents(filter: IncidentFilter, before: Option<i64>, limit: u32) -> Vec<Incident>;
    fill_in(incident: i64, parts: &[FilledPart] => to_owned) -> bool;
    impact(from: Timestamp, until: Timestamp, slas: &[(TypeName, u64)] => to_owned) -> Vec<Impact>;
    keep_impact(incident: i64, resolved_at: Timestamp, impact: &str => to_owned) -> bool;
    begin_remediation(
        asked: &NewRemediation => to_owned, limits: &RemediationLimits => to_owned, now: Timestamp
    ) -> Begun;
    suppress_remediation(asked: &NewRemediation => to_owned, reason: &str => to_owned, now: Timestamp) -> ();
    remediations(filter: &RemediationFilter => to_owned, before: Option<i64>, limit: u32) -> Vec<Remediation>;
    abandon_remediations(began_before: Timestamp, words: &str => to_owned, now: Timestamp) -> u64;
    flaws() -> Vec<Flaw>;
    retain_logbook(keep: LogbookRetention, now: Timestamp) -> u64;
}

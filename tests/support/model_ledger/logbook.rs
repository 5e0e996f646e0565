//! The logbook, as plain as its promises: everything is looked at anew for every note.

use std::collections::BTreeMap;

use async_trait::async_trait;
use ganger::clock::Timestamp;
use ganger::job::{State, TypeName};
use ganger::ledger::{IncidentFilter, Logbook, LogbookRetention, RemediationFilter, Result};
use ganger::operations::{
    Alert, AlertNote, Begun, Event, EventKind, FilledPart, Flaw, Impact, Incident, NewEvent, NewRemediation, Noted,
    NotedAs, Remediation, RemediationLimits, RemediationState, SuppressedBy, severity_rank,
};

use super::{ModelLedger, Row, Store};

/// The tables of operations.
#[derive(Debug, Clone, Default)]
pub struct Book {
    pub events: Vec<Event>,
    pub last_event: i64,
    /// With whether they have lapsed.
    pub alerts: Vec<(Alert, bool)>,
    pub incidents: BTreeMap<i64, Incident>,
    pub last_incident: i64,
    pub remediations: Vec<Remediation>,
    pub last_remediation: i64,
}

impl Book {
    fn note_alert(&mut self, told: &AlertNote, now: Timestamp, quiet_ms: i64) -> Noted {
        let mut note = told.clone();
        let is_it =
            |alert: &Alert| alert.note.fingerprint == note.fingerprint && alert.note.starts_at == note.starts_at;
        let received_at =
            self.alerts.iter().find(|(alert, _)| is_it(alert)).map_or(now, |(alert, _)| alert.received_at);
        note.ends_at = note.ends_at.map(|end| end.min(now).max(note.starts_at.min(received_at)));
        let same = |(alert, _): &&mut (Alert, bool)| {
            alert.note.fingerprint == note.fingerprint && alert.note.starts_at == note.starts_at
        };
        let what = if let Some((alert, lapsed)) = self.alerts.iter_mut().find(same) {
            let what = match (alert.note.ends_at, note.ends_at) {
                (None, Some(_)) => NotedAs::Resolved,
                (Some(_), None) if !*lapsed => NotedAs::Stale,
                (Some(_) | None, _) => NotedAs::Known,
            };
            let is_heard_again = alert.note.ends_at.is_none() && now.since(alert.heard_at) >= 60_000;
            if what == NotedAs::Resolved || (*lapsed && note.ends_at.is_none()) {
                (alert.note.ends_at, *lapsed, alert.heard_at) = (note.ends_at, false, now);
            } else if is_heard_again {
                alert.heard_at = now;
            }
            what
        } else {
            self.note_new(note.clone(), now, quiet_ms)
        };
        let known = |(alert, _): &&(Alert, bool)| {
            alert.note.fingerprint == note.fingerprint && alert.note.starts_at == note.starts_at
        };
        let incident = self.alerts.iter().find(known).expect("it was noted").0.incident;
        self.settle_all();
        Noted { incident, what }
    }

    fn note_new(&mut self, mut note: AlertNote, now: Timestamp, quiet_ms: i64) -> NotedAs {
        let mut what = if note.ends_at.is_some() { NotedAs::Resolved } else { NotedAs::New };
        let detected_at = note.starts_at.min(now);
        let order = (detected_at, note.starts_at);
        let order_of = |alert: &Alert| (alert.began_at(), alert.note.starts_at);
        let later = self.alerts.iter().filter(|(alert, _)| alert.note.fingerprint == note.fingerprint);
        let later = later.map(|(alert, _)| order_of(alert)).filter(|known| *known > order).min();
        if let (Some((later, _)), None) = (later, note.ends_at) {
            (note.ends_at, what) = (Some(later), NotedAs::Stale);
        }
        for (alert, _) in &mut self.alerts {
            let is_earlier = alert.note.fingerprint == note.fingerprint && order_of(alert) < order;
            if is_earlier && alert.note.ends_at.is_none() {
                alert.note.ends_at = Some(detected_at);
            }
        }
        self.settle_all();
        let overlaps = |incident: &&Incident| {
            incident.resolved_at.is_none_or(|end| detected_at <= end.plus_ms(quiet_ms))
                && note.ends_at.is_none_or(|end| end.plus_ms(quiet_ms) >= incident.detected_at)
        };
        let number = match self.incidents.values().rev().find(overlaps) {
            Some(incident) => incident.number,
            None => {
                self.last_incident += 1;
                let incident = Incident {
                    number: self.last_incident,
                    name: note.name.clone(),
                    severity: note.severity.clone(),
                    detected_at,
                    received_at: now,
                    responded_at: None,
                    resolved_at: None,
                    alerts: 0,
                    firing: 0,
                    parts: Vec::new(),
                    impact: None,
                };
                self.incidents.insert(incident.number, incident);
                self.last_incident
            }
        };
        let incident = self.incidents.get_mut(&number).expect("found or opened");
        incident.detected_at = incident.detected_at.min(detected_at);
        if severity_rank(&note.severity) > severity_rank(&incident.severity) {
            incident.severity = note.severity.clone();
        }
        incident.impact = None;
        self.alerts.push((Alert { note, incident: number, received_at: now, heard_at: now }, false));
        what
    }

    /// Says of every incident whether one of its alerts fires.
    fn settle_all(&mut self) {
        for incident in self.incidents.values_mut() {
            let of = self.alerts.iter().filter(|(alert, _)| alert.incident == incident.number);
            let ends: Vec<Option<Timestamp>> = of.map(|(alert, _)| alert.note.ends_at).collect();
            let resolved_at = if ends.iter().any(Option::is_none) { None } else { ends.into_iter().max().flatten() };
            if resolved_at != incident.resolved_at {
                (incident.resolved_at, incident.impact) = (resolved_at, None);
            }
        }
    }

    /// An incident with what other tables say of it.
    fn shown(&self, incident: &Incident) -> Incident {
        let of = || self.alerts.iter().filter(|(alert, _)| alert.incident == incident.number);
        let until = incident.resolved_at.unwrap_or(Timestamp(i64::MAX));
        let orders = self.events.iter().map(|event| &event.event).filter(|event| {
            matches!(event.kind, EventKind::Pause | EventKind::Order)
                && event.at >= incident.detected_at
                && event.at <= until
        });
        let began = self.remediations.iter().filter(|remedy| {
            remedy.asked.incident == Some(incident.number)
                && !matches!(remedy.state, RemediationState::Suppressed | RemediationState::DryRun)
        });
        Incident {
            responded_at: orders.map(|event| event.at).chain(began.map(|remedy| remedy.began_at)).min(),
            alerts: u32::try_from(of().count()).unwrap(),
            firing: u32::try_from(of().filter(|(alert, _)| alert.note.ends_at.is_none()).count()).unwrap(),
            ..incident.clone()
        }
    }

    fn begin(&mut self, asked: &NewRemediation, limits: &RemediationLimits, now: Timestamp) -> Begun {
        if let Some(known) = self.remediations.iter().find(|remedy| remedy.asked.ticket == asked.ticket) {
            let limit =
                [SuppressedBy::Repeated, SuppressedBy::CoolDown, SuppressedBy::ActionBudget, SuppressedBy::Budget];
            let limit = limit.into_iter().find(|limit| limit.name() == known.reason);
            return limit.map_or(Begun::Begun(known.number), Begun::Suppressed);
        }
        let begun: Vec<&Remediation> = self
            .remediations
            .iter()
            .filter(|remedy| remedy.state != RemediationState::Suppressed && remedy.asked.is_dry == asked.is_dry)
            .collect();
        let of_action = || begun.iter().filter(|remedy| remedy.asked.action == asked.action);
        let hour = |remedy: &&&Remediation| remedy.began_at > now.plus_ms(-3_600_000);
        let occurrence =
            |remedy: &NewRemediation| remedy.cause.as_ref().map(|cause| (cause.fingerprint.clone(), cause.starts_at));
        let repeats = asked.cause.is_some() && of_action().any(|remedy| occurrence(&remedy.asked) == occurrence(asked));
        let cooling = limits.cool_down_ms > 0
            && of_action().any(|remedy| {
                remedy.asked.target == asked.target && remedy.began_at > now.plus_ms(-limits.cool_down_ms)
            });
        let limit = if repeats {
            Some(SuppressedBy::Repeated)
        } else if cooling {
            Some(SuppressedBy::CoolDown)
        } else if of_action().filter(hour).count() >= limits.per_hour_max as usize {
            Some(SuppressedBy::ActionBudget)
        } else if begun.iter().filter(hour).count() >= limits.all_per_hour_max as usize {
            Some(SuppressedBy::Budget)
        } else {
            None
        };
        if let Some(limit) = limit {
            let held = NewRemediation { words: limits.words(limit, &asked.words), ..asked.clone() };
            self.suppress(&held, limit.name(), now);
            return Begun::Suppressed(limit);
        }
        let state = if asked.is_dry { RemediationState::DryRun } else { RemediationState::Running };
        Begun::Begun(self.add(asked, state, "", now))
    }

    fn suppress(&mut self, asked: &NewRemediation, reason: &str, now: Timestamp) {
        let key = |remedy: &NewRemediation| {
            let cause = remedy.cause.as_ref().map(|cause| (cause.fingerprint.clone(), cause.starts_at));
            (remedy.action.clone(), remedy.target.clone(), cause)
        };
        let is_there = self.remediations.iter().any(|remedy| {
            remedy.asked.ticket == asked.ticket || (remedy.reason == reason && key(&remedy.asked) == key(asked))
        });
        if !is_there {
            self.add(asked, RemediationState::Suppressed, reason, now);
        }
    }

    fn add(&mut self, asked: &NewRemediation, state: RemediationState, reason: &str, now: Timestamp) -> i64 {
        self.last_remediation += 1;
        self.remediations.push(Remediation {
            number: self.last_remediation,
            asked: asked.clone(),
            began_at: now,
            ended_at: (state != RemediationState::Running).then_some(now),
            state,
            reason: reason.to_owned(),
            after: None,
        });
        self.last_remediation
    }

    fn retain(&mut self, keep: LogbookRetention, now: Timestamp) -> u64 {
        let before = now.plus_ms(-keep.max_age_ms);
        let kept = i64::try_from(keep.events_max).unwrap_or(i64::MAX);
        let rows = |book: &Self| book.events.len() + book.remediations.len() + book.incidents.len() + book.alerts.len();
        let count = rows(self);
        let newest = self.events.last().map_or(0, |event| event.number);
        self.events.retain(|event| event.event.at >= before && event.number > newest - kept);
        let newest = self.remediations.last().map_or(0, |remedy| remedy.number);
        self.remediations.retain(|remedy| {
            remedy.state == RemediationState::Running || (remedy.began_at >= before && remedy.number > newest - kept)
        });
        self.incidents.retain(|_, incident| incident.resolved_at.is_none_or(|end| end >= before));
        let incidents = &self.incidents;
        self.alerts.retain(|(alert, _)| {
            incidents.contains_key(&alert.incident) && alert.note.ends_at.is_none_or(|end| end >= before)
        });
        (count - rows(self)) as u64
    }
}

impl Store {
    fn impact(&self, from: Timestamp, until: Timestamp, slas: &[(TypeName, u64)]) -> Vec<Impact> {
        let within = |at: Timestamp| at >= from && at < until;
        let mut queues: BTreeMap<String, Impact> = BTreeMap::new();
        let rows = self.live.values().chain(self.finished.values());
        for job in rows.map(|Row { job, .. }| job) {
            let queue = job.spec.queue.as_str().to_owned();
            let impact = queues.entry(queue.clone()).or_insert(Impact { queue, ..Impact::default() });
            let Some(rest) = &job.rest else {
                impact.accepted += u64::from(within(job.spec.accepted_at));
                impact.open += u64::from(job.spec.accepted_at < until);
                continue;
            };
            if rest.finished_at < from {
                continue;
            }
            impact.accepted += u64::from(within(job.spec.accepted_at));
            if rest.finished_at < until {
                *impact.finished.entry(State::name(rest.state).to_owned()).or_default() += 1;
                impact.put_off += u64::from(job.counters.deferrals > 0);
            }
            let started = job.history.first().map_or(rest.finished_at, |attempt| attempt.started_at);
            let waited_from = if job.waits_from > started { job.spec.accepted_at } else { job.waits_from };
            let sla = slas.iter().find(|(name, _)| *name == job.spec.job_type);
            let is_late = sla.is_some_and(|(_, sla_ms)| started.since(waited_from).unsigned_abs() > *sla_ms);
            impact.late += u64::from(within(started) && is_late);
        }
        queues.into_values().filter(|impact| !impact.is_nothing()).collect()
    }
}

/// A text as every ledger keeps it.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[async_trait]
impl Logbook for ModelLedger {
    async fn note_events(&self, events: &[NewEvent]) -> Result<()> {
        let book = &mut self.store().book;
        for event in events {
            if !book.events.iter().any(|known| (&known.event.node, known.event.mark) == (&event.node, event.mark)) {
                book.last_event += 1;
                let event = NewEvent { words: clean(&event.words), ..event.clone() };
                book.events.push(Event { number: book.last_event, event });
            }
        }
        Ok(())
    }

    async fn events(&self, from: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Event>> {
        let mut events = self.store().book.events.clone();
        events.retain(|event| event.event.at >= from && event.event.at < until);
        events.sort_by_key(|event| (event.event.at, event.number));
        events.truncate(limit as usize);
        Ok(events)
    }

    async fn note_alerts(&self, notes: &[AlertNote], now: Timestamp, quiet_ms: i64) -> Result<Vec<Noted>> {
        let book = &mut self.store().book;
        Ok(notes.iter().map(|note| book.note_alert(note, now, quiet_ms)).collect())
    }

    async fn lapse_alerts(&self, heard_before: Timestamp) -> Result<Vec<Alert>> {
        let book = &mut self.store().book;
        let mut gone = Vec::new();
        for (alert, lapsed) in &mut book.alerts {
            if alert.note.ends_at.is_none() && alert.heard_at < heard_before {
                alert.note.ends_at = Some(alert.heard_at);
                *lapsed = true;
                gone.push(alert.clone());
            }
        }
        book.settle_all();
        Ok(gone)
    }

    async fn alerts_of(&self, incident: i64, limit: u32) -> Result<Vec<Alert>> {
        let store = self.store();
        let of = store.book.alerts.iter().map(|(alert, _)| alert).filter(|alert| alert.incident == incident);
        let mut of: Vec<Alert> = of.cloned().collect();
        of.sort_by(|a, b| {
            let key = |alert: &Alert| (alert.note.starts_at, alert.received_at, alert.note.fingerprint.clone());
            key(a).cmp(&key(b))
        });
        of.truncate(limit as usize);
        Ok(of)
    }

    async fn incidents(&self, filter: IncidentFilter, before: Option<i64>, limit: u32) -> Result<Vec<Incident>> {
        let book = &self.store().book;
        let fits = |incident: &&Incident| {
            filter.number.is_none_or(|number| incident.number == number)
                && filter.is_firing.is_none_or(|firing| incident.resolved_at.is_none() == firing)
                && before.is_none_or(|before| incident.number < before)
        };
        let fitting = book.incidents.values().rev().filter(fits).take(limit as usize);
        Ok(fitting.map(|incident| book.shown(incident)).collect())
    }

    async fn fill_in(&self, incident: i64, parts: &[FilledPart]) -> Result<bool> {
        let mut store = self.store();
        let Some(incident) = store.book.incidents.get_mut(&incident) else { return Ok(false) };
        for filled in parts {
            incident.parts.retain(|known| known.part != filled.part);
            if !filled.text.is_empty() {
                incident.parts.push(FilledPart { text: clean(&filled.text), ..filled.clone() });
            }
        }
        incident.parts.sort_by_key(|filled| filled.part);
        Ok(true)
    }

    async fn impact(&self, from: Timestamp, until: Timestamp, slas: &[(TypeName, u64)]) -> Result<Vec<Impact>> {
        Ok(self.store().impact(from, until, slas))
    }

    async fn keep_impact(&self, incident: i64, resolved_at: Timestamp, impact: &str) -> Result<bool> {
        let mut store = self.store();
        let incident = store.book.incidents.get_mut(&incident);
        let Some(incident) = incident.filter(|incident| incident.resolved_at == Some(resolved_at)) else {
            return Ok(false);
        };
        incident.impact = Some(impact.to_owned());
        Ok(true)
    }

    async fn begin_remediation(
        &self,
        asked: &NewRemediation,
        limits: &RemediationLimits,
        now: Timestamp,
    ) -> Result<Begun> {
        Ok(self.store().book.begin(asked, limits, now))
    }

    async fn suppress_remediation(&self, asked: &NewRemediation, reason: &str, now: Timestamp) -> Result<()> {
        self.store().book.suppress(asked, reason, now);
        Ok(())
    }

    async fn end_remediation(
        &self,
        number: i64,
        state: RemediationState,
        words: &str,
        after: Option<&str>,
        now: Timestamp,
    ) -> Result<bool> {
        let mut store = self.store();
        let runs = |remedy: &&mut Remediation| remedy.number == number && remedy.state == RemediationState::Running;
        let Some(remedy) = store.book.remediations.iter_mut().find(runs) else { return Ok(false) };
        (remedy.state, remedy.ended_at) = (state, Some(now));
        (remedy.asked.words, remedy.after) = (clean(words), after.map(clean));
        Ok(true)
    }

    async fn remediations(
        &self,
        filter: &RemediationFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Remediation>> {
        let fits = |remedy: &&Remediation| {
            before.is_none_or(|before| remedy.number < before)
                && filter.action.as_ref().is_none_or(|action| *action == remedy.asked.action)
                && filter.state.is_none_or(|state| state == remedy.state)
                && filter.incident.is_none_or(|incident| Some(incident) == remedy.asked.incident)
        };
        Ok(self.store().book.remediations.iter().rev().filter(fits).take(limit as usize).cloned().collect())
    }

    async fn abandon_remediations(&self, began_before: Timestamp, words: &str, now: Timestamp) -> Result<u64> {
        let mut count = 0;
        for remedy in &mut self.store().book.remediations {
            if remedy.state == RemediationState::Running && remedy.began_at < began_before {
                (remedy.state, remedy.ended_at) = (RemediationState::Failed, Some(now));
                remedy.asked.words = clean(words);
                count += 1;
            }
        }
        Ok(count)
    }

    async fn flaws(&self) -> Result<Vec<Flaw>> {
        let store = self.store();
        let at_rest = |row: &&Row| store.finished.values().any(|other| other.job.spec.id == row.job.spec.id);
        let twice = store.live.values().filter(at_rest).map(|row| &row.job.spec.id);
        let flaw = |id| Flaw { kind: "live_and_at_rest", words: format!("job {id} is live although it is at rest") };
        Ok(twice.map(flaw).collect())
    }

    async fn retain_logbook(&self, keep: LogbookRetention, now: Timestamp) -> Result<u64> {
        Ok(self.store().book.retain(keep, now))
    }
}

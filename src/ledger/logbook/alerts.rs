//! Alerts and the incidents that they belong to.
//!
//! What is known is read, what the notes change is decided on plain values, and what has changed is written: all of
//! it alone, so that two nodes that are told the same at the same time do not open two incidents.

use std::collections::BTreeMap;

use super::{Arg, Statements, rows};
use crate::clock::Timestamp;
use crate::ledger::row::Cells;
use crate::mutant::mutant;
use crate::operations::{Alert, AlertNote, Noted, NotedAs, severity_rank};

/// A repeated note is written down again only after so long: enough to tell that an alert has lapsed.
const HEARD_AGAIN_MS: i64 = 60_000;

/// An occurrence of an alert while notes are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Occurrence {
    alert: Alert,
    lapsed: bool,
    /// Where its incident stands in the list.
    place: Option<usize>,
    is_changed: bool,
}

/// An incident while notes are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Near {
    /// `None`: it is opened by these notes.
    number: Option<i64>,
    name: String,
    severity: String,
    detected_at: Timestamp,
    received_at: Timestamp,
    /// How many of its alerts fire.
    firing: i64,
    /// When the last of those that do not has ended.
    last_end: Option<Timestamp>,
    is_changed: bool,
}

impl Near {
    fn resolved_at(&self) -> Option<Timestamp> {
        self.last_end.filter(|_| self.firing == 0)
    }

    /// Whether an alert of this span of time belongs to it.
    fn holds(&self, began_at: Timestamp, ends_at: Option<Timestamp>, quiet_ms: i64) -> bool {
        let begins_in_time = self.resolved_at().is_none_or(|end| began_at <= end.plus_ms(quiet_ms));
        let ends_in_time = ends_at.is_none_or(|end| end.plus_ms(quiet_ms) >= self.detected_at);
        begins_in_time && ends_in_time
    }

    fn add(&mut self, note: &AlertNote, detected_at: Timestamp) {
        self.detected_at = self.detected_at.min(detected_at);
        if severity_rank(&note.severity) > severity_rank(&self.severity) {
            self.severity.clone_from(&note.severity);
        }
        match note.ends_at {
            None => self.firing += 1,
            Some(end) => self.last_end = self.last_end.max(Some(end)),
        }
        self.is_changed = true;
    }

    fn one_ended(&mut self, end: Timestamp) {
        self.firing -= 1;
        self.last_end = self.last_end.max(Some(end));
        self.is_changed = true;
    }
}

/// What is known, and what the notes make of it.
#[derive(Debug)]
struct Book {
    alerts: BTreeMap<(String, Timestamp), Occurrence>,
    /// Oldest first; the newest that fits is taken.
    incidents: Vec<Near>,
    now: Timestamp,
    quiet_ms: i64,
}

impl Book {
    /// Takes one note.
    fn take(&mut self, note: &AlertNote) -> (NotedAs, (String, Timestamp)) {
        let key = (note.fingerprint.clone(), note.starts_at);
        let began_at = self.alerts.get(&key).map_or_else(|| self.began_at(note), |known| known.alert.began_at());
        // An end before the beginning, or one that has not come, is somebody's clock.
        let ends_at = note.ends_at.map(|end| end.min(self.now).max(began_at));
        let what = if self.alerts.contains_key(&key) {
            self.take_known(&key, ends_at)
        } else {
            self.take_new(AlertNote { ends_at, ..note.clone() })
        };
        (what, key)
    }

    /// When a new occurrence began: nobody can have noticed what is still to come.
    fn began_at(&self, note: &AlertNote) -> Timestamp {
        if mutant!(alert_begins_in_the_future) { note.starts_at } else { note.starts_at.min(self.now) }
    }

    fn take_known(&mut self, key: &(String, Timestamp), ends_at: Option<Timestamp>) -> NotedAs {
        let now = self.now;
        let Some(known) = self.alerts.get_mut(key) else { return NotedAs::Known };
        let incident = known.place.and_then(|place| self.incidents.get_mut(place));
        let is_heard_again = now.since(known.alert.heard_at) >= HEARD_AGAIN_MS;
        match (known.alert.note.ends_at, ends_at) {
            (None, Some(end)) => {
                known.alert.note.ends_at = Some(end);
                if let Some(incident) = incident {
                    incident.one_ended(end);
                }
                (known.alert.heard_at, known.is_changed) = (now, true);
                NotedAs::Resolved
            }
            (Some(_), None) if known.lapsed || mutant!(stale_alert_fires_again) => {
                (known.alert.note.ends_at, known.lapsed) = (None, false);
                if let Some(incident) = incident {
                    (incident.firing, incident.is_changed) = (incident.firing + 1, true);
                }
                (known.alert.heard_at, known.is_changed) = (now, true);
                NotedAs::Known
            }
            (Some(_), None) => NotedAs::Stale,
            (None, None) if is_heard_again => {
                (known.alert.heard_at, known.is_changed) = (now, true);
                NotedAs::Known
            }
            (None, None) if mutant!(repeated_webhook_is_new) => NotedAs::New,
            (Some(_), Some(_)) | (None, None) => NotedAs::Known,
        }
    }

    fn take_new(&mut self, mut note: AlertNote) -> NotedAs {
        let mut what = if note.ends_at.is_some() { NotedAs::Resolved } else { NotedAs::New };
        let began_at = self.began_at(&note);
        // Two that were told before their time began at once; what was told says which is later.
        let order = (began_at, note.starts_at);
        let order_of = |known: &Alert| (known.began_at(), known.note.starts_at);
        let same = |at: i64| (note.fingerprint.clone(), Timestamp(at));
        let all = same(i64::MIN)..=same(i64::MAX);
        // An alert does not fire twice at once: the end of the earlier occurrence was not told.
        let of_it = self.alerts.range(all.clone()).map(|(_, known)| order_of(&known.alert));
        if let Some((later, _)) = of_it.filter(|known| *known > order).min()
            && note.ends_at.is_none()
        {
            note.ends_at = Some(later);
            what = NotedAs::Stale;
        }
        for (_, earlier) in self.alerts.range_mut(all) {
            if order_of(&earlier.alert) < order && earlier.alert.note.ends_at.is_none() {
                earlier.alert.note.ends_at = Some(began_at);
                earlier.is_changed = true;
                if let Some(incident) = earlier.place.and_then(|place| self.incidents.get_mut(place)) {
                    incident.one_ended(began_at);
                }
            }
        }
        let place = self.incident_of(&note, began_at);
        let alert = Alert { note, incident: 0, received_at: self.now, heard_at: self.now };
        let key = same_key(&alert.note);
        self.alerts.insert(key, Occurrence { alert, lapsed: false, place: Some(place), is_changed: true });
        what
    }

    /// Finds the incident of a new occurrence, or opens one.
    fn incident_of(&mut self, note: &AlertNote, began_at: Timestamp) -> usize {
        let holds = |incident: &Near| incident.holds(began_at, note.ends_at, self.quiet_ms);
        let found = self.incidents.iter().rposition(holds);
        mutant!(every_alert_its_own_incident => { return self.open(note, began_at) });
        match found {
            Some(place) => {
                self.incidents[place].add(note, began_at);
                place
            }
            None => self.open(note, began_at),
        }
    }

    fn open(&mut self, note: &AlertNote, detected_at: Timestamp) -> usize {
        let mut opened = Near {
            number: None,
            name: note.name.clone(),
            severity: note.severity.clone(),
            detected_at,
            received_at: self.now,
            firing: 0,
            last_end: None,
            is_changed: true,
        };
        opened.add(note, detected_at);
        self.incidents.push(opened);
        self.incidents.len() - 1
    }
}

fn same_key(note: &AlertNote) -> (String, Timestamp) {
    (note.fingerprint.clone(), note.starts_at)
}

/// Notes what was told of alerts; answers in order.
pub(in super::super) async fn note_alerts(
    steps: &mut impl Statements,
    notes: &[AlertNote],
    now: Timestamp,
    quiet_ms: i64,
) -> sqlx::Result<Vec<Noted>> {
    let Some(earliest) = notes.iter().map(|note| note.starts_at.min(now)).min() else { return Ok(Vec::new()) };
    steps.alone().await?;
    let mut book = read(steps, notes, earliest, now, quiet_ms).await?;
    let told: Vec<_> = notes.iter().map(|note| book.take(note)).collect();
    write(steps, &mut book).await?;
    let answer = |(what, key)| Noted { incident: book.alerts.get(&key).map_or(0, |known| known.alert.incident), what };
    Ok(told.into_iter().map(answer).collect())
}

async fn read(
    steps: &mut impl Statements,
    notes: &[AlertNote],
    earliest: Timestamp,
    now: Timestamp,
    quiet_ms: i64,
) -> sqlx::Result<Book> {
    let since = Arg::Int(earliest.plus_ms(-quiet_ms).millis());
    let mut incidents = Vec::new();
    for row in steps.fetch(include_str!("sql/incidents_near.sql"), &[since]).await? {
        incidents.push(Near {
            number: Some(row.int("number")?),
            name: row.text("name")?.to_owned(),
            severity: row.text("severity")?.to_owned(),
            detected_at: Timestamp(row.int("detected_at")?),
            received_at: Timestamp(row.int("received_at")?),
            firing: row.int("firing")?,
            last_end: row.maybe_int("last_end")?.map(Timestamp),
            is_changed: false,
        });
    }
    incidents.reverse();
    let mut since: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for note in notes {
        let first = since.entry(&note.fingerprint).or_insert(now);
        *first = note.starts_at.min(*first);
    }
    let mut alerts = BTreeMap::new();
    for (fingerprint, first) in since {
        let args = [Arg::Text(fingerprint), Arg::Int(first.millis())];
        for row in steps.fetch(include_str!("sql/alerts_known.sql"), &args).await? {
            let (alert, lapsed) = rows::alert(&row)?;
            let place = incidents.iter().position(|near| near.number == Some(alert.incident));
            alerts.insert(same_key(&alert.note), Occurrence { alert, lapsed, place, is_changed: false });
        }
    }
    Ok(Book { alerts, incidents, now, quiet_ms })
}

async fn write(steps: &mut impl Statements, book: &mut Book) -> sqlx::Result<()> {
    for incident in book.incidents.iter_mut().filter(|incident| incident.is_changed) {
        let (severity, detected_at) = (Arg::Text(&incident.severity), Arg::Int(incident.detected_at.millis()));
        let resolved_at = Arg::MaybeInt(incident.resolved_at().map(Timestamp::millis));
        if let Some(number) = incident.number {
            let args = [Arg::Int(number), severity, detected_at, resolved_at];
            steps.execute(include_str!("sql/incident_change.sql"), &args).await?;
            continue;
        }
        let received_at = Arg::Int(incident.received_at.millis());
        let args = [Arg::Text(&incident.name), severity, detected_at, received_at, resolved_at];
        let opened = steps.fetch(include_str!("sql/incident_open.sql"), &args).await?;
        incident.number = Some(opened.first().ok_or(sqlx::Error::RowNotFound)?.int("number")?);
    }
    for Occurrence { alert, lapsed, place, .. } in book.alerts.values_mut().filter(|known| known.is_changed) {
        let number = place.and_then(|place| book.incidents[place].number);
        alert.incident = number.unwrap_or(alert.incident);
        let Alert { note, incident, received_at, heard_at } = alert;
        let (labels, annotations) = (rows::texts(&note.labels), rows::texts(&note.annotations));
        let args = [
            Arg::Text(&note.fingerprint),
            Arg::Int(note.starts_at.millis()),
            Arg::MaybeInt(note.ends_at.map(Timestamp::millis)),
            Arg::Int(*incident),
            Arg::Text(&note.name),
            Arg::Text(&note.severity),
            Arg::Text(&labels),
            Arg::Text(&annotations),
            Arg::Int(received_at.millis()),
            Arg::Int(heard_at.millis()),
            Arg::Int(i64::from(*lapsed)),
        ];
        steps.execute(include_str!("sql/alert_put.sql"), &args).await?;
    }
    Ok(())
}

/// Takes alerts for ended that nobody has told of for long.
pub(in super::super) async fn lapse_alerts(
    steps: &mut impl Statements,
    heard_before: Timestamp,
) -> sqlx::Result<Vec<Alert>> {
    steps.alone().await?;
    let lapsed = steps.fetch(include_str!("sql/alerts_lapse.sql"), &[Arg::Int(heard_before.millis())]).await?;
    let lapsed: Vec<Alert> = lapsed.iter().map(|row| Ok(rows::alert(row)?.0)).collect::<sqlx::Result<_>>()?;
    let mut incidents: Vec<i64> = lapsed.iter().map(|alert| alert.incident).collect();
    incidents.sort_unstable();
    incidents.dedup();
    for incident in incidents {
        steps.execute(include_str!("sql/incident_settle.sql"), &[Arg::Int(incident)]).await?;
    }
    Ok(lapsed)
}

//! Between the domain's values and the texts that the scripts speak.

use redis::{Cmd, ToRedisArgs, Value};

use super::scripts::Script;
use crate::broker::{
    Claim, Claimed, Depth, EntryView, Held, LeaseRef, LeaseView, Note, Noted, Place, Push, Pushed, Reaped, Release,
    Removed, Scanned, Settle,
};
use crate::job::{Counters, JobId, NodeId, QueueName, Seq, TypeName};

/// The largest result that is kept as `job_result`; the ledger answers for larger ones.
pub(super) const RESULT_BYTES_MAX: usize = 16 * 1024;

/// An answer that no script gives.
#[derive(Debug, thiserror::Error)]
#[error("an answer could not be read: {0}")]
pub(super) struct Unreadable(&'static str);

type Read<T> = std::result::Result<T, Unreadable>;

/// One call of a script, being put together.
pub(super) struct Call {
    /// Its first key, which says where it goes.
    pub(super) key: String,
    pub(super) command: Cmd,
}

impl Call {
    pub(super) fn new(script: &Script, keys: &[String]) -> Self {
        debug_assert!(keys.len() == script.keys || (script.has_lanes && keys.len() > script.keys), "{}", script.name);
        let mut command = redis::cmd("EVALSHA");
        command.arg(&script.sha).arg(keys.len()).arg(keys);
        Self { key: keys.first().cloned().unwrap_or_default(), command }
    }

    pub(super) fn arg(mut self, value: impl ToRedisArgs) -> Self {
        self.command.arg(value);
        self
    }

    pub(super) fn push(mut self, push: &Push) -> Self {
        let flags = format!("{}{}", push.priority.number(), if push.keyed { "k" } else { "" });
        let command = &mut self.command;
        command.arg(push.id.as_str()).arg(push.seq).arg(push.job_type.as_str()).arg(flags);
        command.arg(push.clean_until_ms).arg(push.score);
        match push.due_at_ms {
            Some(due) => command.arg(due),
            None => command.arg(""),
        };
        command.arg(counters_text(push.counters));
        self
    }

    pub(super) fn lease(mut self, lease: &LeaseRef) -> Self {
        self.command.arg(lease.id.as_str()).arg(lease.seq).arg(lease.fence);
        self
    }

    pub(super) fn held(self, held: &Held) -> Self {
        let mut call = self.lease(&held.lease);
        call.command.arg(held.node.as_str()).arg(counters_text(held.counters));
        call
    }

    pub(super) fn settle(self, settle: &Settle) -> Self {
        let mut call = self.lease(&settle.lease);
        let command = &mut call.command;
        match &settle.release {
            Release::Done { result: Some((result, keep_ms)) } if is_kept(result, *keep_ms) => {
                command.arg("done").arg(*keep_ms).arg(result.as_ref())
            }
            Release::Done { .. } => command.arg("done").arg("").arg(""),
            Release::Retry { due_at_ms } => command.arg("retry").arg(*due_at_ms).arg(""),
            Release::Defer { due_at_ms: Some(due) } => command.arg("defer").arg(*due).arg(""),
            Release::Defer { due_at_ms: None } => command.arg("defer").arg("").arg(""),
            Release::Crash => command.arg("crash").arg("").arg(""),
        };
        call
    }
}

/// Whether a result is small enough to be kept, and for any time at all.
fn is_kept(result: &[u8], keep_ms: i64) -> bool {
    result.len() <= RESULT_BYTES_MAX && keep_ms > 0
}

/// An entry as the hash of jobs has it.
struct Entry {
    job_type: TypeName,
    seq: Seq,
    keyed: bool,
    counters: Counters,
    score: i64,
    lease: Option<LeaseView>,
}

fn read_entry(raw: &str) -> Read<Entry> {
    let mut fields = raw.split(';');
    let mut next = || fields.next().unwrap_or("");
    let job_type = TypeName::stored(next());
    let seq = next().parse().map_err(|_| Unreadable("the seq of an entry"))?;
    let keyed = next().contains('k');
    let counters = read_counters(next())?;
    let score = read_score(next())?;
    let (fence, node, claimed_at) = (next(), next(), next());
    let lease = if fence.is_empty() {
        None
    } else {
        let fence = fence.parse().map_err(|_| Unreadable("the fence of an entry"))?;
        let claimed_at_ms = claimed_at.parse().map_err(|_| Unreadable("when an entry was claimed"))?;
        Some(LeaseView { fence, node: NodeId::stored(node), claimed_at_ms })
    };
    Ok(Entry { job_type, seq, keyed, counters, score, lease })
}

/// Scores are whole numbers; the server may still write a large one with an exponent.
fn read_score(text: &str) -> Read<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Ok(score) = text.parse() {
        return Ok(score);
    }
    let score: f64 = text.parse().map_err(|_| Unreadable("a score"))?;
    #[expect(clippy::cast_possible_truncation, reason = "a float saturates at the ends of the range")]
    Ok(score as i64)
}

fn counters_text(counters: Counters) -> String {
    if counters == Counters::default() {
        return String::new();
    }
    let Counters { attempts, deliveries, crashes, deferrals } = counters;
    format!("{attempts}.{deliveries}.{crashes}.{deferrals}")
}

fn read_counters(text: &str) -> Read<Counters> {
    if text.is_empty() {
        return Ok(Counters::default());
    }
    let mut parts = text.split('.').map(|part| part.parse().map_err(|_| Unreadable("the counters of an entry")));
    let mut next = || parts.next().unwrap_or(Err(Unreadable("the counters of an entry")));
    Ok(Counters { attempts: next()?, deliveries: next()?, crashes: next()?, deferrals: next()? })
}

pub(super) fn text(value: &Value) -> Read<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).map_err(|_| Unreadable("a text")),
        Value::SimpleString(text) => Ok(text),
        _ => Err(Unreadable("a text")),
    }
}

pub(super) fn number(value: &Value) -> Read<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        other => text(other)?.parse().map_err(|_| Unreadable("a number")),
    }
}

fn list(value: &Value) -> Read<&[Value]> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Unreadable("a list")),
    }
}

fn count(value: &Value) -> Read<u64> {
    u64::try_from(number(value)?).map_err(|_| Unreadable("a count"))
}

fn view(id: &str, entry: Entry) -> EntryView {
    let Entry { job_type, seq, counters, lease, .. } = entry;
    EntryView { id: JobId::stored(id), seq, job_type, counters, lease }
}

/// The answer of `claim`: now, the next due time, whether there is more, then leases.
pub(super) fn read_claimed(reply: &[Value]) -> Read<Claimed> {
    let [_, due, more, leases @ ..] = reply else { return Err(Unreadable("a claim")) };
    let due = number(due)?;
    let claims = leases.chunks_exact(3).map(read_claim).collect::<Read<_>>()?;
    Ok(Claimed { claims, next_due_in_ms: (due >= 0).then_some(due), more: number(more)? == 1 })
}

fn read_claim(parts: &[Value]) -> Read<Claim> {
    let entry = read_entry(text(&parts[1])?)?;
    let fence = entry.lease.map(|lease| lease.fence).ok_or(Unreadable("a claim without a fence"))?;
    Ok(Claim {
        id: JobId::stored(text(&parts[0])?),
        seq: entry.seq,
        job_type: entry.job_type,
        score: entry.score,
        fence,
        counters: entry.counters,
        suspect: number(&parts[2])? == 1,
        keyed: entry.keyed,
    })
}

pub(super) fn read_pushed(value: &Value) -> Read<Pushed> {
    match number(value)? {
        0 => Ok(Pushed::Added),
        1 => Ok(Pushed::Present),
        2 => Ok(Pushed::Replaced),
        3 => Ok(Pushed::Outlived),
        _ => Err(Unreadable("what became of a push")),
    }
}

pub(super) fn read_flag(value: &Value) -> Read<bool> {
    Ok(number(value)? == 1)
}

pub(super) fn read_queue(value: &Value) -> Read<QueueName> {
    Ok(QueueName::stored(text(value)?))
}

/// All fields of the notes, each followed by its value.
pub(super) fn read_notes(fields: &Value) -> Read<Vec<Note>> {
    let mut notes: Vec<Note> =
        list(fields)?.chunks_exact(2).map(|pair| read_note(text(&pair[0])?, text(&pair[1])?)).collect::<Read<_>>()?;
    notes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(notes)
}

fn read_note(name: &str, value: &str) -> Read<Note> {
    let (version, text) = value.split_once(';').ok_or(Unreadable("a note"))?;
    let version = version.parse().map_err(|_| Unreadable("the version of a note"))?;
    Ok(Note { name: name.to_owned(), version, text: text.to_owned() })
}

/// What became of the note `name`.
pub(super) fn read_noted(name: &str, reply: &[Value]) -> Read<Noted> {
    let [_, fate, value] = reply else { return Err(Unreadable("what became of a note")) };
    match (text(fate)?, text(value)?) {
        ("written", version) => version.parse().map(Noted::Written).map_err(|_| Unreadable("the version of a note")),
        (_, "") => Ok(Noted::Differs(None)),
        (_, found) => Ok(Noted::Differs(Some(read_note(name, found)?))),
    }
}

pub(super) fn read_removed(value: &Value) -> Read<Removed> {
    match text(value)? {
        "absent" => Ok(Removed::Absent),
        "waiting" => Ok(Removed::Waiting),
        leased => {
            let node = leased.strip_prefix(':').ok_or(Unreadable("what became of a removal"))?;
            Ok(Removed::Leased(NodeId::stored(node)))
        }
    }
}

pub(super) fn read_reaped(reply: &[Value]) -> Read<Reaped> {
    let mut reaped = Reaped::default();
    for pair in reply.chunks_exact(2) {
        let id = JobId::stored(text(&pair[0])?);
        if read_flag(&pair[1])? {
            reaped.deferred.push(id);
        } else {
            reaped.crashed.push(id);
        }
    }
    Ok(reaped)
}

pub(super) fn read_inspected(id: &JobId, value: &Value) -> Read<Option<EntryView>> {
    let raw = text(value)?;
    if raw.is_empty() { Ok(None) } else { Ok(Some(view(id.as_str(), read_entry(raw)?))) }
}

/// The answer of `place`: now, the entry, when it is due, how many are before it, its lock.
pub(super) fn read_place(id: &JobId, reply: &[Value]) -> Read<Option<Place>> {
    let [_, raw, due, ahead, lock] = reply else { return Err(Unreadable("a place")) };
    let raw = text(raw)?;
    if raw.is_empty() {
        return Ok(None);
    }
    let due = text(due)?;
    Ok(Some(Place {
        entry: view(id.as_str(), read_entry(raw)?),
        due_at_ms: if due.is_empty() { None } else { Some(read_score(due)?) },
        ahead: if text(ahead)?.is_empty() { None } else { Some(count(ahead)?) },
        lock: Some(text(lock)?.to_owned()).filter(|lock| !lock.is_empty()),
    }))
}

pub(super) fn read_leases(reply: &[Value]) -> Read<Vec<EntryView>> {
    reply.chunks_exact(2).map(|pair| Ok(view(text(&pair[0])?, read_entry(text(&pair[1])?)?))).collect()
}

/// The answer of `scan`: now, the next cursor, then entries.
pub(super) fn read_scanned(reply: &[Value]) -> Read<(Vec<Scanned>, Option<String>)> {
    let [_, cursor, entries @ ..] = reply else { return Err(Unreadable("a scan")) };
    let cursor = Some(text(cursor)?.to_owned()).filter(|cursor| cursor != "0");
    let read = |parts: &[Value]| {
        let (id, seq) = (JobId::stored(text(&parts[0])?), number(&parts[1])?);
        Ok(Scanned { id, seq, leased: read_flag(&parts[2])?, misplaced: read_flag(&parts[3])? })
    };
    Ok((entries.chunks_exact(4).map(read).collect::<Read<_>>()?, cursor))
}

/// The answer of `depth`, and whether more entries are due than one call moves.
pub(super) fn read_depth(reply: &[Value], lanes: &[TypeName]) -> Read<(Depth, bool)> {
    let [_, more, later, leased, head, control, lengths, heads] = reply else { return Err(Unreadable("a depth")) };
    let head = text(head)?;
    let mut depth = Depth {
        later: count(later)?,
        leased: count(leased)?,
        head_score: if head.is_empty() { None } else { Some(read_score(head)?) },
        ..Depth::default()
    };
    for ((lane, length), head) in lanes.iter().zip(list(lengths)?).zip(list(heads)?) {
        depth.lanes.push((lane.clone(), count(length)?));
        let head = text(head)?;
        if !head.is_empty() {
            depth.heads.push((lane.clone(), read_score(head)?));
        }
    }
    for pair in list(control)?.chunks_exact(2) {
        let field = text(&pair[0])?;
        if field == "paused" {
            depth.paused.push(None);
        } else if let Some(lane) = field.strip_prefix("paused:") {
            depth.paused.push(Some(TypeName::stored(lane)));
        } else if let Some(slot) = field.strip_prefix("ready").and_then(|digit| digit.parse::<usize>().ok()) {
            let ready = depth.ready.get_mut(slot.wrapping_sub(1)).ok_or(Unreadable("a priority"))?;
            *ready = count(&pair[1])?;
        }
    }
    depth.paused.sort();
    Ok((depth, read_flag(more)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_entry_is_one_that_waits_in_its_lane() {
        let entry = read_entry("plan_generation;42;3kc").unwrap();
        assert_eq!((entry.job_type.as_str(), entry.seq, entry.keyed), ("plan_generation", 42, true));
        assert_eq!(entry.counters, Counters::default());
        assert_eq!(entry.lease, None);
    }

    #[test]
    fn a_long_entry_carries_its_lease() {
        let entry = read_entry("t;7;1;1.2.0.3;-5;4294967297;node-1;1700000000000;").unwrap();
        assert_eq!(entry.counters, Counters { attempts: 1, deliveries: 2, crashes: 0, deferrals: 3 });
        assert_eq!(entry.score, -5);
        let lease = entry.lease.unwrap();
        assert_eq!(
            (lease.fence, lease.node.as_str(), lease.claimed_at_ms),
            (4_294_967_297, "node-1", 1_700_000_000_000)
        );
    }

    #[test]
    fn counters_read_back() {
        let counters = Counters { attempts: 1, deliveries: 20, crashes: 3, deferrals: 0 };
        assert_eq!(read_counters(&counters_text(counters)).unwrap(), counters);
        assert!(read_counters("1.2").is_err());
    }
}

//! Which servers hold the data, and which of them holds a key.

use std::sync::Arc;

use redis::Value;

use super::server::Server;
use super::slots::{SLOTS, slot_of};

/// "Nobody serves this slot."
const NOBODY: u16 = u16::MAX;

/// A server that takes writes, and who it was when it was looked at.
#[derive(Debug, Clone)]
pub(super) struct Master {
    pub(super) server: Arc<Server>,
    /// `run_id` and replication id.
    pub(super) identity: Arc<str>,
}

/// The masters at one moment.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    masters: Vec<Master>,
    /// Per slot the place of its master among them; `None` outside of a cluster: the only one has all keys.
    slots: Option<Arc<[u16]>>,
    identity: String,
}

/// A master and the slots that it serves, first and last; none outside of a cluster.
pub(super) type Found = (Arc<Server>, Vec<(u16, u16)>);

impl Layout {
    /// Puts together who was found and who they said they are, in the same order.
    pub(super) fn new(found: Vec<Found>, identities: &[String]) -> Self {
        let is_cluster = found.iter().any(|(_, ranges)| !ranges.is_empty());
        let slots = is_cluster.then(|| slots_of(&found));
        let mut sorted: Vec<&str> = identities.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let identity = sorted.join(",");
        let masters = found.into_iter().zip(identities);
        let masters = masters.map(|((server, _), id)| Master { server, identity: Arc::from(id.as_str()) }).collect();
        Self { masters, slots, identity }
    }

    /// All masters, sorted and joined: another text means that data may have been lost.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn masters(&self) -> &[Master] {
        &self.masters
    }

    /// The master that holds `key`; `None` while nobody does.
    pub(super) fn master_of(&self, key: &str) -> Option<&Master> {
        let at = self.slots.as_ref().map_or(0, |slots| slots[usize::from(slot_of(key))]);
        self.masters.get(usize::from(at))
    }

    /// The masters that hold any of `keys`.
    pub(super) fn masters_of<'a>(&'a self, keys: &'a [String]) -> impl Iterator<Item = &'a Master> {
        let holds = |master: &Master, key: &String| {
            self.master_of(key).is_some_and(|holder| Arc::ptr_eq(&holder.server, &master.server))
        };
        self.masters.iter().filter(move |master| keys.iter().any(|key| holds(master, key)))
    }

    /// The master of this name.
    pub(super) fn master_at(&self, name: &str) -> Option<&Master> {
        self.masters.iter().find(|master| master.server.name() == name)
    }

    /// The same with one slot in other hands.
    pub(super) fn with_slot(&self, slot: u16, name: &str) -> Self {
        let at = self.masters.iter().position(|master| master.server.name() == name);
        let mut moved = self.clone();
        if let (Some(slots), Some(at)) = (&self.slots, at) {
            let mut slots = slots.to_vec();
            slots[usize::from(slot)] = u16::try_from(at).unwrap_or(NOBODY);
            moved.slots = Some(Arc::from(slots));
        }
        moved
    }
}

fn slots_of(found: &[Found]) -> Arc<[u16]> {
    let mut slots = vec![NOBODY; usize::from(SLOTS)];
    for ((_, ranges), at) in found.iter().zip(0_u16..) {
        for (first, last) in ranges {
            slots[usize::from(*first)..=usize::from(*last)].fill(at);
        }
    }
    Arc::from(slots)
}

/// One range of `CLUSTER SLOTS`: its slots, and the host and port of its master.
pub(super) type Range = ((u16, u16), (String, u16));

/// Reads an answer of `CLUSTER SLOTS`; a node that does not know its own name is called as it was reached, `asked`.
pub(super) fn read_ranges(answer: &Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    ranges.iter().map(|range| read_range(range, asked)).collect()
}

fn read_range(range: &Value, asked: &str) -> Option<Range> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
    let [host, Value::Int(port), ..] = &master[..] else { return None };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => String::from_utf8(host.clone()).ok()?,
        _ => asked.rsplit_once(':')?.0.to_owned(),
    };
    let slot = |number: &i64| u16::try_from(*number).ok().filter(|slot| *slot < SLOTS);
    Some(((slot(first)?, slot(last)?), (host, u16::try_from(*port).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::redis::RedisParams;
    use crate::broker::redis::address::Address;
    use crate::broker::redis::server::Limits;

    fn server(port: u16) -> Arc<Server> {
        let address = Address::parse("redis://h").unwrap();
        let limits = Limits::of(&RedisParams::new("redis://h"));
        Arc::new(Server::new(address.data_at("h", port), "h".to_owned(), limits).unwrap())
    }

    fn name(master: Option<&Master>) -> Option<&str> {
        master.map(|master| master.server.name())
    }

    #[test]
    fn keys_are_with_the_master_of_their_slot_and_the_identity_is_of_all_masters() {
        let found = || vec![(server(1), vec![(0, 8_000), (16_000, 16_383)]), (server(2), vec![(8_001, 15_000)])];
        let layout = Layout::new(found(), &["b/1".to_owned(), "a/1".to_owned()]);
        assert_eq!(layout.identity(), "a/1,b/1");
        assert_eq!(name(layout.master_of("foo")), Some("h:2"), "slot 12182");
        assert_eq!(name(layout.master_of("{bar}")), Some("h:1"), "slot 5061");
        let orphan =
            (0..100_000).map(|n| format!("k{n}")).find(|key| (15_001..16_000).contains(&slot_of(key))).unwrap();
        assert_eq!(name(layout.master_of(&orphan)), None);
        let moved = layout.with_slot(slot_of("foo"), "h:1");
        assert_eq!(name(moved.master_of("foo")), Some("h:1"));
        assert_eq!(moved.identity(), layout.identity());
        let keys = ["foo".to_owned(), "foo{foo}".to_owned()];
        assert_eq!(layout.masters_of(&keys).count(), 1);
        let alone = Layout::new(vec![(server(1), Vec::new())], &["a/1".to_owned()]);
        assert_eq!((name(alone.master_of("foo")), alone.identity()), (Some("h:1"), "a/1"));
    }

    #[test]
    fn a_node_without_a_name_is_called_as_it_was_reached() {
        let range = |host: &[u8]| {
            let master = vec![Value::BulkString(host.to_vec()), Value::Int(7001), Value::BulkString(b"id".to_vec())];
            Value::Array(vec![Value::Int(0), Value::Int(99), Value::Array(master)])
        };
        let answer = Value::Array(vec![range(b"10.0.0.1"), range(b"")]);
        let ranges = read_ranges(&answer, "seed:7000").unwrap();
        assert_eq!(ranges[0], ((0, 99), ("10.0.0.1".to_owned(), 7001)));
        assert_eq!(ranges[1].1, ("seed".to_owned(), 7001));
        assert!(read_ranges(&Value::Array(vec![Value::Nil]), "seed:7000").is_none());
    }
}

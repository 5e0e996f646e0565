//! What happened, as clients and handlers saw it (in the format of histories, for their checker) and as the
//! stores did it; and a digest of every call, so that two runs can be compared.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ganger::history::{self, Fault, Part};
use ganger::job::{Fence, JobId, NodeId, QueueName, Seq, State};
use ganger::service::lock;

use crate::clock::SimClock;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What a client or a handler saw, in the format of histories.
    Seen(history::Event),
    /// The broker gave a lease.
    Granted { queue: QueueName, id: JobId, seq: Seq, fence: Fence, node: NodeId, suspect: bool },
    /// The ledger brought a life to rest; by a run under this fence, or by an order (zero).
    Rested { id: JobId, seq: Seq, fence: Fence, state: State },
    /// The ledger recorded a run that is to be tried again.
    PutBack { id: JobId, seq: Seq, fence: Fence },
    /// What was done to them, for people.
    Note(String),
}

/// One event with its time, in milliseconds since the beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub at_ms: i64,
    pub event: Event,
}

/// The record.
#[derive(Debug)]
pub struct Story {
    clock: Arc<SimClock>,
    told: Mutex<Told>,
    /// Whether every call is printed.
    loud: bool,
}

#[derive(Debug)]
struct Told {
    entries: Vec<Entry>,
    digest: u64,
    calls: u64,
    numbers: u64,
}

impl Story {
    pub fn new(clock: Arc<SimClock>, loud: bool) -> Self {
        let told = Told { entries: Vec::new(), digest: 0xcbf2_9ce4_8422_2325, calls: 0, numbers: 0 };
        Self { clock, told: Mutex::new(told), loud }
    }

    pub fn tell(&self, event: Event) {
        let at_ms = self.clock.elapsed_ms();
        let line = format!("{event:?}");
        if self.loud {
            println!("{at_ms:>8} {line}");
        }
        let mut told = lock(&self.told);
        told.mix(at_ms, line.as_bytes());
        told.entries.push(Entry { at_ms, event });
    }

    /// Tells what a client or a handler saw; `seen` is given the time in microseconds.
    pub fn saw(&self, seen: impl FnOnce(i64) -> history::Event) {
        self.tell(Event::Seen(seen(self.now_us())));
    }

    /// The time in microseconds since the beginning.
    pub fn now_us(&self) -> i64 {
        self.clock.elapsed_ms() * 1_000
    }

    /// A number that no other call or run has.
    pub fn number(&self) -> u64 {
        let mut told = lock(&self.told);
        told.numbers += 1;
        told.numbers
    }

    /// Notes something for people.
    pub fn note(&self, words: impl Into<String>) {
        self.tell(Event::Note(words.into()));
    }

    /// Tells of a fault from now on, that is over and recovered from after `time`.
    pub fn fault(&self, on: Part, kind: impl Into<String>, time: Duration) {
        let (kind, from_us) = (kind.into(), self.now_us());
        let to_us = from_us + i64::try_from(time.as_micros()).unwrap();
        self.tell(Event::Seen(history::Event::Fault(Fault { kind, on, from_us, to_us })));
    }

    /// Notes one call of a node to a store.
    pub fn call(&self, site: &str, what: &str, fate: &str) {
        let at_ms = self.clock.elapsed_ms();
        if self.loud {
            println!("{at_ms:>8}     {site} {what} {fate}");
        }
        let mut told = lock(&self.told);
        told.calls += 1;
        for part in [site, what, fate] {
            told.mix(at_ms, part.as_bytes());
        }
    }

    /// All events so far.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.told).entries.clone()
    }

    /// The digest of all events and calls, and the number of calls.
    pub fn digest(&self) -> (u64, u64) {
        let told = lock(&self.told);
        (told.digest, told.calls)
    }
}

impl Told {
    /// FNV-1a: fast, and good enough to tell two runs apart.
    fn mix(&mut self, at_ms: i64, bytes: &[u8]) {
        for byte in at_ms.to_le_bytes().iter().chain(bytes) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

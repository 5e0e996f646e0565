//! What happened, as clients and handlers saw it and as the stores did it; and a digest of every call, so
//! that two runs can be compared.

use std::sync::{Arc, Mutex};

use ganger::job::{Fence, JobId, NodeId, QueueName, Seq, State};
use ganger::service::lock;

use crate::clock::SimClock;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    // --- what clients saw ---
    /// A submit is sent. All sends of one intent have one token.
    Asked { token: u64, key: Option<String>, id: Option<JobId> },
    /// It was answered: the job is accepted, by this submit or an earlier one.
    Accepted { token: u64, id: JobId, created: bool },
    /// It was answered with a refusal that has no effect.
    Refused { token: u64, why: String },
    /// No answer came, or one that leaves it open.
    Unknown { token: u64 },
    /// An operator's order was answered.
    Ordered { order: &'static str, id: String, done: Option<bool> },
    /// A client read a job.
    Read { id: JobId, seq: Seq, state: State },
    // --- what handlers saw ---
    /// A handler started.
    Started { id: JobId, fence: Fence, attempt: u32, run: u64, node: NodeId },
    /// It returned.
    Ended { id: JobId, fence: Fence, run: u64, how: &'static str },
    /// It was dropped before it could.
    Dropped { id: JobId, fence: Fence, run: u64 },
    // --- what the stores did ---
    /// A lease was given.
    Granted { queue: QueueName, id: JobId, seq: Seq, fence: Fence, node: NodeId, suspect: bool },
    /// A life came to rest; by a run under this fence, or by an order (zero).
    Rested { id: JobId, seq: Seq, fence: Fence, state: State },
    /// A run was recorded that is to be tried again.
    PutBack { id: JobId, seq: Seq, fence: Fence },
    // --- what was done to them ---
    /// A fault.
    Fault(String),
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
}

impl Story {
    pub fn new(clock: Arc<SimClock>, loud: bool) -> Self {
        let told = Told { entries: Vec::new(), digest: 0xcbf2_9ce4_8422_2325, calls: 0 };
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

    pub fn fault(&self, words: impl Into<String>) {
        self.tell(Event::Fault(words.into()));
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

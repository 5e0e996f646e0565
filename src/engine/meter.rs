//! What the work of each worker uses: CPU and memory of the process groups that its commands run in, and CPU that its
//! handlers take on the daemon's own threads.
//!
//! Groups are looked at every few seconds; a command that comes and goes in between is seen in what all ended
//! children have used together, shared out by how long each worker's commands ran.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::clock::Timestamp;
use crate::host::Host;
use crate::policy::scaling::{Rules, Usage};
use crate::service::lock;

use super::post::Post;

/// One worker's account.
#[derive(Debug)]
pub(super) struct Meter {
    /// CPU on the daemon's threads since the last look, in nanoseconds.
    threads_ns: AtomicU64,
    /// How long its commands ran that have ended since the last look, in milliseconds.
    ended_ms: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The process group at the last look, and the CPU seconds that it had used.
    group: Option<(i32, f64)>,
    usage: Usage,
    memory_bytes: u64,
}

/// What one worker's work uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Used {
    /// Cores on average; `None` while the worker is too new to tell.
    pub(super) cores: Option<f64>,
    /// Memory at the last look.
    pub(super) memory_bytes: u64,
}

impl Meter {
    /// The account of a worker that is hired at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        let seen = Seen { group: None, usage: Usage::of_new(now), memory_bytes: 0 };
        Self { threads_ns: AtomicU64::new(0), ended_ms: AtomicU64::new(0), seen: Mutex::new(seen) }
    }

    /// Notes that a command has ended after `ms`.
    pub(super) fn command_ended(&self, ms: i64) {
        self.ended_ms.fetch_add(ms.max(1).unsigned_abs(), Ordering::Relaxed);
    }

    /// Charges what `work` takes on the threads that poll it.
    pub(super) fn charge<'a, F: Future>(&'a self, host: &'a dyn Host, work: F) -> impl Future<Output = F::Output> {
        Charged { meter: self, host, work: Box::pin(work) }
    }

    fn used(&self, rules: &Rules, now: Timestamp) -> Used {
        let seen = lock(&self.seen);
        Used { cores: seen.usage.cores(rules, now), memory_bytes: seen.memory_bytes }
    }
}

struct Charged<'a, F> {
    meter: &'a Meter,
    host: &'a dyn Host,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Charged<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = self.host.thread_cpu_ns();
        let polled = self.work.as_mut().poll(context);
        let took = self.host.thread_cpu_ns().saturating_sub(before);
        self.meter.threads_ns.fetch_add(took, Ordering::Relaxed);
        polled
    }
}

/// Looks at all workers at once; answers what each uses, in their order. `reaped_s` is what all ended children had used
/// at the last look.
#[expect(clippy::cast_precision_loss, reason = "times and bytes far below 2^52")]
pub(super) fn look(
    host: &dyn Host,
    posts: &[Arc<Post>],
    reaped_s: &mut Option<f64>,
    rules: &Rules,
    now: Timestamp,
) -> Vec<Used> {
    let groups: Vec<Option<i32>> = posts.iter().map(|post| post.run().and_then(|run| run.footprint.group())).collect();
    let asked: Vec<i32> = groups.iter().flatten().copied().collect();
    let mut usages = if asked.is_empty() { Vec::new() } else { host.groups(&asked) }.into_iter();
    let reaped_now = host.reaped_cpu_s();
    // What children that have ended used beyond what was seen of them while they ran.
    let mut unseen_s = reaped_s.replace(reaped_now).map_or(0.0, |before| reaped_now - before);
    let mut spent = Vec::new();
    for (post, group) in posts.iter().zip(&groups) {
        let mut seen = lock(&post.meter.seen);
        let usage = group.and_then(|_| usages.next()).unwrap_or_default();
        let before = seen.group.take();
        seen.group = group.map(|group| (group, usage.cpu_s));
        seen.memory_bytes = usage.resident_bytes;
        let (cpu_s, known_s) = match before {
            Some((group, before_s)) if Some(group) == seen.group.map(|(group, _)| group) => {
                (usage.cpu_s - before_s, 0.0)
            }
            before => (usage.cpu_s, before.map_or(0.0, |(_, before_s)| before_s)),
        };
        unseen_s -= known_s;
        let threads_s = post.meter.threads_ns.swap(0, Ordering::Relaxed) as f64 / 1e9;
        let ended_ms = post.meter.ended_ms.swap(0, Ordering::Relaxed) as f64;
        spent.push((cpu_s.max(0.0) + threads_s, ended_ms));
    }
    let ended_ms: f64 = spent.iter().map(|(_, ended_ms)| ended_ms).sum();
    let each_ms = if ended_ms > 0.0 { unseen_s.max(0.0) / ended_ms } else { 0.0 };
    let note = |(post, (cpu_s, ended_ms)): (&Arc<Post>, (f64, f64))| {
        lock(&post.meter.seen).usage.note(rules, cpu_s + ended_ms * each_ms, now);
        post.meter.used(rules, now)
    };
    posts.iter().zip(spent).map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{GroupUsage, HostSample};
    use crate::job::{PoolName, WorkerName};

    /// A machine whose threads take a millisecond for each look at their clock.
    #[derive(Debug, Default)]
    struct Ticking {
        reaped_s: Mutex<f64>,
        thread_ns: AtomicU64,
    }

    impl Host for Ticking {
        fn sample(&self) -> HostSample {
            HostSample::default()
        }

        fn groups(&self, pgids: &[i32]) -> Vec<GroupUsage> {
            vec![GroupUsage::default(); pgids.len()]
        }

        fn reaped_cpu_s(&self) -> f64 {
            *lock(&self.reaped_s)
        }

        fn thread_cpu_ns(&self) -> u64 {
            self.thread_ns.fetch_add(1_000_000, Ordering::Relaxed)
        }
    }

    fn posts() -> Vec<Arc<Post>> {
        let post = |name: &str| Post::new(WorkerName::stored(name), PoolName::stored("p"), Timestamp(0));
        ["p-1", "p-2", "p-3"].map(|name| Arc::new(post(name))).into()
    }

    #[tokio::test]
    async fn what_came_and_went_between_two_looks_is_shared_out_by_time() {
        let (host, posts, rules) = (Ticking::default(), posts(), Rules { warmup_ms: 0, ..Rules::default() });
        let mut reaped_s = None;
        *lock(&host.reaped_s) = 100.0;
        // What ended before the first look is nobody's.
        look(&host, &posts, &mut reaped_s, &rules, Timestamp(0));
        *lock(&host.reaped_s) = 104.0;
        posts[0].meter.command_ended(3_000);
        posts[1].meter.command_ended(1_000);
        let used = look(&host, &posts, &mut reaped_s, &rules, Timestamp(10_000));
        let cores: Vec<_> = used.iter().map(|used| used.cores).collect();
        assert_eq!(cores, [Some(0.3), Some(0.1), Some(0.0)]);
    }

    #[tokio::test]
    async fn polls_are_charged() {
        let (host, posts, rules) = (Ticking::default(), posts(), Rules { warmup_ms: 0, ..Rules::default() });
        posts[2].meter.charge(&host, tokio::task::yield_now()).await;
        let used = look(&host, &posts, &mut None, &rules, Timestamp(10));
        assert_eq!(used[2].cores, Some(0.2), "two polls of a millisecond each in ten");
    }
}

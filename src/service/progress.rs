//! Which services move, for those who may restart the process.
//!
//! Two things can stick. A poll that does not return: somebody waits for a lock, or turns in a circle, and holds a
//! thread of the runtime. And a turn, the part of a loop between two waits for work, that nothing wakes any more:
//! two parts wait for each other. A service that waits for work may do so for ever, and one that waits for a store
//! is woken by the end of its patience, so neither a lull nor a store that is away looks like a wedge.
//!
//! Whether something moved is a matter of counters that are compared by whoever looks, not of clocks: a process that
//! was stopped and goes on has missed looks, not progress.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;

/// Between two signs of life while something takes its time; well below the time after which a service is stuck.
const SIGN_EVERY: Duration = Duration::from_secs(1);

tokio::task_local! {
    static STRIDE: Arc<Stride>;
}

/// The steps of one service.
#[derive(Debug, Default)]
pub(super) struct Stride {
    /// Grows when a poll begins and when it ends: odd while one is under way.
    steps: AtomicU64,
    is_turning: AtomicBool,
}

/// All services and what the last looks saw of them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    services: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Debug)]
struct Seen {
    stride: Arc<Stride>,
    steps: u64,
    /// Looks in a row that found it where it was, in the midst of something.
    still: u32,
}

/// Marks a turn of the service that awaits this: until it is done, something has to wake it again and again. Outside
/// of a service it marks nothing.
pub async fn turn<F: Future>(work: F) -> F::Output {
    let _turning = STRIDE.try_with(|stride| Turning::begin(stride.clone())).ok();
    work.await
}

/// Waits for something that nobody here can hurry or bound, such as a disk. Meanwhile the service counts as moving: a
/// restart would wait for the same.
pub async fn at_its_pace<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    loop {
        if let Ok(done) = tokio::time::timeout(SIGN_EVERY, work.as_mut()).await {
            return done;
        }
    }
}

struct Turning(Arc<Stride>);

impl Turning {
    fn begin(stride: Arc<Stride>) -> Self {
        stride.is_turning.store(true, Ordering::Relaxed);
        Self(stride)
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        self.0.is_turning.store(false, Ordering::Relaxed);
    }
}

// === impl Stride ===

impl Stride {
    /// Runs a service, counting its steps.
    pub(super) async fn count<F: Future>(self: &Arc<Self>, service: F) -> F::Output {
        let mut service = pin!(STRIDE.scope(self.clone(), service));
        poll_fn(|context| {
            self.steps.fetch_add(1, Ordering::Relaxed);
            let polled = service.as_mut().poll(context);
            self.steps.fetch_add(1, Ordering::Relaxed);
            polled
        })
        .await
    }
}

// === impl Progress ===

impl Progress {
    /// A new service, under its name.
    pub(super) fn enter(&self, name: &str) -> Arc<Stride> {
        let stride = Arc::<Stride>::default();
        lock(&self.services).insert(name.to_owned(), Seen { stride: stride.clone(), steps: 0, still: 0 });
        stride
    }

    /// Compares with the last look; answers the services that stood still for `looks` of them.
    pub(super) fn look(&self, looks: u32) -> Vec<String> {
        let mut services = lock(&self.services);
        for seen in services.values_mut() {
            let steps = seen.stride.steps.load(Ordering::Relaxed);
            let is_busy = steps % 2 == 1 || seen.stride.is_turning.load(Ordering::Relaxed);
            seen.still = if is_busy && steps == seen.steps { seen.still.saturating_add(1) } else { 0 };
            seen.steps = steps;
        }
        let stuck = services.iter().filter(|(_, seen)| seen.still >= looks);
        stuck.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const LOOKS: u32 = 3;

    /// As many looks as it takes; answers what the last one found.
    fn looks(progress: &Progress) -> Vec<String> {
        (1..LOOKS).for_each(|_| drop(progress.look(LOOKS)));
        progress.look(LOOKS)
    }

    #[test]
    fn waiting_for_work_is_no_wedge_and_a_turn_that_nothing_wakes_is() {
        let progress = Progress::default();
        let (idle, busy) = (progress.enter("idle"), progress.enter("busy"));
        let mut waiting = Box::pin(idle.count(std::future::pending::<()>()));
        let mut turning = Box::pin(busy.count(turn(std::future::pending::<()>())));
        assert!(waiting.as_mut().now_or_never().is_none() && turning.as_mut().now_or_never().is_none());
        progress.look(LOOKS);
        assert_eq!(looks(&progress), ["busy"]);
        assert!(turning.as_mut().now_or_never().is_none());
        assert!(progress.look(LOOKS).is_empty(), "it was woken");
        drop(turning);
        assert!(looks(&progress).is_empty(), "nothing is under way any more");
    }

    #[test]
    fn a_turn_ends_with_its_work() {
        let progress = Progress::default();
        let stride = progress.enter("service");
        let service = async {
            turn(async {}).await;
            std::future::pending::<()>().await;
        };
        let mut service = Box::pin(stride.count(service));
        assert!(service.as_mut().now_or_never().is_none());
        progress.look(LOOKS);
        assert!(looks(&progress).is_empty());
    }

    #[test]
    fn a_poll_that_does_not_return_is_a_wedge_wherever_it_is() {
        let progress = Progress::default();
        let stride = progress.enter("blocked");
        let (enter, entered) = std::sync::mpsc::channel();
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let block = async {
                enter.send(()).unwrap();
                left.recv().unwrap_err();
            };
            stride.count(block).now_or_never()
        });
        entered.recv().unwrap();
        progress.look(LOOKS);
        assert_eq!(looks(&progress), ["blocked"]);
        drop(leave);
        assert_eq!(thread.join().unwrap(), Some(()));
        assert!(looks(&progress).is_empty());
    }
}

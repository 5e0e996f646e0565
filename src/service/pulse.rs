//! A runtime that a task cannot put to sleep.
//!
//! Of the threads of a runtime that have nothing to do, one waits for timers and sockets and the others wait to be
//! called. If the one is given a task that blocks it, nobody may be left who looks at timers and sockets: the whole
//! daemon stands still, and those who look for hung handlers with it. A pulse from a thread outside calls somebody a
//! few times a second, who then takes that place.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::runtime::Handle;

/// Between two beats: far below a second, so that a hung handler is found about as soon as ever.
const PERIOD: Duration = Duration::from_millis(250);

/// Beats until it is dropped.
#[derive(Debug)]
pub struct Pulse {
    /// Closes with the pulse; nothing is ever sent.
    _beating: SyncSender<()>,
}

impl Pulse {
    /// Starts to beat for `runtime`.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(runtime: Handle) -> std::io::Result<Self> {
        let (beating, over) = sync_channel(0);
        let beat = move || {
            while over.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                // Nothing to do, and that is all: whoever is called takes the empty place when it is done.
                drop(runtime.spawn(async {}));
            }
        };
        std::thread::Builder::new().name("pulse".to_owned()).spawn(beat)?;
        Ok(Self { _beating: beating })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Barrier};

    #[test]
    fn a_blocked_thread_does_not_stop_the_clock() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().expect("a runtime");
        let _pulse = Pulse::start(runtime.handle().clone()).expect("a thread");
        let (gate, passed) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
        let (held, seen) = (gate.clone(), passed.clone());
        let sleeper = runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            seen.store(true, Ordering::SeqCst);
        });
        // Blocks whichever thread comes by, the one that looks at the timers in some of the runs.
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            held.wait();
        });
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), sleeper).await }).expect("in time").ok();
        assert!(passed.load(Ordering::SeqCst));
        gate.wait();
    }
}

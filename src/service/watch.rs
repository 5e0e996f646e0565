//! A value that can be watched.
//!
//! `tokio::sync::watch` wakes those who wait in an order of chance that cannot be given a seed. This
//! one wakes them in the order in which they asked, so that a simulated run can be repeated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::lock;

#[derive(Debug)]
struct Shared<T> {
    value: Mutex<T>,
    version: AtomicU64,
    changed: Notify,
}

/// Sets the value.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value. Changes from its making on are news to it.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

// === impl Sender ===

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// A value that nobody watches yet.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared { value: Mutex::new(value), version: AtomicU64::new(0), changed: Notify::new() }))
    }

    /// Lets someone watch.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: self.0.clone(), seen: self.0.version.load(Ordering::Acquire) }
    }

    /// The value. Hold it only for a look: whoever sets it waits.
    pub fn borrow(&self) -> MutexGuard<'_, T> {
        lock(&self.0.value)
    }

    /// Sets the value and tells all.
    pub fn send_replace(&self, value: T) {
        self.send_if_modified(|known| {
            *known = value;
            true
        });
    }

    /// Changes the value; tells all if `change` says that it is news. Answers the same.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let news = {
            let mut value = lock(&self.0.value);
            let news = change(&mut value);
            if news {
                self.0.version.fetch_add(1, Ordering::Release);
            }
            news
        };
        if news {
            self.0.changed.notify_waiters();
        }
        news
    }
}

// === impl Receiver ===

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Receiver<T> {
    /// The value. Hold it only for a look: whoever sets it waits.
    pub fn borrow(&self) -> MutexGuard<'_, T> {
        lock(&self.shared.value)
    }

    /// Waits until the value is news.
    pub async fn changed(&mut self) {
        loop {
            // Registered before the look, so that a change meanwhile is not missed.
            let changed = self.shared.changed.notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return;
            }
            changed.await;
        }
    }

    /// Waits until the value is one that `fits`; answers it.
    pub async fn wait_for(&mut self, fits: impl Fn(&T) -> bool) -> T
    where
        T: Clone,
    {
        loop {
            self.seen = self.shared.version.load(Ordering::Acquire);
            let fitting = Some(self.borrow()).filter(|value| fits(value)).map(|value| value.clone());
            if let Some(value) = fitting {
                return value;
            }
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn only_news_wakes() {
        let sender = Sender::new(1);
        let (mut one, mut other) = (sender.subscribe(), sender.subscribe());
        assert!(!sender.send_if_modified(|_| false));
        assert!(one.changed().now_or_never().is_none(), "nothing changed");
        sender.send_replace(2);
        assert!(one.changed().now_or_never().is_some());
        assert!(one.changed().now_or_never().is_none(), "a change is news once");
        assert_eq!(other.wait_for(|value| *value == 2).now_or_never(), Some(2));
        assert!(other.changed().now_or_never().is_none(), "what was waited for is no news");
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_later_change() {
        let sender = Sender::new(0);
        let mut receiver = sender.subscribe();
        let set = async {
            tokio::task::yield_now().await;
            sender.send_replace(5);
        };
        assert_eq!(tokio::join!(receiver.wait_for(|value| *value > 3), set).0, 5);
    }
}

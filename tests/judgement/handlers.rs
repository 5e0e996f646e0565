//! Handlers that do what a test says.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};

use async_trait::async_trait;
use ganger::handler::{Handler, Invocation, Ran, SharedHandler};
use ganger::job::JobId;
use ganger::service::lock;

type Running = Pin<Box<dyn Future<Output = Ran> + Send>>;
type Doing = dyn Fn(Invocation) -> Running + Send + Sync;

/// A handler made of a closure.
struct Does(Box<Doing>);

impl fmt::Debug for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Does")
    }
}

#[async_trait]
impl Handler for Does {
    async fn run(&self, invocation: Invocation) -> Ran {
        (self.0)(invocation).await
    }
}

/// A handler that does `doing`.
pub fn does<F, R>(doing: F) -> SharedHandler
where
    F: Fn(Invocation) -> R + Send + Sync + 'static,
    R: Future<Output = Ran> + Send + 'static,
{
    Arc::new(Does(Box::new(move |invocation| Box::pin(doing(invocation)))))
}

/// Who ran what: runs by job, with the fence of each, and how many ended by themselves.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Story>>);

#[derive(Debug, Default)]
struct Story {
    fences: HashMap<JobId, Vec<i64>>,
    finished: HashMap<JobId, usize>,
}

impl Record {
    pub fn begin(&self, invocation: &Invocation) {
        lock(&self.0).fences.entry(invocation.id.clone()).or_default().push(invocation.fence);
    }

    pub fn end(&self, invocation: &Invocation) {
        *lock(&self.0).finished.entry(invocation.id.clone()).or_default() += 1;
    }

    /// The fences under which a job ran, in order.
    pub fn fences(&self, id: &JobId) -> Vec<i64> {
        lock(&self.0).fences.get(id).cloned().unwrap_or_default()
    }

    /// Runs in all.
    pub fn runs(&self) -> usize {
        lock(&self.0).fences.values().map(Vec::len).sum()
    }

    /// How often a job was run to its end.
    pub fn finished(&self, id: &JobId) -> usize {
        lock(&self.0).finished.get(id).copied().unwrap_or_default()
    }
}

/// A gate that threads wait at, without giving way to other tasks.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// Opens the gate when it is dropped: a test that fails must not leave threads behind.
    pub fn opens_at_last(&self) -> Opener {
        Opener(self.clone())
    }

    /// Blocks the thread until the gate is open.
    pub fn block(&self) {
        let mut open = lock(&self.0.0);
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

/// See [`Gate::opens_at_last`].
pub struct Opener(Gate);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}

//! The connections of one node to the server.
//!
//! A connection is used again only after a call that ended. One that was given up, because its answer did
//! not come in time, may still be answered one day, or never: it is thrown away with its socket and
//! nobody waits for it. It also says that the network was silent or the server away, so the idle
//! connections of that time go with it, rather than each costing a call its deadline.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::Connected;
use crate::service::lock;

/// How long leaving in order may take; the server notices a closed socket too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A bounded number of connections, made when they are needed.
#[derive(Debug)]
pub(super) struct Connections {
    options: PgConnectOptions,
    most: usize,
    /// How long one statement may take on the server, in milliseconds.
    statement_ms: String,
    present: ArcSwap<Set>,
}

/// The connections of one time; [`Connections::renew`] begins another.
#[derive(Debug)]
struct Set {
    free: Arc<Semaphore>,
    idle: Mutex<Vec<PgConnection>>,
    /// Calls that wait for one.
    waiting: AtomicUsize,
}

/// A call that waits for a connection, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

/// A connection while a call has it.
#[derive(Debug)]
pub(super) struct Taken {
    connection: PgConnection,
    call: Call,
}

/// A call and its place among those that may be under way.
#[derive(Debug)]
struct Call {
    home: Arc<Set>,
    /// Whether the server spoke last.
    is_answered: bool,
    _permit: OwnedSemaphorePermit,
}

impl Set {
    fn of(most: usize, idle: Vec<PgConnection>) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), idle: Mutex::new(idle), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a place; `None` once these connections are left.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = Waiting::of(&self.waiting);
        self.free.clone().acquire_owned().await.ok()
    }

    /// Takes leave of the server with those that nobody has; calls that come later fail, calls under way end.
    async fn close(&self) {
        self.free.close();
        let idle = std::mem::take(&mut *lock(&self.idle));
        let leave = futures_util::future::join_all(idle.into_iter().map(PgConnection::close));
        // A server that is silent does not hold anybody up.
        let _in_time = tokio::time::timeout(CLOSE_TIMEOUT, leave).await;
    }
}

impl Connections {
    /// At most `most` connections; makes none yet.
    pub(super) fn new(options: PgConnectOptions, most: u32, statement_ms: u64) -> Self {
        let most = usize::try_from(most.max(1)).unwrap_or(1);
        let present = ArcSwap::from_pointee(Set::of(most, Vec::new()));
        Self { options, most, statement_ms: statement_ms.to_string(), present }
    }

    /// Waits for a connection and makes one if none is idle. The caller bounds the wait.
    pub(super) async fn take(&self) -> sqlx::Result<Taken> {
        let (home, permit) = loop {
            let home = self.present.load_full();
            match home.place().await {
                Some(permit) => break (home, permit),
                // Whoever waited for one of those that were left waits for one of the new.
                None if !Arc::ptr_eq(&home, &self.present.load()) => {}
                None => return Err(sqlx::Error::PoolClosed),
            }
        };
        let idle = lock(&home.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Taken { connection, call: Call { home, is_answered: false, _permit: permit } })
    }

    /// Makes a new connection and, once the server has answered on it, leaves all others: idle ones at once, those of
    /// calls under way with their calls. Whoever waits for a connection gets a new one.
    pub(super) async fn renew(&self) -> sqlx::Result<()> {
        let first = match self.checked().await {
            Ok(first) => first,
            Err(error) => {
                // The server may have no room left because of those that are idle here.
                let idle = std::mem::take(&mut *lock(&self.present.load().idle));
                if idle.is_empty() {
                    return Err(error);
                }
                drop(idle);
                self.checked().await?
            }
        };
        let before = self.present.swap(Arc::new(Set::of(self.most, vec![first])));
        before.close().await;
        Ok(())
    }

    /// A new connection that the server has answered on.
    async fn checked(&self) -> sqlx::Result<PgConnection> {
        let mut connection = self.connect().await?;
        connection.ping().await?;
        Ok(connection)
    }

    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let mut connection = self.options.connect().await?;
        let session = sqlx::query(include_str!("sql/session.sql")).bind(&self.statement_ms);
        session.execute(&mut connection).await?;
        Ok(connection)
    }

    /// How they are used.
    pub(super) fn figures(&self) -> Connected {
        let present = self.present.load();
        Connected {
            busy: self.most - present.free.available_permits().min(self.most),
            idle: lock(&present.idle).len(),
            most: self.most,
            waiting: present.waiting.load(Ordering::Relaxed),
        }
    }

    /// Takes leave of the server; calls that come later fail.
    pub(super) async fn close(&self) {
        self.present.load().close().await;
    }
}

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Taken {
    /// Ends the call: after an answer the connection is used again, after an error it may stand within a
    /// transaction and is closed.
    pub(super) fn end<T>(self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        let Self { connection, mut call } = self;
        call.is_answered = answer.as_ref().err().is_none_or(|error| error.as_database_error().is_some());
        if answer.is_ok() && !call.home.free.is_closed() {
            lock(&call.home.idle).push(connection);
        }
        answer
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_answered {
            lock(&self.home.idle).clear();
        }
    }
}

impl Deref for Taken {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

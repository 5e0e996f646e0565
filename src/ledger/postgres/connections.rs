//! The connections of one node to the server.
//!
//! A connection is used again only after a call that ended. One that was given up, because its answer did
//! not come in time, may still be answered one day, or never: it is thrown away with its socket and
//! nobody waits for it. It also says that the network was silent or the server away, so the idle
//! connections of that time go with it, rather than each costing a call its deadline.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::service::lock;

/// How long leaving in order may take; the server notices a closed socket too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A bounded number of connections, made when they are needed.
#[derive(Debug)]
pub(super) struct Connections {
    options: PgConnectOptions,
    /// How long one statement may take on the server, in milliseconds.
    statement_ms: String,
    free: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
}

/// A connection while a call has it.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    connection: PgConnection,
    call: Call<'a>,
}

/// A call and its place among those that may be under way.
#[derive(Debug)]
struct Call<'a> {
    home: &'a Connections,
    /// Whether the server spoke last.
    is_answered: bool,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    /// At most `most` connections; makes none yet.
    pub(super) fn new(options: PgConnectOptions, most: u32, statement_ms: u64) -> Self {
        let most = usize::try_from(most.max(1)).unwrap_or(1);
        let (free, idle) = (Semaphore::new(most), Mutex::default());
        Self { options, statement_ms: statement_ms.to_string(), free, idle }
    }

    /// Waits for a connection and makes one if none is idle. The caller bounds the wait.
    pub(super) async fn take(&self) -> sqlx::Result<Taken<'_>> {
        let permit = self.free.acquire().await.map_err(|_closed| sqlx::Error::PoolClosed)?;
        let idle = lock(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Taken { connection, call: Call { home: self, is_answered: false, _permit: permit } })
    }

    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let mut connection = self.options.connect().await?;
        let session = sqlx::query(include_str!("sql/session.sql")).bind(&self.statement_ms);
        session.execute(&mut connection).await?;
        Ok(connection)
    }

    /// Takes leave of the server; calls that come later fail.
    pub(super) async fn close(&self) {
        self.free.close();
        let idle = std::mem::take(&mut *lock(&self.idle));
        let leave = futures_util::future::join_all(idle.into_iter().map(PgConnection::close));
        // A server that is silent does not hold anybody up.
        let _in_time = tokio::time::timeout(CLOSE_TIMEOUT, leave).await;
    }
}

impl Taken<'_> {
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

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            lock(&self.home.idle).clear();
        }
    }
}

impl Deref for Taken<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

//! Connections that never hang, and the session that says whether they lead to the right server.
//!
//! Each role on the hot path (push, claim, settle, upkeep) keeps one connection of the pool for good and
//! speaks over cheap clones of it, so nothing waits behind another role's batch and no call pays for a
//! checkout. A connection that failed or fell silent is replaced on its next use.
//!
//! A new connection may lead to another server: a restarted one, a promoted replica. It is used only if
//! that server is the one of the session; otherwise the session is not ready and every call says so. The
//! way to a new session has two steps, so that nothing is claimed on a server before its epoch was compared
//! with the ledger's: `identity` looks and keeps what it saw as a candidate, `adopt` commits to it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool_redis::{Manager, Pool};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::time::{Duration, Instant, timeout};

use super::RedisParams;
use super::codec::{Call, Unreadable, number};
use super::info::Info;
use super::server_clock::ServerClock;
use crate::broker::{BrokerError, Result};

/// Who speaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Push,
    Claim,
    Settle,
    Upkeep,
}

/// A held connection and the server it led to when it was made.
struct Held {
    connection: deadpool_redis::Connection,
    server: Arc<str>,
    is_broken: Arc<AtomicBool>,
}

/// A clone to speak over.
struct Line {
    connection: MultiplexedConnection,
    server: Arc<str>,
    is_broken: Arc<AtomicBool>,
}

/// Which server calls may go to, and which one they could go to.
#[derive(Default)]
struct Standing {
    /// The server of the session; `None`: not ready.
    session: Option<Arc<str>>,
    /// The server that `identity` saw last and that has its scripts.
    candidate: Option<Arc<str>>,
}

/// All connections to one server.
pub(super) struct Connections {
    place: String,
    pool: Pool,
    slots: Vec<tokio::sync::Mutex<Option<Held>>>,
    connect_timeout: Duration,
    timeout: Duration,
    standing: Mutex<Standing>,
    pub(super) clock: ServerClock,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Connections {
    /// Prepares connections; makes none.
    pub(super) fn new(params: &RedisParams, place: String) -> Result<Self> {
        let connect_timeout = Duration::from_millis(params.connect_timeout_ms);
        let timeout = Duration::from_millis(params.timeout_ms);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(Some(timeout));
        let unfit = |reason: String| BrokerError::Unfit { place: place.clone(), reason };
        let manager =
            Manager::new_with_config(params.url.as_str(), config).map_err(|error| unfit(error.to_string()))?;
        let size = params.pool_size.max(1);
        let pool = Pool::builder(manager).max_size(size).build().map_err(|error| unfit(error.to_string()))?;
        let slots = (0..size).map(|_| tokio::sync::Mutex::default()).collect();
        let clock = ServerClock::default();
        Ok(Self { place, pool, slots, connect_timeout, timeout, standing: Mutex::default(), clock })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Calls a script whose answer starts with the server's time; gives the answer whole.
    pub(super) async fn run(&self, role: Role, call: Call) -> Result<Vec<Value>> {
        let sent = Instant::now();
        match self.command(role, &call.command).await? {
            Value::Array(reply) if !reply.is_empty() => {
                self.clock.note(number(&reply[0]).map_err(|error| self.unreadable(&error))?, sent);
                Ok(reply)
            }
            other => Err(self.unavailable(format!("an answer that no script gives: {other:?}"))),
        }
    }

    /// Sends one command to the server of the session.
    pub(super) async fn command(&self, role: Role, command: &Cmd) -> Result<Value> {
        let mut line = self.line(role).await?;
        let answer = timeout(self.timeout, command.query_async(&mut line.connection)).await;
        self.judge(&line, answer)
    }

    /// Asks the server for `INFO` whoever it is, and ties the connection to it.
    pub(super) async fn look(&self) -> Result<Info> {
        let slot = self.slot(Role::Upkeep);
        let mut held = timeout(self.connect_timeout, slot.lock()).await.map_err(|_| self.silent("connect"))?;
        if held.as_ref().is_none_or(|held| held.is_broken.load(Ordering::Acquire)) {
            self.connect(&mut held).await?;
        }
        let Some(found) = held.as_mut() else { return Err(self.silent("connect")) };
        let mut line = found.line();
        let answer = timeout(self.timeout, redis::cmd("INFO").query_async(&mut line.connection)).await;
        let info = Info::new(self.judge(&line, answer)?);
        found.server = Arc::from(info.server());
        Ok(info)
    }

    /// Sends commands to the server that was just looked at, before the session is ready.
    pub(super) async fn prepare<T: redis::FromRedisValue>(&self, server: &str, pipeline: &Pipeline) -> Result<T> {
        let held = timeout(self.connect_timeout, self.slot(Role::Upkeep).lock());
        let held = held.await.map_err(|_| self.silent("connect"))?;
        let found = held.as_ref().filter(|held| &*held.server == server && !held.is_broken.load(Ordering::Acquire));
        let Some(found) = found else { return Err(self.unavailable("the connection was lost".to_owned())) };
        let mut line = found.line();
        drop(held);
        let answer = timeout(self.timeout, pipeline.query_async(&mut line.connection)).await;
        self.judge(&line, answer)
    }

    /// Keeps `server` as the candidate. A session with another server ends here; one with this server goes on.
    pub(super) fn propose(&self, server: &str) {
        let mut standing = self.standing();
        if standing.session.as_deref() != Some(server) {
            standing.session = None;
        }
        standing.candidate = Some(Arc::from(server));
    }

    /// From now on calls go to the candidate.
    pub(super) fn commit(&self) {
        let mut standing = self.standing();
        let candidate = standing.candidate.clone();
        standing.session = candidate;
    }

    /// No call gets through until a server was identified and adopted again.
    pub(super) fn forget(&self) {
        *self.standing() = Standing::default();
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Option<Arc<str>> {
        self.standing().session.clone()
    }

    fn slot(&self, role: Role) -> &tokio::sync::Mutex<Option<Held>> {
        &self.slots[role as usize % self.slots.len()]
    }

    /// A clone of the role's connection, if that leads to the server of the session.
    async fn line(&self, role: Role) -> Result<Line> {
        let Some(session) = self.session() else { return Err(self.not_ready()) };
        let slot = self.slot(role);
        let mut held = timeout(self.connect_timeout, slot.lock()).await.map_err(|_| self.silent("connect"))?;
        let is_good = |held: &&Held| held.server == session && !held.is_broken.load(Ordering::Acquire);
        if let Some(found) = held.as_ref().filter(is_good) {
            return Ok(found.line());
        }
        let line = self.connect(&mut held).await?;
        if line.server != session {
            self.forget();
            return Err(self.not_ready());
        }
        Ok(line)
    }

    /// Replaces what a slot holds. The old connection leaves the pool for good.
    async fn connect(&self, held: &mut Option<Held>) -> Result<Line> {
        if let Some(old) = held.take() {
            drop(deadpool_redis::Connection::take(old.connection));
        }
        let made = timeout(self.connect_timeout, async {
            let mut connection = self.pool.get().await.map_err(|error| self.unavailable(error.to_string()))?;
            let command = redis::cmd("INFO");
            let info: String = command.query_async(&mut connection).await.map_err(|error| self.refused(&error))?;
            Ok((connection, Info::new(info)))
        });
        let (connection, info) = made.await.map_err(|_| self.silent("connect"))??;
        let made = Held { connection, server: Arc::from(info.server()), is_broken: Arc::default() };
        let line = made.line();
        *held = Some(made);
        Ok(line)
    }

    /// Sorts answers from errors, and notes what an error says about the connection and the session.
    fn judge<T>(
        &self,
        line: &Line,
        answer: std::result::Result<redis::RedisResult<T>, tokio::time::error::Elapsed>,
    ) -> Result<T> {
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => {
                line.is_broken.store(true, Ordering::Release);
                return Err(self.silent("answer"));
            }
        };
        if error.is_io_error() || error.is_unrecoverable_error() {
            line.is_broken.store(true, Ordering::Release);
        }
        let server_error = |kind| error.kind() == redis::ErrorKind::Server(kind);
        if server_error(ServerErrorKind::NoScript) || server_error(ServerErrorKind::ReadOnly) {
            // It forgot its scripts or its rank: whoever it is now has to be looked at first.
            line.is_broken.store(true, Ordering::Release);
            self.forget();
        }
        Err(self.refused(&error))
    }

    fn refused(&self, error: &RedisError) -> BrokerError {
        let place = self.place.clone();
        match error.code() {
            Some("OOM") => BrokerError::Full { place },
            Some("EPOCH") => {
                let found = error.detail().and_then(|detail| detail.split(' ').next()?.parse().ok());
                BrokerError::Epoch { place, expected: 0, found }
            }
            Some("LEDGER") => {
                let found = error.detail().unwrap_or("of another name");
                BrokerError::Unfit { place, reason: format!("it belongs to the ledger {found}") }
            }
            _ => self.unavailable(error.to_string()),
        }
    }

    pub(super) fn unreadable(&self, error: &Unreadable) -> BrokerError {
        self.unavailable(error.to_string())
    }

    pub(super) fn unavailable(&self, reason: String) -> BrokerError {
        BrokerError::Unavailable { place: self.place.clone(), reason }
    }

    fn silent(&self, what: &str) -> BrokerError {
        self.unavailable(format!("it did not {what} in time"))
    }

    fn not_ready(&self) -> BrokerError {
        self.unavailable(
            "not ready: the server is new, changed or forgot its scripts, and was not identified and adopted".into(),
        )
    }
}

impl Held {
    fn line(&self) -> Line {
        Line {
            connection: MultiplexedConnection::clone(&self.connection),
            server: Arc::clone(&self.server),
            is_broken: Arc::clone(&self.is_broken),
        }
    }
}

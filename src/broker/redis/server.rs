//! One server, and connections to it that never hang.
//!
//! Each role on the hot path (push, claim, settle, upkeep) keeps one connection of the pool for good and
//! speaks over cheap clones of it, so nothing waits behind another role's batch and no call pays for a
//! checkout. A connection that failed or fell silent is replaced on its next use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_redis::{Manager, Pool};
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, ConnectionInfo, FromRedisValue, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::MutexGuard;
use tokio::time::{Duration, timeout};

use super::RedisParams;
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

/// How long to wait, and how many connections to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pool_size: usize,
}

impl Limits {
    pub(super) fn of(params: &RedisParams) -> Self {
        Self {
            connect_timeout: Duration::from_millis(params.connect_timeout_ms),
            timeout: Duration::from_millis(params.timeout_ms),
            pool_size: params.pool_size.max(1),
        }
    }
}

/// A held connection, and who answered there when it was made.
struct Held {
    connection: deadpool_redis::Connection,
    identity: Option<Arc<str>>,
    is_broken: Arc<AtomicBool>,
}

/// A clone to speak over.
pub(super) struct Line {
    connection: MultiplexedConnection,
    /// Who answered when the connection was made; `None`: not asked.
    pub(super) identity: Option<Arc<str>>,
    is_broken: Arc<AtomicBool>,
}

/// One server.
pub(super) struct Server {
    /// `host:port`, as Sentinels and clusters name it, or the path of a socket.
    name: String,
    /// Where it is, for people.
    place: String,
    info: ConnectionInfo,
    pool: Pool,
    lines: Vec<tokio::sync::Mutex<Option<Held>>>,
    limits: Limits,
    pub(super) clock: ServerClock,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Server {
    /// Prepares connections; makes none.
    pub(super) fn new(info: ConnectionInfo, place: String, limits: Limits) -> Result<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limits.connect_timeout))
            .set_response_timeout(Some(limits.timeout));
        let unfit = |reason: String| BrokerError::Unfit { place: place.clone(), reason };
        let manager = Manager::new_with_config(info.clone(), config).map_err(|error| unfit(error.to_string()))?;
        let pool = Pool::builder(manager).max_size(limits.pool_size).build();
        let pool = pool.map_err(|error| unfit(error.to_string()))?;
        let lines = (0..limits.pool_size).map(|_| tokio::sync::Mutex::default()).collect();
        let name = info.addr().to_string();
        Ok(Self { name, place, info, pool, lines, limits, clock: ServerClock::default() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// How to connect to it, for a connection outside of the pool.
    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Asks for `INFO` whoever is there, and ties the connection to the answer.
    pub(super) async fn look(&self) -> Result<Info> {
        let mut held = self.lock(Role::Upkeep).await?;
        let mut line = self.any(&mut held).await?;
        let info = self.info_over(&mut line).await?;
        if let Some(found) = held.as_mut() {
            found.identity = Some(Arc::from(info.server()));
        }
        Ok(info)
    }

    /// Asks whoever is there.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        let mut line = self.any(&mut *self.lock(Role::Upkeep).await?).await?;
        self.query(&mut line, pipeline).await
    }

    /// Asks over the connection that was just looked at, if that still leads to `identity`.
    pub(super) async fn ask_if<T: FromRedisValue>(&self, identity: &Arc<str>, pipeline: &Pipeline) -> Result<T> {
        let held = self.lock(Role::Upkeep).await?;
        let found = held.as_ref().filter(|held| held.is_good() && held.identity.as_ref() == Some(identity));
        let Some(mut line) = found.map(Held::line) else {
            return Err(self.unavailable("the connection was lost".to_owned()));
        };
        drop(held);
        self.query(&mut line, pipeline).await
    }

    /// The role's connection. One that does not lead to `identity` is replaced; whom the new one leads to,
    /// the line says.
    pub(super) async fn line(&self, role: Role, identity: &Arc<str>) -> Result<Line> {
        let mut held = self.lock(role).await?;
        let is_right = |held: &&Held| held.is_good() && held.identity.as_ref() == Some(identity);
        if let Some(found) = held.as_ref().filter(is_right) {
            return Ok(found.line());
        }
        let made = self.connect(&mut held).await?;
        let mut line = made.line();
        made.identity = Some(Arc::from(self.info_over(&mut line).await?.server()));
        Ok(made.line())
    }

    /// Sends one command; the outer error is a server that is not there, the inner one its own.
    pub(super) async fn send(&self, line: &mut Line, command: &Cmd) -> Result<RedisResult<Value>> {
        let answer = timeout(self.limits.timeout, command.query_async(&mut line.connection)).await;
        self.watch(line, answer)
    }

    /// The same behind an `ASKING`, in one write: another command between the two would take its place.
    pub(super) async fn send_asking(&self, line: &mut Line, command: &Cmd) -> Result<RedisResult<Value>> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.clone());
        let answer = timeout(self.limits.timeout, line.connection.req_packed_commands(&pipeline, 0, 2)).await;
        let answers = self.watch(line, answer)?;
        Ok(answers.and_then(|mut answers| match answers.pop() {
            Some(Value::ServerError(error)) => Err(error.into()),
            other => Ok(other.unwrap_or(Value::Nil)),
        }))
    }

    async fn info_over(&self, line: &mut Line) -> Result<Info> {
        let answer = self.send(line, &redis::cmd("INFO")).await?;
        let text = answer.and_then(|value| Ok(redis::from_redis_value(value)?));
        Ok(Info::new(text.map_err(|error| self.refused(&error))?))
    }

    async fn query<T: FromRedisValue>(&self, line: &mut Line, pipeline: &Pipeline) -> Result<T> {
        let answer = timeout(self.limits.timeout, pipeline.query_async(&mut line.connection)).await;
        self.watch(line, answer)?.map_err(|error| self.refused(&error))
    }

    /// Notes what an answer, or none, says about the connection.
    fn watch<T>(
        &self,
        line: &Line,
        answer: std::result::Result<RedisResult<T>, tokio::time::error::Elapsed>,
    ) -> Result<RedisResult<T>> {
        let Ok(answer) = answer else {
            line.break_off();
            return Err(self.silent("answer"));
        };
        if answer.as_ref().is_err_and(|error| error.is_io_error() || error.is_unrecoverable_error()) {
            line.break_off();
        }
        Ok(answer)
    }

    async fn lock(&self, role: Role) -> Result<MutexGuard<'_, Option<Held>>> {
        let line = &self.lines[role as usize % self.lines.len()];
        timeout(self.limits.connect_timeout, line.lock()).await.map_err(|_| self.silent("connect"))
    }

    async fn any(&self, held: &mut Option<Held>) -> Result<Line> {
        match held.as_ref().filter(|held| held.is_good()) {
            Some(found) => Ok(found.line()),
            None => Ok(self.connect(held).await?.line()),
        }
    }

    /// Replaces what is held. The old connection leaves the pool for good.
    async fn connect<'a>(&self, held: &'a mut Option<Held>) -> Result<&'a mut Held> {
        if let Some(old) = held.take() {
            drop(deadpool_redis::Connection::take(old.connection));
        }
        let made = timeout(self.limits.connect_timeout, self.pool.get()).await.map_err(|_| self.silent("connect"))?;
        let connection = made.map_err(|error| self.unavailable(error.to_string()))?;
        Ok(held.insert(Held { connection, identity: None, is_broken: Arc::default() }))
    }

    /// What an error of the server means to the caller.
    pub(super) fn refused(&self, error: &RedisError) -> BrokerError {
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

    pub(super) fn unavailable(&self, reason: String) -> BrokerError {
        BrokerError::Unavailable { place: self.place.clone(), reason }
    }

    fn silent(&self, what: &str) -> BrokerError {
        self.unavailable(format!("it did not {what} in time"))
    }
}

impl Held {
    fn is_good(&self) -> bool {
        !self.is_broken.load(Ordering::Acquire)
    }

    fn line(&self) -> Line {
        Line {
            connection: MultiplexedConnection::clone(&self.connection),
            identity: self.identity.clone(),
            is_broken: Arc::clone(&self.is_broken),
        }
    }
}

impl Line {
    /// The connection is replaced on its next use.
    pub(super) fn break_off(&self) {
        self.is_broken.store(true, Ordering::Release);
    }
}

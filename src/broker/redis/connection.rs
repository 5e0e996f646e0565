//! The session: which servers calls may go to, and the way there.
//!
//! A new connection may lead to another server: a restarted one, a promoted replica. It is used only if
//! that server is one of the session's; otherwise the session is not ready and every call says so. The
//! way to a new session has two steps, so that nothing is claimed on a server before its epoch was compared
//! with the ledger's: `identity` looks and keeps what it saw as a candidate, `adopt` commits to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join_all;
use redis::{Cmd, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::address::Address;
use super::codec::{Call, Unreadable, number};
use super::discovery::Discovery;
use super::info::Info;
use super::layout::{Layout, Master};
use super::server::{Limits, Line, Role, Server};
use crate::broker::{BrokerError, Result};
use crate::clock::{Clock as _, SystemClock};

/// How many times one call is sent on to another node.
const REDIRECTS_MAX: usize = 3;

/// Where calls go, and where they could go.
#[derive(Clone, Default)]
struct Standing {
    /// The masters of the session; `None`: not ready.
    session: Option<Arc<Layout>>,
    /// The masters that `identity` saw last and that have their scripts.
    candidate: Option<Arc<Layout>>,
    /// The last candidate, whatever became of it.
    seen: Option<Arc<Layout>>,
}

/// All connections.
pub(super) struct Connections {
    discovery: Discovery,
    limits: Limits,
    standing: watch::Sender<Standing>,
    is_torn: AtomicBool,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Connections {
    /// Prepares connections; makes none.
    pub(super) fn new(address: Address, limits: Limits) -> Result<Self> {
        let discovery = Discovery::new(address, limits)?;
        Ok(Self { discovery, limits, standing: watch::Sender::default(), is_torn: AtomicBool::new(false) })
    }

    pub(super) fn place(&self) -> &str {
        self.discovery.place()
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.discovery.is_cluster()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.limits.timeout
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.limits.connect_timeout
    }

    /// The servers' time; the local wall clock's before the first answer. Where there are several, the earliest:
    /// a stamp made from it is never too long.
    pub(super) fn now_ms(&self) -> i64 {
        let seen = self.standing.borrow().seen.clone();
        let clocks = seen.iter().flat_map(|seen| seen.masters()).map(|master| master.server.clock.now_ms());
        clocks.min().unwrap_or_else(|| SystemClock.now().millis())
    }

    /// The time of the server that holds `key`; that of all while nobody is known to.
    pub(super) fn now_ms_at(&self, key: &str) -> i64 {
        let known = {
            let standing = self.standing.borrow();
            standing.session.as_ref().or(standing.seen.as_ref()).cloned()
        };
        let holder = known.as_ref().and_then(|known| known.master_of(key));
        holder.map_or_else(|| self.now_ms(), |master| master.server.clock.now_ms())
    }

    /// Calls a script whose answer starts with the server's time; gives the answer whole.
    pub(super) async fn run(&self, role: Role, call: Call) -> Result<Vec<Value>> {
        let sent = Instant::now();
        match self.send(role, &call.key, &call.command).await? {
            (server, Value::Array(reply)) if !reply.is_empty() => {
                server.clock.note(number(&reply[0]).map_err(|error| self.unreadable(&error))?, sent);
                Ok(reply)
            }
            (server, other) => Err(server.unavailable(format!("an answer that no script gives: {other:?}"))),
        }
    }

    /// Sends one command to the server of the session that holds `key`.
    pub(super) async fn command(&self, role: Role, key: &str, command: &Cmd) -> Result<Value> {
        Ok(self.send(role, key, command).await?.1)
    }

    /// What each server of the session that holds one of `keys` says of its memory.
    pub(super) async fn memory(&self, keys: &[String]) -> Result<Vec<Info>> {
        let session = self.session()?;
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        let asks = session.masters_of(keys).map(async |master| {
            let mut line = self.line(Role::Upkeep, &session, master).await?;
            let answer = master.server.send(&mut line, &command).await?;
            let text = answer.and_then(|value| Ok(redis::from_redis_value(value)?));
            Ok(Info::new(text.map_err(|error| self.judge(&session, master, &line, &error))?))
        });
        try_join_all(asks).await
    }

    /// Finds the masters and asks each who it is, whoever it is.
    pub(super) async fn look(&self) -> Result<(Layout, Vec<Info>)> {
        let found = self.masters().await?;
        let infos = try_join_all(found.iter().map(|(server, _)| server.look())).await?;
        let identities: Vec<String> = infos.iter().map(Info::server).collect();
        Ok((Layout::new(found, &identities), infos))
    }

    /// A server to listen to, another one with each `attempt` where there are several.
    pub(super) async fn listening_place(&self, attempt: usize) -> Result<Arc<Server>> {
        let found = self.masters().await?;
        let at = attempt % found.len().max(1);
        found.into_iter().nth(at).map(|(server, _)| server).ok_or_else(|| self.not_ready())
    }

    /// Returns once the session is one without `server`.
    pub(super) async fn left(&self, server: &Server) {
        let is_left = |standing: &Standing| {
            standing.session.as_ref().is_some_and(|session| session.master_at(server.name()).is_none())
        };
        // It cannot be closed while `self` is there.
        drop(self.standing.subscribe().wait_for(is_left).await);
    }

    async fn masters(&self) -> Result<Vec<super::layout::Found>> {
        let seen = self.standing.borrow().seen.clone();
        self.discovery.masters(seen.as_deref()).await
    }

    /// Keeps a layout as the candidate. A session with other servers ends here; one with these goes on.
    pub(super) fn propose(&self, layout: Layout) {
        let layout = Arc::new(layout);
        self.standing.send_modify(|standing| {
            let is_same = standing.session.as_ref().is_some_and(|session| session.identity() == layout.identity());
            // The same servers may have passed slots among themselves.
            standing.session = is_same.then(|| Arc::clone(&layout));
            standing.candidate = Some(Arc::clone(&layout));
            standing.seen = Some(Arc::clone(&layout));
        });
        self.discovery.retain(&[&layout]);
    }

    /// From now on calls go to the candidate.
    pub(super) fn commit(&self) {
        self.standing.send_modify(|standing| standing.session.clone_from(&standing.candidate));
    }

    /// No call gets through until servers were identified and adopted again.
    pub(super) fn forget(&self) {
        self.standing.send_modify(|standing| (standing.session, standing.candidate) = (None, None));
    }

    /// The same, unless the session is another one by now.
    fn doubt(&self, session: &Layout) {
        self.standing.send_modify(|standing| {
            let is_it = |known: &Arc<Layout>| known.identity() == session.identity();
            standing.session.take_if(|known| is_it(known));
            standing.candidate.take_if(|known| is_it(known));
        });
    }

    /// Whether a script was cut off half-way, so that only a rebuild can tell what stands in its queue.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn.load(Ordering::Acquire)
    }

    /// A rebuild begins: what was torn goes.
    pub(super) fn mend(&self) {
        self.is_torn.store(false, Ordering::Release);
    }

    fn session(&self) -> Result<Arc<Layout>> {
        self.standing.borrow().session.clone().ok_or_else(|| self.not_ready())
    }

    async fn send(&self, role: Role, key: &str, command: &Cmd) -> Result<(Arc<Server>, Value)> {
        let session = self.session()?;
        let Some(mut master) = session.master_of(key) else {
            return Err(self.unavailable(format!("no node serves the slot of {key}")));
        };
        let mut is_asking = false;
        for _ in 0..=REDIRECTS_MAX {
            let mut line = self.line(role, &session, master).await?;
            let server = &master.server;
            let answer: RedisResult<Value> = if is_asking {
                server.send_asking(&mut line, command).await?
            } else {
                server.send(&mut line, command).await?
            };
            let error = match answer {
                Ok(value) => return Ok((Arc::clone(server), value)),
                Err(error) => error,
            };
            let Some((to, slot)) = error.redirect_node() else {
                return Err(self.judge(&session, master, &line, &error));
            };
            // Whoever is not one of the session's masters was promoted or has joined, and has to be looked at first.
            let Some(next) = session.master_at(to) else {
                self.doubt(&session);
                return Err(self.not_ready());
            };
            is_asking = error.kind() == redis::ErrorKind::Server(ServerErrorKind::Ask);
            if !is_asking {
                self.pass_slot(&session, slot, to);
            }
            master = next;
        }
        Err(self.unavailable("the nodes sent a call around in circles".to_owned()))
    }

    /// The role's line to a master of the session.
    async fn line(&self, role: Role, session: &Layout, master: &Master) -> Result<Line> {
        let line = master.server.line(role, &master.identity).await?;
        if line.identity.as_ref() != Some(&master.identity) {
            self.doubt(session);
            return Err(self.not_ready());
        }
        Ok(line)
    }

    /// Notes where a slot went.
    fn pass_slot(&self, session: &Layout, slot: u16, to: &str) {
        self.standing.send_modify(|standing| {
            if let Some(known) = standing.session.as_mut().filter(|known| known.identity() == session.identity()) {
                *known = Arc::new(known.with_slot(slot, to));
            }
        });
    }

    /// What a server's error means, and what it says about the session.
    fn judge(&self, session: &Layout, master: &Master, line: &Line, error: &RedisError) -> BrokerError {
        let is = |kind| error.kind() == redis::ErrorKind::Server(kind);
        if is(ServerErrorKind::NoScript) || is(ServerErrorKind::ReadOnly) {
            // It forgot its scripts or its rank: whoever it is now has to be looked at first.
            line.break_off();
            self.doubt(session);
        }
        // A key that the script computes went to another node before those that it declares.
        if error.detail().is_some_and(|detail| detail.contains("non local key")) {
            self.is_torn.store(true, Ordering::Release);
            self.doubt(session);
        }
        master.server.refused(error)
    }

    pub(super) fn unreadable(&self, error: &Unreadable) -> BrokerError {
        self.unavailable(error.to_string())
    }

    pub(super) fn unavailable(&self, reason: String) -> BrokerError {
        BrokerError::Unavailable { place: self.place().to_owned(), reason }
    }

    fn not_ready(&self) -> BrokerError {
        let reason = "not ready: the server is new, changed or forgot its scripts, and was not identified and adopted";
        self.unavailable(reason.to_owned())
    }
}

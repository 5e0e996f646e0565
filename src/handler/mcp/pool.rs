//! The sessions of one server, at most `connections` of them.
//!
//! Calls share sessions; another one is opened when all have [`CALLS_PER_SESSION`] calls and there is room. A run of
//! steps gets one for itself. Who needs a session when there is no room takes the place of one that is not needed:
//! a shared session ends with the calls it has, and those who wait get the places in the order they came.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::params::{AfterSteps, ServerParams, Target};
use super::session::{Means, Session, Use};
use super::tools::Tools;
use super::trouble::Trouble;
use crate::service::lock;

/// Calls in a session from which on another one is opened, if there is room. Many servers do one thing after the other.
const CALLS_PER_SESSION: usize = 8;
/// How long steps wait for a child that is leaving before they take a shared session's place.
const LEAVING_MAX: Duration = Duration::from_millis(500);

type Opened = BoxFuture<'static, Result<Arc<Session>, Trouble>>;
type Opening = Shared<Opened>;

/// The sessions of one server.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) params: Arc<ServerParams>,
    pub(super) means: Arc<Means>,
    /// Places for sessions.
    places: Arc<Semaphore>,
    state: Mutex<State>,
    /// Fires when all child processes of today's sessions are to go, whatever they are at.
    generation: Mutex<CancellationToken>,
    pub(super) tools: Tools,
}

#[derive(Default)]
struct State {
    shared: Vec<Arc<Session>>,
    /// The shared session that is being opened, for all who wait for it. Without them it is not.
    opening: Option<WeakShared<Opened>>,
    /// Sessions for runs of steps, with what the last run left in them.
    kept: Vec<Session>,
    /// Runs of steps that wait for a place.
    wanted: usize,
    /// Whether calls share sessions, and some of them was not ended because nobody used it.
    is_shared: bool,
    /// Whether a session for steps could be opened the last time.
    opened: Option<bool>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("shared", &self.shared).field("kept", &self.kept).finish_non_exhaustive()
    }
}

/// What to do for a call.
enum Next {
    Take(Use),
    Wait(Opening),
}

/// What a check finds.
enum Look {
    /// A child whose sessions nobody shares, and whether the last one could be opened.
    StepsOnly(Option<bool>),
    Shared {
        idle: Vec<Arc<Session>>,
        is_busy: bool,
    },
}

impl Pool {
    pub(super) fn new(params: Arc<ServerParams>, means: Arc<Means>) -> Self {
        let places = Arc::new(Semaphore::new(params.connections.max(1)));
        Self { params, means, places, state: Mutex::default(), generation: Mutex::default(), tools: Tools::default() }
    }

    /// A session to share, the least busy one.
    pub(super) async fn shared(&self) -> Result<Use, Trouble> {
        let opening = match self.next() {
            Next::Take(session) => return Ok(session),
            Next::Wait(opening) => opening,
        };
        let opened = opening.clone().await;
        let mut state = lock(&self.state);
        if state.opening.as_ref().and_then(WeakShared::upgrade).is_some_and(|now| now.ptr_eq(&opening)) {
            state.opening = None;
            // While steps wait for a place, it goes on with those who have it now and then makes room.
            if state.wanted == 0 {
                state.shared.extend(opened.clone().ok());
            }
        }
        opened.map(Use::of)
    }

    fn next(&self) -> Next {
        let mut state = lock(&self.state);
        state.is_shared = true;
        state.shared.retain(|session| session.is_usable());
        let opening = state.opening.as_ref().and_then(WeakShared::upgrade);
        let best = state.shared.iter().min_by_key(|session| session.calls()).cloned();
        match (best, opening) {
            (Some(session), Some(_)) => Next::Take(Use::of(session)),
            (Some(session), None) => {
                let place =
                    (session.calls() >= CALLS_PER_SESSION).then(|| self.places.clone().try_acquire_owned().ok());
                match place.flatten() {
                    Some(place) => Next::Wait(self.begin(&mut state, Some(place))),
                    None => Next::Take(Use::of(session)),
                }
            }
            (None, Some(opening)) => Next::Wait(opening),
            (None, None) => Next::Wait(self.begin(&mut state, None)),
        }
    }

    /// Begins to open a shared session. Whoever waits for it drives it.
    fn begin(&self, state: &mut State, place: Option<OwnedSemaphorePermit>) -> Opening {
        if place.is_none() && self.places.available_permits() == 0 {
            // What the last steps left is worth less than work that waits.
            state.kept.pop();
        }
        let (params, means, places) = (self.params.clone(), self.means.clone(), self.places.clone());
        let leave = self.leave_token();
        let opening = async move {
            let place = match place {
                Some(place) => place,
                None => acquire(places).await?,
            };
            Session::open(&params, &means, true, place, leave).await.map(Arc::new)
        };
        let opening = opening.boxed().shared();
        state.opening = opening.downgrade();
        opening
    }

    /// A session for one run alone.
    pub(super) async fn exclusive(&self) -> Result<Session, Trouble> {
        while let Some(session) = self.kept() {
            // Asked first: a server behind a URL may have been started anew, and knows it no more.
            if session.ping().await {
                return Ok(session);
            }
        }
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_none) => self.place_for_steps().await?,
        };
        self.open_exclusive(place).await
    }

    fn kept(&self) -> Option<Session> {
        let mut state = lock(&self.state);
        state.kept.retain(Session::is_usable);
        state.kept.pop()
    }

    /// Waits for a place, and takes that of a shared session if none comes free.
    async fn place_for_steps(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        let _wanting = Wanting::of(self);
        let mut place = std::pin::pin!(acquire(self.places.clone()));
        if let Ok(place) = timeout(LEAVING_MAX, place.as_mut()).await {
            return place;
        }
        {
            let mut state = lock(&self.state);
            if let Some(least) = least_busy(&state.shared) {
                state.shared.swap_remove(least);
            }
        }
        place.await
    }

    async fn open_exclusive(&self, place: OwnedSemaphorePermit) -> Result<Session, Trouble> {
        let opened = Session::open(&self.params, &self.means, false, place, self.leave_token()).await;
        lock(&self.state).opened = Some(opened.is_ok());
        opened
    }

    /// Takes a session back after a run that went well.
    pub(super) fn keep(&self, session: Session) {
        if self.params.after_steps == AfterSteps::Reuse && session.is_usable() {
            session.touch();
            lock(&self.state).kept.push(session);
        }
    }

    /// Looks after the sessions; answers whether the server answers, where that can be said.
    ///
    /// Sessions with calls are not asked: a server may well do one thing after the other. One that does not answer
    /// though it has nothing to do is replaced. A child that no call needs is not started for this.
    pub(super) async fn check(&self) -> Option<bool> {
        let (idle, is_busy) = match self.look() {
            Look::StepsOnly(Some(false)) => return self.opens().await,
            Look::StepsOnly(opened) => return opened,
            Look::Shared { idle, is_busy } => (idle, is_busy),
        };
        let mut answers = false;
        for session in &idle {
            if session.ping().await {
                answers = true;
            } else {
                session.retire();
            }
        }
        if answers || (is_busy && idle.is_empty()) {
            return answers.then_some(true);
        }
        drop(idle);
        // Through the same door as a call, so that this never takes a second place.
        match self.shared().await {
            Ok(session) => Some(session.ping().await),
            Err(trouble) => {
                tracing::debug!(mcp.server = %self.params.name, "MCP server {}: {}", self.params.name, trouble.text);
                Some(false)
            }
        }
    }

    /// Ends what nobody uses, and says what there is to ask.
    fn look(&self) -> Look {
        let mut state = lock(&self.state);
        self.drop_unused(&mut state);
        if !state.is_shared && matches!(self.params.target, Target::Command { .. }) {
            return Look::StepsOnly(state.opened);
        }
        let (busy, idle): (Vec<_>, Vec<_>) = state.shared.iter().cloned().partition(|session| session.calls() > 0);
        Look::Shared { idle, is_busy: !busy.is_empty() || self.places.available_permits() == 0 }
    }

    /// Whether a session for steps can be opened by now.
    async fn opens(&self) -> Option<bool> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(self.open_exclusive(place).await.is_ok())
    }

    fn drop_unused(&self, state: &mut State) {
        state.shared.retain(|session| session.is_usable());
        state.kept.retain(Session::is_usable);
        let Some(keep) = self.params.keep else { return };
        let before = state.shared.len();
        state.shared.retain(|session| session.idle() < keep);
        state.kept.retain(|session| session.idle() < keep);
        if state.shared.is_empty() && before > 0 {
            state.is_shared = false;
        }
    }

    /// What tells a session's child of its own to go.
    fn leave_token(&self) -> CancellationToken {
        lock(&self.generation).child_token()
    }

    /// Ends all sessions, so that whoever needs one opens it anew; answers how many nobody had for itself. Children go
    /// at once, with the calls they are at; a session without a child takes no more calls and ends with its last.
    pub(super) fn restart(&self) -> usize {
        let ended = {
            let mut state = lock(&self.state);
            let sessions = state.shared.drain(..).inspect(|session| session.retire()).count();
            // The next check opens one, to see whether that works.
            state.opened = Some(false);
            state.opening = None;
            sessions + std::mem::take(&mut state.kept).len()
        };
        std::mem::take(&mut *lock(&self.generation)).cancel();
        ended
    }

    /// Ends the sessions that nobody uses; the others end with their last call.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.shared.clear();
        state.kept.clear();
    }
}

/// One run of steps more that waits for a place, until this is dropped.
struct Wanting<'a>(&'a Pool);

impl<'a> Wanting<'a> {
    fn of(pool: &'a Pool) -> Self {
        lock(&pool.state).wanted += 1;
        Self(pool)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).wanted -= 1;
    }
}

fn least_busy(sessions: &[Arc<Session>]) -> Option<usize> {
    sessions.iter().enumerate().min_by_key(|(_, session)| session.calls()).map(|(at, _)| at)
}

async fn acquire(places: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Trouble> {
    places.acquire_owned().await.map_err(|_closed| Trouble::of_session("connection", "the server is being left"))
}

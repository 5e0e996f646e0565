//! One session with a server, be it a child or behind a URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientCapabilities, ClientConfig, ClientRequest,
    DiscoverRequest, DiscoverRequestParams, Implementation, PingRequest, ProtocolVersion, RequestId,
};
use rmcp::service::{ClientInitializeError, ClientServiceExt as _, Peer, RoleClient, RunningService};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport};
use rmcp::{ClientHandler, ClientLifecycleMode, ServiceError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bounded::{Bounded, FirstStray};
use super::params::{Protocol, ServerParams, Target};
use super::stdio::{self, ChildEnvironment, ChildHandle};
use super::streamable;
use super::trouble::Trouble;
use crate::clock::Clock;
use crate::service::lock;

/// How long a server may take to answer a ping: the runbook's.
pub(super) const PING_MAX: Duration = Duration::from_millis(500);
/// How long the word that a call was given up may take to leave. A server that does not read is not waited for.
const CANCEL_MAX: Duration = Duration::from_millis(250);
/// Calls given up one after the other, without any answer in between, after which a session counts as hung.
const GIVEN_UP_MAX: u32 = 3;

/// What sessions are made with.
#[derive(Debug, Clone)]
pub struct Means {
    /// The HTTP client of all handlers.
    pub client: reqwest::Client,
    /// What children are given.
    pub environment: ChildEnvironment,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Tasks that outlive their session by a little: children that are leaving.
    pub(super) tasks: TaskTracker,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    service: RunningService<RoleClient, Client>,
    child: Option<ChildHandle>,
    /// Calls under way.
    calls: AtomicUsize,
    given_up: AtomicU32,
    is_retired: AtomicBool,
    since: Instant,
    /// Milliseconds from `since` to the last use.
    used_ms: AtomicUsize,
    /// Of a session without a child; a child's goes with the child.
    _permit: Option<OwnedSemaphorePermit>,
}

/// A call under way in a session that others may use too.
#[derive(Debug)]
pub(super) struct Use(Arc<Session>);

/// What servers may ask of us: nothing. They hear who we are.
#[derive(Debug)]
struct Client;

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("ganger", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

// === impl Means ===

impl Means {
    /// Means with a tracker of their own.
    #[must_use]
    pub fn new(client: reqwest::Client, environment: ChildEnvironment, clock: Arc<dyn Clock>) -> Self {
        Self { client, environment, clock, tasks: TaskTracker::new() }
    }
}

// === impl Session ===

impl Session {
    /// Starts the server, if it is a child, and shakes hands. A child goes when `leave` fires.
    pub(super) async fn open(
        params: &ServerParams,
        means: &Means,
        is_shared: bool,
        permit: OwnedSemaphorePermit,
        leave: CancellationToken,
    ) -> Result<Self, Trouble> {
        match &params.target {
            Target::Command { program, .. } => {
                let spawned =
                    stdio::spawn(params, &means.environment, permit, &means.tasks, leave).map_err(|error| {
                        Trouble::of_session("spawn_failed", format!("`{program}` cannot be started: {error}"))
                    })?;
                let reader = Bounded::new(spawned.stdout, params.message_bytes_max);
                let stray = reader.first_stray();
                let transport =
                    AsyncRwTransport::new_client(reader, spawned.stdin).with_max_line_length(params.message_bytes_max);
                let opened = handshake(params, means, transport).await;
                let service = match opened {
                    Ok(service) => service,
                    Err(trouble) => {
                        let trouble = with_obituary(trouble, Some(&spawned.handle)).await;
                        return Err(with_stray(trouble, &stray));
                    }
                };
                Ok(Self::of(service, Some(spawned.handle), None))
            }
            Target::Url { url, headers, token } => {
                let config = streamable::config(Target::text(url), headers, token.as_ref(), is_shared, params)?;
                let client = streamable::BoundedClient::new(means.client.clone());
                let transport = StreamableHttpClientTransport::with_client(client, config);
                let service = handshake(params, means, transport).await?;
                Ok(Self::of(service, None, Some(permit)))
            }
        }
    }

    fn of(
        service: RunningService<RoleClient, Client>,
        child: Option<ChildHandle>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            service,
            child,
            calls: AtomicUsize::new(0),
            given_up: AtomicU32::new(0),
            is_retired: AtomicBool::new(false),
            since: Instant::now(),
            used_ms: AtomicUsize::new(0),
            _permit: permit,
        }
    }

    /// What requests are sent with.
    pub(super) fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    /// The process group of its child.
    pub(super) fn group(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.group)
    }

    /// Whether it can take another call.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_retired.load(Ordering::Relaxed) && !self.peer().is_transport_closed()
    }

    /// Nobody gets it any more; it ends with its last call.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// Calls under way.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// How long nobody has used it.
    pub(super) fn idle(&self) -> Duration {
        let used = Duration::from_millis(self.used_ms.load(Ordering::Relaxed) as u64);
        if self.calls() > 0 { Duration::ZERO } else { self.since.elapsed().saturating_sub(used) }
    }

    /// Notes that it is used now.
    pub(super) fn touch(&self) {
        let ms = usize::try_from(self.since.elapsed().as_millis()).unwrap_or(usize::MAX);
        self.used_ms.store(ms, Ordering::Relaxed);
    }

    /// Notes that the server has answered something.
    pub(super) fn answered(&self) {
        self.given_up.store(0, Ordering::Relaxed);
    }

    /// Tells the server that a call is given up, without waiting for its consent.
    pub(super) async fn give_up(&self, request: RequestId, reason: &str) {
        let params = CancelledNotificationParam::new(Some(request), Some(reason.to_owned()));
        let notification = CancelledNotification::new(params);
        let told = timeout(CANCEL_MAX, self.peer().send_notification(notification.into())).await;
        self.unanswered();
        if !matches!(told, Ok(Ok(()))) {
            self.retire();
        }
    }

    /// Notes that a call was given up without an answer.
    pub(super) fn unanswered(&self) {
        if self.given_up.fetch_add(1, Ordering::Relaxed) + 1 >= GIVEN_UP_MAX {
            self.retire();
        }
    }

    /// Whether the server answers anything at all within [`PING_MAX`].
    pub(super) async fn ping(&self) -> bool {
        let is_old = self.peer().peer_info().is_none_or(|info| info.protocol_version.has_initialize());
        // The new protocol has no ping; what it opens with is as cheap.
        let request = if is_old {
            ClientRequest::PingRequest(PingRequest::default())
        } else {
            ClientRequest::DiscoverRequest(DiscoverRequest::new(DiscoverRequestParams {}))
        };
        // A refusal is an answer too.
        matches!(
            timeout(PING_MAX, self.peer().send_request(request)).await,
            Ok(Ok(_) | Err(ServiceError::McpError(_) | ServiceError::UnexpectedResponse))
        )
    }

    /// Adds how the child ended, where that is why.
    pub(super) async fn explain(&self, trouble: Trouble) -> Trouble {
        with_obituary(trouble, self.child.as_ref()).await
    }
}

/// A connection that ended ended because the child did, unless it is still there.
async fn with_obituary(trouble: Trouble, child: Option<&ChildHandle>) -> Trouble {
    let Some(child) = child.filter(|_| trouble.class == "connection") else { return trouble };
    match child.obituary().await {
        Some(how) => Trouble { text: format!("the server's process {how}"), ..trouble },
        None => trouble,
    }
}

/// A child that greets people on stdout cannot be understood: what it said tells its author where.
fn with_stray(trouble: Trouble, stray: &FirstStray) -> Trouble {
    match lock(stray).take() {
        Some(line) => {
            Trouble { text: format!("{}; its first line on stdout is no JSON-RPC: {line:?}", trouble.text), ..trouble }
        }
        None => trouble,
    }
}

/// Shakes hands within the time for it.
async fn handshake<T, E, A>(
    params: &ServerParams,
    means: &Means,
    transport: T,
) -> Result<RunningService<RoleClient, Client>, Trouble>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let newest = vec![ProtocolVersion::LATEST];
    let lifecycle = match params.protocol {
        Protocol::Auto => ClientLifecycleMode::Auto {
            preferred_versions: newest,
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
        Protocol::Discover => ClientLifecycleMode::Discover { preferred_versions: newest },
        Protocol::Initialize => ClientLifecycleMode::Initialize,
    };
    let opening = Client.serve_with_lifecycle(transport, lifecycle);
    match timeout(params.connect_timeout, opening).await {
        Ok(opened) => opened.map_err(|error: ClientInitializeError| Trouble::of_handshake(&error, means.clock.now())),
        Err(_elapsed) => {
            let ms = params.connect_timeout.as_millis();
            Err(Trouble::of_session("timeout", format!("no handshake within {ms} ms (connect_timeout_ms)")))
        }
    }
}

// === impl Use ===

impl Use {
    /// Counts as a call until this is dropped.
    pub(super) fn of(session: Arc<Session>) -> Self {
        session.calls.fetch_add(1, Ordering::Relaxed);
        Self(session)
    }
}

impl std::ops::Deref for Use {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.touch();
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

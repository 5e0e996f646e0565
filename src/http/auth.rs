//! Who may do what: bearer tokens with roles.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Api;
use super::problem::Problem;
use super::serve::Peer;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To submit jobs.
    Submit,
    /// To look at everything.
    Read,
    /// To change what happens, and the other two.
    Operate,
}

impl Role {
    /// The word in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// One configured token.
pub struct Token {
    /// Its name; it stands for the caller in pauses and logs.
    pub name: String,
    /// What it allows.
    pub roles: Vec<Role>,
    /// The secret that the caller shows.
    pub secret: String,
}

/// The tokens in force. Without any, everybody may do everything.
#[derive(Clone, Default)]
pub struct Auth {
    known: Vec<Known>,
}

/// A token by its digest: digests have one length, so a comparison tells nothing of the secret's.
#[derive(Clone)]
struct Known {
    name: String,
    roles: Vec<Role>,
    digest: [u8; 32],
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.known.iter().map(|token| &token.name)).finish()
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller(pub(super) String);

impl Auth {
    /// Takes the configured tokens.
    #[must_use]
    pub fn new(tokens: Vec<Token>) -> Self {
        let known = tokens
            .into_iter()
            .map(|token| Known { name: token.name, roles: token.roles, digest: Sha256::digest(token.secret).into() })
            .collect();
        Self { known }
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// The name of the token shown, if it allows `needed`. All tokens are compared, whichever fits.
    fn admit(&self, shown: Option<&str>, needed: Role) -> Result<&str, Problem> {
        let Some(shown) = shown else {
            return Err(unauthorized("this needs a token: send `Authorization: Bearer TOKEN`"));
        };
        let digest: [u8; 32] = Sha256::digest(shown).into();
        let mut found = None;
        for token in &self.known {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(token);
            }
        }
        let token = found.ok_or_else(|| unauthorized("the token is not known here"))?;
        if token.roles.contains(&needed) || token.roles.contains(&Role::Operate) {
            return Ok(&token.name);
        }
        let detail = format!("the token {:?} lacks the role `{}`", token.name, needed.name());
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "The token does not allow this", detail)
            .with("role", needed.name()))
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail)
}

/// The role that a request needs; `None` for probes, metrics and the front page.
fn needed(method: &Method, path: &str) -> Option<Role> {
    if !path.starts_with("/v1/") {
        return None;
    }
    match (method, path) {
        (&Method::GET | &Method::HEAD, _) => Some(Role::Read),
        (&Method::POST, "/v1/jobs" | "/v1/jobs/batch" | "/v1/observations" | "/v1/feedback") => Some(Role::Submit),
        _ => Some(Role::Operate),
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Admits a request or answers 401 or 403, and notes who sent it.
pub(super) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let mut caller = match request.extensions().get::<Peer>() {
        Some(Peer(address)) => format!("anonymous@{}", address.ip()),
        None => "anonymous".to_owned(),
    };
    if let Some(role) = needed(request.method(), request.uri().path())
        && !api.auth.is_open()
    {
        match api.auth.admit(bearer(&request), role) {
            Ok(name) => name.clone_into(&mut caller),
            Err(problem) => return problem.into_response(),
        }
    }
    request.extensions_mut().insert(Caller(caller));
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        let token =
            |name: &str, role, secret: &str| Token { name: name.into(), roles: vec![role], secret: secret.into() };
        Auth::new(vec![
            token("ci", Role::Submit, "s-1"),
            token("grafana", Role::Read, "r-1"),
            token("oncall", Role::Operate, "o-1"),
        ])
    }

    #[test]
    fn a_token_opens_what_its_role_allows_and_no_more() {
        let auth = auth();
        let status = |shown, role| auth.admit(shown, role).map_err(|problem| problem.status.as_u16());
        assert_eq!(status(Some("s-1"), Role::Submit), Ok("ci"));
        assert_eq!(status(Some("s-1"), Role::Read), Err(403));
        assert_eq!(status(Some("r-1"), Role::Read), Ok("grafana"));
        assert_eq!(status(Some("r-1"), Role::Operate), Err(403));
        for role in [Role::Submit, Role::Read, Role::Operate] {
            assert_eq!(status(Some("o-1"), role), Ok("oncall"));
        }
        assert_eq!(status(Some("guess"), Role::Read), Err(401));
        assert_eq!(status(None, Role::Read), Err(401));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", auth()), r#"["ci", "grafana", "oncall"]"#);
    }

    #[test]
    fn each_kind_of_call_needs_its_role() {
        assert_eq!(needed(&Method::POST, "/v1/jobs"), Some(Role::Submit));
        assert_eq!(needed(&Method::POST, "/v1/jobs/batch"), Some(Role::Submit));
        assert_eq!(needed(&Method::POST, "/v1/observations"), Some(Role::Submit));
        assert_eq!(needed(&Method::POST, "/v1/feedback"), Some(Role::Submit));
        assert_eq!(needed(&Method::GET, "/v1/measures"), Some(Role::Read));
        assert_eq!(needed(&Method::GET, "/v1/jobs"), Some(Role::Read));
        assert_eq!(needed(&Method::DELETE, "/v1/jobs/a"), Some(Role::Operate));
        assert_eq!(needed(&Method::POST, "/v1/queues/plan/pause"), Some(Role::Operate));
        assert_eq!(needed(&Method::POST, "/v1/alerts"), Some(Role::Operate));
        assert_eq!(needed(&Method::GET, "/v1/incidents/1"), Some(Role::Read));
        assert_eq!(needed(&Method::PUT, "/v1/incidents/1"), Some(Role::Operate));
        assert_eq!(needed(&Method::GET, "/metrics"), None);
        assert_eq!(needed(&Method::GET, "/livez"), None);
    }
}

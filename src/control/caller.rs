//! Who asks: from a connection and its request to the registry's [`Actor`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;

use super::error;
use super::peer::{self, Asker, Peer};
use super::problem::{Problem, Reason};
use super::tokens::{Pass, Tokens};
use super::users::{AllowedUser, Users};
use crate::health::is_control_probe;
use crate::registry::{Action, Actor, RegisterError, Rights, Scope};
use crate::route::RequestHost;

/// How long a wrong token waits for its answer.
const DELAY: Duration = Duration::from_secs(1);

/// How many wrong tokens wait at a time; the next ones are told so at once.
const WAITING: usize = 64;

/// The challenges to a request without a token, and to one with a wrong token (RFC 6750, 3).
const BEARER: &str = "Bearer";
const WRONG_TOKEN: &str = "Bearer error=\"invalid_token\"";

/// Knows the callers.
#[derive(Debug)]
pub(crate) struct Callers {
    tokens: Option<Arc<Tokens>>,
    /// Host names besides loopback's that a request without a token may be for.
    hosts: Vec<String>,
    /// Whether a registration needs a token.
    require_token: bool,
    /// The users whose processes may register, and change things, without a token; any if there is no
    /// list.
    users: Option<Users>,
    waiting: Semaphore,
}

/// The credentials in a request's `Authorization` field.
#[derive(Debug, PartialEq, Eq)]
enum Credentials<'a> {
    None,
    Token(&'a str),
    /// Another scheme, or more than one field.
    Other,
}

/// Why a token is refused.
enum Wrong {
    Token,
    TooMany,
}

impl Callers {
    pub(crate) fn new(
        tokens: Option<Arc<Tokens>>,
        hosts: Vec<String>,
        require_token: bool,
        users: Option<Vec<AllowedUser>>,
    ) -> Self {
        Self {
            tokens,
            hosts,
            require_token,
            users: users.map(Users::new),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// Whether the API needs a token, other than on a Unix socket.
    pub(super) fn need_token(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether a registration needs one.
    pub(super) fn need_token_to_register(&self) -> bool {
        self.require_token
    }

    /// The token of a request that has been let in, if it has one: it can be revoked meanwhile.
    pub(super) fn pass(&self, fields: &HeaderMap) -> Option<Pass> {
        let tokens = self.tokens.as_ref()?;
        match credentials(fields) {
            Credentials::Token(token) => Some(Pass::new(Arc::clone(tokens), token)),
            Credentials::None | Credentials::Other => None,
        }
    }

    /// Who asks on a control listener, by which method.
    async fn on_control(
        &self,
        asker: &Asker,
        method: &Method,
        fields: &HeaderMap,
    ) -> Result<Actor, Problem> {
        let peer = asker.peer;
        if let Some(actor) = self.by_token(asker, fields).await {
            return actor.map_err(|wrong| wrong.problem());
        }
        let refused = |error: RegisterError| error::invalid(&error, "");
        if peer == Peer::Unix {
            // Its mode is the guard, and no web page reaches it; another proxy may be made to.
            peer::check_relay(fields).map_err(refused)?;
            return Ok(self.as_owner(asker, method).await);
        }
        if self.tokens.is_some() {
            return Err(missing());
        }
        if !peer.is_this_machine() {
            let detail = "Only the machine that the proxy runs on may do this without a token.";
            return Err(forbidden(detail.to_owned()));
        }
        self.check_host(asker.local, fields)?;
        peer::check(peer, fields).map_err(refused)?;
        let mut actor = asker.as_local();
        if !method.is_safe() {
            actor.user = self.check_user(asker).await.map_err(refused)?;
        }
        Ok(actor)
    }

    /// The owner of a Unix socket, or root.
    async fn as_owner(&self, asker: &Asker, method: &Method) -> Actor {
        let mut actor = asker.as_local();
        if let Some(users) = self.users.as_ref().filter(|_| !method.is_safe()) {
            actor.user = users.name(asker).await;
        }
        actor
    }

    /// The user behind a request without a token, if there are users who alone may change things.
    async fn check_user(&self, asker: &Asker) -> Result<Option<Arc<str>>, RegisterError> {
        match &self.users {
            Some(users) => users.check(asker).await.map(Some),
            None => Ok(None),
        }
    }

    /// Who registers; always somebody on this machine.
    ///
    /// # Errors
    /// [`RegisterError::Forbidden`], [`RegisterError::Unauthenticated`].
    pub(super) async fn on_registration(
        &self,
        asker: &Asker,
        fields: &HeaderMap,
    ) -> Result<Actor, RegisterError> {
        let peer = asker.peer;
        if !peer.is_this_machine() {
            peer::check(peer, fields)?;
        }
        if let Some(actor) = self.by_token(asker, fields).await {
            return actor.map_err(|wrong| RegisterError::Unauthenticated {
                reason: wrong.reason().to_owned(),
            });
        }
        if self.require_token {
            return Err(RegisterError::Unauthenticated {
                reason: "a registration needs a token; send Authorization: Bearer TOKEN".to_owned(),
            });
        }
        peer::check(peer, fields)?;
        let mut actor = asker.as_local();
        actor.user = self.check_user(asker).await?;
        if self.tokens.is_some() {
            // Who may do more has a token.
            actor.rights = registering();
        }
        Ok(actor)
    }

    /// Who a token says it is; none if there is none to look at.
    async fn by_token(&self, asker: &Asker, fields: &HeaderMap) -> Option<Result<Actor, Wrong>> {
        let tokens = self.tokens.as_ref()?;
        let token = match credentials(fields) {
            Credentials::None => return None,
            Credentials::Token(token) => Some(token),
            Credentials::Other => None,
        };
        let from = asker.from();
        if let Some(actor) = token.and_then(|token| tokens.actor(token, &from)) {
            return Some(Ok(asker.named(actor)));
        }
        // Guessing is hopeless, and slow; whoever waits holds no thread.
        let Ok(_permit) = self.waiting.try_acquire() else {
            return Some(Err(Wrong::TooMany));
        };
        log::warn!("a wrong token, from {from} [{}]", asker.id);
        tokio::time::sleep(DELAY).await;
        Some(Err(Wrong::Token))
    }

    /// Refuses a request for a name that a web page may have chosen: a name that is made to resolve
    /// to loopback takes a browser's same-origin rule out (DNS rebinding).
    fn check_host(&self, local: Option<SocketAddr>, fields: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = fields.get_all(HOST).iter();
        let host = match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
            (Some(Ok(host)), None) => RequestHost::parse(host).ok(),
            _ => None,
        };
        let is_own = host.is_some_and(|host| self.is_own(host.as_str(), local));
        if is_own {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "FORBIDDEN_HOST",
            "The request is for a host that is not this one's; use localhost or an address, or put \
             the name into `control.hosts` of the proxy's configuration.",
        ))
    }

    fn is_own(&self, host: &str, local: Option<SocketAddr>) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let Ok(address) = bare.parse::<IpAddr>() else {
            return host == "localhost" || self.hosts.iter().any(|own| own == host);
        };
        let address = address.to_canonical();
        address.is_loopback()
            || local.is_some_and(|local| local.ip().to_canonical() == address)
            || self.hosts.iter().any(|own| *own == address.to_string())
    }
}

/// Returns the rights of a caller without a token, where there are tokens.
fn registering() -> Rights {
    Rights::scoped([Scope {
        actions: vec![Action::Register],
        hosts: None,
        prefixes: None,
        ports: None,
    }])
}

impl Wrong {
    fn reason(&self) -> &'static str {
        match self {
            Self::Token => "the token is not a valid one; send Authorization: Bearer TOKEN",
            Self::TooMany => "too many wrong tokens at a time; try again in a second",
        }
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Token => Problem::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHENTICATED",
                "The token is not a valid one; send Authorization: Bearer TOKEN.",
            )
            .challenging(WRONG_TOKEN),
            Self::TooMany => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOO_MANY_WRONG_TOKENS",
                "Too many wrong tokens at a time; try again in a second.",
            ),
        }
    }
}

/// Puts the [`Actor`] into the request's extensions, or answers it. Health probes need none.
pub(super) async fn identify(
    State(callers): State<Arc<Callers>>,
    Extension(asker): Extension<Asker>,
    mut request: Request,
    next: Next,
) -> Response {
    if is_control_probe(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    let identified = callers.on_control(&asker, request.method(), request.headers());
    match identified.await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            let response = next.run(request).await;
            log_limit(&asker, &response);
            response
        }
        Err(problem) => {
            log::debug!(
                "a control request from {} is refused: {} [{}]",
                asker.from(),
                problem.code,
                asker.id
            );
            problem.into_response()
        }
    }
}

/// Says in the log that a request has met a limit: whoever has set that is not always who reads the response.
fn log_limit(asker: &Asker, response: &Response) {
    let is_limit = matches!(
        response.status(),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
    );
    if let (true, Some(Reason(reason))) = (is_limit, response.extensions().get()) {
        let (from, id) = (asker.from(), &asker.id);
        log::info!("a control request from {from} is refused: {reason} [{id}]");
    }
}

fn credentials(fields: &HeaderMap) -> Credentials<'_> {
    let mut values = fields.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if fields.contains_key(AUTHORIZATION) {
            Credentials::Other
        } else {
            Credentials::None
        };
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    token.map_or(Credentials::Other, Credentials::Token)
}

fn missing() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "UNAUTHENTICATED",
        "A token is needed here; send Authorization: Bearer TOKEN.",
    )
    .challenging(BEARER)
}

fn forbidden(reason: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_follows_bearer() {
        let cases = [
            (&[][..], Credentials::None),
            (&["Bearer abc"], Credentials::Token("abc")),
            (&["bearer  abc "], Credentials::Token("abc")),
            (&["Bearer "], Credentials::Token("")),
            (&["Bearer"], Credentials::Other),
            (&["Basic abc"], Credentials::Other),
            (&["Bearer a", "Bearer a"], Credentials::Other),
        ];
        for (values, expected) in cases {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(credentials(&fields), expected, "{values:?}");
        }
    }

    #[test]
    fn a_host_is_own_by_loopback_address_or_configuration() {
        let hosts = vec!["proxy.internal".to_owned(), "10.0.0.9".to_owned()];
        let callers = Callers::new(None, hosts, false, None);
        let local = Some("192.0.2.1:3001".parse().unwrap());
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:3001", true),
            ("localhost.", true),
            ("127.0.0.1:3001", true),
            ("127.9.9.9", true),
            ("[::1]:3001", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("proxy.internal:3001", true),
            ("Proxy.Internal", true),
            ("a.proxy.internal", false),
            ("10.0.0.9", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("a.localhost", false),
            ("", false),
            ("a b", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(
                callers.check_host(local, &fields).is_ok(),
                expected,
                "{host}"
            );
        }
        assert!(callers.check_host(local, &HeaderMap::new()).is_err());
    }
}

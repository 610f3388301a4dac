use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidings::{Access, Denied, Node, Scope, Sight, Topic};
use tokio::time::timeout;

use super::error::Error;
use super::served::Served;
use super::server::Asking;
use super::source::Source;
use crate::identities::Claim;

/// Who asks, as far as that decides what is answered. What it may do, the library decides.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) access: Access,
    /// The scope that it is in.
    own: Scope,
    node: Node,
}

/// Somebody who may see all that the node knows, of all scopes and of none.
pub(super) struct Overseer;

impl FromRequestParts<Served> for Overseer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Error> {
        let caller = Caller::from_request_parts(parts, served).await?;
        caller.sees(None).map(|()| Self)
    }
}

/// What a request says of who asks.
enum Said {
    Password { user: String, password: String },
    Token(String),
    Unknown,
}

impl Caller {
    /// The scope in which it does something when it names this one, or none.
    pub(super) fn scope(&self, named: Option<Scope>) -> Result<Scope, Error> {
        let scope = named.unwrap_or_else(|| self.own.clone());
        let lets_enter = self.node.lets_enter(&self.access, &self.own, &scope);
        lets_enter.map(|()| scope).map_err(forbidden)
    }

    /// The scope that it sees when it names this one, or none.
    pub(super) fn seen(&self, named: Option<Scope>) -> Result<Scope, Error> {
        let scope = named.unwrap_or_else(|| self.own.clone());
        self.sees(Some(&scope)).map(|()| scope)
    }

    /// The same for what can be seen of all scopes: none for all of them.
    pub(super) fn seen_or_all(&self, named: Option<Scope>) -> Result<Option<Scope>, Error> {
        if named.is_none() && self.access.sight() == Sight::Everything {
            return self.sees(None).map(|()| None);
        }
        self.seen(named).map(Some)
    }

    /// Whether it may see what is in this scope; without one, what is in all and of none.
    pub(super) fn sees(&self, scope: Option<&Scope>) -> Result<(), Error> {
        let shows = self.node.shows(&self.access, &self.own, scope);
        shows.map_err(forbidden)
    }

    /// Whether it may describe this topic.
    pub(super) fn describes(&self, topic: &Topic) -> Result<(), Error> {
        let lets_describe = self.node.lets_describe(&self.access, topic);
        lets_describe.map_err(forbidden)
    }
}

impl FromRequestParts<Served> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Error> {
        let said = parts.headers.get(AUTHORIZATION).map(Said::of);
        let claim = said.as_ref().map_or(Claim::Nothing, Said::claim);
        let asking = parts.extensions.get::<Asking>();
        let source = parts.extensions.get::<Source>();
        let (Some(asking), Some(Source(addr))) = (asking, source) else {
            return Err(unauthorized());
        };
        // Who is made to wait holds up nobody: its connection may be closed for that of another.
        let admitting = served.identities.admit(claim, addr.ip());
        let admitted = asking.idle(timeout(ADMIT_MAX, admitting)).await;
        let admitted = admitted.map_err(|_| unauthorized())?;
        let admitted = admitted.map_err(|_| unauthorized())?;
        let own = match admitted.is_anybody {
            true => Scope::default(),
            false => admitted.scope.unwrap_or_else(|| served.scope.clone()),
        };
        Ok(Self {
            access: admitted.access,
            own,
            node: served.node.clone(),
        })
    }
}

impl Said {
    fn of(header: &HeaderValue) -> Self {
        let text = header.to_str().unwrap_or_default();
        let (scheme, said) = text.split_once(' ').unwrap_or_default();
        let said = said.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Self::Token(said.to_owned());
        }
        let decoded = STANDARD.decode(said).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) if scheme.eq_ignore_ascii_case("basic") => Self::Password {
                user: user.to_owned(),
                password: password.to_owned(),
            },
            _ => Self::Unknown,
        }
    }

    fn claim(&self) -> Claim<'_> {
        match self {
            Self::Password { user, password } => Claim::Password { user, password },
            Self::Token(token) => Claim::Token(token),
            Self::Unknown => Claim::Unknown,
        }
    }
}

fn unauthorized() -> Error {
    let problem = "nobody is known by what was shown: a name with a password, or a token";
    Error::new(StatusCode::UNAUTHORIZED, problem)
}

fn forbidden(denied: Denied) -> Error {
    Error::new(StatusCode::FORBIDDEN, denied.to_string())
}

/// How long it may take to find out who asks.
const ADMIT_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_said_with_a_password_or_a_token() {
        let claim = |text: &'static str| {
            let said = Said::of(&HeaderValue::from_static(text));
            format!("{:?}", said.claim())
        };
        let password = r#"Password { user: "Aladdin", password: "open:sesame" }"#;
        assert_eq!(claim("Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ=="), password);
        assert_eq!(claim("basic QWxhZGRpbjpvcGVuOnNlc2FtZQ=="), password);
        assert_eq!(claim("Bearer t0ken"), r#"Token("t0ken")"#);
        for unknown in [
            "",
            "Basic",
            "Basic ?",
            "Basic QWxhZGRpbg==",
            "Digest QTpi",
            "t0ken",
        ] {
            assert_eq!(claim(unknown), "Unknown", "{unknown}");
        }
    }
}

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidings::{Denied, Scope};
use tokio::time::timeout;

use super::error::Error;
use super::served::Served;
use super::server::Asking;
use super::source::Source;
use crate::caller::Caller;
use crate::identities::Claim;

/// Somebody who may see all that the node knows, of all scopes and of none.
pub(super) struct Overseer;

impl FromRequestParts<Served> for Overseer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Error> {
        let caller = Caller::from_request_parts(parts, served).await?;
        caller.sees(None)?;
        Ok(Self)
    }
}

/// What a request says of who asks.
enum Said {
    Password { user: String, password: String },
    Token(String),
    Unknown,
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
        let is_anybody = admitted.is_anybody;
        Ok(Self::new(&served.node, admitted.access, own, is_anybody))
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

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, denied.to_string())
    }
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

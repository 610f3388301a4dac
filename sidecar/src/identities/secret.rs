use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params};
use data_encoding::HEXLOWER_PERMISSIVE;
use ring::digest::{SHA256, digest};

/// The hash of a password. Checking one is slow on purpose.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum PasswordSecret {
    /// In the form of PHC.
    Argon2(Box<str>),
    Bcrypt(Box<str>),
}

/// The hash of a token. A token is long and random, so its hash need not be slow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenSecret([u8; 32]);

/// Why a text is no hash that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It may be the password itself.
    #[error(
        "it is no hash that is known here; never write a password itself there, but what `tidings passwd` prints \
         for it"
    )]
    NotAHash,
    /// It may be the token itself.
    #[error(
        "it is no hash of a token; never write a token itself there, but what `tidings passwd --token` prints"
    )]
    NotATokenHash,
    /// The hash is broken.
    #[error("the hash is not whole")]
    Malformed,
    /// Checking it would take too much.
    #[error("checking it would take more than a node spends on a password: at most {0}")]
    TooExpensive(&'static str),
    /// The password is too long, or the machine has no random numbers.
    #[error("it cannot be hashed")]
    Hashing,
}

impl PasswordSecret {
    pub(super) fn parse(text: &str) -> Result<Self, SecretError> {
        if text.starts_with("$argon2") {
            return Self::parse_argon2(text);
        }
        let mut parts = text.split('$').skip(1);
        match (parts.next(), parts.next(), parts.next()) {
            (Some("2a" | "2b" | "2y"), Some(cost), Some(rest)) => {
                let cost: u32 = cost.parse().map_err(|_| SecretError::Malformed)?;
                if cost > BCRYPT_COST_MAX {
                    return Err(SecretError::TooExpensive("a cost of 15"));
                }
                if rest.len() != BCRYPT_REST_BYTES || bcrypt_is_malformed(text) {
                    return Err(SecretError::Malformed);
                }
                Ok(Self::Bcrypt(text.into()))
            }
            _ => Err(SecretError::NotAHash),
        }
    }

    fn parse_argon2(text: &str) -> Result<Self, SecretError> {
        let hash = PasswordHash::new(text).map_err(|_| SecretError::Malformed)?;
        let params = Params::try_from(&hash).map_err(|_| SecretError::Malformed)?;
        let is_id = Algorithm::try_from(hash.algorithm.as_str()) == Ok(Algorithm::Argon2id);
        if !is_id || hash.salt.is_none() || hash.hash.is_none() {
            return Err(SecretError::Malformed);
        }
        let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
        if params.m_cost() > ARGON2_KIB_MAX || work > ARGON2_WORK_MAX {
            return Err(SecretError::TooExpensive("64 MiB, four times over"));
        }
        Ok(Self::Argon2(text.into()))
    }

    /// Whether it is that of this password. Takes milliseconds of processor time, and memory.
    pub(super) fn verify(&self, password: &str) -> bool {
        match self {
            Self::Argon2(hash) => PasswordHash::new(hash).is_ok_and(|hash| {
                let password = password.as_bytes();
                Argon2::default().verify_password(password, &hash).is_ok()
            }),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

fn bcrypt_is_malformed(text: &str) -> bool {
    text.parse::<bcrypt::HashParts>().is_err()
}

impl TokenSecret {
    pub(super) fn parse(text: &str) -> Result<Self, SecretError> {
        let hex = text.strip_prefix(TOKEN).ok_or(SecretError::NotATokenHash)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self(bytes.ok_or(SecretError::Malformed)?))
    }

    pub(super) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// The hash of a password, as it stands in the settings.
///
/// # Errors
/// When the machine has no random numbers.
pub fn hash_password(password: &str) -> Result<String, SecretError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    Ok(hash.map_err(|_| SecretError::Hashing)?.to_string())
}

/// The hash of a token, as it stands in the settings.
pub fn hash_token(token: &str) -> String {
    let TokenSecret(bytes) = TokenSecret::of(token);
    format!("{TOKEN}{}", HEXLOWER_PERMISSIVE.encode(&bytes))
}

impl fmt::Debug for PasswordSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordSecret")
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret")
    }
}

const TOKEN: &str = "sha256:";
/// Some seconds; each one more doubles it.
const BCRYPT_COST_MAX: u32 = 15;
/// Salt and hash.
const BCRYPT_REST_BYTES: usize = 53;
const ARGON2_KIB_MAX: u32 = 64 << 10;
const ARGON2_WORK_MAX: u64 = 4 * ARGON2_KIB_MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_of_either_kind() {
        let argon2 = hash_password("s3cret").unwrap();
        assert!(argon2.starts_with("$argon2id$v=19$"), "{argon2}");
        assert_ne!(argon2, hash_password("s3cret").unwrap(), "salted");
        let of_nats = "$2a$11$1oJy/wZYNTxr9jNwMNwS3eUGhBpHT3On8CL9o7ey89mpgo88VG6ba";
        let short = bcrypt::hash("s3cret", 4).unwrap();
        for (hash, password) in [(&*argon2, "s3cret"), (&*short, "s3cret")] {
            let secret = PasswordSecret::parse(hash).unwrap();
            assert!(secret.verify(password));
            assert!(!secret.verify("S3cret") && !secret.verify(""));
        }
        assert!(PasswordSecret::parse(of_nats).is_ok());
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let parse = |text: &str| PasswordSecret::parse(text).unwrap_err();
        for plain in ["", "s3cret", "$", "$1$abc$def", "$2x$10$abc"] {
            assert_eq!(parse(plain), SecretError::NotAHash, "{plain}");
        }
        let salt = "c2FsdHNhbHRzYWx0";
        for broken in [
            "$2a$10$short",
            "$2a$aa$1oJy/wZYNTxr9jNwMNwS3eUGhBpHT3On8CL9o7ey89mpgo88VG6ba",
            "$argon2id$v=19$m=19456,t=2,p=1",
            &format!("$argon2id$v=19$m=19456,t=2,p=1${salt}"),
            &format!("$argon2i$v=19$m=19456,t=2,p=1${salt}$aGFzaGhhc2hoYXNo"),
        ] {
            assert_eq!(parse(broken), SecretError::Malformed, "{broken}");
        }
        for expensive in [
            "$2a$16$1oJy/wZYNTxr9jNwMNwS3eUGhBpHT3On8CL9o7ey89mpgo88VG6ba",
            &format!("$argon2id$v=19$m=1048576,t=1,p=1${salt}$aGFzaGhhc2hoYXNo"),
            &format!("$argon2id$v=19$m=65536,t=5,p=1${salt}$aGFzaGhhc2hoYXNo"),
        ] {
            let error = parse(expensive);
            assert!(matches!(error, SecretError::TooExpensive(_)), "{error}");
        }
    }

    #[test]
    fn a_token_is_known_by_its_hash() {
        let secret = TokenSecret::parse(&hash_token("t0ken")).unwrap();
        assert!(secret == TokenSecret::of("t0ken") && secret != TokenSecret::of("token"));
        let refused = |text| TokenSecret::parse(text).unwrap_err();
        assert_eq!(refused("t0ken"), SecretError::NotATokenHash);
        assert_eq!(refused("sha256:00"), SecretError::Malformed);
    }
}

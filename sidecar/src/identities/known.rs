use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::hmac;
use tidings::{Access, Permissions, Scope};

use super::claim::Claim;
use super::config::{IdentitiesConfig, IdentityConfig};
use super::error::{IdentitiesError, Problem};
use super::nkey::UserKey;
use super::secret::{PasswordSecret, TokenSecret};

/// All who may connect, as the settings say it.
#[derive(Debug)]
pub(super) struct Known {
    /// What everybody may do while there are no identities.
    pub(super) everybody: Option<Access>,
    by_name: HashMap<Box<str>, Arc<Identity>>,
    by_token: HashMap<TokenSecret, Arc<Identity>>,
    by_key: HashMap<UserKey, Arc<Identity>>,
    anonymous: Option<Arc<Identity>>,
    /// What is checked in place of the password of somebody who is not known, so that it takes as long.
    decoy: Option<PasswordSecret>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: Box<str>,
    pub(super) scope: Option<Scope>,
    pub(super) access: Access,
    permissions: Permissions,
    proof: Proof,
    /// By what the password is known again that was checked last, made with a key of this process: nothing
    /// from which it could be read.
    proven: Arc<Mutex<Option<hmac::Tag>>>,
}

/// By what it shows that it is it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Password(PasswordSecret),
    Token(TokenSecret),
    Nkey(UserKey),
    Nothing,
}

/// What is to be made of a claim.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It is true.
    Shown(Arc<Identity>),
    /// It is not.
    Wrong,
    /// It takes work to tell: it is true if this is the hash of the password, and there is somebody.
    Check(PasswordSecret, Option<Arc<Identity>>),
}

impl Known {
    /// Nobody in particular.
    pub(super) fn everybody() -> Self {
        Self {
            everybody: Some(Access::everything("everybody")),
            by_name: HashMap::new(),
            by_token: HashMap::new(),
            by_key: HashMap::new(),
            anonymous: None,
            decoy: None,
        }
    }

    /// Those whom the settings name.
    pub(super) fn new(config: &IdentitiesConfig) -> Result<Self, IdentitiesError> {
        let mut known = Self::everybody();
        if !config.identities.is_empty() {
            known.everybody = None;
        }
        for one in &config.identities {
            let at = |problem| IdentitiesError {
                name: one.name.clone(),
                problem,
            };
            let role = config.roles.get(&one.role);
            let role = role.ok_or_else(|| at(Problem::NoRole(one.role.clone())))?;
            let permissions = role.permissions();
            let identity = Arc::new(Identity {
                name: name(one).map_err(at)?,
                scope: role.scope.clone(),
                access: Access::new(&one.name, permissions.clone()),
                permissions,
                proof: proof(one).map_err(at)?,
                proven: Arc::default(),
            });
            known.add(identity).map_err(at)?;
        }
        Ok(known)
    }

    fn add(&mut self, identity: Arc<Identity>) -> Result<(), Problem> {
        let own = Arc::clone(&identity);
        let other = match &identity.proof {
            Proof::Password(secret) => {
                self.decoy.get_or_insert_with(|| secret.clone());
                None
            }
            Proof::Token(secret) => self.by_token.insert(*secret, own),
            Proof::Nkey(key) => self.by_key.insert(*key, own),
            Proof::Nothing => self.anonymous.replace(own),
        };
        if other.is_some() {
            return Err(Problem::Shared);
        }
        match self.by_name.insert(identity.name.clone(), identity) {
            Some(_) => Err(Problem::Twice),
            None => Ok(()),
        }
    }

    /// Takes over those of `before` who show who they are in the same way and are in the same scope, so that
    /// what they have open stays theirs.
    pub(super) fn succeed(&mut self, before: &Self) {
        let kept = |identity: &mut Arc<Identity>| {
            if let Some(old) = before.by_name.get(&identity.name)
                && old.proof == identity.proof
                && old.scope == identity.scope
            {
                *identity = Arc::new(Identity {
                    name: identity.name.clone(),
                    scope: identity.scope.clone(),
                    access: old.access.clone(),
                    permissions: identity.permissions.clone(),
                    proof: identity.proof.clone(),
                    proven: Arc::clone(&old.proven),
                });
            }
        };
        self.by_name.values_mut().for_each(kept);
        self.by_token.values_mut().for_each(kept);
        self.by_key.values_mut().for_each(kept);
        self.anonymous.iter_mut().for_each(kept);
    }

    /// Ends the access of those of `before` who are not among these, and gives the others what they may do now.
    pub(super) fn apply(&self, before: &Self) {
        if let Some(everybody) = &before.everybody {
            everybody.withdraw();
        }
        for (name, old) in &before.by_name {
            match self.by_name.get(name) {
                Some(new) if new.access.is_same(&old.access) => {
                    if new.permissions != old.permissions {
                        new.access.change(new.permissions.clone());
                    }
                }
                _ => old.access.withdraw(),
            }
        }
    }

    /// Who this claims to be, if there is such a one.
    pub(super) fn claimed(&self, claim: &Claim<'_>) -> Option<&Arc<Identity>> {
        match *claim {
            Claim::Nkey { key, .. } => self.by_key.get(&UserKey::parse(key).ok()?),
            Claim::Password { user, .. } => self.by_name.get(user),
            Claim::Token(token) => self.by_token.get(&TokenSecret::of(token)),
            Claim::Nothing => self.anonymous.as_ref(),
            Claim::Unknown => None,
        }
    }

    /// Judges a claim as far as that takes no time.
    pub(super) fn judge(&self, claim: &Claim<'_>, key: &hmac::Key) -> Judgement {
        let claimed = self.claimed(claim);
        match (*claim, claimed) {
            (Claim::Token(_) | Claim::Nothing, Some(identity)) => {
                Judgement::Shown(Arc::clone(identity))
            }
            (
                Claim::Nkey {
                    signature, nonce, ..
                },
                Some(identity),
            ) => match &identity.proof {
                Proof::Nkey(own) if own.has_signed(nonce, signature) => {
                    Judgement::Shown(Arc::clone(identity))
                }
                _ => Judgement::Wrong,
            },
            (Claim::Password { password, .. }, claimed) => {
                let with_password = claimed.and_then(|identity| match &identity.proof {
                    Proof::Password(secret) => Some((identity, secret)),
                    _ => None,
                });
                match (with_password, &self.decoy) {
                    (Some((identity, _)), _) if identity.is_proven(password, key) => {
                        Judgement::Shown(Arc::clone(identity))
                    }
                    (Some((identity, secret)), _) => {
                        Judgement::Check(secret.clone(), Some(Arc::clone(identity)))
                    }
                    (None, Some(decoy)) => Judgement::Check(decoy.clone(), None),
                    (None, None) => Judgement::Wrong,
                }
            }
            _ => Judgement::Wrong,
        }
    }

    /// Whether somebody shows who it is by a key, which takes something to sign.
    pub(super) fn has_keys(&self) -> bool {
        !self.by_key.is_empty()
    }

    /// Whether anybody shows who it is in this way.
    pub(super) fn asks_for(&self, claim: &Claim<'_>) -> bool {
        match claim {
            Claim::Nkey { .. } => self.has_keys(),
            Claim::Password { .. } => self.decoy.is_some(),
            Claim::Token(_) => !self.by_token.is_empty(),
            Claim::Nothing | Claim::Unknown => false,
        }
    }

    /// Whether who says nothing of who it is does not get in.
    pub(super) fn is_closed(&self) -> bool {
        self.everybody.is_none() && self.anonymous.is_none()
    }
}

impl Identity {
    fn is_proven(&self, password: &str, key: &hmac::Key) -> bool {
        // Nothing panics while the lock is held.
        let proven = *self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        proven.is_some_and(|tag| hmac::verify(key, password.as_bytes(), tag.as_ref()).is_ok())
    }

    /// This is its password.
    pub(super) fn prove(&self, password: &str, key: &hmac::Key) {
        let tag = hmac::sign(key, password.as_bytes());
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = Some(tag);
    }
}

fn name(config: &IdentityConfig) -> Result<Box<str>, Problem> {
    let name = &*config.name;
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
    is_good.then(|| name.into()).ok_or(Problem::Name)
}

fn proof(config: &IdentityConfig) -> Result<Proof, Problem> {
    let IdentityConfig {
        password,
        token,
        nkey,
        anonymous,
        ..
    } = config;
    match (password, token, nkey, anonymous) {
        (Some(hash), None, None, false) => {
            let secret = PasswordSecret::parse(hash).map_err(Problem::Password);
            Ok(Proof::Password(secret?))
        }
        (None, Some(hash), None, false) => {
            let secret = TokenSecret::parse(hash).map_err(Problem::Token);
            Ok(Proof::Token(secret?))
        }
        (None, None, Some(key), false) => {
            Ok(Proof::Nkey(UserKey::parse(key).map_err(Problem::Nkey)?))
        }
        (None, None, None, true) => Ok(Proof::Nothing),
        _ => Err(Problem::Proofs),
    }
}

const NAME_BYTES_MAX: usize = 128;

//! Who may use the doors of a node: passwords, tokens and keys, and what those who show one may do.
//!
//! What an identity may do is an [`Access`] of the library, with which the doors open its sessions; what is
//! allowed is decided there. Here it is decided who somebody is. Passwords are checked by threads of their own, few at a
//! time, because that is slow on purpose; whoever fails waits longer each time.

mod claim;
mod config;
mod error;
mod known;
mod nkey;
mod secret;
mod slowdown;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use arc_swap::ArcSwap;
use ring::hmac;
use tidings::{Access, Scope};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::info;

pub(crate) use claim::Claim;
pub use config::{IdentitiesConfig, IdentityConfig, RoleConfig};
pub use error::{IdentitiesError, Problem};
use known::{Identity, Judgement, Known};
pub use nkey::UserKeyError;
pub use secret::{SecretError, hash_password, hash_token};
use slowdown::{Culprit, Slowdown};

/// Those who may use the doors of a node. Clones are the same.
///
/// Without identities, which is the default, everybody may do everything.
#[derive(Debug, Clone)]
pub struct Identities {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    known: ArcSwap<Known>,
    /// Held while others take the place of those who are known.
    replacing: Mutex<()>,
    slowdown: Mutex<Slowdown>,
    /// For checking passwords.
    places: Arc<Semaphore>,
    /// With which a password is known again.
    key: hmac::Key,
    failures: AtomicU64,
}

/// Who was let in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The scope that it is in, if that is not the one of all.
    pub(crate) scope: Option<Scope>,
    /// What it may do.
    pub(crate) access: Access,
    /// Whether it may be in any scope.
    pub(crate) is_anybody: bool,
}

/// Somebody has not shown who it is. Why, it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody is known by what was shown")]
pub(crate) struct NotAdmitted;

impl Identities {
    /// Those whom the settings name.
    ///
    /// # Errors
    /// See [`IdentitiesError`].
    pub fn new(config: &IdentitiesConfig) -> Result<Self, IdentitiesError> {
        Ok(Self::of(Known::new(config)?))
    }

    fn of(known: Known) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
        let cores = available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            known: ArcSwap::from_pointee(known),
            replacing: Mutex::default(),
            slowdown: Mutex::default(),
            places: Arc::new(Semaphore::new((cores / 2).clamp(1, CHECKED_MAX))),
            key,
            failures: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Puts these in the place of those before. Who shows who it is in the same way, and is in the same scope, keeps
    /// what it has open, with the permissions that it has now. All others are cut off, and so is everybody when the
    /// first identities come, or the last ones go. It takes time for each subscription.
    ///
    /// # Errors
    /// See [`IdentitiesError`]; nothing has changed then.
    pub fn replace(&self, config: &IdentitiesConfig) -> Result<(), IdentitiesError> {
        let shared = &*self.shared;
        // The lock guards no data of its own, so a poisoned one is as good.
        let _replacing = shared
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut known = Known::new(config)?;
        let before = shared.known.load_full();
        if known.everybody.is_some() && before.everybody.is_some() {
            return Ok(());
        }
        known.succeed(&before);
        let known = Arc::new(known);
        shared.known.store(Arc::clone(&known));
        known.apply(&before);
        Ok(())
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.shared.known.load().everybody.is_some()
    }

    /// How often somebody has not shown who it is.
    pub fn failures(&self) -> u64 {
        self.shared.failures.load(Relaxed)
    }

    /// Whether a client has to say who it is.
    pub(crate) fn asks(&self) -> bool {
        self.shared.known.load().is_closed()
    }

    /// Something to sign, if anybody shows who it is by signing.
    pub(crate) fn nonce(&self) -> Option<String> {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let has_keys = self.shared.known.load().has_keys();
        has_keys.then(|| URL_SAFE_NO_PAD.encode(rand::random::<[u8; 11]>()))
    }

    /// Of all that somebody shows, the first by which anybody here shows who it is: clients that know several
    /// servers show each what is meant for another one, too.
    pub(crate) fn choose<'a>(&self, claims: impl Iterator<Item = Claim<'a>>) -> Claim<'a> {
        let known = self.shared.known.load();
        let mut first = None;
        for claim in claims {
            if known.asks_for(&claim) {
                return claim;
            }
            first.get_or_insert(claim);
        }
        first.unwrap_or(Claim::Nothing)
    }

    /// Finds out who somebody is that comes from this address. Takes as long whoever it says that it is, and
    /// longer after each failure; how long at most, the caller decides.
    pub(crate) async fn admit(
        &self,
        claim: Claim<'_>,
        from: IpAddr,
    ) -> Result<Admitted, NotAdmitted> {
        let known = self.shared.known.load_full();
        if let Some(everybody) = &known.everybody {
            return Ok(Admitted {
                scope: None,
                access: everybody.clone(),
                is_anybody: true,
            });
        }
        let claimed = known.claimed(&claim).map(|identity| &*identity.name);
        let culprit = Culprit::new(from, claimed);
        match self.identity(&known, claim, &culprit).await {
            Some(identity) => Ok(Admitted {
                scope: identity.scope.clone(),
                access: identity.access.clone(),
                is_anybody: false,
            }),
            None => {
                self.shared.failures.fetch_add(1, Relaxed);
                self.slowdown().failed(&culprit, Instant::now());
                info!(%from, identity = claimed, "somebody did not show who it is");
                Err(NotAdmitted)
            }
        }
    }

    async fn identity(
        &self,
        known: &Known,
        claim: Claim<'_>,
        culprit: &Culprit,
    ) -> Option<Arc<Identity>> {
        let key = &self.shared.key;
        let Claim::Password { password, .. } = claim else {
            while let Err(at) = self.turn(culprit) {
                sleep_until(at).await;
            }
            return match known.judge(&claim, key) {
                Judgement::Shown(identity) => Some(identity),
                _ => None,
            };
        };
        let place = loop {
            let place = Arc::clone(&self.shared.places).acquire_owned();
            let place = place.await.ok()?;
            // With a place, because those who were checked before may have failed.
            match self.turn(culprit) {
                Ok(()) => break place,
                Err(at) => {
                    drop(place);
                    sleep_until(at).await;
                }
            }
        };
        let (secret, identity) = match known.judge(&claim, key) {
            Judgement::Shown(identity) => return Some(identity),
            Judgement::Wrong => return None,
            Judgement::Check(secret, identity) => (secret, identity),
        };
        let given = password.to_owned();
        let checked = spawn_blocking(move || {
            // It keeps its place also when nobody waits for it any more.
            let _place = place;
            secret.verify(&given)
        });
        let is_right = checked.await.unwrap_or(false);
        let identity = identity.filter(|_| is_right)?;
        identity.prove(password, key);
        Some(identity)
    }

    fn turn(&self, culprit: &Culprit) -> Result<(), Instant> {
        self.slowdown().turn(culprit, Instant::now())
    }

    fn slowdown(&self) -> MutexGuard<'_, Slowdown> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        let slowdown = self.shared.slowdown.lock();
        slowdown.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everybody may do everything.
impl Default for Identities {
    fn default() -> Self {
        Self::of(Known::everybody())
    }
}

/// The same ones, or everybody.
impl PartialEq for Identities {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) || (self.is_open() && other.is_open())
    }
}

/// How many passwords are checked at a time: half of the cores, and no more than this.
const CHECKED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Weak, so that it is quick.
    fn hash(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    fn settings(text: &str) -> IdentitiesConfig {
        toml::from_str(&format!("{text}\n[roles.all]")).unwrap()
    }

    fn identity(name: &str, proof: &str) -> String {
        format!("[[identities]]\nname = '{name}'\nrole = 'all'\n{proof}\n")
    }

    fn password<'a>(user: &'a str, password: &'a str) -> Claim<'a> {
        Claim::Password { user, password }
    }

    #[tokio::test]
    async fn without_identities_everybody_is_let_in_and_may_be_withdrawn() {
        let identities = Identities::default();
        assert!(identities.is_open() && !identities.asks() && identities.nonce().is_none());
        let everybody = identities.admit(password("a", "b"), HERE).await.unwrap();
        assert!(everybody.is_anybody);
        identities.replace(&settings("")).unwrap();
        assert!(!everybody.access.is_withdrawn(), "nothing has changed");
        let own = identity("a", "anonymous = true");
        identities.replace(&settings(&own)).unwrap();
        assert!(everybody.access.is_withdrawn() && !identities.is_open());
        let own = identities.admit(Claim::Nothing, HERE).await.unwrap();
        identities.replace(&settings("")).unwrap();
        assert!(own.access.is_withdrawn() && identities.is_open());
    }

    #[tokio::test]
    async fn each_shows_who_it_is_in_its_own_way() {
        let pair = nkeys::KeyPair::new_user();
        let identities = Identities::new(&settings(
            &[
                identity("pass", &format!("password = '{}'", hash("s3cret"))),
                identity(
                    "argon",
                    &format!("password = '{}'", hash_password("s3cret").unwrap()),
                ),
                identity("tok", &format!("token = '{}'", hash_token("t0ken"))),
                identity("key", &format!("nkey = '{}'", pair.public_key())),
            ]
            .concat(),
        ))
        .unwrap();
        assert!(identities.asks());
        let nonce = identities.nonce().unwrap();
        assert_ne!(identities.nonce().unwrap(), nonce);
        let signature =
            data_encoding::BASE64URL_NOPAD.encode(&pair.sign(nonce.as_bytes()).unwrap());
        let public = pair.public_key();
        let key = |nonce| Claim::Nkey {
            key: &public,
            signature: &signature,
            nonce,
        };
        for (claim, is_right) in [
            (password("pass", "s3cret"), true),
            (password("pass", "s3cret"), true),
            (password("argon", "s3cret"), true),
            (Claim::Token("t0ken"), true),
            (key(&nonce), true),
            (password("pass", "S3cret"), false),
            (password("argon", ""), false),
            (password("tok", "t0ken"), false),
            (password("nobody", "s3cret"), false),
            (Claim::Token("s3cret"), false),
            (key("another"), false),
            (Claim::Nothing, false),
            (Claim::Unknown, false),
        ] {
            let from = IpAddr::V4(rand::random::<u32>().into());
            let admitted = identities.admit(claim, from).await;
            assert_eq!(admitted.is_ok(), is_right, "{claim:?}");
        }
        assert_eq!(identities.failures(), 8);
    }

    #[test]
    fn of_all_that_somebody_shows_that_counts_which_is_asked_for() {
        let key = Claim::Nkey {
            key: "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
            signature: "",
            nonce: "",
        };
        let token = Claim::Token("t0ken");
        let shown = [key, password("pass", "s3cret"), token, Claim::Unknown];
        let chosen = |of: &str, shown: &[Claim<'static>]| {
            Identities::new(&settings(of)).map(|own| own.choose(shown.iter().copied()))
        };
        let by_password = identity("pass", &format!("password = '{}'", hash("s3cret")));
        let by_token = identity("tok", &format!("token = '{}'", hash_token("t0ken")));
        let anonymous = identity("any", "anonymous = true");
        assert_eq!(chosen(&by_password, &shown), Ok(shown[1]));
        assert_eq!(chosen(&by_token, &shown), Ok(token));
        assert_eq!(chosen(&(by_token + &by_password), &shown), Ok(shown[1]));
        assert_eq!(chosen(&anonymous, &shown), Ok(key), "it is not nobody");
        assert_eq!(chosen(&anonymous, &[Claim::Unknown]), Ok(Claim::Unknown));
        assert_eq!(chosen(&anonymous, &[]), Ok(Claim::Nothing));
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_waits_longer_each_time_and_nobody_else_does() {
        let both = [
            identity("a", &format!("password = '{}'", hash("a"))),
            identity("b", &format!("password = '{}'", hash("b"))),
        ];
        let identities = Identities::new(&settings(&both.concat())).unwrap();
        let took = async |claim| {
            let started = Instant::now();
            let admitted = identities.admit(claim, HERE).await;
            (admitted.is_ok(), started.elapsed())
        };
        // It is known, and waits all the same: or else a guess would cost nothing.
        assert!(took(password("a", "a")).await.0);
        let mut times = Vec::new();
        for _ in 0..4 {
            times.push(took(password("a", "wrong")).await.1);
        }
        times.push(took(password("a", "a")).await.1);
        let least = [0, 100, 200, 400, 800].map(Duration::from_millis);
        for (time, least) in times.iter().zip(least) {
            assert!(*time >= least, "{times:?}");
        }
        let (is_in, time) = took(password("b", "b")).await;
        assert!(is_in && time < Duration::from_millis(100), "{time:?}");
    }

    #[tokio::test]
    async fn who_stays_the_same_keeps_its_access_when_identities_are_read_again() {
        let (first, second) = (hash("1"), hash("2"));
        let of = |name: &str, hash: &str| identity(name, &format!("password = '{hash}'"));
        let before = [
            of("kept", &first),
            of("changed", &first),
            of("gone", &first),
        ]
        .concat();
        let identities = Identities::new(&settings(&before)).unwrap();
        let admit = async |name, secret| identities.admit(password(name, secret), HERE).await;
        let [kept, changed, gone] = [
            admit("kept", "1").await.unwrap().access,
            admit("changed", "1").await.unwrap().access,
            admit("gone", "1").await.unwrap().access,
        ];
        let wrong = settings(&of("kept", "plain"));
        assert!(identities.replace(&wrong).is_err());
        assert!(!gone.is_withdrawn(), "what is wrong changes nothing");
        let after = [
            of("kept", &first),
            of("changed", &second),
            of("new", &second),
        ]
        .concat();
        identities.replace(&settings(&after)).unwrap();
        assert_eq!(
            [&kept, &changed, &gone].map(Access::is_withdrawn),
            [false, true, true]
        );
        assert!(admit("kept", "1").await.unwrap().access.is_same(&kept));
        assert!(admit("new", "2").await.is_ok() && admit("gone", "1").await.is_err());
        assert!(admit("changed", "1").await.is_err());
    }

    #[test]
    fn what_is_wrong_with_identities_is_said_by_name() {
        let good = hash("a");
        let error = |text: &str| {
            let error = Identities::new(&settings(text)).unwrap_err();
            error.to_string()
        };
        let plain = error(&identity("planner", "password = 's3cret'"));
        let start = "identities: \"planner\": password: it is no hash";
        assert!(
            plain.starts_with(start) && plain.contains("tidings passwd"),
            "{plain}"
        );
        assert!(!plain.contains("s3cret"), "{plain}");
        let token = error(&identity("a", "token = 't0ken'"));
        assert!(
            token.contains("tidings passwd --token") && !token.contains("t0ken"),
            "{token}"
        );
        let both = format!("password = '{good}'\nanonymous = true");
        for (text, expected) in [
            (
                identity("a", ""),
                "it has just one of password, token, nkey, or anonymous = true",
            ),
            (
                identity("a", &both),
                "it has just one of password, token, nkey, or anonymous = true",
            ),
            (
                identity("", "anonymous = true"),
                "a name has 1 to 128 bytes and no control characters",
            ),
            (
                identity("a", "anonymous = true").replace("'all'", "'none'"),
                "there is no [roles.none]",
            ),
            (
                identity("a", "nkey = 'U'"),
                "nkey: it is not the public key of a user: 56 letters and digits that begin with U",
            ),
        ] {
            let told = error(&text);
            assert!(told.ends_with(expected), "{told}");
        }
        let twice = identity("a", &format!("password = '{good}'")).repeat(2);
        assert!(error(&twice).ends_with("there are two of this name"));
        let shared = identity("a", "anonymous = true") + &identity("b", "anonymous = true");
        assert!(error(&shared).starts_with("identities: \"b\": another one"));
    }
}

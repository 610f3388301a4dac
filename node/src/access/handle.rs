use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};

use super::permissions::Permissions;
use super::rulebook::Rulebook;

/// What sessions may do that are held by the same, who is called an identity: one person, program or
/// tenant, with any number of sessions.
///
/// Clones are the same access. The default is everything, and cannot be changed or taken back.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidings::{Access, Config, Message, Node, Permissions, Rules, SessionOptions};
///
/// let node = Node::start(Config::default(), None).await?;
/// let reader = Access::new("reader", Permissions {
///     publish: Rules::only([]),
///     subscribe: Rules::only(["weather.>".parse()?]),
///     ..Permissions::default()
/// });
/// let options = SessionOptions { access: reader.clone(), ..SessionOptions::default() };
/// let (session, _inbox) = node.session(options)?;
/// assert!(session.subscribe(&"weather.*".parse()?).is_ok());
/// assert!(session.subscribe(&"payroll".parse()?).is_err());
/// assert!(session.broadcast(Message::new("weather.sf".parse()?, "sunny")).is_err());
///
/// reader.change(Permissions::default());
/// assert!(session.subscribe(&"payroll".parse()?).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Access(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    name: Box<str>,
    /// None: everything.
    rules: Option<ArcSwap<Rulebook>>,
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    withdrawn: bool,
    last: u64,
    /// Those whose session is being opened are not there yet.
    open: HashMap<u64, Option<Weak<dyn Holder>>>,
}

/// A session, as far as its access is concerned.
pub(crate) trait Holder: fmt::Debug + Send + Sync {
    /// Gives up what is not allowed any more.
    fn review(&self);
    /// Ends: nothing is allowed any more.
    fn withdraw(self: Arc<Self>);
}

/// The place of a session among those that share an access, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    number: u64,
}

/// Why there is no place for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeatError {
    /// Of these there may be so many.
    TooMany { max: usize },
    /// Nothing is allowed any more.
    Withdrawn,
}

impl Access {
    /// An identity of this name, which is for the log, with these permissions.
    pub fn new(name: &str, permissions: Permissions) -> Self {
        Self::of(name, Some(permissions))
    }

    /// An identity that may do everything for as long as its access is not [withdrawn](Self::withdraw), and
    /// whose permissions cannot be changed. Checking them costs nothing.
    pub fn everything(name: &str) -> Self {
        Self::of(name, None)
    }

    fn of(name: &str, permissions: Option<Permissions>) -> Self {
        let rules = permissions.map(|own| ArcSwap::from_pointee(Rulebook::new(own)));
        Self(Some(Arc::new(Shared {
            name: name.into(),
            rules,
            holders: Mutex::default(),
        })))
    }

    /// Gives all its sessions these permissions, at once.
    ///
    /// When it returns they have ended the subscriptions that are not allowed any more, and their agents can
    /// be [told](crate::Session::disallowed). It takes time for each subscription of each session. Of an access
    /// to [everything](Self::everything) nothing changes.
    pub fn change(&self, permissions: Permissions) {
        let Some(shared) = &self.0 else { return };
        let Some(rules) = &shared.rules else { return };
        rules.store(Arc::new(Rulebook::new(permissions)));
        for holder in shared.holders() {
            holder.review();
        }
    }

    /// Ends all its sessions ([`RecvError::Withdrawn`](crate::RecvError::Withdrawn)), and lets none be opened
    /// any more. That of the default access cannot be withdrawn.
    pub fn withdraw(&self) {
        let Some(shared) = &self.0 else { return };
        shared.lock().withdrawn = true;
        for holder in shared.holders() {
            holder.withdraw();
        }
    }

    /// Whether this is the same access, and not just another one like it.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether it was withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| shared.lock().withdrawn)
    }

    /// What is allowed now; everything if it has none.
    pub(super) fn rules(&self) -> Option<Guard<Arc<Rulebook>>> {
        Some(self.0.as_ref()?.rules.as_ref()?.load())
    }

    /// Whether anything may ever be denied by it, except that it is withdrawn.
    pub(super) fn is_restricted(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.rules.is_some())
    }

    pub(super) fn name(&self) -> &str {
        self.0.as_ref().map_or("", |shared| &shared.name)
    }

    /// Takes a place for one more session, which is to be [filled](Seat::fill).
    pub(crate) fn seat(&self) -> Result<Option<Seat>, SeatError> {
        let Some(shared) = &self.0 else {
            return Ok(None);
        };
        let max = self
            .rules()
            .and_then(|rules| rules.permissions.sessions_max);
        let mut holders = shared.lock();
        if holders.withdrawn {
            return Err(SeatError::Withdrawn);
        }
        if let Some(max) = max
            && holders.open.len() >= max.get()
        {
            return Err(SeatError::TooMany { max: max.get() });
        }
        holders.last += 1;
        let number = holders.last;
        holders.open.insert(number, None);
        Ok(Some(Seat {
            shared: Arc::clone(shared),
            number,
        }))
    }
}

impl Shared {
    fn holders(&self) -> Vec<Arc<dyn Holder>> {
        let holders = self.lock();
        let open = holders.open.values().flatten();
        open.filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// This session has it. False if the access was withdrawn meanwhile: then it has to end.
    pub(crate) fn fill(&self, holder: Weak<dyn Holder>) -> bool {
        let mut holders = self.shared.lock();
        holders.open.insert(self.number, Some(holder));
        !holders.withdrawn
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.number);
    }
}

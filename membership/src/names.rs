//! The names of agents in gossip.
//!
//! A member does not tell its agent's name but a number, since an agent joins many topics under one
//! name. What the numbers mean is in *pages* of 64 names, each a value of its own. A page is written
//! before the buckets that need it, and a number is given to another name only after the buckets that
//! had it were written anew. Since the state of a node is taken in as it was at some moment or not at all,
//! its readers have every name that they need, and never a wrong one.

use std::collections::{BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::AgentName;
use crate::agent_name::AgentNameError;
use crate::bucket::Bucket;

/// Names by their numbers, from 1.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Option<AgentName>>);

/// The numbers that a node gives to the names of its agents.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    names: Names,
    numbered: HashMap<AgentName, Numbered>,
    /// Numbers that were given and are needed no more.
    free: BTreeSet<u16>,
    /// The pages that are not as they were last told.
    changed: BTreeSet<usize>,
}

#[derive(Debug)]
struct Numbered {
    number: u16,
    /// How many members are told with it.
    uses: usize,
}

/// Why a text is not a page of names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("there is no page {0:x}")]
    Index(usize),
    #[error("it is not base64")]
    Base64(#[source] base64::DecodeError),
    #[error("its format is {0:?}")]
    Format(Option<u8>),
    #[error("it has {0} names")]
    TooMany(usize),
    #[error("a name in it cannot be read")]
    Text(#[source] postcard::Error),
    #[error("a name in it is none")]
    Name(#[source] AgentNameError),
}

impl Names {
    /// The name of this number.
    pub(crate) fn get(&self, number: u16) -> Option<&AgentName> {
        let at = usize::from(number).checked_sub(1)?;
        self.0.get(at)?.as_ref()
    }

    /// Takes in the text of a page.
    pub(crate) fn set_page(&mut self, page: usize, text: &str) -> Result<(), PageError> {
        if page >= PAGES_MAX {
            return Err(PageError::Index(page));
        }
        let bytes = BASE64.decode(text).map_err(PageError::Base64)?;
        let mut rest = match bytes.split_first() {
            Some((&FORMAT, rest)) => rest,
            first => return Err(PageError::Format(first.map(|(&format, _)| format))),
        };
        let mut names = Vec::with_capacity(PAGE_NAMES);
        while !rest.is_empty() {
            let (name, left) = postcard::take_from_bytes::<&str>(rest).map_err(PageError::Text)?;
            rest = left;
            let parsed = (!name.is_empty()).then(|| AgentName::parse(name));
            names.push(parsed.transpose().map_err(PageError::Name)?);
        }
        if names.len() > PAGE_NAMES {
            return Err(PageError::TooMany(names.len()));
        }
        names.resize(PAGE_NAMES, None);
        let begin = page * PAGE_NAMES;
        if self.0.len() < begin + PAGE_NAMES {
            self.0.resize(begin + PAGE_NAMES, None);
        }
        self.0.splice(begin..begin + PAGE_NAMES, names);
        Ok(())
    }

    /// The text of a page.
    fn page(&self, page: usize) -> String {
        let mut bytes = vec![FORMAT];
        for name in self.0.iter().skip(page * PAGE_NAMES).take(PAGE_NAMES) {
            let name = name.as_ref().map_or("", AgentName::as_str);
            bytes = postcard::to_extend(name, bytes).expect("a name is plain data");
        }
        BASE64.encode(bytes)
    }
}

impl Numbering {
    /// The number of a name that is to be told with one more member. 0, which stands for no name, when
    /// there is none left; room for names ends before that.
    pub(crate) fn take(&mut self, name: &AgentName) -> u16 {
        if let Some(numbered) = self.numbered.get_mut(name) {
            numbered.uses += 1;
            return numbered.number;
        }
        let number = match self.free.pop_first() {
            Some(number) => number,
            None if self.names.0.len() + 1 < NUMBERS => {
                self.names.0.push(None);
                self.names.0.len() as u16
            }
            None => return 0,
        };
        let at = usize::from(number) - 1;
        self.names.0[at] = Some(name.clone());
        self.changed.insert(at / PAGE_NAMES);
        let numbered = Numbered { number, uses: 1 };
        self.numbered.insert(name.clone(), numbered);
        number
    }

    /// The members of this bucket are not told as they were any more. Their numbers may mean something
    /// else from the next time on.
    pub(crate) fn release(&mut self, bucket: &Bucket) {
        let members = bucket.topics().iter().flat_map(|topic| &*topic.members);
        for name in members.filter_map(|member| member.agent.as_ref()) {
            let Some(numbered) = self.numbered.get_mut(name) else {
                continue;
            };
            numbered.uses = numbered.uses.saturating_sub(1);
            if numbered.uses == 0 {
                self.free.insert(numbered.number);
                self.numbered.remove(name);
            }
        }
    }

    /// The pages that are to be told before what was numbered since this was last asked.
    pub(crate) fn take_changed(&mut self) -> Vec<(usize, String)> {
        let changed = std::mem::take(&mut self.changed);
        let text = |page| (page, self.names.page(page));
        changed.into_iter().map(text).collect()
    }
}

const FORMAT: u8 = 1;
/// How many names are in a page.
const PAGE_NAMES: usize = 64;
/// There are so many numbers, 0 among them.
pub(crate) const NUMBERS: usize = 1 << 15;
pub(crate) const PAGES_MAX: usize = NUMBERS / PAGE_NAMES;
/// The longest text of a page, in bytes.
pub(crate) const PAGE_BYTES_MAX: usize =
    ((1 + PAGE_NAMES * (1 + crate::agent_name::AGENT_NAME_BYTES_MAX)) * 4).div_ceil(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::MemberEntry;
    use crate::{MemberId, Metadata, Scope};

    fn name(n: usize) -> AgentName {
        AgentName::parse(&format!("{n:064}")).unwrap()
    }

    fn bucket(names: impl IntoIterator<Item = usize>) -> Bucket {
        let mut bucket = Bucket::default();
        for n in names {
            let member = MemberId::from_bytes((n as u128).to_be_bytes());
            let agent = Some(name(n));
            let metadata = Metadata::default();
            let entry = MemberEntry {
                member,
                agent,
                metadata,
                queue: None,
            };
            bucket.join(&Scope::default(), &"a".parse().unwrap(), entry);
        }
        bucket
    }

    fn read(pages: Vec<(usize, String)>, names: &mut Names) {
        for (page, text) in pages {
            assert!(text.len() <= PAGE_BYTES_MAX);
            names.set_page(page, &text).unwrap();
        }
    }

    #[test]
    fn readers_know_each_number_by_the_pages_that_were_told() {
        let (mut own, mut theirs) = (Numbering::default(), Names::default());
        let numbers: Vec<u16> = (0..200).map(|n| own.take(&name(n))).collect();
        let pages = own.take_changed();
        assert_eq!(pages.len(), 4);
        read(pages, &mut theirs);
        for (n, number) in numbers.iter().enumerate() {
            assert_eq!(theirs.get(*number), Some(&name(n)));
            assert_eq!(own.take(&name(n)), *number);
        }
        assert!(own.take_changed().is_empty());
        assert_eq!(
            (theirs.get(0), theirs.get(201), theirs.get(999)),
            (None, None, None)
        );
    }

    #[test]
    fn a_number_means_something_else_only_after_all_who_had_it() {
        let (mut own, mut theirs) = (Numbering::default(), Names::default());
        let number = own.take(&name(1));
        own.take(&name(1));
        own.release(&bucket([1]));
        assert_ne!(own.take(&name(2)), number);
        own.release(&bucket([1]));
        read(own.take_changed(), &mut theirs);
        assert_eq!(theirs.get(number), Some(&name(1)), "it is told as it was");
        assert_eq!(own.take(&name(3)), number);
        read(own.take_changed(), &mut theirs);
        assert_eq!(theirs.get(number), Some(&name(3)));
    }

    #[test]
    fn when_all_numbers_are_given_a_member_is_told_without_a_name() {
        let mut own = Numbering::default();
        for n in 1..NUMBERS {
            assert_ne!(own.take(&name(n)), 0);
        }
        assert_eq!(own.take(&name(70_000)), 0);
        own.release(&bucket([7]));
        assert_eq!(own.take(&name(70_000)), 7);
    }

    #[test]
    fn what_is_no_page_changes_nothing() {
        let mut names = Names::default();
        let text = |bytes: &[u8]| BASE64.encode(bytes);
        names.set_page(0, &text(b"\x01\x02ab\x00\x01c")).unwrap();
        assert_eq!(names.get(1), AgentName::parse("ab").ok().as_ref());
        assert_eq!(names.get(2), None);
        let many = [&[1][..], &[0; 65]].concat();
        for (page, text) in [
            (0, String::new()),
            (0, "?".into()),
            (0, text(b"\x02\x01a")),
            (0, text(b"\x01\x05a")),
            (0, text(b"\x01\x01\n")),
            (0, text(&many)),
            (PAGES_MAX, text(b"\x01\x01a")),
        ] {
            assert!(names.set_page(page, &text).is_err(), "{page} {text}");
        }
        assert_eq!(names.get(3), AgentName::parse("c").ok().as_ref());
    }
}

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tidings::Count;

/// How many items a page has at most. Default 1,000.
pub(super) type PageItems = Count<1, 10_000>;

/// The default of [`PageItems`].
pub(super) const PAGE_ITEMS: PageItems = PageItems::of::<1_000>();

/// Where a page begins: after the item of this name. In a query it is written `group/item`, as of a
/// topic `scope/topic`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String", bound = "")]
pub(super) struct After<G: Part, I: Part>(pub(super) G, pub(super) I);

/// What a name is made of.
pub(super) trait Part: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

impl<T: std::str::FromStr<Err: std::fmt::Display>> Part for T {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: T::Err| error.to_string())
    }
}

impl<G: Part, I: Part> TryFrom<String> for After<G, I> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once('/');
        let (group, item) = parts.ok_or("after: this is no item of a page before")?;
        Ok(Self(G::read(group)?, I::read(item)?))
    }
}

/// Some items of a list, and where the next page is. The answer is a bare array; the header `Link`
/// has the address of the next page, if there is one.
#[derive(Debug)]
pub(super) struct Page {
    json: Vec<u8>,
    next: Option<String>,
}

impl Page {
    /// A page of these items, of which there may be one more than there is room for. `last` is what
    /// the next page has in its query, made from the last item.
    pub(super) fn new<T: Serialize>(
        path: &str,
        mut items: Vec<T>,
        room: PageItems,
        query: impl FnOnce(&T) -> Vec<(&'static str, String)>,
    ) -> Self {
        let is_last = items.len() <= room.get();
        items.truncate(room.get());
        let next = items.last().filter(|_| !is_last).map(|last| {
            let limit = ("limit", room.to_string());
            let query: Vec<_> = std::iter::once(limit)
                .chain(query(last))
                .map(|(name, value)| format!("{name}={}", encoded(&value)))
                .collect();
            format!("<{path}?{}>; rel=\"next\"", query.join("&"))
        });
        Self {
            json: serde_json::to_vec(&items).expect("names and numbers always serialise"),
            next,
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = self.json.into_response();
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some(next) = self.next {
            let next = HeaderValue::from_str(&next).expect("what is encoded is plain text");
            response.headers_mut().insert(LINK, next);
        }
        response
    }
}

/// A part of an address that may hold any characters.
pub(super) fn encoded(part: &str) -> String {
    utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use tidings::{Pattern, Scope};

    use super::*;

    #[test]
    fn a_page_that_is_not_the_last_says_where_the_next_is() {
        let room = PageItems::of::<2>();
        let page = |items: Vec<&str>| {
            Page::new("/v1/topics", items, room, |last| {
                vec![("after", (*last).into())]
            })
        };
        let first = page(vec!["a", "b/>", "c"]);
        assert_eq!(first.json, br#"["a","b/>"]"#);
        let next = "</v1/topics?limit=2&after=b%2F%3E>; rel=\"next\"";
        assert_eq!(first.next.as_deref(), Some(next));
        for last in [vec![], vec!["a"], vec!["a", "b"]] {
            assert_eq!(page(last).next, None);
        }
    }

    #[test]
    fn where_a_page_begins_is_read_or_said_to_be_wrong() {
        let after = |text: &str| After::<Scope, Pattern>::try_from(text.to_owned());
        let expected = After("s".parse().unwrap(), "a/b.>".parse().unwrap());
        assert_eq!(after("s/a/b.>"), Ok(expected));
        for wrong in ["", "s", "s/", "/a", "s/a..b"] {
            assert!(after(wrong).is_err(), "{wrong}");
        }
    }
}

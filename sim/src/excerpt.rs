use std::ops::Range;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A piece of Rust source, which is found wherever the same tokens follow each other.
///
/// White space, line breaks, comments and trailing commas make no difference, so that it is still
/// found after the source was formatted by other rules. It need not be anything whole, except that
/// what it opens it closes.
#[derive(Debug, Clone)]
pub(crate) struct Excerpt {
    tokens: Vec<Token>,
}

/// Why the place of an excerpt in a source is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExcerptError {
    /// One of the two cannot be taken apart into tokens. The lexer does not say where.
    #[error("this is no Rust")]
    NoRust,
    /// It is not there, or it is ambiguous.
    #[error("the text to replace is there {0} times, not once")]
    NotOnce(usize),
}

/// A token or a bracket.
#[derive(Debug, Clone)]
struct Token {
    text: String,
    /// Where it is, in bytes.
    place: Range<usize>,
}

impl Excerpt {
    /// Takes a piece of source. One without any token is found nowhere.
    pub(crate) fn parse(text: &str) -> Result<Self, ExcerptError> {
        Ok(Self {
            tokens: tokens(text)?,
        })
    }

    /// Where it is, from its first byte to its last, in a source that has it exactly once.
    pub(crate) fn find_once(&self, source: &str) -> Result<Range<usize>, ExcerptError> {
        let source = tokens(source)?;
        let is_here = |window: &&[Token]| {
            let mut pairs = window.iter().zip(&self.tokens);
            !self.tokens.is_empty() && pairs.all(|(one, other)| one.text == other.text)
        };
        let windows = source.windows(self.tokens.len().max(1));
        let found: Vec<&[Token]> = windows.filter(is_here).collect();
        let [place] = found[..] else {
            return Err(ExcerptError::NotOnce(found.len()));
        };
        let (first, last) = (&place[0].place, &place[place.len() - 1].place);
        Ok(first.start..last.end)
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, ExcerptError> {
    let mut tokens = Tokens {
        text,
        tokens: Vec::new(),
    };
    tokens.take(text.parse().map_err(|_| ExcerptError::NoRust)?);
    Ok(tokens.tokens)
}

/// Tokens on their way from a tree into a row.
struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

impl Tokens<'_> {
    fn take(&mut self, stream: TokenStream) {
        for tree in stream {
            let place = tree.span().byte_range();
            // A comment that documents something comes as the attribute it stands for.
            let is_comment = |text: &str| text.starts_with("//") || text.starts_with("/*");
            if self.text.get(place.clone()).is_some_and(is_comment) {
                continue;
            }
            let TokenTree::Group(group) = tree else {
                self.push(&tree.to_string(), place);
                continue;
            };
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::None => ("", ""),
            };
            self.push(open, group.span_open().byte_range());
            self.take(group.stream());
            self.push(close, group.span_close().byte_range());
        }
    }

    fn push(&mut self, text: &str, place: Range<usize>) {
        // What comes after a comma in an expression or a type never begins with these.
        let is_end = matches!(text, ")" | "]" | "}" | ">");
        if is_end && self.tokens.last().is_some_and(|last| last.text == ",") {
            self.tokens.pop();
        }
        let text = text.to_owned();
        self.tokens.push(Token { text, place });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(excerpt: &str, source: &'a str) -> Result<&'a str, String> {
        let place = Excerpt::parse(excerpt).and_then(|excerpt| excerpt.find_once(source));
        place
            .map(|place| &source[place])
            .map_err(|error| error.to_string())
    }

    #[test]
    fn layout_makes_no_difference() {
        for source in [
            "fn f() { g(a, b[0]); }",
            "fn f(){g(a,b [ 0 ]);}",
            "fn f() {\n    g(\n        a, // the first\n        b[0],\n    );\n}",
            "fn f() { /* it */ g /* is */ (a,\n /// here\n b[0,]) ; }",
        ] {
            let place = found("g( a , b[0] );", source).unwrap();
            assert!(place.starts_with('g') && place.ends_with(';'), "{place}");
        }
        assert_eq!(found("A<B>", "x: A<\n    B,\n>"), Ok("A<\n    B,\n>"));
    }

    #[test]
    fn exactly_what_matches_is_the_place() {
        let source = "let größe = \"für\"; /* é */ let b = f(größe, 1); // the end";
        assert_eq!(found("f(größe, 1)", source), Ok("f(größe, 1)"));
        assert_eq!(found("b", source), Ok("b"));
        assert_eq!(found("\"für\"", source), Ok("\"für\""));
    }

    #[test]
    fn other_tokens_are_not_it() {
        for other in [
            "f(a, c)",
            "f(a)",
            "f(a, b, c)",
            "f[a, b]",
            "f(b, a)",
            "ff(a, b)",
        ] {
            assert_eq!(found("f(a, b)", other), found("nowhere", "f"), "{other}");
        }
        assert!(found("a", "\"a\" // a\n/// a\nstruct B;").is_err());
    }

    #[test]
    fn twice_or_nothing_is_an_error() {
        let times = |excerpt, source| found(excerpt, source).unwrap_err();
        assert!(times("a.b", "a.b + a\n.b").contains("2 times"));
        assert!(times("a a", "a a a").contains("2 times"));
        assert!(times("", "a b").contains("0 times"));
        assert!(times("// a", "// a\nb").contains("0 times"));
        assert!(times("a", "").contains("0 times"));
        assert!(times("f(", "f()").contains("no Rust"));
    }
}

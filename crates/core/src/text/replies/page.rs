//! Long results, page by page.

use std::fmt::Write as _;

use crate::id::DelegationId;

/// One page of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The text, with a last line that says how to get the next page where there is one.
    pub text: String,
    /// Where the next page begins, in characters; none when this is the last.
    pub next: Option<usize>,
}

/// The host cuts what a tool gives at 2,000 lines and at 51,200 bytes, the page's own last lines included, and
/// puts a note in the place of the rest: a page stays below both.
const MAX_LINES: usize = 1_950;
const MAX_BYTES: usize = 50_000;

/// Cuts the page that begins at `offset` (in characters) and has at most `size` of them; fewer where its lines
/// or letters would be too much for the host.
pub fn page(id: &DelegationId, text: &str, offset: usize, size: usize) -> Page {
    let size = size.max(1);
    let (mut rest, mut at, mut before) = (text, 0, 0);
    // An offset of the model's own choosing cuts the page that it lies in.
    while at < offset && !rest.is_empty() {
        let (bytes, chars) = extent(rest, size.min(offset - at));
        rest = &rest[bytes..];
        at += chars;
        before += 1;
    }
    if offset > 0 && rest.is_empty() {
        return Page {
            text: format!(
                "There is nothing at offset {offset}: {id} has {at} characters. Read from the start with \
                 delegation_read(\"{id}\")."
            ),
            next: None,
        };
    }
    let (bytes, chars) = extent(rest, size);
    let mut body = rest[..bytes].to_owned();
    rest = &rest[bytes..];
    let number = before + 1;
    if number == 1 && rest.is_empty() {
        return Page {
            text: body,
            next: None,
        };
    }
    let next = (!rest.is_empty()).then_some(at + chars);
    let mut pages = number;
    while !rest.is_empty() {
        rest = &rest[extent(rest, size).0..];
        pages += 1;
    }
    // Writing to a string can't fail.
    let _ = match next {
        Some(next) => write!(
            body,
            "\n\n… page {number} of {pages}; next: delegation_read(\"{id}\", offset={next})"
        ),
        None => write!(body, "\n\n… page {number} of {pages}; this is the last"),
    };
    Page { text: body, next }
}

/// How much of `text` fits into one page, in bytes and in characters.
fn extent(text: &str, size: usize) -> (usize, usize) {
    let (mut bytes, mut chars, mut lines) = (0, 0, 0);
    for letter in text.chars() {
        if chars == size || lines == MAX_LINES || bytes + letter.len_utf8() > MAX_BYTES {
            break;
        }
        bytes += letter.len_utf8();
        chars += 1;
        lines += usize::from(letter == '\n');
    }
    (bytes, chars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> DelegationId {
        "brave-amber-otter".parse().unwrap()
    }

    #[test]
    fn pages_name_the_next_one() {
        let id = id();
        assert_eq!(
            page(&id, "short", 0, 10),
            Page {
                text: "short".into(),
                next: None
            }
        );
        let first = page(&id, &"ä".repeat(25), 0, 10);
        assert_eq!(first.next, Some(10));
        assert!(first.text.ends_with(
            "\n\n… page 1 of 3; next: delegation_read(\"brave-amber-otter\", offset=10)"
        ));
        assert!(
            page(&id, &"ä".repeat(25), 20, 10)
                .text
                .ends_with("page 3 of 3; this is the last")
        );
        assert!(page(&id, "abc", 3, 10).text.contains("nothing at offset 3"));
        assert_eq!(page(&id, "", 0, 10).text, "");
    }

    #[test]
    fn a_page_stays_below_what_the_host_would_cut() {
        let id = id();
        for text in ["1\n".repeat(20_000), "日本語".repeat(40_000)] {
            let mut whole = String::new();
            let mut offset = Some(0);
            while let Some(at) = offset {
                let found = page(&id, &text, at, 30_000);
                assert!(found.text.len() <= 51_200 && found.text.split('\n').count() <= 2_000);
                let (body, hint) = found.text.rsplit_once("\n\n… page ").unwrap();
                assert!(found.next.is_some() || hint.ends_with("this is the last"));
                whole.push_str(body);
                offset = found.next;
            }
            assert_eq!(whole, text);
        }
    }

    proptest! {
        #[test]
        fn pages_put_together_are_the_whole(text in "(\\PC|\n){0,300}", size in 1usize..50) {
            let id = id();
            let mut whole = String::new();
            let mut offset = Some(0);
            while let Some(at) = offset {
                let found = page(&id, &text, at, size);
                let body = found.text.rsplit_once("\n\n… page ").map_or(found.text.as_str(), |(body, _)| body);
                prop_assert!(body.chars().count() <= size);
                whole.push_str(body);
                offset = found.next;
            }
            prop_assert_eq!(whole, text);
        }
    }
}

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

/// Cuts the page that begins at `offset` (in characters) and has at most `size` of them.
pub fn page(id: &DelegationId, text: &str, offset: usize, size: usize) -> Page {
    let size = size.max(1);
    let total = text.chars().count();
    if offset > 0 && offset >= total {
        return Page {
            text: format!(
                "There is nothing at offset {offset}: {id} has {total} characters. Read from the start with \
                 delegation_read(\"{id}\")."
            ),
            next: None,
        };
    }
    if offset == 0 && total <= size {
        return Page {
            text: text.to_owned(),
            next: None,
        };
    }
    let mut body: String = text.chars().skip(offset).take(size).collect();
    let end = (offset + size).min(total);
    // An offset of the model's own choosing shifts the pages; they are counted from where it stands.
    let (number, pages) = (
        offset.div_ceil(size) + 1,
        offset.div_ceil(size) + (total - offset).div_ceil(size),
    );
    let next = (end < total).then_some(end);
    let _ = match next {
        Some(next) => write!(
            body,
            "\n\n… page {number} of {pages}; next: delegation_read(\"{id}\", offset={next})"
        ),
        None => write!(body, "\n\n… page {number} of {pages}; this is the last"),
    };
    Page { text: body, next }
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

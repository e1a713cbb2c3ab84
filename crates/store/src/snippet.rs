//! Excerpts of texts. FTS5's own `snippet` takes time by the square of a text's hits: seconds for a long answer that
//! keeps saying the word, with every other read waiting behind it.

/// Words before the first hit.
const BEFORE: usize = 6;

/// The words around the first that matches one of these, with `[` and `]` around what matches; none where
/// nothing does. Words match by their beginning, so that most inflected forms do; which texts are found at
/// all is not decided here.
pub(crate) fn around(text: &str, words: &[String], length: usize) -> Option<String> {
    let stems: Vec<String> = words.iter().map(|word| stem(word)).collect();
    let is_hit = |word: &str| {
        word.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|part| {
                // As much as the longest stem needs: a text without spaces is one word.
                let part = lower(part);
                stems.iter().any(|stem| part.starts_with(stem.as_str()))
            })
    };
    let mut before: std::collections::VecDeque<&str> = std::collections::VecDeque::new();
    let mut rest = text.split_whitespace();
    let mut cut = false;
    let first = loop {
        let word = rest.next()?;
        if is_hit(word) {
            break word;
        }
        before.push_back(word);
        if before.len() > BEFORE {
            before.pop_front();
            cut = true;
        }
    };
    let after = length.saturating_sub(before.len() + 1);
    let mut out: Vec<String> = before.iter().map(|word| shorten(word)).collect();
    out.push(format!("[{}]", shorten(first)));
    for word in rest.by_ref().take(after) {
        let short = shorten(word);
        out.push(if is_hit(word) {
            format!("[{short}]")
        } else {
            short
        });
    }
    let more = if rest.next().is_some() { "…" } else { "" };
    Some(format!(
        "{}{}{more}",
        if cut { "…" } else { "" },
        out.join(" ")
    ))
}

/// The longest word that an excerpt shows whole, and the longest beginning that is compared, in characters.
const WORD: usize = 64;

fn shorten(word: &str) -> String {
    match word.char_indices().nth(WORD) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

fn lower(word: &str) -> String {
    word.chars()
        .take(WORD)
        .flat_map(char::to_lowercase)
        .collect()
}

/// A word without its commonest endings.
fn stem(word: &str) -> String {
    let word = lower(word);
    ["ing", "ies", "ed", "es", "s", "e", "y"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending).filter(|stem| stem.len() >= 3))
        .unwrap_or(&word)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::around;

    fn of(text: &str, words: &[&str]) -> Option<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        around(text, &words, 12)
    }

    #[test]
    fn it_shows_the_first_hit_with_what_surrounds_it() {
        let text = format!(
            "{}the two Queues, waiting{}",
            "so ".repeat(20),
            " on".repeat(20)
        );
        assert_eq!(
            of(&text, &["queue", "waits"]).as_deref(),
            Some("…so so so so the two [Queues,] [waiting] on on on on…")
        );
        assert_eq!(of("nothing here", &["queue"]), None);
        assert_eq!(of("", &["queue"]), None);
        assert_eq!(of("a queue", &["queue"]).as_deref(), Some("a [queue]"));
    }

    #[test]
    fn a_text_without_spaces_gives_a_short_excerpt() {
        let text = format!("queue{}", "日".repeat(100_000));
        let excerpt = of(&text, &["queue"]).unwrap();
        assert!(excerpt.chars().count() < 80, "{excerpt}");
    }
}

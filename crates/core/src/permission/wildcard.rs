//! The host's wildcards, exactly as the host matches them.

/// One step of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Unit(u16),
}

/// A pattern as the host reads it: the steps, and whether a trailing ` *` may be left out as a whole.
struct Compiled {
    tokens: Vec<Token>,
    optional_tail: bool,
}

fn units(text: &str) -> Vec<u16> {
    // The host's regular expression works on UTF-16 units and without the `u` flag, so a `?` takes half
    // of a character beyond the basic plane. Backslashes count as slashes on both sides.
    text.encode_utf16()
        .map(|unit| {
            if unit == u16::from(b'\\') {
                u16::from(b'/')
            } else {
                unit
            }
        })
        .collect()
}

fn compile(pattern: &str) -> Compiled {
    let tokens = units(pattern)
        .into_iter()
        .map(|unit| match u8::try_from(unit) {
            Ok(b'*') => Token::Any,
            Ok(b'?') => Token::One,
            _ => Token::Unit(unit),
        })
        .collect();
    Compiled {
        tokens,
        optional_tail: pattern.ends_with(" *"),
    }
}

/// Whether `text` matches `pattern`: `*` is any run of characters (line breaks too), `?` is one, a
/// trailing ` *` may be absent, a backslash counts as a slash, and the whole text has to match.
pub fn matches(text: &str, pattern: &str) -> bool {
    let text = units(text);
    let Compiled {
        tokens,
        optional_tail,
    } = compile(pattern);
    run(&text, &tokens) || (optional_tail && run(&text, &tokens[..tokens.len() - 2]))
}

/// Greedy matching with one point to come back to: linear for what people write, quadratic at worst,
/// never exponential, whatever pattern an agent file holds.
fn run(text: &[u16], tokens: &[Token]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match tokens.get(p) {
            Some(Token::Any) => {
                retry = Some((p, t));
                p += 1;
            }
            Some(Token::One) => {
                p += 1;
                t += 1;
            }
            Some(Token::Unit(unit)) if *unit == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    tokens[p..].iter().all(|token| *token == Token::Any)
}

/// Whether a pattern matches every text: one or more `*` and nothing else.
pub(super) fn is_universal(pattern: &str) -> bool {
    !pattern.is_empty() && pattern.bytes().all(|b| b == b'*')
}

/// What every text that matches `pattern` begins with.
pub(super) fn literal_head(pattern: &str) -> String {
    let end = pattern.find(['*', '?']).unwrap_or(pattern.len());
    let head = &pattern[..end];
    // In a trailing ` *` the space may be absent along with the star.
    let head = if pattern.ends_with(" *") && end == pattern.len() - 1 {
        &head[..head.len() - 1]
    } else {
        head
    };
    head.replace('\\', "/")
}

/// Whether every text that matches `inner` surely matches `outer`. Errs towards "no".
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    if outer == inner || is_universal(outer) {
        return true;
    }
    match outer.strip_suffix('*') {
        Some(prefix) if !prefix.contains(['*', '?']) => {
            literal_head(inner).starts_with(&prefix.replace('\\', "/"))
        }
        _ => false,
    }
}

/// The texts that match `pattern` **and** begin with `prefix`, as patterns whose union they are.
/// `prefix` holds no wildcard, space or backslash.
pub(super) fn within_prefix(pattern: &str, prefix: &str) -> Vec<String> {
    let chars: Vec<char> = pattern
        .chars()
        .map(|c| if c == '\\' { '/' } else { c })
        .collect();
    let mut found = Vec::new();
    // Each position is one that the pattern can be at after having consumed the prefix; what remains
    // from there is what may follow it. Stars stand for themselves and for nothing.
    let close = |set: &mut Vec<usize>| {
        let mut i = 0;
        while i < set.len() {
            let at = set[i];
            if chars.get(at) == Some(&'*') && !set.contains(&(at + 1)) {
                set.push(at + 1);
            }
            i += 1;
        }
    };
    let mut at = vec![0];
    close(&mut at);
    for c in prefix.chars() {
        let mut next = Vec::new();
        for &p in &at {
            let step = match chars.get(p) {
                Some('*') => Some(p),
                Some('?') => Some(p + 1),
                Some(d) if *d == c => Some(p + 1),
                _ => None,
            };
            if let Some(step) = step
                && !next.contains(&step)
            {
                next.push(step);
            }
        }
        close(&mut next);
        at = next;
    }
    for p in at {
        let rest: String = chars[p..].iter().collect();
        let joined = format!("{prefix}{rest}");
        if !found.contains(&joined) {
            found.push(joined);
        }
    }
    // The pattern may end before its optional tail.
    if let Some(short) = pattern.strip_suffix(" *") {
        for joined in within_prefix(short, prefix) {
            if !found.contains(&joined) {
                found.push(joined);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_as_the_host_does() {
        for (text, pattern, expected) in [
            ("anything", "*", true),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
            ("git", "git *", true),
            ("git status", "git *", true),
            ("gitx", "git *", false),
            ("git", "git * *", false),
            ("git diff", "git diff*", true),
            ("git diff --stat", "git diff*", true),
            ("sudo git diff", "git diff*", false),
            ("a\nb", "a*b", true),
            ("a\nb", "a?b", true),
            ("ab", "a?b", false),
            ("src\\x.env", "*.env", true),
            ("src/x.env", "src\\*.env", true),
            ("x.environment", "*.env", false),
            ("x.env\n", "*.env", false),
            ("a.b", "a.b", true),
            ("axb", "a.b", false),
            ("a(b)[c]{d}^$|+", "a(b)[c]{d}^$|+", true),
            ("😀", "?", false),
            ("😀", "??", true),
            ("GIT", "git", false),
        ] {
            assert_eq!(
                matches(text, pattern),
                expected,
                "{text:?} against {pattern:?}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_stays_quick() {
        let text = "a".repeat(20_000);
        assert!(!matches(&text, "*a*a*a*a*a*a*a*a*a*a*b"));
    }

    /// The host's own way, with the regular expression written out as an obvious recursion.
    fn reference(text: &[u16], pattern: &[u16]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((&42, rest)) => (0..=text.len()).any(|n| reference(&text[n..], rest)),
            Some((&63, rest)) => !text.is_empty() && reference(&text[1..], rest),
            Some((unit, rest)) => text.first() == Some(unit) && reference(&text[1..], rest),
        }
    }

    proptest! {
        #[test]
        fn matching_equals_the_reference(text in "[ab /]{0,8}", pattern in "[ab */?]{0,6}") {
            let text_units: Vec<u16> = text.encode_utf16().collect();
            let units: Vec<u16> = pattern.encode_utf16().collect();
            let expected = reference(&text_units, &units)
                || (pattern.ends_with(" *") && reference(&text_units, &units[..units.len() - 2]));
            prop_assert_eq!(matches(&text, &pattern), expected);
        }

        #[test]
        fn what_covers_matches_all_that_is_covered(
            outer in "[ab *?]{0,5}", inner in "[ab *?]{0,5}", text in "[ab ]{0,6}"
        ) {
            if covers(&outer, &inner) && matches(&text, &inner) {
                prop_assert!(matches(&text, &outer));
            }
        }

        #[test]
        fn a_match_begins_with_the_literal_head(pattern in "[ab *?]{0,5}", text in "[ab ]{0,6}") {
            if matches(&text, &pattern) {
                prop_assert!(text.starts_with(&literal_head(&pattern)));
            }
        }

        #[test]
        fn within_prefix_is_the_intersection(pattern in "[ab_*?]{0,6}", text in "[ab_]{0,6}") {
            let parts = within_prefix(&pattern, "ab_");
            let both = text.starts_with("ab_") && matches(&text, &pattern);
            prop_assert_eq!(parts.iter().any(|part| matches(&text, part)), both, "{:?}", parts);
        }
    }
}

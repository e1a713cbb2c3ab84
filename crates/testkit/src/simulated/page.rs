//! Pages of messages, as the host tells them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Which of these messages a query asks for: the last `limit` (zero is all) of those `before` a cursor. None where the
/// cursor names none of them.
pub fn page<'a, M>(all: &'a [M], query: &str, id: impl Fn(&M) -> &str) -> Option<&'a [M]> {
    let (mut limit, mut end) = (0, all.len());
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "limit" => limit = value.parse().unwrap_or(0),
            "before" => {
                let cursor = URL_SAFE_NO_PAD.decode(value).ok()?;
                let cursor: Value = serde_json::from_slice(&cursor).ok()?;
                end = all.iter().position(|one| cursor["id"] == *id(one))?;
            }
            _ => {}
        }
    }
    let begin = match limit {
        0 => 0,
        limit => end.saturating_sub(limit),
    };
    Some(&all[begin..end])
}

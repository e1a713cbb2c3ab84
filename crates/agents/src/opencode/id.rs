//! The host's IDs: `msg_` or `prt_`, 12 hex digits of the low 48 bits of (milliseconds × 4096 + counter),
//! then 14 base62 characters. They sort by time, and the host relies on it.

use brigade_core::id::{Attempt, DelegationId};
use sha2::{Digest, Sha256};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const MASK: u64 = (1 << 48) - 1;
const COUNTS_PER_MS: u64 = 4_096;

/// A message ID for this moment (milliseconds since 1970). `counter` orders IDs of one millisecond and
/// counts below 4096; `random` makes the tail.
pub fn message_id(now_ms: u64, counter: u16, random: u128) -> String {
    compose("msg_", stamp(now_ms, u64::from(counter)), random)
}

/// A message ID that sorts right after `last` (a message or part ID of the host), or at `now_ms` where that
/// is later. `last` none or not of the host's form: at `now_ms`.
pub fn later_than(last: Option<&str>, now_ms: u64, random: u128) -> String {
    let now = stamp(now_ms, 0);
    let stamp = match last.and_then(stamp_of) {
        // The stamp wraps around every two years and a bit: "later" is meant on the circle.
        Some(last) if now.wrapping_sub(last) & MASK > MASK / 2 || now == last => {
            last.wrapping_add(COUNTS_PER_MS) & MASK
        }
        _ => now,
    };
    compose("msg_", stamp, random)
}

/// The message ID of a run's prompt: always the same for the same delegation, attempt and last message
/// before it (or, without one, the session's creation in milliseconds since 1970), so that a prompt that is
/// posted again after a doubt is the same prompt.
pub fn fixed_message_id(
    delegation: &DelegationId,
    attempt: Attempt,
    last: Option<&str>,
    created_ms: u64,
) -> String {
    later_by(delegation, &format!("message/{attempt}"), last, created_ms)
}

/// The same for another kind of message of a delegation.
pub(super) fn later_by(
    delegation: &DelegationId,
    kind: &str,
    last: Option<&str>,
    created_ms: u64,
) -> String {
    let base = last
        .and_then(stamp_of)
        .unwrap_or_else(|| stamp(created_ms, 0));
    let stamp = base.wrapping_add(COUNTS_PER_MS) & MASK;
    compose("msg_", stamp, digest(delegation, kind))
}

/// A part ID that is always the same for the same delegation, kind and time (milliseconds since 1970, for
/// instance the delegation's registration), so that a part can be looked for and is never stored twice.
pub fn fixed_part_id(delegation: &DelegationId, kind: &str, at_ms: u64) -> String {
    compose("prt_", stamp(at_ms, 0), digest(delegation, kind))
}

/// The part ID of an attempt's prompt; `registered_ms` is when its delegation was registered.
pub(super) fn prompt_part(delegation: &DelegationId, attempt: u32, registered_ms: u64) -> String {
    fixed_part_id(delegation, &format!("prompt/{attempt}"), registered_ms)
}

/// What the part of a message is named by that was sent to a delegation; its number counts from 1.
pub(super) fn message_kind(number: u32) -> String {
    format!("sent/{number}")
}

/// Whether a part is Brigade's own word to this delegation, whenever it was registered: the prompt of one of its
/// attempts up to `last`, or one of so many messages that were sent to it.
pub fn is_prompt_of(part: &str, delegation: &DelegationId, last: Attempt, messages: u32) -> bool {
    // Only the first half of an ID is of its time.
    let rest = |id: &str| id.get("prt_".len() + 12..).map(str::to_owned);
    let of = rest(part);
    let prompts = (1..=last.0).map(|attempt| prompt_part(delegation, attempt, 0));
    let sent = (1..=messages).map(|number| fixed_part_id(delegation, &message_kind(number), 0));
    of.is_some() && prompts.chain(sent).any(|own| rest(&own) == of)
}

/// The time an ID carries, as milliseconds modulo 2^36; none where it is no ID of the host's.
pub fn millis_of(id: &str) -> Option<u64> {
    stamp_of(id).map(|stamp| stamp / COUNTS_PER_MS)
}

fn stamp(ms: u64, counter: u64) -> u64 {
    ms.wrapping_mul(COUNTS_PER_MS)
        .wrapping_add(counter % COUNTS_PER_MS)
        & MASK
}

fn stamp_of(id: &str) -> Option<u64> {
    let (_, rest) = id.split_once('_')?;
    u64::from_str_radix(rest.get(..12)?, 16).ok()
}

fn digest(delegation: &DelegationId, kind: &str) -> u128 {
    let digest = Sha256::new()
        .chain_update(delegation.as_str())
        .chain_update([0])
        .chain_update(kind)
        .finalize();
    digest
        .iter()
        .take(16)
        .fold(0, |number, byte| (number << 8) | u128::from(*byte))
}

fn compose(prefix: &str, stamp: u64, mut random: u128) -> String {
    let mut id = format!("{prefix}{stamp:012x}");
    for _ in 0..14 {
        let digit = usize::try_from(random % 62).unwrap_or(0);
        id.push(char::from(BASE62[digit]));
        random /= 62;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delegation() -> DelegationId {
        "brave-amber-otter".parse().unwrap()
    }

    #[test]
    fn ids_carry_the_time_as_the_host_writes_it() {
        // Recorded: a message the host created at 1795366675319.
        let id = message_id(1_795_366_675_319, 1, 7);
        assert!(id.starts_with("msg_204316377001"), "{id}");
        assert_eq!(id.len(), 30);
        assert_eq!(millis_of(&id), Some(1_795_366_675_319 % (1 << 36)));
        assert_eq!(millis_of("msg_x"), None);
        assert_eq!(millis_of("204316377001"), None);
    }

    #[test]
    fn later_than_sorts_after_the_last_even_if_the_clock_went_back() {
        let last = message_id(2_000, 9, 1);
        for now in [1_000, 2_000, 3_000] {
            let id = later_than(Some(&last), now, 0);
            assert!(id[..16] > last[..16], "{id} after {last}");
        }
        assert!(later_than(Some(&last), 3_000, 0).starts_with(&message_id(3_000, 0, 0)[..16]));
        assert!(later_than(None, 3_000, 0).starts_with(&message_id(3_000, 0, 0)[..16]));
    }

    #[test]
    fn later_than_survives_the_wrap_of_the_stamp() {
        let wrap = 1_u64 << 36;
        let last = message_id(wrap - 1, 0, 1);
        let id = later_than(Some(&last), wrap + 5, 0);
        assert!(id.starts_with(&message_id(5, 0, 0)[..16]), "{id}");
    }

    #[test]
    fn fixed_ids_are_fixed_and_differ_by_delegation_kind_and_attempt() {
        let other: DelegationId = "brave-amber-stoat".parse().unwrap();
        let part = fixed_part_id(&delegation(), "prompt/1", 5);
        assert_eq!(part, fixed_part_id(&delegation(), "prompt/1", 5));
        assert_ne!(part, fixed_part_id(&delegation(), "prompt/2", 5));
        assert_ne!(part, fixed_part_id(&other, "prompt/1", 5));
        assert!(is_prompt_of(&part, &delegation(), Attempt(2), 0));
        assert!(!is_prompt_of(&part, &other, Attempt(2), 0));
        let second = prompt_part(&delegation(), 2, 7);
        assert!(is_prompt_of(&second, &delegation(), Attempt(2), 0));
        assert!(!is_prompt_of(&second, &delegation(), Attempt(1), 0));
        assert!(!is_prompt_of("prt_", &delegation(), Attempt(2), 0));
        let sent = fixed_part_id(&delegation(), &message_kind(2), 7);
        assert!(is_prompt_of(&sent, &delegation(), Attempt(1), 2));
        assert!(!is_prompt_of(&sent, &delegation(), Attempt(1), 1));
        assert_eq!(part.len(), 30);

        let last = message_id(2_000, 0, 1);
        let first = fixed_message_id(&delegation(), Attempt(2), Some(&last), 1);
        assert_eq!(
            first,
            fixed_message_id(&delegation(), Attempt(2), Some(&last), 99)
        );
        assert!(first > last);
        let fresh = fixed_message_id(&delegation(), Attempt(1), None, 2_000);
        assert_eq!(millis_of(&fresh), Some(2_001));
    }
}

//! The IDs of a delegation's trace and of its spans. They follow from the record alone, so that the next daemon goes on
//! in the same trace, and what is told twice is one.

use brigade_core::delegation::Spec;
use opentelemetry::trace::{SpanId, TraceId};
use sha2::{Digest, Sha256};

/// The IDs of one delegation.
pub(super) struct Ids {
    /// IDs are unique in one store only, and a collector may hear of several.
    seed: String,
}

impl Ids {
    pub(super) fn of(spec: &Spec) -> Self {
        let at = spec.registered_at.as_millisecond();
        Self {
            seed: format!("brigade {} {at}", spec.id),
        }
    }

    pub(super) fn trace(&self) -> TraceId {
        TraceId::from_bytes(digest(&self.seed))
    }

    /// The span of a thing in it, such as `attempt 2`.
    pub(super) fn span(&self, thing: &str) -> SpanId {
        SpanId::from_bytes(digest(&format!("{} {thing}", self.seed)))
    }
}

fn digest<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, from) in bytes.iter_mut().zip(Sha256::digest(text)) {
        *byte = from;
    }
    bytes
}

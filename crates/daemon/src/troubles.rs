//! What goes wrong right now and is retried: shown by `list` and `doctor`, gone once it works again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::hosts::lock;

/// The current troubles by what they are about. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles(Arc<Mutex<BTreeMap<String, String>>>);

impl Troubles {
    /// Notes a trouble; the text begins with what it is about and a colon.
    pub(crate) fn note(&self, text: String) {
        let about = text.split(':').next().unwrap_or_default().to_owned();
        lock(&self.0).insert(about, text);
    }

    /// It works again.
    pub(crate) fn clear(&self, about: &str) {
        lock(&self.0).remove(about);
    }

    /// All of them, in words.
    pub(crate) fn list(&self) -> Vec<String> {
        lock(&self.0).values().cloned().collect()
    }
}

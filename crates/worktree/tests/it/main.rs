//! The crate on real repositories in temporary folders, with a home and a configuration of their own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod applying;
mod collecting;
mod crashing;
mod drawn;
mod figures;
mod rig;
mod taking;

//! The pure heart of Brigade: IDs, states, transitions, permission rules, and the texts that models
//! and people see. No IO, no clock, no async: time and randomness come in as arguments.

pub mod clock;
pub mod delegation;
pub mod id;
pub mod permission;
pub mod text;

//! The rig that Brigade is tested with: a scripted model on loopback, the real OpenCode in a
//! temporary home, a test daemon.
//!
//! Nothing here is bound to a test framework; the demo and the benchmarks use it as they are.

mod clock;
mod error;
mod finished;
mod hold;
mod watched;

pub mod daemon;
pub mod model;
pub mod opencode;
pub mod process;
pub mod sandbox;
pub mod simulated;

pub use clock::FakeClock;
pub use error::{Error, Result};
pub use finished::Finished;
pub use hold::{Held, Hold};
pub use model::{Kind, Record, ScriptedModel, script::Script};
pub use opencode::{Client, Events, Message, Run, Serve, Session, Tui};
pub use reqwest::Method;
pub use sandbox::{Sandbox, SandboxBuilder};
pub use watched::Watched;

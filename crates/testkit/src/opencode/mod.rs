//! The real OpenCode: installed, started, driven and listened to.

mod client;
mod events;
pub(crate) mod install;
mod run;
mod serve;
mod tui;

pub use client::{Client, Message, Session};
pub use events::Events;
pub use install::VERSION;
pub use run::Run;
pub use serve::{Boot, Serve};
pub use tui::Tui;

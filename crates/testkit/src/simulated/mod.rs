//! OpenCode in memory, behind a simulated bridge: for what the real one cannot be made to do on order.
//!
//! A [`World`] is one installation of the host: its sessions, messages and models. A [`SimulatedHost`] is a
//! process that serves it, with a bridge; events do not cross processes, the sessions are the same for all.
//! Its process is a real one ([`Helper`]), since the daemon watches it: it only passes the bridge's
//! connections on, so that it can be killed while everything else stays in the test's hands.
//!
//! What a model does is written in the prompt, line by line: `@stream GATE` (it streams until the gate
//! opens), `@tool GATE` (it calls a tool, which runs until the gate opens), `@ask PERMISSION`, `@say TEXT`,
//! `@empty`, `@fail WORDS`. Without such lines it says `ok`. A notice is answered by what
//! [`World::answer_notices_with`] says.

mod api;
mod bridge;
mod direct;
mod fault;
mod filter;
mod helper;
mod host;
mod page;
mod script;
mod tools;
mod turn;
mod world;

pub use direct::DirectHost;
pub use fault::{Fault, Faults};
pub use helper::{Helper, Role, relay};
pub use host::{HostOptions, SimulatedHost, Typed};
pub use page::page;
pub use tools::Confirm;
pub use world::{Call, Message, ModelRequest, Session, State, World};

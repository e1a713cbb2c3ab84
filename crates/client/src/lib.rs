//! Finds, starts and talks to the daemon.
//!
//! [`Client::connect`] gives a connection to a daemon that speaks our protocol and serves our data
//! home, starting or replacing it where that is allowed. The methods of [`Client`] are the API's
//! requests, one each.

mod connect;
mod error;
mod handshake;
mod launch;
mod patch;
mod request;
mod sse;

pub use connect::{Connector, StartPolicy};
pub use error::ClientError;
pub use handshake::{Handshake, NoHandshake};
pub use patch::Patch;
pub use request::Client;
pub use sse::Events;

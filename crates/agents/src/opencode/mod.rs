//! OpenCode: its API over any transport, its events, and the proof that a run has ended.

mod api;
mod calls;
mod confine;
mod drive;
mod event;
mod http;
mod id;
mod judge;
mod message;
mod messages;
mod observe;
mod parent;
mod report;
mod server;
mod shared;
mod transport;
mod types;

pub use api::Api;
pub use calls::{Calls, ModelCall, ToolCall};
pub use confine::{CONFINED, Confine};
pub use drive::drive;
pub use event::{EventKind, HostEvent};
pub use http::{EventStream, HttpTransport};
pub use id::{fixed_message_id, fixed_part_id, is_prompt_of, later_than, message_id, millis_of};
pub use judge::{Evidence, Verdict, judge};
pub use message::{Message, MessageError, MessageInfo, Part, PartTime, Tokens, ToolState, Usage};
pub use observe::{Observer, Progress};
pub use report::{AbortVerdict, DriveOutcome, Ended, Fenced, Refusal, RunLog, RunSpec, Signal};
pub use server::{
    Gate, LINGER, Launcher, PASSWORD, SESSION_MARK, ServeLauncher, ServerSpec, WORKER, credentials,
    lasting, listens, open_directory,
};
pub use shared::Shared;
pub use transport::{Method, Reply, Request, Transport, TransportError};
pub use types::{
    AgentInfo, ApiError, Ask, Child, HostError, PromptBody, PromptModel, SessionTime, Status,
};

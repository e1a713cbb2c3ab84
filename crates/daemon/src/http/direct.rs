//! The handlers without a socket, for the simulation.

use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::{Batch, Register};
use brigade_protocol::delegations::{Cancel, Cancelled, Message, Sent};
use brigade_protocol::tools::{Answer, Delegate, Read};

use super::{
    Api, Failure, Peer, Untold, bridge_register, bridge_up, cancel, send, tool_delegate, tool_read,
};
use crate::hosts::Connection;

/// Who asks without a socket.
const NOBODY: Peer = Peer {
    pid: None,
    allowed: true,
    lineage: Err(Untold),
};

pub(crate) async fn delegate(api: Api, call: Delegate) -> Result<Answer, Failure> {
    let answer = tool_delegate::handle(State(api), Json(call)).await;
    answer.map(|Json(answer)| answer)
}

pub(crate) async fn read(api: Api, call: Read) -> Result<Answer, Failure> {
    let answer = tool_read::handle(State(api), Json(call)).await;
    answer.map(|Json(answer)| answer)
}

pub(crate) async fn cancel(api: Api, request: Cancel) -> Result<Cancelled, Failure> {
    let answer = cancel::handle(State(api), Json(request)).await;
    answer.map(|Json(answer)| answer)
}

pub(crate) async fn send(api: Api, id: String, message: Message) -> Result<Sent, Failure> {
    let answer = send::handle(State(api), ConnectInfo(NOBODY), Path(id), Json(message)).await;
    answer.map(|Json(answer)| answer)
}

pub(crate) async fn up(api: Api, connection: String, batch: Batch) -> Result<(), Failure> {
    let heard = bridge_up::handle(State(api), Path(connection), bridge_up::Whole(batch)).await;
    heard.map(|_status| ())
}

pub(crate) async fn register(
    api: Api,
    connection: String,
    process: ProcessId,
    request: Register,
) -> Result<Arc<Connection>, Failure> {
    bridge_register::take_in(&api, &connection, process, request).await
}

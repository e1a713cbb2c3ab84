//! `POST /v1/delegations/{id}/send`: a message from the person.

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use brigade_core::delegation::Sender;
use brigade_core::text::replies::{self, Unsteerable};
use brigade_protocol::ErrorCode;
use brigade_protocol::delegations::{Message, Scope, Sent};
use brigade_store::{Listed, Row};

use super::{Api, Failure, Peer, delegation};
use crate::engine::{NotSteered, Steered};

pub(super) async fn handle(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    Json(request): Json<Message>,
) -> Result<Json<Sent>, Failure> {
    let scope = Scope {
        directory: request.directory,
    };
    let row = ours(delegation::find(&api, &id, &scope).await?)?;
    let steered = api
        .engine
        .send(&row, Sender::Person, &request.message, None, peer.process())
        .await?;
    Ok(Json(told(&row, steered)))
}

/// What came of a message to this delegation.
pub(super) fn told(row: &Row, steered: Steered) -> Sent {
    let earlier = &row.delegation.spec.id;
    match steered {
        Steered::Sent { id, state } => Sent {
            message: replies::sent(&id, state),
            id,
            continued: false,
            state,
        },
        Steered::Continued(record) => Sent {
            message: replies::continued(earlier, &record.spec.id),
            continued: true,
            state: record.state,
            id: record.spec.id,
        },
    }
}

/// Only what is on record can be steered.
pub(super) fn ours(listed: Listed) -> Result<Row, NotSteered> {
    match listed {
        Listed::Ours(row) => Ok(*row),
        Listed::Predecessor(file) => Err(Unsteerable::Predecessor { id: file.id }.into()),
    }
}

impl From<NotSteered> for Failure {
    fn from(why: NotSteered) -> Self {
        match why {
            NotSteered::Unsteerable(why) => Failure::new(ErrorCode::Refused, why.to_string()),
            NotSteered::Refused(refusal) => Failure::new(ErrorCode::Refused, refusal.to_string()),
            NotSteered::Store(error) => error.into(),
        }
    }
}

//! A record that was lost, from what its artifact says of it.

use jiff::Timestamp;

use super::record::{Access, Delegation, Event, Model, Spec};
use super::state::{Outcome, Reason, State, unspan};
use crate::id::{Attempt, DelegationId, ProjectId, SessionId};
use crate::text::artifact::{Artifact, Header};

/// What remains open to a child is not in its artifact.
const ACCESS: &str = "unknown, since the record was taken back from its artifact";

impl Delegation {
    /// The record of an ended delegation as its artifact has it, and the event that makes it so. Whose it
    /// is comes from where the file lies; `written_at` is the file's own time, for what it leaves out.
    /// None where the artifact names no terminal state.
    pub fn take_back(
        id: DelegationId,
        project: ProjectId,
        root: SessionId,
        artifact: &Artifact,
        written_at: Timestamp,
    ) -> Option<(Self, Event)> {
        let header = &artifact.header;
        let state = *header.status.as_ref().ok()?;
        if !state.is_terminal() {
            return None;
        }
        let spec = Spec {
            id,
            project,
            directory: String::new(),
            // A child can't delegate, so who delegates is a root session.
            parent: root.clone(),
            root,
            host: String::new(),
            origin: None,
            credentials: Vec::new(),
            agent: header.agent.as_str().to_owned(),
            model: header
                .model
                .as_ref()
                .and_then(|model| read_model(model.as_str())),
            prompt: String::new(),
            ask_title: true,
            access: Access {
                open: vec![ACCESS.to_owned()],
                ..Access::default()
            },
            registered_at: header.started.or(header.completed).unwrap_or(written_at),
            max_run_ms: None,
            stall_ms: None,
            max_attempts: header.attempts.unwrap_or(1),
            caller: None,
            continues: None,
            retries: None,
            worktree: None,
        };
        let event = Event::TakenBack {
            outcome: outcome(state, header),
            attempt: Attempt(header.attempts.unwrap_or(1)),
            child: Some(header.session.as_str())
                .filter(|child| *child != "none")
                .and_then(|child| child.parse().ok()),
            started_at: header.started,
            ended_at: header.completed.unwrap_or(written_at),
            ran_ms: header
                .duration
                .as_ref()
                .and_then(|duration| unspan(duration.as_str()))
                .unwrap_or(0),
        };
        let mut delegation = Self::new(spec);
        delegation.evolve(&event, written_at);
        Some((delegation, event))
    }
}

fn outcome(state: State, header: &Header) -> Outcome {
    let words = header.reason.as_ref().map_or_else(
        || state.name().to_owned(),
        |reason| reason.as_str().to_owned(),
    );
    let answered = state == State::Complete
        && (header.reason.is_none() || words == Reason::Answered.to_string());
    Outcome {
        state,
        reason: if answered {
            Reason::Answered
        } else {
            Reason::Recorded { words }
        },
    }
}

/// A model as it is displayed.
fn read_model(text: &str) -> Option<Model> {
    let (name, variant) = match text
        .strip_suffix(')')
        .and_then(|text| text.rsplit_once(" ("))
    {
        Some((name, variant)) => (name, Some(variant.to_owned())),
        None => (text, None),
    };
    let (provider, model) = name.split_once('/')?;
    Some(Model {
        provider: provider.to_owned(),
        model: model.to_owned(),
        variant,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::artifact::parse;

    const TEXT: &str = "# Lock order\n\nTaken first.\n\n**ID:** brave-amber-otter\n**Agent:** explore\n\
        **Status:** timeout\n**Session:** ses_child\n**Started:** 2026-01-02T03:04:05.678Z\n\
        **Completed:** 2026-01-02T03:19:05Z\n**Model:** lab/small (high)\n**Duration:** 15m\n**Attempts:** 2\n\
        **Reason:** over its time limit of 15m\n\n---\n\nhalf";

    fn taken(text: &str) -> Option<(Delegation, Event)> {
        Delegation::take_back(
            "brave-amber-otter".parse().unwrap(),
            ProjectId::from_path("/p"),
            "ses_root".parse().unwrap(),
            &parse(text).unwrap(),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn the_record_holds_what_the_artifact_says() {
        let (delegation, event) = taken(TEXT).unwrap();
        assert_eq!(delegation.state, State::Timeout);
        let outcome = delegation.outcome().unwrap();
        assert_eq!(outcome.reason.to_string(), "over its time limit of 15m");
        assert_eq!(delegation.attempt, Attempt(2));
        assert_eq!(delegation.child, Some("ses_child".parse().unwrap()));
        assert_eq!(delegation.spent_ms, 900_000);
        let started = "2026-01-02T03:04:05.678Z".parse().unwrap();
        assert_eq!(delegation.started_at, Some(started));
        assert_eq!(delegation.spec.registered_at, started);
        assert_eq!(
            delegation.ended_at,
            Some("2026-01-02T03:19:05Z".parse().unwrap())
        );
        let model = delegation.spec.model.as_ref().unwrap();
        assert_eq!(model.to_string(), "lab/small (high)");
        assert_eq!(model.variant.as_deref(), Some("high"));
        // The log alone gives the same record.
        let log = [
            (started, Event::Registered),
            (Timestamp::UNIX_EPOCH, event.clone()),
        ];
        assert_eq!(
            Delegation::replay(delegation.spec.clone(), &log),
            delegation
        );
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn an_answer_is_one_again_and_what_has_not_ended_is_none() {
        let complete = TEXT
            .replace("timeout", "complete")
            .replace("over its time limit of 15m", "answered")
            .replace("ses_child", "none");
        let (delegation, _) = taken(&complete).unwrap();
        assert_eq!(delegation.outcome().unwrap().reason, Reason::Answered);
        assert_eq!(delegation.child, None);
        assert!(taken(&TEXT.replace("timeout", "running")).is_none());
    }
}

//! The tools that models call: `delegate` and `delegation_read`, called again where the daemon was lost.

use brigade_protocol::ErrorCode;
use brigade_protocol::tools::{Answer, Caller, Delegate, Read};
use brigade_testkit::simulated::Confirm;
use serde_json::json;

use super::DIRECTORY;
use super::history::{History, Kind, Tool};
use crate::http::direct;

impl History {
    pub(super) fn call(&mut self, tool: &mut Tool) {
        let host = &self.hosts[tool.host];
        let (Some(life), Some(connection), true) =
            (&self.life, host.connection(), host.is_linked())
        else {
            return;
        };
        let caller = Caller {
            connection: connection.clone(),
            session: tool.session.clone(),
            message: None,
            agent: Some("build".to_owned()),
            parent: None,
            directory: DIRECTORY.to_owned(),
        };
        let api = life.api.clone();
        tool.connection = connection;
        tool.call = Some(match &tool.kind {
            Kind::Delegate { prompt, .. } => {
                let args = json!({"agent": "explore", "prompt": prompt});
                life.spawn(direct::delegate(api, Delegate { caller, args }))
            }
            Kind::Read { id, .. } => {
                let args = json!({"id": id});
                life.spawn(direct::read(api, Read { caller, args }))
            }
        });
    }

    pub(super) fn begin_tool(&mut self, at: usize, session: &str, kind: Kind) {
        self.hosts[at].direct.begins_tool(session);
        let mut tool = Tool {
            host: at,
            session: session.to_owned(),
            kind,
            call: None,
            connection: String::new(),
        };
        self.call(&mut tool);
        self.tools.push(tool);
    }

    pub(super) fn go_on_with_tool(&mut self, at: usize) {
        let mut tool = self.tools.swap_remove(at);
        if self.hosts[tool.host].suspended {
            self.tools.push(tool);
            return;
        }
        let Some(call) = tool.call.take() else {
            // The bridge calls again as soon as it is connected again.
            if self.serves() {
                self.call(&mut tool);
            }
            self.tools.push(tool);
            return;
        };
        if !call.is_finished() {
            tool.call = Some(call);
            self.tools.push(tool);
            return;
        }
        let answer = self.life.as_ref().and_then(|life| life.outcome(call));
        match answer {
            None => self.tools.push(tool),
            Some(Err(failure))
                if matches!(
                    failure.0.code,
                    ErrorCode::UnknownConnection | ErrorCode::Draining
                ) =>
            {
                if self.hosts[tool.host].connection().as_ref() == Some(&tool.connection) {
                    self.cut(tool.host);
                }
                self.tools.push(tool);
            }
            Some(Err(failure)) => {
                self.note(format!("a tool's call failed: {}", failure.0.message));
                self.hosts[tool.host].direct.ends_tool(&tool.session);
            }
            Some(Ok(answer)) => self.answered(&tool, &answer),
        }
    }

    pub(super) fn answered(&mut self, tool: &Tool, answer: &Answer) {
        let host = &self.hosts[tool.host];
        match &tool.kind {
            Kind::Delegate { known, .. } => {
                let id = answer.title.split(" · ").nth(1).map(str::to_owned);
                self.trace.push(format!(
                    "delegate in {}: {id:?} {}",
                    tool.session, answer.output
                ));
                if let Some(id) = id {
                    self.deeds.known.entry(id).or_insert_with(|| known.clone());
                }
            }
            Kind::Read { confirm, .. } => {
                if let Some(id) = &answer.handed {
                    self.trace
                        .push(format!("{id} is read in {}: {confirm:?}", tool.session));
                    host.direct.confirm(&tool.session, id, *confirm);
                    let own = self
                        .deeds
                        .known
                        .get(id)
                        .is_some_and(|known| known.root == tool.session);
                    if own && *confirm == Confirm::Handed {
                        self.deeds.handed.insert(id.clone());
                    }
                }
            }
        }
        host.direct.ends_tool(&tool.session);
    }
}

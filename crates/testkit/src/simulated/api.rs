//! The host's API, as far as the daemon asks it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::host::Inner;
use super::page::page;
use super::world::{Message, Run, State, World, text};

/// Status and body.
pub(super) type Answer = (u16, Value);

fn not_found(what: &str) -> Answer {
    (
        404,
        json!({"name": "NotFoundError", "data": {"message": format!("{what} not found")}}),
    )
}

fn rule(permission: &str, pattern: &str, action: &str) -> Value {
    json!({"permission": permission, "pattern": pattern, "action": action})
}

impl Inner {
    /// Carries a request out.
    pub(super) fn serve(self: &Arc<Self>, method: &str, path: &str, body: &Value) -> Answer {
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let segments: Vec<&str> = route.trim_matches('/').split('/').collect();
        if let ["session", id, rest @ ..] = &segments[..]
            && *id != "status"
            && *rest != ["abort"]
            && self.world.read(|state| state.session(id).is_none())
        {
            return not_found("Session");
        }
        match (method, &segments[..]) {
            ("GET", ["agent"]) => (200, agents()),
            ("GET", ["mcp"]) => (200, json!({})),
            ("GET", ["experimental", "tool", "ids"]) => {
                (200, json!(["read", "grep", "bash", "edit", "task"]))
            }
            ("GET", ["global", "health"]) => (200, json!({"healthy": true, "version": "1.18.33"})),
            ("POST", ["session"]) => (200, self.create(body)),
            ("GET", ["session"]) => (200, self.world.read(|state| json!(state.roots()))),
            ("GET", ["session", "status"]) => (200, self.statuses()),
            ("GET", ["session", id]) => (
                200,
                self.world.read(|state| {
                    state
                        .session(id)
                        .map(|s| s.info.clone())
                        .unwrap_or_default()
                }),
            ),
            ("GET", ["session", id, "children"]) => {
                let children = |state: &State| {
                    state
                        .children(id)
                        .iter()
                        .map(|s| s.info.clone())
                        .collect::<Vec<_>>()
                };
                (200, json!(self.world.read(children)))
            }
            ("PATCH", ["session", id]) => (200, self.patch(id, body)),
            ("GET", ["session", id, "message"]) => self.messages(id, query),
            ("GET", ["session", id, "message", message]) => self.world.read(|state| {
                let found = state
                    .messages(id)
                    .iter()
                    .find(|known| known.id() == *message);
                found.map_or_else(|| not_found("Message"), |found| (200, found.json()))
            }),
            ("POST", ["session", id, "message"]) => match self.prompt(id, body) {
                Some(message) => (200, message.json()),
                None => not_found("Session"),
            },
            ("POST", ["session", id, "prompt_async"]) => match self.prompt(id, body) {
                Some(_) => (204, Value::Null),
                None => not_found("Session"),
            },
            ("POST", ["session", id, "abort"]) => {
                self.abort(id);
                (200, json!(true))
            }
            ("GET", ["permission"]) => (200, self.open_asks()),
            ("GET", ["question"]) => (200, json!([])),
            ("POST", ["permission", id, "reply"]) => self.answer_ask(id, body),
            _ => not_found(path),
        }
    }

    fn create(&self, body: &Value) -> Value {
        self.world.state.update(|state| {
            let info = self.world.create(state, body);
            let session = text(&info["id"]).to_owned();
            self.emit_in(state, "session.created", &session, &json!({"info": info}));
            info
        })
    }

    fn patch(&self, id: &str, body: &Value) -> Value {
        self.world.state.update(|state| {
            let Some(session) = state.session_mut(id) else {
                return Value::Null;
            };
            for (key, value) in body.as_object().into_iter().flatten() {
                session.info[key] = value.clone();
            }
            let info = session.info.clone();
            self.emit_in(state, "session.updated", id, &json!({"info": info}));
            info
        })
    }

    fn statuses(&self) -> Value {
        self.world.read(|state| {
            let ours = state
                .runs
                .iter()
                .filter(|run| run.process == self.name && !run.ending);
            let map: BTreeMap<&str, Value> = ours
                .map(|run| (run.session.as_str(), json!({"type": "busy"})))
                .collect();
            json!(map)
        })
    }

    fn messages(&self, id: &str, query: &str) -> Answer {
        self.world
            .read(|state| match page(state.messages(id), query, Message::id) {
                Some(page) => (200, page.iter().map(Message::json).collect()),
                None => (400, json!({"_tag": "BadRequest"})),
            })
    }

    /// Stores a message, and has it answered unless no reply is asked for.
    pub(super) fn prompt(self: &Arc<Self>, session: &str, body: &Value) -> Option<Message> {
        let (message, begins) = self.world.state.update(|state| {
            let message = World::store_user(state, session, body)?;
            self.emit_in(
                state,
                "message.updated",
                session,
                &json!({"info": message.info}),
            );
            for part in &message.parts {
                self.emit_in(
                    state,
                    "message.part.updated",
                    session,
                    &json!({"part": part}),
                );
            }
            if body["noReply"] == true {
                return Some((message, false));
            }
            if let Some(run) = state.run_mut(&self.name, session) {
                run.again |= run.ending;
                return Some((message, false));
            }
            state.runs.push(Run {
                process: self.name.clone(),
                session: session.to_owned(),
                aborted: false,
                ending: false,
                again: false,
            });
            self.emit_in(
                state,
                "session.status",
                session,
                &json!({"status": {"type": "busy"}}),
            );
            Some((message, true))
        })?;
        if begins {
            self.spawn(Arc::clone(self).turn(session.to_owned()));
        }
        Some(message)
    }

    pub(super) fn abort(&self, session: &str) {
        self.world.state.update(|state| {
            if let Some(run) = state.run_mut(&self.name, session) {
                run.aborted = true;
            }
        });
    }

    fn open_asks(&self) -> Value {
        self.world.read(|state| {
            let open = state.asks.iter().filter(|ask| ask.answer.is_none() && ask.process == self.name);
            let list: Vec<Value> = open
                .map(|ask| json!({"id": ask.id, "sessionID": ask.session, "permission": ask.permission, "patterns": ["*"]}))
                .collect();
            json!(list)
        })
    }

    fn answer_ask(&self, id: &str, body: &Value) -> Answer {
        self.world.state.update(|state| {
            let mut asks = state.asks.iter_mut();
            match asks.find(|ask| ask.id == id && ask.answer.is_none()) {
                Some(ask) => {
                    ask.answer = Some(text(&body["message"]).to_owned());
                    (200, json!(true))
                }
                None => (
                    404,
                    json!({"_tag": "PermissionNotFoundError", "requestID": id}),
                ),
            }
        })
    }
}

/// `build`, which may do everything, and `explore`, which may only read.
fn agents() -> Value {
    let explore: Vec<Value> = std::iter::once(rule("*", "*", "deny"))
        .chain(["read", "grep", "glob", "list"].map(|name| rule(name, "*", "allow")))
        .collect();
    json!([
        {"name": "build", "mode": "primary", "native": true, "permission": [rule("*", "*", "allow")], "options": {}},
        {"name": "explore", "mode": "subagent", "native": true, "permission": explore, "options": {}},
    ])
}

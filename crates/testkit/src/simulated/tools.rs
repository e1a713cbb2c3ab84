//! The tools that a session's model calls, as the bridge passes them on.

use brigade_client::{Client, ClientError};
use brigade_protocol::bridge::Up;
use brigade_protocol::tools::{Answer, Caller, Delegate, Read};
use serde_json::json;

use super::filter::BridgeState;
use super::host::{Inner, SimulatedHost};
use super::world::State;
use crate::{Error, Result};

/// What the bridge says after a result was handed to a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// It has reached the model.
    Handed,
    /// The call was aborted meanwhile.
    Aborted,
    /// Nothing: the process was too busy dying.
    Nothing,
}

impl SimulatedHost {
    /// The tool `delegate`; returns the delegation's ID.
    ///
    /// # Errors
    /// When the daemon can't be reached or refuses.
    pub async fn delegate(&self, session: &str, prompt: &str) -> Result<String> {
        let args = json!({"agent": "explore", "prompt": prompt});
        let answer = self
            .tool(session, |client, caller| {
                let args = args.clone();
                async move { client.tool_delegate(&Delegate { caller, args }).await }
            })
            .await?;
        let id = answer.title.split(" · ").nth(1).map(str::to_owned);
        id.ok_or_else(|| Error::Exited {
            what: "delegate".to_owned(),
            output: answer.output,
        })
    }

    /// The tool `delegation_read`; returns what the model is given. Dropping the future aborts the call.
    ///
    /// # Errors
    /// When the daemon can't be reached.
    pub async fn read(&self, session: &str, id: &str, confirm: Confirm) -> Result<String> {
        let args = json!({"id": id});
        let answer = self
            .tool(session, |client, caller| {
                let args = args.clone();
                async move { client.tool_read(&Read { caller, args }).await }
            })
            .await?;
        if let Some(id) = answer.handed {
            self.inner.confirm(session, id, confirm);
        }
        Ok(answer.output)
    }

    /// A tool's call: the session is at work meanwhile.
    async fn tool<F>(&self, session: &str, call: impl Fn(Client, Caller) -> F) -> Result<Answer>
    where
        F: Future<Output = std::result::Result<Answer, ClientError>>,
    {
        let world = &self.inner.world;
        self.inner.begins_tool(session);
        let _at_work = AtWork {
            inner: &self.inner,
            session,
        };
        let mut tries = 0;
        loop {
            let (link, client) = self.inner.linked().await;
            let caller = Caller {
                connection: link.id.clone(),
                session: session.to_owned(),
                message: None,
                agent: Some("build".to_owned()),
                parent: None,
                directory: world.directory().display().to_string(),
            };
            match call(client, caller).await {
                Ok(answer) => return Ok(answer),
                Err(error) if tries < 50 && Inner::passes(&error) => {
                    tries += 1;
                    link.cut.cancel();
                    let left = |bridge: &BridgeState| {
                        let current = bridge.link.as_ref().map(|now| &now.id);
                        (current != Some(&link.id)).then_some(())
                    };
                    self.inner.bridge.until(left).await;
                }
                Err(error) => {
                    return Err(Error::Exited {
                        what: "a tool's call".to_owned(),
                        output: error.to_string(),
                    });
                }
            }
        }
    }
}

/// A session during a tool's call, however that ends.
struct AtWork<'a> {
    inner: &'a Inner,
    session: &'a str,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.inner.ends_tool(self.session);
    }
}

impl Inner {
    pub(super) fn begins_tool(&self, session: &str) {
        let now = self.world.state.update(State::tick);
        self.bridge.update(|bridge| {
            bridge.delegating.insert(session.to_owned());
            bridge.touch(session, now, true, |root| root.busy = true);
        });
    }

    pub(super) fn ends_tool(&self, session: &str) {
        // Under the state's lock, so that a turn that begins just now keeps it busy.
        self.world.read(|state| {
            let mut runs = state.runs.iter();
            let goes_on = runs.any(|run| run.process == self.name && run.session == session);
            if !goes_on {
                let idle = |root: &mut super::filter::Root| root.busy = false;
                self.bridge
                    .update(|bridge| bridge.touch(session, state.now, false, idle));
            }
        });
    }

    pub(super) fn confirm(&self, session: &str, id: String, confirm: Confirm) {
        let session = session.to_owned();
        self.bridge.update(|bridge| match confirm {
            Confirm::Handed => bridge.send(Up::Handed { id, session }),
            Confirm::Aborted => bridge.send(Up::NotHanded {
                id,
                session,
                call: None,
            }),
            Confirm::Nothing => {}
        });
    }
}

//! Calls that concern the parent session and its surroundings, not a run.

use brigade_core::id::SessionId;
use serde_json::{Value, json};

use super::api::Api;
use super::transport::Method;
use super::types::{ApiError, PromptBody};

impl Api {
    /// Stores a message that asks for no reply, and returns once the session holds it. Posting the same message
    /// and part IDs again changes nothing.
    ///
    /// # Errors
    /// [`ApiError`]. After [`super::TransportError::Doubt`] it may be stored: look for its parts.
    pub async fn store_message(
        &self,
        session: &SessionId,
        body: &PromptBody,
    ) -> Result<(), ApiError> {
        let path = format!("/session/{session}/message");
        let _stored: Value = self.typed(Method::Post, path, Some(json!(body))).await?;
        Ok(())
    }

    /// The names of the tools that the host and its plugins offer in this directory; those of MCP servers are
    /// not among them.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn tool_ids(&self) -> Result<Vec<String>, ApiError> {
        self.typed(Method::Get, "/experimental/tool/ids".to_owned(), None)
            .await
    }
}

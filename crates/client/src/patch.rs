//! A patch, as the daemon sends it.

use reqwest::Response;

use crate::ClientError;
use crate::request::lost;

/// A patch on its way here.
#[derive(Debug)]
pub struct Patch {
    request: String,
    response: Response,
}

impl Patch {
    pub(crate) fn new(request: &str, response: Response) -> Self {
        Self {
            request: request.to_owned(),
            response,
        }
    }

    /// The next piece of it; none at its end.
    ///
    /// # Errors
    /// When the connection breaks before all of it is here.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        match self.response.chunk().await {
            Ok(piece) => Ok(piece.map(Vec::from)),
            Err(error) => Err(lost(&self.request, &error)),
        }
    }
}

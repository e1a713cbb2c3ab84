//! The host's API over HTTP on loopback: a server that listens for real.

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Client;
use serde_json::Value;

use super::event::HostEvent;
use super::transport::{Method, Reply, Request, Transport, TransportError};

/// The user that the host's server expects with its password.
const USER: &str = "opencode";

/// A server at an address.
#[derive(Clone)]
pub struct HttpTransport {
    client: Client,
    base: String,
    password: Option<String>,
}

impl std::fmt::Debug for HttpTransport {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTransport")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl HttpTransport {
    /// The server at `base` (`http://127.0.0.1:4096`), with its password if it has one.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] if no HTTP client can be set up.
    pub fn new(base: impl Into<String>, password: Option<String>) -> Result<Self, TransportError> {
        let client = Client::builder()
            // A proxy of the environment has no business on loopback.
            .no_proxy()
            .build()
            .map_err(|error| TransportError::NotSent {
                why: format!("no HTTP client can be set up: {error}"),
            })?;
        let mut base = base.into();
        while base.ends_with('/') {
            base.pop();
        }
        Ok(Self {
            client,
            base,
            password,
        })
    }

    /// Opens the event stream of a directory's instance. From the moment this returns on no event is missed.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] if the server can't be reached, refuses, or does not greet.
    pub async fn events(&self, directory: &str) -> Result<EventStream, TransportError> {
        let failed = |error: reqwest::Error| TransportError::NotSent { why: chain(&error) };
        let response = self
            .request(Method::Get, "/event", directory)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(failed)?;
        let mut stream = EventStream {
            response,
            buffer: Vec::new(),
            scanned: 0,
        };
        // The server greets with an event of its own once it listens.
        match stream.next().await {
            Some(_) => Ok(stream),
            None => Err(TransportError::NotSent {
                why: "the event stream ended before it began".to_owned(),
            }),
        }
    }

    fn request(&self, method: Method, path: &str, directory: &str) -> reqwest::RequestBuilder {
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Patch => reqwest::Method::PATCH,
        };
        let request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header("x-opencode-directory", encode(directory));
        match &self.password {
            Some(password) => request.basic_auth(USER, Some(password)),
            None => request,
        }
    }
}

/// The events of a directory's instance, as they come.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    buffer: Vec<u8>,
    scanned: usize,
}

impl EventStream {
    /// The next event; none when the stream has ended, which says nothing about the server's runs.
    pub async fn next(&mut self) -> Option<HostEvent> {
        loop {
            while let Some(line) = self.line() {
                let event = line
                    .strip_prefix(b"data:")
                    .and_then(|data| serde_json::from_slice(data).ok())
                    .and_then(HostEvent::parse);
                if event.is_some() {
                    return event;
                }
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(error = chain(&error), "the event stream broke");
                    return None;
                }
            }
        }
    }

    /// Takes a whole line out of the buffer. What was looked through once is not looked through again, so that
    /// an event of many megabytes costs no more than its length.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.scanned = self.buffer.len();
            return None;
        };
        let line = self.buffer.drain(..=self.scanned + end).collect();
        self.scanned = 0;
        Some(line)
    }
}

impl Transport for HttpTransport {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            let mut builder = self
                .request(request.method, &request.path, &request.directory)
                .timeout(request.timeout);
            if let Some(body) = &request.body {
                builder = builder.json(body);
            }
            let lost = |error: reqwest::Error| {
                if error.is_connect() || error.is_builder() {
                    TransportError::NotSent { why: chain(&error) }
                } else {
                    TransportError::Doubt { why: chain(&error) }
                }
            };
            let response = builder.send().await.map_err(lost)?;
            let status = response.status().as_u16();
            let bytes = response.bytes().await.map_err(lost)?;
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok(Reply { status, body })
        }
        .boxed()
    }
}

/// A directory in a header: the host decodes percent signs there, so all but plain ASCII is encoded.
fn encode(directory: &str) -> String {
    let mut encoded = String::with_capacity(directory.len());
    for byte in directory.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// An error with its causes; the first alone says little.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn directories_are_encoded_for_a_header() {
        assert_eq!(encode("/tmp/a b/ü%"), "/tmp/a%20b/%C3%BC%25");
    }

    #[test]
    fn the_password_is_not_in_the_debug_text() {
        let transport = HttpTransport::new("http://127.0.0.1:1/", Some("secret".into())).unwrap();
        let text = format!("{transport:?}");
        assert!(
            !text.contains("secret") && text.contains("127.0.0.1:1\""),
            "{text}"
        );
    }

    #[tokio::test]
    async fn nobody_listening_is_surely_not_sent_and_a_closed_connection_is_in_doubt() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let transport = HttpTransport::new(format!("http://{address}"), None).unwrap();
        let request = || Request {
            method: Method::Get,
            path: "/x".to_owned(),
            directory: "/".to_owned(),
            body: None,
            timeout: Duration::from_secs(5),
        };
        let (answer, ()) = tokio::join!(transport.call(request()), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 64];
            tokio::io::AsyncReadExt::read(&mut socket, &mut buffer)
                .await
                .unwrap();
        });
        assert!(
            matches!(answer, Err(TransportError::Doubt { .. })),
            "{answer:?}"
        );
        drop(listener);
        let answer = transport.call(request()).await;
        assert!(
            matches!(answer, Err(TransportError::NotSent { .. })),
            "{answer:?}"
        );
    }
}

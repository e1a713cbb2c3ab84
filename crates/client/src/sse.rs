//! Server-sent events whose data is JSON.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, Stream, StreamExt};
use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::ClientError;
use crate::request::lost;

/// A stream of events. It ends when the daemon ends it, and with an error when the connection
/// breaks. Events of a kind that this build doesn't know are left out: within one protocol version
/// kinds may be added.
pub struct Events<E> {
    request: String,
    bytes: BoxStream<'static, Result<Vec<u8>, ClientError>>,
    parser: Parser,
    kind: std::marker::PhantomData<fn() -> E>,
}

impl<E> std::fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl<E: DeserializeOwned> Events<E> {
    pub(crate) fn new(request: &str, response: Response) -> Self {
        let name = request.to_owned();
        let bytes = response
            .bytes_stream()
            .map(move |chunk| chunk.map(Vec::from).map_err(|error| lost(&name, &error)));
        Self {
            request: request.to_owned(),
            bytes: bytes.boxed(),
            parser: Parser::default(),
            kind: std::marker::PhantomData,
        }
    }
}

impl<E: DeserializeOwned> Stream for Events<E> {
    type Item = Result<E, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            while let Some(data) = self.parser.next() {
                match serde_json::from_str::<E>(&data) {
                    Ok(event) => return Poll::Ready(Some(Ok(event))),
                    Err(error) if error.is_data() => {
                        tracing::debug!(request = self.request, %error, "an event of an unknown kind");
                    }
                    Err(error) => {
                        return Poll::Ready(Some(Err(ClientError::Protocol {
                            request: self.request.clone(),
                            why: error.to_string(),
                        })));
                    }
                }
            }
            match self.bytes.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.parser.push(&chunk),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Finds the events in a stream of bytes, however they are cut up. Only `data` counts.
#[derive(Debug, Default)]
struct Parser {
    /// What has come and makes no whole line yet.
    rest: Vec<u8>,
    /// How much of `rest` holds no line's end.
    searched: usize,
    /// The data lines of the event that is not whole yet.
    data: Option<String>,
    /// Whole events that nobody has fetched yet.
    whole: std::collections::VecDeque<String>,
}

impl Parser {
    fn push(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        let mut start = 0;
        while let Some(end) = self.rest[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let end = self.searched + end;
            let line = String::from_utf8_lossy(&self.rest[start..end]);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                self.whole.extend(self.data.take());
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = data.strip_prefix(' ').unwrap_or(data);
                match &mut self.data {
                    Some(before) => {
                        before.push('\n');
                        before.push_str(data);
                    }
                    None => self.data = Some(data.to_owned()),
                }
            }
            start = end + 1;
            self.searched = start;
        }
        self.rest.drain(..start);
        self.searched = self.rest.len();
    }

    fn next(&mut self) -> Option<String> {
        self.whole.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        for chunk in chunks {
            parser.push(chunk);
        }
        std::iter::from_fn(|| parser.next()).collect()
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text = ": hello\n\nevent: x\ndata: {\"a\":\"ü\"}\n\r\ndata:1\r\ndata: 2\r\n\r\n:\n\ndata: unfinished\n";
        let expected = vec!["{\"a\":\"ü\"}".to_owned(), "1\n2".to_owned()];
        assert_eq!(parse(&[text.as_bytes()]), expected);
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(parse(&single), expected);
        let odd: Vec<&[u8]> = text.as_bytes().chunks(7).collect();
        assert_eq!(parse(&odd), expected);
    }
}

//! What the model is told to do, as text that can travel inside a prompt.
//!
//! A directive is a line that starts with `::`. Other lines are for the reader. A script is a list of
//! steps, separated by `::step`; each is one answer of the model.
//!
//! | line | the model |
//! |---|---|
//! | `::say TEXT` | writes a line of text |
//! | `::json "TEXT"` | writes the text of a JSON string verbatim (control characters, newlines) |
//! | `::chunk TEXT` | writes TEXT as a piece of its own, without a newline |
//! | `::chunks N MS` | streams N pieces with MS milliseconds between them |
//! | `::long N` | writes N bytes |
//! | `::text END` … `END` | writes the lines between verbatim |
//! | `::think TEXT` | streams reasoning |
//! | `::call TOOL {JSON}` | calls a tool; several in a step are one answer |
//! | `::sleep MS` | waits |
//! | `::gate NAME` | hangs until the gate is opened |
//! | `::fail STATUS [times=N] MESSAGE` | answers with an HTTP error, the first N times or always |
//! | `::drop [times=N]` | cuts the connection |
//! | `::empty` | answers without any text |
//! | `::usage INPUT OUTPUT` | reports these token numbers |
//! | `::step` | begins the next answer |
//!
//! `{{delegation}}` in a text or in arguments stands for the newest delegation that a tool result or
//! notice in the conversation names, `{{delegation:N}}` for the Nth, from 1; `{{topic}}` for the rest of the
//! line `Topic: …` in the conversation's first user text, so that a rule can answer each session as its own.

use std::fmt;

use serde_json::Value;

/// One thing that the model does.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Writes text; `line` puts a newline before it unless it is the step's first text.
    Say {
        /// The text.
        text: String,
        /// Whether it is a line of its own.
        line: bool,
    },
    /// Streams pieces.
    Chunks {
        /// How many.
        count: usize,
        /// Milliseconds between them.
        every_ms: u64,
    },
    /// Writes this many bytes.
    Long(usize),
    /// Streams reasoning.
    Think(String),
    /// Calls a tool.
    Call {
        /// Its name.
        tool: String,
        /// Its arguments as JSON text, still with placeholders.
        arguments: String,
    },
    /// Waits, in milliseconds.
    Sleep(u64),
    /// Hangs until the gate is opened.
    Gate(String),
    /// Answers with an HTTP error.
    Fail {
        /// The status.
        status: u16,
        /// Only for so many requests of this step; always if none.
        times: Option<usize>,
        /// The provider's message.
        message: String,
    },
    /// Cuts the connection.
    Drop {
        /// Only for so many requests of this step; always if none.
        times: Option<usize>,
    },
    /// No text at all.
    Empty,
    /// Reports these token numbers.
    Usage {
        /// Prompt tokens.
        input: u64,
        /// Completion tokens.
        output: u64,
    },
}

/// A script: steps of operations. `Display` writes it as directives, [`Script::parse`] reads them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// The steps, each one answer.
    pub steps: Vec<Vec<Op>>,
}

/// A directive that cannot be understood; the model answers it with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("directive `{line}`: {problem}")]
pub struct ScriptError {
    /// The line.
    pub line: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Script {
    /// An empty script, to be built.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A script of one step that says `text`.
    #[must_use]
    pub fn saying(text: impl Into<String>) -> Self {
        Self::new().say(text)
    }

    /// Writes a line of text.
    #[must_use]
    pub fn say(self, text: impl Into<String>) -> Self {
        self.op(Op::Say {
            text: text.into(),
            line: true,
        })
    }

    /// Writes a piece of text as a chunk of its own.
    #[must_use]
    pub fn chunk(self, text: impl Into<String>) -> Self {
        self.op(Op::Say {
            text: text.into(),
            line: false,
        })
    }

    /// Calls a tool.
    #[must_use]
    pub fn call(self, tool: &str, arguments: &Value) -> Self {
        self.op(Op::Call {
            tool: tool.to_owned(),
            arguments: arguments.to_string(),
        })
    }

    /// Hangs until the gate is opened.
    #[must_use]
    pub fn gate(self, name: &str) -> Self {
        self.op(Op::Gate(name.to_owned()))
    }

    /// Answers with an HTTP error each time.
    #[must_use]
    pub fn fail(self, status: u16, message: &str) -> Self {
        self.op(Op::Fail {
            status,
            times: None,
            message: message.to_owned(),
        })
    }

    /// Adds an operation to the present step.
    #[must_use]
    pub fn op(mut self, op: Op) -> Self {
        match self.steps.last_mut() {
            Some(step) => step.push(op),
            None => self.steps.push(vec![op]),
        }
        self
    }

    /// Begins the next step.
    #[must_use]
    pub fn step(mut self) -> Self {
        if self.steps.is_empty() {
            self.steps.push(Vec::new());
        }
        self.steps.push(Vec::new());
        self
    }

    /// Reads the directives of `text`; none if it holds no directive.
    ///
    /// # Errors
    /// [`ScriptError`] for a line that starts as a directive and is none, so that a typing error in a
    /// test shows.
    pub fn parse(text: &str) -> Result<Option<Self>, ScriptError> {
        let text = unquoted(text);
        let mut steps = vec![Vec::new()];
        let mut any = false;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(directive) = line.trim_start().strip_prefix("::") else {
                continue;
            };
            if !directive.starts_with(|first: char| first.is_ascii_lowercase()) {
                continue;
            }
            any = true;
            let (name, rest) = directive
                .split_once(' ')
                .unwrap_or((directive.trim_end(), ""));
            if name == "step" {
                steps.push(Vec::new());
                continue;
            }
            let op = if name == "text" {
                let end = rest.trim();
                let block: Vec<&str> = lines
                    .by_ref()
                    .take_while(|line| line.trim() != end)
                    .collect();
                Op::Say {
                    text: block.join("\n"),
                    line: true,
                }
            } else {
                operation(name, rest).map_err(|problem| ScriptError {
                    line: line.to_owned(),
                    problem,
                })?
            };
            if let Some(step) = steps.last_mut() {
                step.push(op);
            }
        }
        Ok(any.then_some(Self { steps }))
    }
}

impl fmt::Display for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                writeln!(out, "::step")?;
            }
            for op in step {
                writeln!(out, "{op}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times =
            |times: &Option<usize>| times.map_or_else(String::new, |n| format!(" times={n}"));
        match self {
            Self::Say { text, line: true } if text.contains(char::is_control) => {
                write!(out, "::json {}", Value::from(text.as_str()))
            }
            Self::Say { text, line: true } => write!(out, "::say {text}"),
            Self::Say { text, line: false } => write!(out, "::chunk {text}"),
            Self::Chunks { count, every_ms } => write!(out, "::chunks {count} {every_ms}"),
            Self::Long(bytes) => write!(out, "::long {bytes}"),
            Self::Think(text) => write!(out, "::think {text}"),
            Self::Call { tool, arguments } => write!(out, "::call {tool} {arguments}"),
            Self::Sleep(ms) => write!(out, "::sleep {ms}"),
            Self::Gate(name) => write!(out, "::gate {name}"),
            Self::Fail {
                status,
                times: n,
                message,
            } => {
                write!(out, "::fail {status}{} {message}", times(n))
            }
            Self::Drop { times: n } => write!(out, "::drop{}", times(n)),
            Self::Empty => write!(out, "::empty"),
            Self::Usage { input, output } => write!(out, "::usage {input} {output}"),
        }
    }
}

fn operation(name: &str, rest: &str) -> Result<Op, String> {
    Ok(match name {
        "say" => Op::Say {
            text: rest.to_owned(),
            line: true,
        },
        "chunk" => Op::Say {
            text: rest.to_owned(),
            line: false,
        },
        "json" => Op::Say {
            text: serde_json::from_str(rest).map_err(|error| error.to_string())?,
            line: true,
        },
        "chunks" => {
            let (count, every) = rest.trim().split_once(' ').unwrap_or((rest.trim(), "0"));
            Op::Chunks {
                count: number(count)?,
                every_ms: number(every)?,
            }
        }
        "long" => Op::Long(number(rest)?),
        "think" => Op::Think(rest.to_owned()),
        "call" => {
            let (tool, arguments) = rest.trim().split_once(' ').unwrap_or((rest.trim(), "{}"));
            if tool.is_empty() {
                return Err("names no tool".to_owned());
            }
            serde_json::from_str::<Value>(arguments).map_err(|error| error.to_string())?;
            Op::Call {
                tool: tool.to_owned(),
                arguments: arguments.trim().to_owned(),
            }
        }
        "sleep" => Op::Sleep(number(rest)?),
        "gate" if !rest.trim().is_empty() => Op::Gate(rest.trim().to_owned()),
        "gate" => return Err("names no gate".to_owned()),
        "fail" => {
            let (status, rest) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
            let (times, message) = times(rest)?;
            Op::Fail {
                status: number(status)?,
                times,
                message: message.to_owned(),
            }
        }
        "drop" => Op::Drop {
            times: times(rest)?.0,
        },
        "empty" => Op::Empty,
        "usage" => {
            let (input, output) = rest.trim().split_once(' ').unwrap_or((rest.trim(), "10"));
            Op::Usage {
                input: number(input)?,
                output: number(output)?,
            }
        }
        _ => return Err("unknown".to_owned()),
    })
}

fn times(rest: &str) -> Result<(Option<usize>, &str), String> {
    match rest.trim().strip_prefix("times=") {
        Some(tail) => {
            let (count, message) = tail.split_once(' ').unwrap_or((tail, ""));
            Ok((Some(number(count)?), message))
        }
        None => Ok((None, rest.trim())),
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("`{}` is no number it can use", text.trim()))
}

/// `opencode run` sends an argument that holds a space in quotes, with inner quotes escaped.
fn unquoted(text: &str) -> String {
    let trimmed = text.trim();
    match trimmed
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(inner) if inner.trim_start().starts_with("::") => inner.replace("\\\"", "\""),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_built_is_read_back() {
        let script = Script::new()
            .call(
                "delegate",
                &json!({"prompt": "::say a\n::step\n::say b", "agent": "explore"}),
            )
            .step()
            .op(Op::Sleep(5))
            .gate("g")
            .say("plain")
            .say("two\nlines\u{7}")
            .op(Op::Chunks {
                count: 3,
                every_ms: 1,
            })
            .op(Op::Usage {
                input: 7,
                output: 8,
            })
            .step()
            .op(Op::Fail {
                status: 503,
                times: Some(2),
                message: "busy now".to_owned(),
            })
            .op(Op::Drop { times: None })
            .op(Op::Long(9))
            .op(Op::Think("hm".to_owned()))
            .op(Op::Empty);
        assert_eq!(Script::parse(&script.to_string()).unwrap(), Some(script));
    }

    #[test]
    fn a_block_is_verbatim_and_other_lines_are_not_read() {
        let text = "Dear model\n::text EOF\n`::say no`\n</task-notification>\nEOF\nstd::fmt\n::std";
        assert_eq!(
            Script::parse(&text.replace("\n::std", "")).unwrap(),
            Some(Script::saying("`::say no`\n</task-notification>"))
        );
        assert_eq!(Script::parse(text).unwrap_err().problem, "unknown");
        assert_eq!(Script::parse("no directive: :: here").unwrap(), None);
    }

    #[test]
    fn the_quotes_of_a_command_line_are_taken_off() {
        let sent = r#""::call read {\"filePath\":\"a b\"}""#;
        assert_eq!(
            Script::parse(sent).unwrap(),
            Some(Script::new().call("read", &json!({"filePath": "a b"})))
        );
    }
}

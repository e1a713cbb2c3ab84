//! `brigade send`

use std::io::Read as _;

use brigade_protocol::delegations::Message;

use super::run::show_surroundings;
use crate::args::Send;
use crate::context::{Context, scope};
use crate::error::{CliError, Kind};
use crate::output::{harmless, patiently};

/// The longest message that is taken from standard input, in bytes; the daemon's own limit is lower.
const LONGEST: u64 = 4 << 20;

pub(crate) async fn run(args: Send, context: &mut Context) -> Result<(), CliError> {
    let scope = scope(args.all)?;
    let message = Message {
        message: match args.message.as_slice() {
            [dash] if dash == "-" => standard_input()?,
            words => words.join(" "),
        },
        directory: scope.directory.clone(),
    };
    let client = context.client().await?;
    show_surroundings(&client, &args.id, &scope).await?;
    let sending = client.send(&args.id, &message);
    let sent = patiently("bringing up what it goes on with", sending).await?;
    if args.json.json {
        return context.out.json(&sent);
    }
    context.out.line(&harmless(&sent.message))
}

/// All of standard input.
pub(super) fn standard_input() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().take(LONGEST).read_to_string(&mut text);
    read.map_err(|error| {
        let message = format!("standard input can't be read: {error}; nothing was done");
        CliError::new(Kind::Failed, message).hint("it has to be UTF-8 text")
    })?;
    Ok(text)
}

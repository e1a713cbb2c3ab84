//! `brigade read`

use std::pin::pin;

use brigade_client::ClientError;
use brigade_core::delegation::State;
use brigade_protocol::delegations::Scope;
use futures::StreamExt;

use crate::args::Read;
use crate::context::{Context, scope};
use crate::error::{CliError, Kind};
use crate::output::{Output, remark};
use crate::screen::Screen;

/// How many streams that say nothing are taken up again, one after the other.
const MAX_SILENCES: u32 = 5;

pub(crate) async fn run(args: Read, context: &mut Context) -> Result<(), CliError> {
    let scope = scope(args.all)?;
    if args.follow {
        return follow(context, &args.id, &scope).await;
    }
    let text = context.client().await?.text(&args.id, &scope).await?;
    if args.json.json {
        return context.out.json(&text);
    }
    ended(&mut context.out, &text.text)?;
    if !text.state.is_terminal() {
        remark(&format!(
            "({} is {}: this is the text so far; --follow waits for more)",
            text.id, text.state
        ));
    }
    Ok(())
}

/// Prints text, with a line break at its end.
fn ended(out: &mut Output, text: &str) -> Result<(), CliError> {
    out.text(text)?;
    if text.is_empty() || text.ends_with('\n') {
        Ok(())
    } else {
        out.text("\n")
    }
}

/// Prints the text as it comes. Only text goes to standard output; all else is a remark beside it. A daemon that goes
/// is started again, and its stream taken up where it broke off.
async fn follow(context: &mut Context, id: &str, scope: &Scope) -> Result<(), CliError> {
    let mut screen = Screen::default();
    let mut silences = 0;
    loop {
        let client = context.client().await?;
        let mut events = pin!(client.follow(id, scope).await?);
        screen.again();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(ClientError::Lost { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            silences = 0;
            if let Some(end) = screen.take(event, Some(&mut context.out))? {
                remark(&format!(
                    "({}: {}; {})",
                    end.state, end.reason, end.artifact
                ));
                return match end.state {
                    State::Complete => Ok(()),
                    _ => Err(CliError::told(Kind::Failed)),
                };
            }
        }
        silences += 1;
        if silences > MAX_SILENCES {
            let again = if scope.directory.is_none() {
                " --all"
            } else {
                ""
            };
            let what = "the daemon ends its streams before the delegation has ended";
            return Err(CliError::new(Kind::Unreachable, what).hint(format!(
                "the delegation goes on; follow it again with: brigade read {id} --follow{again}"
            )));
        }
    }
}

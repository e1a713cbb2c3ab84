//! `brigade read`

use brigade_core::delegation::State;
use brigade_protocol::delegations::Scope;

use crate::args::Read;
use crate::context::{Context, connected, scope};
use crate::error::{CliError, Kind};
use crate::output::{Output, remark};
use crate::screen::{Screen, to_its_end};

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
    let all = if scope.directory.is_none() {
        " --all"
    } else {
        ""
    };
    let Context { dirs, out } = context;
    let end = to_its_end(
        async || connected(dirs).await,
        (id, scope),
        &mut Screen::default(),
        Some(out),
        &format!("brigade read {id} --follow{all}"),
    )
    .await?;
    remark(&format!(
        "({}: {}; {})",
        end.state, end.reason, end.artifact
    ));
    match end.state {
        State::Complete => Ok(()),
        _ => Err(CliError::told(Kind::Failed)),
    }
}

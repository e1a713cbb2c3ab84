//! `brigade retry`

use crate::args::Retry;
use crate::context::{Context, scope};
use crate::error::CliError;
use crate::output::{Tone, harmless};

pub(crate) async fn run(args: Retry, context: &mut Context) -> Result<(), CliError> {
    let scope = scope(args.all)?;
    let retried = context.client().await?.retry(&args.id, &scope).await?;
    if args.json.json {
        return context.out.json(&retried);
    }
    let tone = if retried.existing {
        Tone::Warn
    } else {
        Tone::Good
    };
    let id = context.out.paint(tone, retried.id.as_str());
    context
        .out
        .line(&format!("{id}  {}", harmless(&retried.message)))
}

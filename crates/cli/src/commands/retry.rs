//! `brigade retry`

use crate::args::Retry;
use crate::context::{Context, scope};
use crate::error::CliError;
use crate::output::harmless;

pub(crate) async fn run(args: Retry, context: &mut Context) -> Result<(), CliError> {
    let scope = scope(args.all)?;
    let retried = context.client().await?.retry(&args.id, &scope).await?;
    if args.json.json {
        return context.out.json(&retried);
    }
    context.out.line(&harmless(&retried.message))
}

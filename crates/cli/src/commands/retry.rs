//! `brigade retry`

use super::run::show_surroundings;
use crate::args::Retry;
use crate::context::{Context, scope};
use crate::error::CliError;
use crate::output::{harmless, patiently};

pub(crate) async fn run(args: Retry, context: &mut Context) -> Result<(), CliError> {
    let scope = scope(args.all)?;
    let client = context.client().await?;
    show_surroundings(&client, &args.id, &scope).await?;
    let retrying = client.retry(&args.id, &scope);
    let retried = patiently("bringing up what it runs on", retrying).await?;
    if args.json.json {
        return context.out.json(&retried);
    }
    context.out.line(&harmless(&retried.message))
}

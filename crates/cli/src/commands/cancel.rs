//! `brigade cancel`

use brigade_client::ClientError;
use brigade_protocol::delegations::{Cancel as Request, Cancelled};

use crate::args::Cancel;
use crate::context::{Context, scope};
use crate::error::{CliError, Kind};
use crate::output::{Output, Tone, failure, harmless, patiently};

pub(crate) async fn run(args: Cancel, context: &mut Context) -> Result<(), CliError> {
    let request = Request {
        ids: args.ids,
        // A session's ID says where it is: no need for its directory too.
        directory: scope(args.all_projects || args.session.is_some())?.directory,
        session: args.session,
        all: args.all,
        wait: true,
    };
    let by_id = !request.ids.is_empty();
    let client = context.client().await?;
    let stopping = client.cancel(&request);
    let cancelled = patiently("waiting until it has really stopped", stopping).await?;
    if args.json.json {
        context.out.json(&cancelled)?;
    } else {
        print(&mut context.out, &cancelled)?;
    }
    if let [others @ .., last] = cancelled.unknown.as_slice() {
        for body in others {
            failure(&ClientError::from(body.clone()).into());
        }
        return Err(ClientError::from(last.clone()).into());
    }
    // Who names a delegation wants that one stopped; one that had ended before was not.
    if by_id && cancelled.results.iter().any(|result| !result.ordered) {
        return Err(CliError::told(Kind::Refused));
    }
    Ok(())
}

fn print(out: &mut Output, cancelled: &Cancelled) -> Result<(), CliError> {
    if cancelled.results.is_empty() && cancelled.unknown.is_empty() {
        return out.line("Nothing is active there.");
    }
    for result in &cancelled.results {
        let tone = if result.ordered {
            Tone::Good
        } else {
            Tone::Warn
        };
        let id = out.paint(tone, result.id.as_str());
        out.line(&format!("{id}  {}", harmless(&result.message)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_core::delegation::State;
    use brigade_protocol::delegations::CancelResult;

    #[test]
    fn each_has_its_line() {
        let result = |id: &str, ordered, message: &str| CancelResult {
            id: id.parse().unwrap(),
            ordered,
            state: State::Running,
            message: message.into(),
        };
        let results = vec![
            result("agile-red-fox", true, "is being stopped"),
            result("brave-amber-otter", false, "had ended already: complete"),
        ];
        let (mut out, printed) = Output::memory(None);
        let cancelled = |results| Cancelled {
            results,
            unknown: vec![],
        };
        print(&mut out, &cancelled(results)).unwrap();
        print(&mut out, &cancelled(vec![])).unwrap();
        assert_eq!(
            printed(),
            "agile-red-fox  is being stopped\nbrave-amber-otter  had ended already: complete\nNothing is active there.\n"
        );
    }
}

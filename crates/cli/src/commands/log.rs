//! `brigade daemon log`

use brigade_client::{Connector, StartPolicy};
use brigade_protocol::daemon::{LogLevel, SetLogLevel};

use crate::args::Log;
use crate::context::{Context, Now};
use crate::error::CliError;
use crate::format::moment;
use crate::output::{Output, Tone};

/// Says what the daemon logs, or has it log something else.
pub(crate) async fn run(args: &Log, context: &mut Context) -> Result<(), CliError> {
    let connector = Connector::new(context.dirs.clone(), StartPolicy::Never).any_version();
    let client = connector.connect().await?;
    let level = match &args.level {
        None => client.log_level().await?,
        Some(directives) => {
            let length = args.length.map(|length| length.as_millis());
            let wish = SetLogLevel {
                directives: directives.clone(),
                for_ms: length.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            };
            client.set_log_level(&wish).await?
        }
    };
    if args.json.json {
        context.out.json(&level)
    } else {
        print(&mut context.out, &level, &Now::system())
    }
}

fn print(out: &mut Output, level: &LogLevel, now: &Now) -> Result<(), CliError> {
    let directives = out.paint(Tone::Hit, &level.directives);
    out.line(&format!("Logged is {directives}, into {}.", level.file))?;
    if let Some(until) = level.until {
        let until = moment(until, &now.zone);
        let then = &level.then;
        out.line(&format!(
            "That lasts until {until}, then it is {then} again."
        ))?;
    }
    if level.then != level.setting {
        let LogLevel {
            then,
            setting,
            config,
            ..
        } = level;
        out.line(&format!(
            "{then} holds until the daemon ends; the next one logs {setting}. To make it last, set [daemon] log = {then:?} in {config}."
        ))?;
    } else if level.until.is_none() {
        out.line(&format!(
            "That is what the setting [daemon] log in {} says, or its default.",
            level.config
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::list::tests::{at, now};

    fn printed(change: impl FnOnce(&mut LogLevel)) -> String {
        let mut level = LogLevel {
            directives: "info".into(),
            until: None,
            then: "info".into(),
            setting: "info".into(),
            config: "/config.toml".into(),
            file: "/logs/daemon.log".into(),
        };
        change(&mut level);
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &level, &now()).unwrap();
        printed()
    }

    #[test]
    fn it_is_said_how_long_it_lasts_and_how_to_make_it_last() {
        insta::assert_snapshot!(printed(|_| {}), @r"
        Logged is info, into /logs/daemon.log.
        That is what the setting [daemon] log in /config.toml says, or its default.
        ");
        insta::assert_snapshot!(printed(|level| {
            level.directives = "info,brigade_daemon=debug".into();
            level.then = level.directives.clone();
        }), @r#"
        Logged is info,brigade_daemon=debug, into /logs/daemon.log.
        info,brigade_daemon=debug holds until the daemon ends; the next one logs info. To make it last, set [daemon] log = "info,brigade_daemon=debug" in /config.toml.
        "#);
        insta::assert_snapshot!(printed(|level| {
            level.directives = "trace".into();
            level.until = Some(at(600));
        }), @r"
        Logged is trace, into /logs/daemon.log.
        That lasts until 2023-11-14 22:23:20, then it is info again.
        ");
    }
}

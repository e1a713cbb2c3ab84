//! Checks for what a crash, a restored backup or a helping hand has left.

use std::time::Duration;

use brigade_client::{ClientError, Connector, StartPolicy};
use brigade_os::paths::Dirs;
use brigade_protocol::gc::{Fate, Finding, FindingKind, Gc};

use super::Check;

const NAME: &str = "leftovers";
/// How many things of a kind are named.
const NAMED: usize = 5;
/// How long the daemon may look.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is left, by the daemon's eyes where one runs (`served`), else by looking.
pub(super) async fn checks(dirs: &Dirs, served: bool) -> Vec<Check> {
    let found = if served {
        match tokio::time::timeout(PATIENCE, ask(dirs)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return vec![not_looked(&error.to_string())],
            Err(_) => return vec![not_looked("the daemon did not answer in time")],
        }
    } else {
        let dirs = dirs.clone();
        match tokio::task::spawn_blocking(move || brigade_daemon::look(&dirs)).await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return vec![not_looked("the store is of an older schema")],
            // The check of the store has said it.
            Ok(Err(_)) => return Vec::new(),
            Err(error) => return vec![not_looked(&error.to_string())],
        }
    };
    told(&found)
}

async fn ask(dirs: &Dirs) -> Result<Vec<Finding>, ClientError> {
    let connector = Connector::new(dirs.clone(), StartPolicy::Never).any_version();
    let look = Gc {
        dry_run: true,
        processes: false,
    };
    Ok(connector.connect().await?.gc(&look).await?.findings)
}

fn not_looked(why: &str) -> Check {
    Check::warn(
        NAME,
        format!("what earlier runs left could not be looked for: {why}"),
        "brigade gc --dry-run",
    )
}

/// One check for each kind of thing, and one for what only needs tidying up.
fn told(found: &[Finding]) -> Vec<Check> {
    let of = |wanted: &dyn Fn(&&Finding) -> bool| found.iter().filter(wanted).collect::<Vec<_>>();
    let kinds: [(&'static str, &[FindingKind], [&str; 2]); 6] = [
        (
            "artifacts",
            &[FindingKind::UnrecordedArtifact, FindingKind::UnfitArtifact],
            ["artifact without a record", "artifacts without a record"],
        ),
        (
            "records",
            &[FindingKind::MissingArtifact],
            [
                "record without its artifact",
                "records without their artifacts",
            ],
        ),
        (
            "unreadable",
            &[FindingKind::Unreadable],
            ["place can't be looked at", "places can't be looked at"],
        ),
        (
            "sessions",
            &[FindingKind::Session],
            [
                "child session belongs to nothing that runs",
                "child sessions belong to nothing that runs",
            ],
        ),
        (
            "servers",
            &[FindingKind::Server],
            [
                "server of Brigade's own is not as it should be",
                "servers of Brigade's own are not as they should be",
            ],
        ),
        (
            "processes",
            &[FindingKind::Process],
            [
                "process was left behind by a dead host",
                "processes were left behind by dead hosts",
            ],
        ),
    ];
    let mut checks = Vec::new();
    for (name, kinds, words) in kinds {
        let these = of(&|finding| kinds.contains(&finding.kind));
        if !these.is_empty() {
            checks.push(left(name, words, &these));
        }
    }
    let untidy = of(&|finding| {
        finding.kind.is_housekeeping()
            && finding.kind != FindingKind::Store
            && finding.fate == Fate::Planned
    });
    let unclear = of(&|finding| {
        finding.kind.is_housekeeping()
            && finding.kind != FindingKind::Store
            && finding.fate != Fate::Planned
    });
    if !unclear.is_empty() {
        let words = [
            "unfinished file may hold a result",
            "unfinished files may hold results",
        ];
        checks.push(left("files", words, &unclear));
    }
    if checks.is_empty() || !untidy.is_empty() {
        checks.push(Check::ok(
            NAME,
            match untidy.len() {
                0 => "none".to_owned(),
                number => format!(
                    "{} that nobody needs; brigade gc tidies up",
                    numbered(number, ["file or folder", "files or folders"])
                ),
            },
        ));
    }
    checks
}

/// So many, in the words for one or for several.
fn numbered(number: usize, [one, several]: [&str; 2]) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

fn left(name: &'static str, words: [&str; 2], these: &[&Finding]) -> Check {
    let mut message = numbered(these.len(), words);
    for finding in these.iter().take(NAMED) {
        message.push_str(&format!("\n{}: {}", finding.subject, finding.what));
    }
    if these.len() > NAMED {
        message.push_str(&format!("\nand {} more", these.len() - NAMED));
    }
    let planned = these
        .iter()
        .filter(|finding| finding.fate == Fate::Planned)
        .count();
    let mend = match these {
        [only] if planned == 0 => only.action.clone(),
        _ if planned == 0 => "brigade gc --dry-run says of each what can be done".to_owned(),
        _ if planned == these.len() => {
            "brigade gc deals with that; brigade gc --dry-run shows what it would do".to_owned()
        }
        _ => format!(
            "brigade gc deals with {planned} of them; brigade gc --dry-run says of each what can be done"
        ),
    };
    Check::warn(name, message, mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;

    fn finding(kind: FindingKind, subject: &str, fate: Fate) -> Finding {
        Finding {
            kind,
            subject: subject.into(),
            what: "is wrong".into(),
            fate,
            action: "see to it".into(),
        }
    }

    #[test]
    fn what_is_lost_is_a_warning_and_what_is_untidy_is_not() {
        let none = told(&[finding(FindingKind::Store, "/db", Fate::Planned)]);
        assert_eq!((none.len(), none[0].level), (1, Level::Ok));
        assert_eq!(none[0].message, "none");
        let mut found: Vec<_> = (0..7)
            .map(|n| {
                let path = format!("/{n}.md");
                finding(FindingKind::UnrecordedArtifact, &path, Fate::Planned)
            })
            .collect();
        found.extend([
            finding(FindingKind::UnfitArtifact, "/u.md", Fate::Left),
            finding(FindingKind::MissingArtifact, "a-b-c", Fate::Planned),
            finding(FindingKind::PartialFile, "/p.md.part", Fate::Left),
            finding(FindingKind::EmptyFolder, "/empty", Fate::Planned),
        ]);
        let told: Vec<_> = told(&found)
            .into_iter()
            .map(|check| {
                let mend = check.mend.unwrap_or_default();
                format!(
                    "{:?} {}: {} → {mend}",
                    check.level, check.name, check.message
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "Warn artifacts: 8 artifacts without a record\n/0.md: is wrong\n/1.md: is wrong\n/2.md: is wrong\n/3.md: is wrong\n/4.md: is wrong\nand 3 more → brigade gc deals with 7 of them; brigade gc --dry-run says of each what can be done",
                "Warn records: 1 record without its artifact\na-b-c: is wrong → brigade gc deals with that; brigade gc --dry-run shows what it would do",
                "Warn files: 1 unfinished file may hold a result\n/p.md.part: is wrong → see to it",
                "Ok leftovers: 1 file or folder that nobody needs; brigade gc tidies up → ",
            ]
        );
    }
}

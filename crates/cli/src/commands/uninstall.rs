//! `brigade uninstall`

use std::fs;

use brigade_os::paths::Dirs;

use crate::args::Place;
use crate::bridge::{self, Found};
use crate::commands::install::{Folders, failed};
use crate::context::{Context, directory};
use crate::error::CliError;
use crate::output::Output;
use crate::panel;

pub(crate) fn run(args: &Place, context: &mut Context) -> Result<(), CliError> {
    let folders = Folders::of(&context.dirs, &directory()?);
    if uninstall(&mut context.out, &folders, args.project)? {
        stays(&mut context.out, &context.dirs)?;
    }
    Ok(())
}

/// Removes bridges and panel there, and nothing else; whether there was one.
fn uninstall(out: &mut Output, folders: &Folders, project: bool) -> Result<bool, CliError> {
    let (folder, other) = folders.chosen(project);
    let mut removed = false;
    for (path, found) in bridge::all(folder).map_err(|error| failed("read", folder, &error))? {
        let shown = path.display();
        if found == Found::Foreign {
            out.line(&format!("{shown} is not Brigade's; it stays."))?;
            continue;
        }
        fs::remove_file(&path).map_err(|error| failed("removed", &path, &error))?;
        out.line(&format!("Removed {shown}"))?;
        removed = true;
    }
    removed |= panel::uninstall(out, folder)?;
    if !removed {
        out.line(&format!(
            "No bridge of Brigade's is installed in {}. Nothing to do.",
            folder.display()
        ))?;
    }
    for (path, found) in bridge::all(other).map_err(|error| failed("read", other, &error))? {
        if matches!(found, Found::Bridge { .. }) {
            let flag = if project { "" } else { " --project" };
            out.line(&format!(
                "Another one stays in {}; remove it with: brigade uninstall opencode{flag}",
                path.display()
            ))?;
        }
    }
    Ok(removed)
}

/// Says what is left, and where.
fn stays(out: &mut Output, dirs: &Dirs) -> Result<(), CliError> {
    let results = dirs.opencode_data.join("delegations");
    out.line(&format!(
        "Results stay in {}, the store in {}. A host that runs keeps its bridge until it is restarted.",
        results.display(),
        dirs.data.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::install::tests::rig;

    #[test]
    fn only_what_was_installed_goes() {
        let rig = rig();
        rig.install(false).unwrap();
        rig.install(true).unwrap();
        let other = rig.folders.person.join("plugin/other.js");
        fs::write(&other, "").unwrap();
        let foreign = rig.folders.person.join("plugins").join(bridge::FILE);
        bridge::write(&foreign, "export default {}").unwrap();

        let (mut out, printed) = Output::memory(None);
        assert!(uninstall(&mut out, &rig.folders, false).unwrap());
        assert_eq!(
            rig.shown(&printed()),
            "Removed ROOT/person/plugin/brigade.js\n\
             ROOT/person/plugins/brigade.js is not Brigade's; it stays.\n\
             Removed ROOT/person/tui.json: it held nothing else\n\
             Removed ROOT/person/brigade/tui.js\n\
             Another one stays in ROOT/project/.opencode/plugin/brigade.js; remove it with: brigade uninstall opencode --project\n"
        );
        assert!(other.exists() && foreign.exists());

        let (mut out, printed) = Output::memory(None);
        assert!(!uninstall(&mut out, &rig.folders, false).unwrap());
        assert!(printed().contains("Nothing to do"));
    }
}

//! `brigade install`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use brigade_os::paths::Dirs;

use crate::args::Place;
use crate::bridge::{self, Found};
use crate::context::{Context, directory};
use crate::error::{CliError, Kind};
use crate::host::{predecessors, project_top, which};
use crate::output::{Output, Tone};
use crate::panel;

pub(crate) fn run(args: &Place, context: &mut Context) -> Result<(), CliError> {
    let program = program()?;
    let folders = Folders::of(&context.dirs, &directory()?);
    install(&mut context.out, &folders, args.project, program.as_deref())
}

/// The config folders in which OpenCode looks for plugins.
pub(crate) struct Folders {
    /// The person's.
    pub(crate) person: PathBuf,
    /// The current directory's project's.
    pub(crate) project: PathBuf,
}

impl Folders {
    pub(crate) fn of(dirs: &Dirs, directory: &Path) -> Self {
        Self {
            person: dirs.opencode_config.clone(),
            project: project_top(directory).join(".opencode"),
        }
    }

    /// The one that is meant, and the other.
    pub(crate) fn chosen(&self, project: bool) -> (&Path, &Path) {
        if project {
            (&self.project, &self.person)
        } else {
            (&self.person, &self.project)
        }
    }
}

/// The path of this program where the host would not find it by its name, or would find another.
fn program() -> Result<Option<PathBuf>, CliError> {
    let own = std::env::current_exe().map_err(|error| {
        CliError::new(
            Kind::Failed,
            format!("the path of this program is unknown: {error}"),
        )
    })?;
    let same = |path: &PathBuf| {
        path.canonicalize()
            .is_ok_and(|path| Some(path) == own.canonicalize().ok())
    };
    let found = which("brigade", std::env::var_os("PATH").as_deref()).filter(same);
    Ok(match found {
        Some(_) => None,
        None => Some(own),
    })
}

/// Where an edited file is kept: beside it, under a name that nothing has yet.
pub(crate) fn free(path: &Path) -> io::Result<PathBuf> {
    let mut kept = path.with_extension("js.bak");
    let mut number = 1;
    while kept.try_exists()? {
        number += 1;
        kept = path.with_extension(format!("js.bak{number}"));
    }
    Ok(kept)
}

fn install(
    out: &mut Output,
    folders: &Folders,
    project: bool,
    program: Option<&Path>,
) -> Result<(), CliError> {
    let (folder, other) = folders.chosen(project);
    let path = bridge::place(folder);
    let shown = path.display();
    let new = bridge::text(program);
    let version = bridge::VERSION;
    let wrote = match bridge::look(&path).map_err(|error| failed("read", &path, &error))? {
        Found::Foreign => {
            let message = format!("{shown} is not Brigade's; nothing was changed");
            return Err(CliError::new(Kind::Refused, message)
                .hint("move that file away, then install again"));
        }
        Found::Bridge { text, .. } if text == new => {
            out.line(&format!(
                "Already installed: {shown} (version {version}). Nothing to do."
            ))?;
            false
        }
        found => {
            if let Found::Bridge {
                sealed: false,
                text,
                ..
            } = &found
            {
                let kept = free(&path).map_err(|error| failed("read", &path, &error))?;
                bridge::write(&kept, text).map_err(|error| failed("written", &kept, &error))?;
                out.line(&format!(
                    "The bridge there had been edited; it is kept as {}.",
                    kept.display()
                ))?;
            }
            bridge::write(&path, &new).map_err(|error| failed("written", &path, &error))?;
            out.line(&match found {
                Found::Bridge {
                    version: Some(old), ..
                } if old != version => {
                    format!("Replaced the bridge of version {old} by version {version}: {shown}")
                }
                Found::Bridge { .. } => format!("Replaced the bridge: {shown} (version {version})"),
                _ => format!("Wrote {shown} (version {version})"),
            })?;
            true
        }
    };
    for (twin, found) in bridge::all(folder).map_err(|error| failed("read", folder, &error))? {
        if twin != path && matches!(found, Found::Bridge { .. }) {
            fs::remove_file(&twin).map_err(|error| failed("removed", &twin, &error))?;
            out.line(&format!("Removed a second bridge: {}", twin.display()))?;
        }
    }
    if let (true, Some(program)) = (wrote, program) {
        let program = program.display();
        out.line(&format!(
            "`brigade` on PATH is not this program: the bridge will start {program}"
        ))?;
    }
    let wrote_panel = panel::install(out, folder)?;
    warnings(out, folders, other)?;
    if wrote || wrote_panel {
        out.line("Restart OpenCode; then ask it to delegate something. `brigade doctor` checks the rest.")?;
    }
    Ok(())
}

/// Warns of what would be loaded beside the bridge and get in its way.
fn warnings(out: &mut Output, folders: &Folders, other: &Path) -> Result<(), CliError> {
    let warn = out.paint(Tone::Warn, "warning:");
    for (path, found) in bridge::all(other).map_err(|error| failed("read", other, &error))? {
        if matches!(found, Found::Bridge { .. }) {
            let flag = if other == folders.project {
                " --project"
            } else {
                ""
            };
            out.line(&format!(
                "{warn} there is a bridge in {} too, and OpenCode would load both; remove one with: brigade uninstall opencode{flag}",
                path.display()
            ))?;
        }
    }
    for folder in [&folders.person, &folders.project] {
        for path in predecessors(folder).map_err(|error| failed("read", folder, &error))? {
            let path = path.display();
            out.line(&format!(
                "{warn} {path} also defines `delegate`; remove it with: rm '{path}' (its results stay, and Brigade reads them)"
            ))?;
        }
    }
    Ok(())
}

pub(crate) fn failed(what: &str, path: &Path, error: &io::Error) -> CliError {
    let message = format!("{} can't be {what}: {error}", path.display());
    CliError::new(Kind::Failed, message)
        .hint("see to the folder's owner and permissions, then try again")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) struct Rig {
        root: tempfile::TempDir,
        pub(crate) folders: Folders,
    }

    pub(crate) fn rig() -> Rig {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders {
            person: root.path().join("person"),
            project: root.path().join("project/.opencode"),
        };
        Rig { root, folders }
    }

    impl Rig {
        pub(crate) fn install(&self, project: bool) -> Result<String, CliError> {
            let (mut out, printed) = Output::memory(None);
            install(&mut out, &self.folders, project, None)?;
            Ok(self.shown(&printed()))
        }

        pub(crate) fn shown(&self, text: &str) -> String {
            text.replace(self.root.path().to_str().unwrap(), "ROOT")
        }
    }

    #[test]
    fn the_second_time_there_is_nothing_to_do() {
        let rig = rig();
        let first = rig.install(false).unwrap();
        assert!(
            first.starts_with(
                "Wrote ROOT/person/plugin/brigade.js (version 0.1.0)\n\
                 Wrote the panel: ROOT/person/brigade/tui.js (version 0.1.0)\n\
                 Named it in ROOT/person/tui.json\n\
                 Restart"
            ),
            "{first}"
        );
        let second = rig.install(false).unwrap();
        assert_eq!(
            second,
            "Already installed: ROOT/person/plugin/brigade.js (version 0.1.0). Nothing to do.\n"
        );
    }

    #[test]
    fn an_older_bridge_is_replaced() {
        let rig = rig();
        let path = bridge::place(&rig.folders.person);
        let older =
            bridge::text(None).replace(&format!("brigade {};", bridge::VERSION), "brigade 0.0.9;");
        bridge::write(&path, &older).unwrap();
        let said = rig.install(false).unwrap();
        let expected = "Replaced the bridge of version 0.0.9 by version 0.1.0: ROOT/person/plugin/brigade.js\n";
        assert!(said.starts_with(expected), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bridge::text(None));
    }

    #[test]
    fn an_edited_bridge_is_kept_aside() {
        let rig = rig();
        let path = bridge::place(&rig.folders.project);
        let edited = bridge::text(None) + "// mine\n";
        bridge::write(&path, &edited).unwrap();
        let said = rig.install(true).unwrap();
        assert!(
            said.contains(
                "had been edited; it is kept as ROOT/project/.opencode/plugin/brigade.js.bak"
            ),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), bridge::text(None));
        assert_eq!(
            fs::read_to_string(path.with_extension("js.bak")).unwrap(),
            edited
        );
        // A second one does not take its place.
        let again = bridge::text(None) + "// mine again\n";
        bridge::write(&path, &again).unwrap();
        assert!(rig.install(true).unwrap().contains("brigade.js.bak2"));
        let kept = ["js.bak", "js.bak2"].map(|name| path.with_extension(name));
        let kept = kept.map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(kept, [edited, again]);
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let rig = rig();
        let path = bridge::place(&rig.folders.person);
        bridge::write(&path, "export default {}").unwrap();
        assert_eq!(rig.install(false).unwrap_err().kind, Kind::Refused);
        assert_eq!(fs::read_to_string(&path).unwrap(), "export default {}");
    }

    #[test]
    fn what_gets_in_the_way_is_named() {
        let rig = rig();
        rig.install(true).unwrap();
        let old = rig.folders.person.join("plugin/background-agents.ts");
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        fs::write(&old, "delegation_read").unwrap();
        let said = rig.install(false).unwrap();
        assert!(
            said.contains("brigade uninstall opencode --project"),
            "{said}"
        );
        assert!(
            said.contains("rm 'ROOT/person/plugin/background-agents.ts'"),
            "{said}"
        );
    }

    #[test]
    fn one_folder_holds_one_bridge() {
        let rig = rig();
        for name in bridge::FOLDERS {
            bridge::write(
                &rig.folders.person.join(name).join(bridge::FILE),
                &bridge::text(None),
            )
            .unwrap();
        }
        let said = rig.install(false).unwrap();
        assert!(
            said.contains("Removed a second bridge: ROOT/person/plugins/brigade.js"),
            "{said}"
        );
        assert_eq!(bridge::all(&rig.folders.person).unwrap().len(), 1);
    }
}

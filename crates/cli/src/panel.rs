//! The panel in OpenCode's terminal UI: its file, and the entry in `tui.json` that has OpenCode load it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstRootNode};

use crate::bridge::{self, Found};
use crate::commands::install::{failed, free};
use crate::error::{CliError, Kind};
use crate::output::Output;

/// The panel that this binary carries.
const SOURCE: &str = include_str!("../../../bridges/opencode/tui.js");
/// How the file begins.
const HEADER: &str = "// Brigade's panel";
/// Where it lies in a config folder: not where OpenCode looks for plugins of its server.
const FILE: &str = "brigade/tui.js";
/// How `tui.json` names it.
const ENTRY: &str = "./brigade/tui.js";
/// The files that OpenCode reads there.
const CONFIGS: [&str; 2] = ["tui.json", "tui.jsonc"];
/// What a `tui.json` that holds only our entry looks like.
const ALONE: &str = "{\n  \"plugin\": [\"./brigade/tui.js\"]\n}\n";

/// The panel as it is to be installed.
pub(crate) fn text() -> String {
    bridge::sealed(SOURCE.to_owned())
}

/// Where it goes in a config folder.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Looks at the file there.
pub(crate) fn look(folder: &Path) -> io::Result<Found> {
    bridge::look_for(&file(folder), HEADER)
}

/// Why a `tui.json` is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// It is no JSON, not even with comments.
    #[error("it is not JSON: {0}")]
    Syntax(String),
    /// It is something else.
    #[error("it holds no object")]
    NoObject,
    /// `"plugin"` is something else.
    #[error("its \"plugin\" is no list")]
    NoList,
}

/// The file of a config folder that names the panel, if one does.
pub(crate) fn named_in(folder: &Path) -> Result<Option<PathBuf>, (PathBuf, Unfit)> {
    for path in CONFIGS.map(|name| folder.join(name)) {
        let named = read(&path).and_then(|text| match text {
            Some(text) => Ok(!ours(&Config::parse(&text)?).is_empty()),
            None => Ok(false),
        });
        match named {
            Ok(true) => return Ok(Some(path)),
            Ok(false) => {}
            Err(unfit) => return Err((path, unfit)),
        }
    }
    Ok(None)
}

/// Puts the panel into a config folder; whether anything was written.
pub(crate) fn install(out: &mut Output, folder: &Path) -> Result<bool, CliError> {
    let path = file(folder);
    let (shown, new) = (path.display(), text());
    let mut wrote = match look(folder).map_err(|error| failed("read", &path, &error))? {
        Found::Foreign => {
            let message = format!(
                "{shown} is not Brigade's; the bridge is installed, the panel in OpenCode's terminal UI is not"
            );
            return Err(CliError::new(Kind::Refused, message)
                .hint("move that file away, then install again"));
        }
        Found::Bridge { text, .. } if text == new => false,
        found => {
            if let Found::Bridge {
                sealed: false,
                text,
                ..
            } = &found
            {
                let kept = free(&path).map_err(|error| failed("read", &path, &error))?;
                bridge::write(&kept, text).map_err(|error| failed("written", &kept, &error))?;
                let kept = kept.display();
                out.line(&format!(
                    "The panel there had been edited; it is kept as {kept}."
                ))?;
            }
            bridge::write(&path, &new).map_err(|error| failed("written", &path, &error))?;
            let verb = match found {
                Found::Nothing => "Wrote",
                _ => "Replaced",
            };
            out.line(&format!(
                "{verb} the panel: {shown} (version {})",
                bridge::VERSION
            ))?;
            true
        }
    };
    let named = named_in(folder).map_err(|(path, unfit)| left_alone(&path, &unfit))?;
    if named.is_none() {
        let config = CONFIGS
            .map(|name| folder.join(name))
            .into_iter()
            .find(|path| path.exists())
            .unwrap_or_else(|| folder.join(CONFIGS[0]));
        let added = read(&config).and_then(|text| add(text.as_deref()));
        let added = added.map_err(|unfit| left_alone(&config, &unfit))?;
        replace(&config, &added).map_err(|error| failed("written", &config, &error))?;
        out.line(&format!("Named it in {}", config.display()))?;
        wrote = true;
    }
    Ok(wrote)
}

/// Takes the panel out of a config folder; whether there was one.
pub(crate) fn uninstall(out: &mut Output, folder: &Path) -> Result<bool, CliError> {
    let mut removed = false;
    for path in CONFIGS.map(|name| folder.join(name)) {
        let rest = read(&path).and_then(|text| text.as_deref().map_or(Ok(None), take_out));
        let shown = path.display();
        match rest {
            Ok(None) => continue,
            Ok(Some(rest)) if rest.trim().is_empty() => {
                fs::remove_file(&path).map_err(|error| failed("removed", &path, &error))?;
                out.line(&format!("Removed {shown}: it held nothing else"))?;
            }
            Ok(Some(rest)) => {
                replace(&path, &rest).map_err(|error| failed("written", &path, &error))?;
                out.line(&format!("Took the panel out of {shown}"))?;
            }
            Err(unfit) => {
                out.line(&format!("{shown} stays as it is: {unfit}"))?;
                continue;
            }
        }
        removed = true;
    }
    let path = file(folder);
    let shown = path.display();
    match look(folder).map_err(|error| failed("read", &path, &error))? {
        Found::Nothing => {}
        Found::Foreign => out.line(&format!("{shown} is not Brigade's; it stays."))?,
        Found::Bridge { .. } => {
            fs::remove_file(&path).map_err(|error| failed("removed", &path, &error))?;
            // Kept where something else lies in it.
            let _ = path.parent().map(fs::remove_dir);
            out.line(&format!("Removed {shown}"))?;
            removed = true;
        }
    }
    Ok(removed)
}

fn left_alone(path: &Path, unfit: &Unfit) -> CliError {
    let message = format!(
        "{} was left as it is: {unfit}. The bridge is installed, the panel in OpenCode's terminal UI is not",
        path.display()
    );
    CliError::new(Kind::Refused, message).hint("mend that file, then install again")
}

fn read(path: &Path) -> Result<Option<String>, Unfit> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unfit::Unreadable(error.to_string())),
    }
}

/// Writes a person's file anew, where it really is and with the rights that it has.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let rights = fs::metadata(&real).ok().map(|data| data.permissions());
    bridge::write(&real, text)?;
    rights.map_or(Ok(()), |rights| fs::set_permissions(&real, rights))
}

/// A `tui.json` that keeps everything where it stands.
struct Config {
    root: CstRootNode,
    plugins: Option<CstArray>,
}

impl Config {
    fn parse(text: &str) -> Result<Self, Unfit> {
        // As OpenCode reads it: JSON with comments and trailing commas.
        let options = ParseOptions {
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
            ..ParseOptions::default()
        };
        let root =
            CstRootNode::parse(text, &options).map_err(|error| Unfit::Syntax(error.to_string()))?;
        let plugins = match root.value() {
            None => None,
            Some(_) => {
                let object = root.object_value().ok_or(Unfit::NoObject)?;
                let plugins = object.get("plugin").and_then(|property| property.value());
                plugins
                    .map(|value| value.as_array().ok_or(Unfit::NoList))
                    .transpose()?
            }
        };
        Ok(Self { root, plugins })
    }
}

/// The elements that name the panel: alone, or with options.
fn ours(config: &Config) -> Vec<CstNode> {
    let name = |node: &CstNode| {
        let text = match node.as_array() {
            Some(with_options) => with_options.elements().first()?.as_string_lit(),
            None => node.as_string_lit(),
        };
        text?.decoded_value().ok()
    };
    let elements = config.plugins.as_ref().map(CstArray::elements);
    let mut elements = elements.unwrap_or_default();
    elements.retain(|node| name(node).as_deref() == Some(ENTRY));
    elements
}

/// The file with our entry at the end of its plugins.
fn add(text: Option<&str>) -> Result<String, Unfit> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(ALONE.to_owned());
    };
    let config = Config::parse(text)?;
    let entry = CstInputValue::String(ENTRY.to_owned());
    match &config.plugins {
        Some(plugins) => {
            plugins.append(entry);
        }
        None => {
            let object = config.root.object_value_or_set();
            object.append("plugin", CstInputValue::Array(vec![entry]));
        }
    }
    let added = config.root.to_string();
    Config::parse(&added).map(|_| added)
}

/// The file without our entry, if it had one; empty where nothing else was in it.
fn take_out(text: &str) -> Result<Option<String>, Unfit> {
    if text == ALONE {
        return Ok(Some(String::new()));
    }
    let config = Config::parse(text)?;
    let ours = ours(&config);
    if ours.is_empty() {
        return Ok(None);
    }
    for element in ours {
        element.remove();
    }
    let plugins = config.plugins.as_ref();
    if plugins.is_some_and(is_bare) {
        let object = config.root.object_value();
        if let Some(property) = object.and_then(|object| object.get("plugin")) {
            property.remove();
        }
    }
    let rest = config.root.to_string();
    Config::parse(&rest).map(|_| Some(rest))
}

/// Whether nothing is in a list, not even a comment.
fn is_bare(list: &CstArray) -> bool {
    let kept = |node: &CstNode| node.is_comment();
    list.elements().is_empty() && !list.children().iter().any(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMENTED: &str = r#"{
  // how I like it
  "theme": "nord", /* really */
  "plugin": [
    "other", // theirs
    ["second", {"a": 1}],
  ],
}
"#;

    #[test]
    fn the_panel_has_what_the_installer_counts_on() {
        assert!(SOURCE.starts_with(HEADER));
        assert!(SOURCE.contains(&format!("const VERSION = {:?};", bridge::VERSION)));
        assert!(SOURCE.lines().count() <= 400);
    }

    #[test]
    fn the_panel_finds_the_socket_as_the_bridge_does() {
        let bridge = include_str!("../../../bridges/opencode/bridge.js");
        let rule = |source: &str| {
            let from = source.find("function socketPath() {").unwrap();
            let to = from + source[from..].find("\n}\n").unwrap();
            source[from..to].to_owned()
        };
        assert_eq!(rule(bridge), rule(SOURCE));
    }

    #[test]
    fn everything_else_in_the_file_stays() {
        let added = add(Some(COMMENTED)).unwrap();
        let expected = COMMENTED.replace(
            "    [\"second\", {\"a\": 1}],\n",
            "    [\"second\", {\"a\": 1}],\n    \"./brigade/tui.js\",\n",
        );
        assert_eq!(added, expected);
        assert_eq!(take_out(&added).unwrap().as_deref(), Some(COMMENTED));
        assert_eq!(take_out(COMMENTED).unwrap(), None);
    }

    #[test]
    fn a_file_without_plugins_gets_the_list_and_loses_it_again() {
        let before = "{\n  // mine\n  \"theme\": \"nord\"\n}\n";
        let added = add(Some(before)).unwrap();
        assert_eq!(
            added,
            "{\n  // mine\n  \"theme\": \"nord\",\n  \"plugin\": [\"./brigade/tui.js\"]\n}\n"
        );
        assert_eq!(take_out(&added).unwrap().as_deref(), Some(before));
    }

    #[test]
    fn a_file_of_ours_alone_goes_as_a_whole() {
        for nothing in [None, Some(""), Some(" \n")] {
            assert_eq!(add(nothing).unwrap(), ALONE);
        }
        assert_eq!(take_out(ALONE).unwrap().as_deref(), Some(""));
    }

    #[test]
    fn an_entry_with_options_is_ours_too() {
        let text = r#"{"plugin": [["./brigade/tui.js", {"x": 1}], "./brigade/tui.jsx"]}"#;
        assert_eq!(
            take_out(text).unwrap().as_deref(),
            Some(r#"{"plugin": [ "./brigade/tui.jsx"]}"#)
        );
    }

    #[test]
    fn what_is_no_such_file_is_left_alone() {
        for (text, unfit) in [
            ("[]", Unfit::NoObject),
            (r#"{"plugin": "x"}"#, Unfit::NoList),
        ] {
            assert_eq!(add(Some(text)).unwrap_err(), unfit);
        }
        for text in ["{\"a\": ", "{a: 1}", "{'a': 1}"] {
            assert!(
                matches!(add(Some(text)), Err(Unfit::Syntax(_))),
                "{text} passes"
            );
        }
    }

    fn said(
        run: impl FnOnce(&mut Output) -> Result<bool, CliError>,
    ) -> (Result<bool, Kind>, String) {
        let (mut out, printed) = Output::memory(None);
        let done = run(&mut out).map_err(|error| error.kind);
        (done, printed())
    }

    #[test]
    fn twice_installed_is_once_installed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::write(folder.join("tui.jsonc"), COMMENTED).unwrap();
        assert_eq!(said(|out| install(out, folder)).0, Ok(true));
        assert_eq!(said(|out| install(out, folder)), (Ok(false), String::new()));
        assert_eq!(named_in(folder).unwrap(), Some(folder.join("tui.jsonc")));
        assert!(!folder.join("tui.json").exists());
        assert_eq!(said(|out| uninstall(out, folder)).0, Ok(true));
        assert_eq!(
            fs::read_to_string(folder.join("tui.jsonc")).unwrap(),
            COMMENTED
        );
        assert!(!folder.join("brigade").exists());
        assert_eq!(
            said(|out| uninstall(out, folder)),
            (Ok(false), String::new())
        );
    }

    #[test]
    fn a_file_that_is_no_json_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tui.json"), "{ no").unwrap();
        assert_eq!(said(|out| install(out, dir.path())).0, Err(Kind::Refused));
        let (done, said) = said(|out| uninstall(out, dir.path()));
        assert_eq!(done, Ok(true), "the panel's file goes: {said}");
        assert!(said.contains("stays as it is: it is not JSON"), "{said}");
        assert_eq!(
            fs::read_to_string(dir.path().join("tui.json")).unwrap(),
            "{ no"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_rights_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (real, folder) = (dir.path().join("dotfiles.json"), dir.path().join("config"));
        fs::create_dir(&folder).unwrap();
        fs::write(&real, "{}").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&real, folder.join("tui.json")).unwrap();
        assert_eq!(said(|out| install(out, &folder)).0, Ok(true));
        assert!(folder.join("tui.json").is_symlink());
        assert_eq!(
            fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(fs::read_to_string(&real).unwrap().contains(ENTRY));
    }

    #[test]
    fn an_edited_panel_is_kept_and_a_foreign_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path());
        bridge::write(&path, &(text() + "// mine\n")).unwrap();
        let (done, printed) = said(|out| install(out, dir.path()));
        assert_eq!(done, Ok(true));
        assert!(printed.contains("it is kept as"), "{printed}");
        assert!(path.with_extension("js.bak").exists());
        fs::write(&path, "export default {}").unwrap();
        assert_eq!(said(|out| install(out, dir.path())).0, Err(Kind::Refused));
        assert_eq!(said(|out| uninstall(out, dir.path())).0, Ok(true));
        assert!(path.exists());
    }
}

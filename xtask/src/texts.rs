//! `cargo xtask texts`: keeps the bridge's copy of the rules and of the tools' schemas the same as
//! the source that they come from.

use std::fs;
use std::path::PathBuf;

use brigade_core::text::rules::{RULES, ToolSpec, tools};
use serde_json::{Value, json};

use crate::error::{Error, Result, io};
use crate::{root, say};

const OPEN: &str = "// <texts>\n";
const CLOSE: &str = "// </texts>\n";
const BEFORE: &str = "const TEXTS = ";

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the copy differs
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes the copy anew if it differs, or only looks.
///
/// # Errors
/// When the bridge can't be used, or the copy differs and may not be changed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let path = bridge();
    let shown = path.display().to_string();
    let source = fs::read_to_string(&path).map_err(io(format!("read {shown}")))?;
    let (start, end) = block(&source)?;
    if is_current(&source[start..end]) {
        say(&format!("{shown} is up to date"));
        return Ok(());
    }
    if args.check {
        return Err(Error::Wrong(format!(
            "the texts in {shown} differ from crates/core/src/text/rules.rs: run `cargo xtask texts`"
        )));
    }
    let new = format!("{}{}{}", &source[..start], written(), &source[end..]);
    fs::write(&path, new).map_err(io(format!("write {shown}")))?;
    say(&format!("{shown} was written anew"));
    Ok(())
}

fn bridge() -> PathBuf {
    root().join("bridges/opencode/bridge.js")
}

/// Where the copy stands, its marks not included.
fn block(source: &str) -> Result<(usize, usize)> {
    let lost = || {
        Error::Wrong(format!(
            "the bridge has no block between {} and {}",
            OPEN.trim(),
            CLOSE.trim()
        ))
    };
    let start = source.find(OPEN).ok_or_else(lost)? + OPEN.len();
    let length = source[start..].find(CLOSE).ok_or_else(lost)?;
    Ok((start, start + length))
}

/// Compared as values: the order of keys says nothing.
fn is_current(block: &str) -> bool {
    let json = block
        .trim()
        .strip_prefix(BEFORE)
        .and_then(|rest| rest.strip_suffix(';'));
    let found: Option<Value> = json.and_then(|json| serde_json::from_str(json).ok());
    found == Some(json!({"rules": RULES, "tools": tools()}))
}

fn written() -> String {
    let tools: Vec<String> = tools().iter().map(tool).collect();
    format!(
        "{BEFORE}{{\"rules\":{},\"tools\":[{}]}};\n",
        Value::from(RULES),
        tools.join(",")
    )
}

/// One tool, its arguments in the order in which a reader wants them: what is required first.
fn tool(spec: &ToolSpec) -> String {
    let properties = spec.properties.as_object();
    let optional = properties
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str());
    let optional = optional.filter(|name| !spec.required.contains(name));
    let ordered: Vec<String> = spec
        .required
        .iter()
        .copied()
        .chain(optional)
        .map(|name| format!("{}:{}", Value::from(name), spec.properties[name]))
        .collect();
    format!(
        "{{\"name\":{},\"description\":{},\"properties\":{{{}}},\"required\":{}}}",
        Value::from(spec.name),
        Value::from(spec.description),
        ordered.join(","),
        json!(spec.required),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_has_the_texts_of_the_source() {
        let source = fs::read_to_string(bridge()).unwrap();
        let (start, end) = block(&source).unwrap();
        assert!(is_current(&source[start..end]), "run `cargo xtask texts`");
    }

    #[test]
    fn what_is_written_is_current_and_what_was_changed_is_not() {
        assert!(is_current(&written()));
        assert!(!is_current(&written().replacen(
            "Background",
            "Foreground",
            1
        )));
        assert!(!is_current("const TEXTS = {};"));
        assert!(block("nothing of the kind").is_err());
    }
}

//! What a sandbox holds: its folders, its config, and what a test puts into it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Sandbox;
use crate::{Error, Result};

impl Sandbox {
    /// Writes a file of the project.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.project().join(name);
        put(&path, text)?;
        Ok(path)
    }

    /// Writes an agent of the project: `front` is the YAML between the lines of dashes.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn agent(&self, name: &str, front: &str, prompt: &str) -> Result<()> {
        let text = format!("---\n{}\n---\n{prompt}\n", front.trim());
        self.write(&format!(".opencode/agent/{name}.md"), &text)
            .map(drop)
    }

    /// Writes Brigade's config.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn brigade_toml(&self, text: &str) -> Result<()> {
        put(&self.brigade_config().join("config.toml"), text)
    }

    /// Changes `opencode.json`; only hosts started afterwards see it.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn configure(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let path = self.opencode_config().join("opencode.json");
        let text = fs::read_to_string(&path).map_err(Error::io("read opencode.json"))?;
        let mut config: Value = serde_json::from_str(&text).map_err(|source| Error::Json {
            what: "opencode.json".to_owned(),
            source,
        })?;
        change(&mut config);
        put(&path, &format!("{config:#}\n"))
    }

    /// Adds an MCP server `name` with the one tool `shout` (`{text}`, answered in upper case). What
    /// it was called with is in [`Self::mcp_calls`].
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn mcp_server(&self, name: &str) -> Result<()> {
        let script = self.path.join("mcp.mjs");
        put(&script, include_str!("mcp.mjs"))?;
        let log = self.mcp_log(name);
        self.configure(|config| {
            config["mcp"][name] = json!({
                "type": "local",
                "command": ["node", script, log],
            });
        })
    }

    /// The arguments that the MCP server `name` was called with.
    ///
    /// # Errors
    /// When its log can't be read.
    pub fn mcp_calls(&self, name: &str) -> Result<Vec<Value>> {
        let log = self.mcp_log(name);
        if !log.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&log).map_err(Error::io("read the MCP server's log"))?;
        text.lines()
            .map(|line| {
                serde_json::from_str(line).map_err(|source| Error::Json {
                    what: "the MCP server's log".to_owned(),
                    source,
                })
            })
            .collect()
    }

    /// Puts a plugin where OpenCode looks for it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn plugin(&self, file: &str, source: &str) -> Result<()> {
        put(&self.opencode_config().join("plugin").join(file), source)
    }

    /// Puts the bridge of this checkout where OpenCode looks for it.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn install_bridge(&self) -> Result<()> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bridges/opencode/bridge.js");
        let text =
            fs::read_to_string(&source).map_err(Error::io(format!("read {}", source.display())))?;
        self.plugin("brigade.js", &text)
    }

    fn mcp_log(&self, name: &str) -> PathBuf {
        self.path.join(format!("mcp-{name}.jsonl"))
    }

    pub(super) fn lay_out(&self, extra: &[(String, Value)]) -> Result<()> {
        for folder in [
            "t",
            "r",
            "r/brigade",
            "h/.config/opencode/plugin",
            "h/.local/share",
            "p/.opencode",
        ] {
            let path = self.path.join(folder);
            fs::create_dir_all(&path).map_err(Error::io(format!("make {}", path.display())))?;
        }
        for private in ["r", "r/brigade"] {
            let path = self.path.join(private);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
                .map_err(Error::io(format!("close {}", path.display())))?;
        }
        // With these files in place the host finds its plugin package and installs nothing.
        for folder in [self.opencode_config(), self.project().join(".opencode")] {
            self.opencode.put_plugin_package(&folder)?;
        }
        let models = json!({
            "main": {
                "name": "Main", "tool_call": true, "reasoning": true,
                "limit": {"context": 200_000, "output": 8192},
                "variants": {"high": {"reasoningEffort": "high"}, "low": {"reasoningEffort": "low"}},
            },
            "other": {
                "name": "Other", "tool_call": true, "reasoning": true,
                "limit": {"context": 200_000, "output": 8192},
                "variants": {"high": {"reasoningEffort": "high"}, "low": {"reasoningEffort": "low"}},
            },
        });
        let mut config = json!({
            "$schema": "https://opencode.ai/config.json",
            "autoupdate": false,
            "share": "disabled",
            "model": "scripted/main",
            "small_model": "scripted/main",
            "provider": {"scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Scripted",
                "options": {"baseURL": self.model.base_url(), "apiKey": "none"},
                "models": models,
            }},
        });
        for (key, value) in extra {
            config[key.as_str()] = value.clone();
        }
        put(
            &self.opencode_config().join("opencode.json"),
            &format!("{config:#}\n"),
        )?;
        self.write("README.md", "# A project\n")?;
        self.write("src/main.txt", "one\ntwo\nthree\n")?;
        let git = |args: &[&str]| -> Result<()> {
            let output = self
                .command("git")
                .args(args)
                .output()
                .map_err(Error::io("start git"))?;
            if output.status.success() {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(Error::Install {
                command: format!("git {}", args.join(" ")),
                output: text,
            })
        };
        git(&["init", "--quiet", "--initial-branch", "main"])?;
        git(&["config", "user.name", "Test"])?;
        git(&["config", "user.email", "test@example.invalid"])?;
        git(&["add", "README.md", "src"])?;
        git(&["commit", "--quiet", "--message", "Begin"])
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    let what = format!("write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(what.clone()))?;
    }
    fs::write(path, text).map_err(Error::io(what))
}

/// Links `target` at `link`, replacing nothing.
pub(crate) fn link(target: &Path, link: &Path) -> Result<()> {
    symlink(target, link).map_err(Error::io(format!("link {}", link.display())))
}

//! The real OpenCode, installed once into a cache and shared by all tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Exit, Process};
use crate::sandbox::link;
use crate::{Error, Result};

/// The version that everything is tested with.
pub const VERSION: &str = include_str!("../../opencode-version").trim_ascii_end();

/// An installed OpenCode.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    /// The program.
    pub(crate) program: PathBuf,
    /// A folder that holds the plugin package, as the host would have installed it.
    plugin: PathBuf,
}

impl Installed {
    /// Puts the plugin package into a config folder, so that the host does not install it (63 MB,
    /// seven seconds).
    pub(crate) fn put_plugin_package(&self, folder: &Path) -> Result<()> {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(self.plugin.join(file), folder.join(file))
                .map_err(Error::io(format!("copy {file} to {}", folder.display())))?;
        }
        fs::write(
            folder.join(".gitignore"),
            "node_modules\npackage.json\npackage-lock.json\nbun.lock\n.gitignore\n",
        )
        .map_err(Error::io("write .gitignore"))?;
        link(
            &self.plugin.join("node_modules"),
            &folder.join("node_modules"),
        )
    }
}

/// Finds OpenCode in the cache, or installs it there. Several processes may ask at once: one
/// installs, the others wait.
///
/// # Errors
/// When the cache can't be written or npm fails.
pub(crate) async fn ensure() -> Result<Installed> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).map_err(Error::io(format!("make {}", cache.display())))?;
    let program = package(
        &cache,
        &format!("opencode-{VERSION}"),
        &format!("opencode-ai@{VERSION}"),
    )
    .await?;
    let plugin = package(
        &cache,
        &format!("plugin-{VERSION}"),
        &format!("@opencode-ai/plugin@{VERSION}"),
    )
    .await?;
    Ok(Installed {
        program: program.join("node_modules/.bin/opencode"),
        plugin,
    })
}

/// Installs a npm package into the folder `name` of the cache, unless it is there.
async fn package(cache: &Path, name: &str, spec: &str) -> Result<PathBuf> {
    let folder = cache.join(name);
    if folder.join("node_modules").is_dir() {
        return Ok(folder);
    }
    let lock_path = cache.join(format!("{name}.lock"));
    let lock =
        File::create(&lock_path).map_err(Error::io(format!("open {}", lock_path.display())))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .map_err(|error| Error::io("wait for the lock")(std::io::Error::other(error)))?
        .map_err(Error::io(format!("lock {}", lock_path.display())))?;
    if folder.join("node_modules").is_dir() {
        return Ok(folder);
    }
    let fresh = tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(cache)
        .map_err(Error::io("make a temporary folder in the cache"))?;
    // An exact version: the host compares it with its own and installs again if it differs.
    let mut command = Command::new("npm");
    command
        .args([
            "install",
            "--save-exact",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            spec,
        ])
        .current_dir(fresh.path());
    let process = Process::start("npm install", command)?;
    let exit = process.exited(std::time::Duration::from_secs(600)).await?;
    if exit != Exit::Code(0) {
        return Err(Error::Install {
            command: format!("npm install {spec}"),
            output: process.stderr(),
        });
    }
    fs::rename(fresh.keep(), &folder).map_err(Error::io(format!("put {}", folder.display())))?;
    drop(lock);
    Ok(folder)
}

fn cache_dir() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("BRIGADE_TESTKIT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("brigade-testkit")))
        .or_else(|| set("HOME").map(|path| path.join(".cache/brigade-testkit")))
        .ok_or(Error::Missing {
            program: "cache folder",
            path: PathBuf::from("$HOME/.cache"),
            hint: "set BRIGADE_TESTKIT_CACHE",
        })
}

//! What lies at a path, exactly enough to know it again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::disk::{Kind, absent, kind_beneath};
use crate::error::{Fault, io_at};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    /// Nothing that is not behind a link.
    Nothing,
    /// A file: who may do what with it, and the hash of its content.
    File { mode: u32, sha256: String },
    /// A link, and where it leads.
    Link { to: Vec<u8> },
    /// A folder.
    Folder,
    /// Something else.
    Other,
}

/// Looks at a path below `top`.
pub(crate) fn look_at(top: &Path, path: &Path) -> Result<Found, Fault> {
    let whole = top.join(path);
    let found = match kind_beneath(top, path) {
        Kind::Nothing => Ok(Found::Nothing),
        Kind::Folder => Ok(Found::Folder),
        Kind::Other => Ok(Found::Other),
        Kind::Link => fs::read_link(&whole).map(|to| Found::Link {
            to: to.as_os_str().as_bytes().to_vec(),
        }),
        Kind::File => file(&whole),
    };
    match found {
        // It went between two looks.
        Err(why) if absent(&why) => Ok(Found::Nothing),
        other => other.map_err(io_at("reading", &whole)),
    }
}

fn file(path: &Path) -> io::Result<Found> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    let sha256 = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Found::File { mode, sha256 })
}

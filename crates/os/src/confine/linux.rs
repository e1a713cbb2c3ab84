//! Linux: Landlock.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::{Confined, NotAvailable, Writable};

/// The newest version whose rights are known here; newer kernels have more, which stay as they are.
const KNOWN: ABI = ABI::V6;
/// The oldest version that will do: before it, any file can be emptied.
const OLDEST: u32 = 3;

/// What any program may write to, since nothing is kept there. Terminals are not among them: a person's own are
/// below `/dev/pts`, and what is written there is shown, control characters and all.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

pub(super) fn available() -> Result<u32, NotAvailable> {
    // A thread binds itself alone, and takes it along when it ends.
    let tried = std::thread::spawn(|| ruleset()?.restrict_self());
    let refused = |why: String| NotAvailable::Refused(why);
    let status = tried
        .join()
        .map_err(|_| refused("trying it failed".to_owned()))?
        .map_err(|error| refused(error.to_string()))?;
    version(&status)
}

pub(super) fn confine(writable: &Writable) -> io::Result<Confined> {
    let unsupported = |why| io::Error::new(io::ErrorKind::Unsupported, why);
    available().map_err(unsupported)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut rules = ruleset().map_err(io::Error::other)?;
    let all = AccessFs::from_write(KNOWN);
    // A device of one's own making leads to the whole disk, wherever it lies.
    let of_folder = all & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    for folder in &writable.folders {
        rules = allow(rules, folder, of_folder)?;
    }
    let of_file = AccessFs::from_file(KNOWN) & all;
    let of_plain = of_file | AccessFs::MakeReg | AccessFs::RemoveFile;
    for folder in &writable.plain {
        rules = allow(rules, folder, of_plain)?;
    }
    let devices = DEVICES.iter().map(Path::new).filter(|path| path.exists());
    let files = writable.files.iter().map(PathBuf::as_path);
    for file in files.chain(devices) {
        rules = allow(rules, file, of_file)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    let abi = version(&status).map_err(unsupported)?;
    give_up_power()?;
    Ok(Confined {
        abi,
        open: open(abi),
    })
}

/// Where this process is the system's administrator, keeps of that what concerns files: with the rest one could
/// look into other processes, load code into the kernel or write to disks. What it executes gets no more again.
fn give_up_power() -> io::Result<()> {
    let kept = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::KILL
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::SETGID
        | CapabilitySet::SETUID;
    let has = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: has.effective & kept,
            permitted: has.permitted & kept,
            inheritable: has.inheritable & kept,
        },
    )?;
    Ok(())
}

/// All that changes something is forbidden, wherever no rule allows it.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    // As far as the kernel knows it; how far that is, is told.
    Ruleset::default()
        .handle_access(AccessFs::from_write(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let opened = PathFd::new(path).map_err(io::Error::other)?;
    rules
        .add_rule(PathBeneath::new(opened, access))
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

fn version(status: &RestrictionStatus) -> Result<u32, NotAvailable> {
    match status.landlock {
        LandlockStatus::NotEnabled => Err(NotAvailable::Off),
        LandlockStatus::NotImplemented => Err(NotAvailable::NotBuilt),
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => {
            let known = effective_abi as u32;
            let abi = kernel_abi.and_then(|abi| u32::try_from(abi).ok());
            let abi = abi.unwrap_or(known);
            if abi < OLDEST {
                return Err(NotAvailable::TooOld(abi));
            }
            Ok(abi)
        }
    }
}

/// What a version leaves open.
fn open(abi: u32) -> Vec<&'static str> {
    let gaps = [
        (5, "control calls to devices"),
        (6, "signals to other processes, abstract Unix sockets"),
    ];
    gaps.into_iter()
        .filter_map(|(since, what)| (abi < since).then_some(what))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_kernel_leaves_open_is_told() {
        assert_eq!(open(7), [""; 0]);
        assert_eq!(open(6), [""; 0]);
        assert_eq!(
            open(5),
            ["signals to other processes, abstract Unix sockets"]
        );
        assert_eq!(open(3).len(), 2);
    }
}

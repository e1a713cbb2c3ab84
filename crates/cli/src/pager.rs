//! Long output goes through the person's pager.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::host::which;

/// What shows long output page by page.
pub(crate) struct Pager {
    child: Child,
    /// As long as this is here, Ctrl-C is the pager's: were this program to end by it, the pager would be left behind
    /// with a terminal that it has set up for itself.
    _interrupts: Signal,
}

impl Pager {
    /// The person's: `$PAGER`, else less where there is one. None where nothing is wanted or none can be started.
    pub(crate) fn open() -> Option<Self> {
        let (program, args) = wanted(std::env::var_os("PAGER"), || {
            which("less", std::env::var_os("PATH").as_deref()).is_some()
        })?;
        let interrupts = signal(SignalKind::interrupt()).ok()?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .spawn()
            .ok()?;
        Some(Self {
            child,
            _interrupts: interrupts,
        })
    }

    /// Shows more. Who has left the pager has enough: that is a broken pipe.
    pub(crate) fn show(&mut self, text: &str) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(stdin) => stdin.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }

    /// Waits until the person leaves it.
    pub(crate) fn close(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(|_| ())
    }
}

/// The program to start, and its arguments.
fn wanted(pager: Option<OsString>, less: impl Fn() -> bool) -> Option<(OsString, Vec<OsString>)> {
    match pager {
        Some(pager) if pager.is_empty() || pager == "cat" => None,
        // It may have arguments, and is written for a shell.
        Some(pager) => Some(("sh".into(), vec!["-c".into(), pager])),
        None => less().then(|| ("less".into(), vec!["-FRX".into()])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_persons_pager_goes_first() {
        let words = |pager: Option<&str>, less: bool| {
            let (program, args) = wanted(pager.map(Into::into), || less)?;
            let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
            Some(format!("{} {}", program.to_string_lossy(), args.join(" ")))
        };
        assert_eq!(words(None, true).unwrap(), "less -FRX");
        assert_eq!(words(None, false), None);
        assert_eq!(words(Some("most -s"), true).unwrap(), "sh -c most -s");
        assert_eq!(words(Some(""), true), None);
        assert_eq!(words(Some("cat"), true), None);
    }
}

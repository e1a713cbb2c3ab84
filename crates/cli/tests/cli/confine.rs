//! What a program behind a confined gate can change, and what it can't.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use brigade_os::confine::available;
use brigade_os::process::ProcessId;

use crate::common::Home;

/// Folders inside and outside of what is writable, and a file of which only the content is.
struct Place {
    _root: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    /// None where the kernel can't confine: that a program is not started then is all there is to see.
    fn new() -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let place = Self {
            root: root.path().canonicalize().unwrap(),
            _root: root,
        };
        for folder in ["in/deep", "out/folder", "files"] {
            fs::create_dir_all(place.root.join(folder)).unwrap();
        }
        for file in ["in/file", "out/file", "files/open", "files/closed"] {
            fs::write(place.root.join(file), "as it was").unwrap();
        }
        symlink("../out", place.root.join("in/way")).unwrap();
        symlink("../out/file", place.root.join("in/link")).unwrap();
        if let Err(why) = available() {
            let output = place.sh("touch in/new");
            assert!(!output.status.success());
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(&why.to_string()), "{said}");
            assert!(!place.root.join("in/new").exists());
            return None;
        }
        Some(place)
    }

    fn command(&self, writable: &[&str], script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
        command.args(["gate", "--confined"]);
        for path in writable {
            command.arg("--writable").arg(self.root.join(path));
        }
        command
            .args(["--", "/bin/sh", "-c", script])
            .current_dir(&self.root)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, writable: &[&str], script: &str) -> Child {
        let mut child = self.command(writable, script).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }

    /// Runs a script that may change what is in `in`, and the file `files/open`.
    fn sh(&self, script: &str) -> Output {
        let child = self.start(&["in", "files/open"], script);
        child.wait_with_output().unwrap()
    }

    /// Everything that there is, with what is in it.
    fn all(&self) -> Vec<(PathBuf, Option<String>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                }
                let text = kind
                    .is_file()
                    .then(|| fs::read_to_string(entry.path()).unwrap());
                found.push((entry.path(), text));
            }
        }
        found.sort();
        found
    }
}

#[test]
fn nothing_outside_can_be_changed_by_any_way() {
    let Some(place) = Place::new() else { return };
    let before = place.all();
    for script in [
        "echo x > out/new",
        "echo x > out/file",
        "echo x >> out/file",
        ": > out/file",
        "truncate -s 0 out/file",
        "rm out/file",
        "mkdir out/new",
        "rmdir out/folder",
        "ln -s x out/new",
        "mkfifo out/new",
        "mv out/file out/other",
        "mv out/file in/taken",
        "mv in/file out/given",
        "mv in/deep out/given",
        "ln in/file out/given",
        // With a name inside, what is outside could be changed through it.
        "ln out/file in/taken",
        "echo x > in/way/new",
        "echo x > in/link",
        "truncate -s 0 in/link",
        "cd in/way && rm file",
        "echo x > new",
        "mv in elsewhere",
        "rmdir files",
        "echo x > files/closed",
        "echo x > files/new",
        "rm files/open",
        "mv files/open files/other",
        "ln -sf ../out/file files/open",
        "ln files/closed in/taken",
        "mknod in/disk b 8 0",
        "mknod in/memory c 1 1",
    ] {
        let output = place.sh(script);
        assert!(!output.status.success(), "{script}");
        let said = String::from_utf8(output.stderr).unwrap();
        // Linking and moving across the border looks as if the other side were another disk.
        let refused = ["Permission denied", "cross-device", "not permitted"];
        let refused = refused.iter().any(|words| said.contains(words));
        assert!(refused, "{script}: {said}");
        assert_eq!(place.all(), before, "{script}");
    }
}

#[test]
fn in_a_folder_that_others_use_there_are_plain_files_only() {
    let Some(place) = Place::new() else { return };
    fs::write(place.root.join("files/log"), "old").unwrap();
    let sh = |script: &str| {
        let mut command = place.command(&["in"], script);
        // The options go before what is to be started.
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let at = args.iter().position(|arg| arg == "--").unwrap();
        let mut gate = Command::new(command.get_program());
        gate.args(&args[..at])
            .arg("--plain")
            .arg(place.root.join("files"));
        gate.args(&args[at..])
            .current_dir(&place.root)
            .env("LC_ALL", "C");
        command = gate;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child.wait_with_output().unwrap()
    };
    let output = sh(
        "set -e; echo x >> files/log; echo new > files/new; mv files/new files/newer; rm files/closed",
    );
    assert!(output.status.success(), "{output:?}");
    let before = place.all();
    for script in [
        "ln -s ../out/file files/link",
        "ln -sf ../out/file files/log",
        "ln -s ../out/file in/made && mv in/made files/log",
        "ln in/link files/link",
        "mv in/link files/log",
        "mkdir files/folder",
        "mkfifo files/pipe",
        "mv in/deep files/deep",
    ] {
        let output = sh(script);
        assert!(!output.status.success(), "{script}");
        let now = place.all();
        let there = |all: &[(PathBuf, Option<String>)]| -> Vec<(PathBuf, Option<String>)> {
            let all = all
                .iter()
                .filter(|(path, _)| !path.starts_with(place.root.join("in/made")));
            all.cloned().collect()
        };
        assert_eq!(there(&now), there(&before), "{script}");
    }
}

#[test]
fn an_administrators_power_is_left_outside() {
    let Some(place) = Place::new() else { return };
    let output = place.sh("grep CapEff /proc/self/status; cat /proc/$PPID/environ");
    let said = String::from_utf8(output.stdout).unwrap();
    let power = said.lines().next().unwrap().split_whitespace().nth(1);
    let power = u64::from_str_radix(power.unwrap(), 16).unwrap();
    // Ownership, modes and access to files, users, signals, low ports: the first eleven but for three.
    assert_eq!(power & !0b100_1111_1011, 0, "{power:x}");
    assert!(!output.status.success(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn inside_everything_goes() {
    let Some(place) = Place::new() else { return };
    let script = "set -e
        echo new > in/new; echo more >> in/file; truncate -s 1 in/new
        mkdir in/made; mv in/new in/made/moved; ln in/file in/deep/linked; ln -s ../out in/deep/link
        mkfifo in/pipe; rm in/pipe; rm in/link; mv in/made/moved in/deep; rmdir in/made
        echo changed > files/open
        cat out/file > /dev/null; echo x > /dev/null";
    let output = place.sh(script);
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| fs::read_to_string(place.root.join(name)).unwrap();
    assert_eq!(read("in/file"), "as it wasmore\n");
    assert_eq!(read("in/deep/linked"), "as it wasmore\n");
    assert_eq!(read("in/deep/moved"), "n");
    assert_eq!(read("files/open"), "changed\n");
    assert!(!place.root.join("in/made").exists());
}

#[test]
fn what_it_starts_is_bound_as_well_and_stays_below_it() {
    let Some(place) = Place::new() else { return };
    // Who started it has ended, and was waited for, before it looks who its parent is.
    let script = "mkfifo in/gone in/done
        sh -c 'sh -c \"cat in/gone; echo x > out/new; cat /proc/\\$\\$/stat; echo > in/done\" &'
        echo $$; : > in/gone; cat in/done";
    let output = place.sh(script);
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().filter(|line| !line.is_empty());
    let (stat, own): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.contains("(sh)"));
    let parent = stat[0].rsplit_once(')').unwrap().1.split(' ').nth(2);
    assert_eq!(parent, Some(own[0]), "{said}");
    assert!(!place.root.join("out/new").exists());
}

#[test]
fn signals_reach_only_what_is_confined_with_it() {
    let Some(place) = Place::new() else { return };
    if available().unwrap() < 6 {
        return;
    }
    let mut outside = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let id = ProcessId::of(outside.id()).unwrap();
    let output = place.sh(&format!("kill -9 {}", id.pid));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("not permitted"), "{said}");
    assert!(id.is_alive());
    outside.kill().unwrap();
    outside.wait().unwrap();
    let output = place.sh("sleep 1000 & kill $!; wait $!; echo $?");
    assert_eq!(output.stdout, b"143\n", "{output:?}");
}

#[test]
fn what_is_to_be_writable_has_to_be_there() {
    let Some(place) = Place::new() else { return };
    let child = place.start(&["in", "nowhere"], "touch in/new");
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nowhere"), "{said}");
    assert!(!Path::new(&place.root.join("in/new")).exists());
}

#[test]
fn who_outlives_what_bound_it_asks_the_daemon_for_nothing() {
    let home = Home::new();
    let Ok(_) = available() else { return };
    assert_eq!(home.run(&["daemon", "start"]).code, 0);
    let inside = home.path().join("in");
    fs::create_dir(&inside).unwrap();
    let brigade = env!("CARGO_BIN_EXE_brigade");
    let script = format!(
        "cd {}; mkfifo go done; (cat go; {brigade} list >listed 2>&1; echo $? >>listed
        {brigade} daemon stop >stopped 2>&1; echo $? >>stopped; echo >done) >/dev/null 2>&1 &",
        inside.display()
    );
    let mut gate = home
        .command(&["gate", "--confined", "--writable"])
        .arg(&inside)
        .args(["--", "/bin/sh", "-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    gate.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(gate.wait().unwrap().success());
    // Nobody is left who was started by this test's hand.
    fs::write(inside.join("go"), "").unwrap();
    fs::read(inside.join("done")).unwrap();
    let said = |name| fs::read_to_string(inside.join(name)).unwrap();
    assert!(said("listed").ends_with("\n0\n"), "{}", said("listed"));
    let stopped = said("stopped");
    assert!(stopped.contains("from inside a delegation"), "{stopped}");
    assert!(stopped.ends_with("\n5\n"), "{stopped}");
    assert_eq!(home.run(&["daemon", "stop"]).code, 0);
}

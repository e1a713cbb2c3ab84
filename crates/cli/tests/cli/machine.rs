//! The real binary on disks that are full or read-only.

use std::io::Write;
use std::process::{Command, Output};

use crate::common::Home;

/// Runs a script in this home, with a small file system of its own for Brigade's data; `$1` is the binary, `$2` the
/// data folder. None, said loudly, where nobody may mount anything.
fn on_a_small_disk(home: &Home, script: &str) -> Option<Output> {
    let data = home.path().join(".local/share/brigade");
    std::fs::create_dir_all(&data).unwrap();
    for namespace in ["-m", "-Urm"] {
        let template = home.command(&[]);
        let mut command = Command::new("unshare");
        command
            .args([namespace, "--", "sh", "-c"])
            .arg(format!(
                "mount -t tmpfs -o size=1m,mode=0700 tmpfs \"$2\" 2>&1 || exit 99\n{script}"
            ))
            .arg("sh")
            .arg(template.get_program())
            .arg(&data)
            .env_clear()
            .current_dir(home.path().join("project"));
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        // Not even there, perhaps.
        let Ok(output) = command.output() else {
            break;
        };
        // Refused by the one program or the other.
        let refused = String::from_utf8_lossy(&output.stderr).contains("unshare: ");
        if output.status.code() != Some(99) && !refused {
            return Some(output);
        }
    }
    let said = "SKIPPED: nobody may mount a file system of his own here (unshare -Urm)\n";
    std::io::stderr().lock().write_all(said.as_bytes()).unwrap();
    None
}

#[test]
fn a_daemon_that_finds_its_disk_full_or_read_only_says_so_and_starts_once_it_is_not() {
    let home = Home::new();
    let script = r#"
        fill() { dd if=/dev/zero of="$2/filler" bs=512 2>/dev/null; }
        echo "-- full, nothing there"; fill "$@"; "$1" daemon start; echo "code $?"
        rm "$2/filler"; "$1" daemon start >/dev/null; echo "code $?"; "$1" daemon stop >/dev/null
        echo "-- full"; fill "$@"; "$1" list; echo "code $?"; "$1" doctor; ls -A "$2"
        rm "$2/filler"
        echo "-- read-only"; mount -o remount,bind,ro "$2"; "$1" daemon start; echo "code $?"
        mount -o remount,bind,rw "$2"; "$1" list; echo "code $?"; "$1" daemon stop >/dev/null
    "#;
    let Some(output) = on_a_small_disk(&home, &format!("exec 2>&1\n{script}")) else {
        return;
    };
    let said = home.said(&output).out;
    let sections: Vec<&str> = said.split("-- ").collect();
    let [_, new, full, read_only] = sections[..] else {
        panic!("{said}");
    };
    for section in [new, full] {
        assert!(section.contains("No space left on device"), "{section}");
        assert!(section.contains("Nothing was changed"), "{section}");
        assert!(section.contains("code 4"), "{section}");
    }
    assert!(new.contains("code 0"), "{new}");
    assert!(
        full.contains("FAIL  data") && full.contains("FAIL  store"),
        "{full}"
    );
    assert!(
        !full.contains(".doctor") && !full.contains("probe"),
        "{full}"
    );
    assert!(read_only.contains("Read-only file system"), "{read_only}");
    assert!(
        read_only.contains("code 4") && read_only.contains("No delegations"),
        "{read_only}"
    );
}

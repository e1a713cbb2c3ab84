//! What the daemon starts its own servers through: nothing is let loose that nobody would end.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use brigade_os::process::ProcessId;

fn gate(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_brigade"))
        .arg("gate")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Says this to the process and nothing more; gives what it says before it ends.
fn tell(mut process: Child, text: &str) -> String {
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn only_an_open_gate_leads_to_the_program() {
    let program = ["--", "/bin/sh", "-c", "echo $$; cat"];
    let process = gate(&program);
    let pid = process.id();
    // It becomes the program, and the program reads nothing.
    assert_eq!(tell(process, "go\n"), format!("{pid}\n"));
    for said in ["", "go", "no\n"] {
        assert_eq!(tell(gate(&program), said), "", "{said:?}");
    }
}

#[test]
fn what_is_held_ends_unless_it_is_released() {
    let sleeper = || {
        Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    for (said, lives) in [("free\n", true), ("", false)] {
        let mut held = sleeper();
        let id = ProcessId::of(held.id()).unwrap();
        tell(gate(&["--hold", &id.to_string()]), said);
        if lives {
            assert!(id.is_alive());
            held.kill().unwrap();
        }
        held.wait().unwrap();
        assert!(!id.is_alive());
    }
}

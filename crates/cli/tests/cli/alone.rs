//! The real binary, where no daemon is needed.

use crate::common::Home;

#[test]
fn help_names_every_command() {
    let said = Home::new().run(&["--help"]);
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(said.out);
}

#[test]
fn what_makes_no_sense_is_usage() {
    let home = Home::new();
    for args in [
        &["fly"][..],
        &[],
        &["show"],
        &["cancel"],
        &["list", "--state", "done"],
        &["read", "x", "--follow", "--json"],
    ] {
        let said = home.run(args);
        assert_eq!(
            (said.code, said.out.as_str()),
            (2, ""),
            "{args:?}: {said:?}"
        );
        assert!(!said.err.is_empty());
    }
}

#[test]
fn without_a_daemon_the_status_says_how_to_start_one() {
    let home = Home::new();
    let said = home.run(&["daemon", "status"]);
    assert_eq!(said.code, 4);
    assert_eq!(
        said.err,
        "error: Brigade's daemon is not running (nothing listens on HOME/run/daemon.sock)\nhint: start it with: brigade daemon start\n"
    );
    let said = home.run(&["daemon", "stop"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "The daemon does not run.\n")
    );
}

#[test]
fn the_bridge_is_installed_once_and_removed_again() {
    let home = Home::new();
    let said = home.run(&["install", "opencode"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out
            .starts_with("Wrote HOME/.config/opencode/plugin/brigade.js"),
        "{said:?}"
    );
    let path = home.path().join(".config/opencode/plugin/brigade.js");
    let bridge = std::fs::read_to_string(&path).unwrap();
    // `brigade` is not on PATH here: the bridge names the binary that installed it.
    assert!(bridge.contains(&format!(
        "env.BRIGADE_BIN || {:?}",
        env!("CARGO_BIN_EXE_brigade")
    )));
    let said = home.run(&["install", "opencode"]);
    assert!(
        said.out.starts_with("Already installed") && said.out.ends_with("Nothing to do.\n"),
        "{said:?}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), bridge);

    let said = home.run(&["uninstall", "opencode"]);
    assert_eq!(said.code, 0);
    assert!(
        said.out
            .contains("Results stay in HOME/.local/share/opencode/delegations"),
        "{said:?}"
    );
    assert!(!path.exists());
}

#[test]
fn a_projects_bridge_goes_to_the_top_of_its_working_tree() {
    let home = Home::new();
    let project = home.path().join("project");
    std::fs::create_dir_all(project.join(".git")).unwrap();
    std::fs::create_dir_all(project.join("deep/er")).unwrap();
    let mut command = home.command(&["install", "opencode", "--project"]);
    let said = home.said(
        &command
            .current_dir(project.join("deep/er"))
            .output()
            .unwrap(),
    );
    assert!(
        said.out
            .starts_with("Wrote HOME/project/.opencode/plugin/brigade.js"),
        "{said:?}"
    );
    assert!(project.join(".opencode/plugin/brigade.js").exists());
}

#[test]
fn colours_are_for_terminals_or_when_forced() {
    let home = Home::new();
    assert!(!home.run(&["daemon", "status"]).err.contains('\u{1b}'));
    let mut forced = home.command(&["daemon", "status"]);
    let said = home.said(&forced.env("CLICOLOR_FORCE", "1").output().unwrap());
    assert!(said.err.contains("\u{1b}["), "{said:?}");
    let said = home.said(&forced.env("NO_COLOR", "1").output().unwrap());
    assert!(!said.err.contains('\u{1b}'), "{said:?}");
}

#[test]
fn completions_are_for_the_shell_that_is_named() {
    let said = Home::new().run(&["completions", "bash"]);
    assert!(
        said.out.contains("_brigade()") && said.out.contains("cancel"),
        "{}",
        said.out
    );
}

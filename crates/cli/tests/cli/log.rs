//! What the daemon logs, changed while it runs.

use crate::common::Home;

/// The messages in the log, each with the path of its request where it is about one.
fn messages(home: &Home) -> Vec<String> {
    let log = home.path().join(".local/share/brigade/logs/daemon.log");
    std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {}{}",
                line["level"].as_str().unwrap(),
                field("message"),
                field("path")
            )
        })
        .collect()
}

#[test]
fn more_is_logged_from_the_change_on_and_less_after_it_was_taken_back() {
    let home = Home::new();
    home.run(&["list"]);
    let said = home.run(&["daemon", "log"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out
            .starts_with("Logged is info, into HOME/.local/share/brigade/logs/daemon.log."),
        "{said:?}"
    );

    let wanted = "warn,brigade_daemon::http=debug";
    let said = home.run(&["daemon", "log", wanted]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("until the daemon ends"), "{said:?}");
    assert!(
        said.out.contains(&format!(
            "[daemon] log = \"{wanted}\" in HOME/.config/brigade/config.toml"
        )),
        "{said:?}"
    );
    home.run(&["search", "tokens"]);
    let bad = home.run(&["daemon", "log", "verbose"]);
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(
        bad.err.contains("off, error, warn, info, debug, trace"),
        "{bad:?}"
    );
    let said = home.run(&["daemon", "log", "--json"]);
    let level: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (level["directives"].as_str(), level["setting"].as_str()),
        (Some(wanted), Some("info"))
    );

    home.run(&["daemon", "log", "error"]);
    home.run(&["list"]);
    home.run(&["daemon", "stop"]);
    // The daemon has ended, so all is written.
    let messages = messages(&home);
    let changes: Vec<_> = (0..messages.len())
        .filter(|&at| messages[at] == "INFO what is logged was changed")
        .collect();
    let [louder, quieter] = changes[..] else {
        panic!("{messages:#?}");
    };
    let debug = |lines: &[String]| {
        lines
            .iter()
            .filter(|line| line.starts_with("DEBUG"))
            .count()
    };
    assert_eq!(debug(&messages[..louder]), 0, "{messages:#?}");
    assert!(
        messages[louder..quieter].contains(&"DEBUG a request/v1/search".to_owned()),
        "{messages:#?}"
    );
    assert_eq!(
        messages.len(),
        quieter + 1,
        "not even its end is told of: {messages:#?}"
    );

    // The next daemon logs what the setting says.
    home.run(&["daemon", "start"]);
    assert!(
        home.run(&["daemon", "log"])
            .out
            .starts_with("Logged is info,")
    );
}

#[test]
fn a_change_for_a_while_says_until_when() {
    let home = Home::new();
    home.run(&["daemon", "start"]);
    let said = home.run(&["daemon", "log", "debug", "--for", "10m"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("That lasts until "), "{said:?}");
    assert!(said.out.contains("then it is info again"), "{said:?}");
    for args in [
        &["debug", "--for", "soon"][..],
        &["--for", "10m"],
        &["debug", "--for", "0s"],
        &["debug", "--for", "9999h"],
    ] {
        let said = home.run(&[&["daemon", "log"], args].concat());
        assert_eq!(said.code, 2, "{said:?}");
    }
}

#[test]
fn a_setting_that_is_no_level_is_named_with_its_line() {
    let home = Home::new();
    let config = home.path().join(".config/brigade");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "[daemon]\nlog = \"verbose\"\n").unwrap();
    let said = home.run(&["daemon", "start"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(
        said.err
            .contains("config.toml:2: \"verbose\" is no log level"),
        "{said:?}"
    );
    std::fs::write(config.join("config.toml"), "[daemon]\nlog = \"debug\"\n").unwrap();
    home.run(&["daemon", "start"]);
    assert!(
        home.run(&["daemon", "log"])
            .out
            .starts_with("Logged is debug,")
    );
}

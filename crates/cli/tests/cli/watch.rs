//! `brigade watch` in a real terminal, with a real daemon.

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use brigade_testkit::Tui;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::Home;
use crate::reading::leave_one_under_way;

const LIMIT: Duration = Duration::from_secs(30);
const SIZE: (NonZeroU16, NonZeroU16) = (NonZeroU16::new(24).unwrap(), NonZeroU16::new(80).unwrap());
const TEXT: &str = "So far so good.";

/// Does what needs a runtime of its own, outside of this one.
fn outside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// A home where one was under way.
fn home() -> Home {
    let home = Home::new();
    outside(|| leave_one_under_way(&home, TEXT));
    home
}

/// A shell in a terminal: it runs `brigade watch` as `$0 watch`, and stays to tell how the terminal is then.
fn shell(home: &Home, script: &str, more: &[(&str, &str)]) -> Tui {
    let command = home.command(&[]);
    let mut environment: Vec<(OsString, OsString)> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    for (name, value) in more {
        environment.push((name.into(), value.into()));
    }
    let program = env!("CARGO_BIN_EXE_brigade");
    let args = ["-c", script, program];
    let project = home.path().join("project");
    Tui::placed(Path::new("/bin/sh"), &args, &environment, &project, SIZE).unwrap()
}

/// Whether the terminal is as a shell wants it.
fn is_given_back(tui: &Tui) -> bool {
    tui.look(|screen| {
        !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_do_what_the_help_says() {
    let home = home();
    let tui = shell(&home, "\"$0\" watch; echo code $?", &[]);
    tui.wait_for(TEXT, LIMIT).await.unwrap();
    tui.wait_for("explore", LIMIT).await.unwrap();
    tui.keys("?").unwrap();
    tui.wait_for("search as you type", LIMIT).await.unwrap();
    tui.keys("q").unwrap();
    let gone = |text: &'static str| move |screen: &str| !screen.contains(text);
    let help = gone("search as you type");
    tui.until("the help gone", LIMIT, help).await.unwrap();
    tui.keys("/nothing like that").unwrap();
    // All of it is typed.
    tui.wait_for("Nothing has \"nothing like that\"", LIMIT)
        .await
        .unwrap();
    // Alone it would be the beginning of a key: each is waited for.
    tui.keys("\x1b").unwrap();
    let rows = |screen: &str| screen.contains(TEXT) && !screen.contains("Nothing has");
    tui.until("the rows again", LIMIT, rows).await.unwrap();
    tui.keys("2").unwrap();
    tui.wait_for("enforced", LIMIT).await.unwrap();
    tui.keys("3").unwrap();
    let prompt = |screen: &str| !screen.contains("enforced") && !screen.contains(TEXT);
    tui.until("the prompt", LIMIT, prompt).await.unwrap();
    tui.keys("c").unwrap();
    tui.wait_for("ancel", LIMIT).await.unwrap();
    tui.keys("y").unwrap();
    tui.wait_for("cancelled", LIMIT).await.unwrap();
    let listed = home.run(&["list", "--state", "cancelled"]);
    assert!(listed.out.contains("brave-amber-otter"), "{listed:?}");
    tui.keys("q").unwrap();
    tui.wait_for("code 0", LIMIT).await.unwrap();
    assert!(is_given_back(&tui));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_daemon_is_watched_when_the_first_one_dies() {
    let home = home();
    let tui = shell(&home, "\"$0\" watch", &[]);
    tui.wait_for(TEXT, LIMIT).await.unwrap();
    outside(|| home.kill_daemon());
    tui.wait_for("reconnecting", LIMIT).await.unwrap();
    tui.wait_for("explore", LIMIT).await.unwrap();
    let started = home.run(&["daemon", "start"]);
    assert_eq!(started.code, 0, "{started:?}");
    let back = |screen: &str| !screen.contains("reconnecting") && screen.contains(TEXT);
    tui.until("the next daemon's rows", LIMIT, back)
        .await
        .unwrap();
    // It is heard, too.
    assert_eq!(home.run(&["cancel", "brave"]).code, 0);
    tui.wait_for("cancelled", LIMIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_gives_the_terminal_back() {
    let home = home();
    let script = "stty -a >../before; sh -c 'echo $$ >../pid; exec \"$0\" watch' \"$0\"; \
        stty -a >../after; echo is over";
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let tui = shell(&home, script, &[]);
        tui.wait_for(TEXT, LIMIT).await.unwrap();
        assert!(!is_given_back(&tui));
        let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
        let pid = Pid::from_raw(read("pid").trim().parse().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        tui.wait_for("is over", LIMIT).await.unwrap();
        assert!(is_given_back(&tui), "{signal:?}");
        assert_eq!(read("before"), read("after"), "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_and_the_editor_have_the_terminal_meanwhile() {
    let home = home();
    let editor = home.path().join("editor");
    std::fs::write(
        &editor,
        "#!/bin/sh\ncat \"$1\"\necho edits here\nread line\n",
    )
    .unwrap();
    std::fs::set_permissions(&editor, PermissionsExt::from_mode(0o700)).unwrap();
    let script = "set -m; \"$0\" watch; echo is stopped; read line; fg; echo code $?";
    let tui = shell(&home, script, &[("VISUAL", editor.to_str().unwrap())]);
    tui.wait_for(TEXT, LIMIT).await.unwrap();
    tui.keys("\x1a").unwrap();
    tui.wait_for("is stopped", LIMIT).await.unwrap();
    assert!(is_given_back(&tui));
    tui.keys("\r").unwrap();
    let back = |screen: &str| screen.contains("STATE") && screen.contains(TEXT);
    tui.until("the screen again", LIMIT, back).await.unwrap();
    // Of one that has no result yet, a copy of its text.
    tui.keys("e").unwrap();
    tui.wait_for("edits here", LIMIT).await.unwrap();
    assert!(is_given_back(&tui));
    assert!(tui.text().contains(TEXT));
    tui.keys("\r").unwrap();
    tui.until("the screen again", LIMIT, back).await.unwrap();
    tui.keys("q").unwrap();
    tui.wait_for("code 0", LIMIT).await.unwrap();
    assert!(is_given_back(&tui));
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_there_unless_they_are_not_wanted() {
    let home = home();
    for (more, wanted) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let tui = shell(&home, "\"$0\" watch", more);
        tui.wait_for(TEXT, LIMIT).await.unwrap();
        let coloured = tui.look(|screen| {
            let (rows, columns) = screen.size();
            let (rows, columns) = (rows.get(), columns.get());
            (0..rows)
                .flat_map(|row| (0..columns).map(move |column| (row, column)))
                .filter_map(|(row, column)| screen.cell(row, column))
                .any(|cell| [cell.fgcolor(), cell.bgcolor()] != [vt100::Color::Default; 2])
        });
        assert_eq!(coloured, wanted, "{}", tui.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_names_the_list() {
    let home = Home::new();
    let said = home.run(&["watch"]);
    assert_eq!((said.out.as_str(), said.code), ("", 1));
    assert!(said.err.contains("brigade list"), "{said:?}");
    let tui = shell(&home, "TERM=dumb \"$0\" watch; echo code $?", &[]);
    tui.wait_for("code 1", LIMIT).await.unwrap();
    assert!(tui.text().contains("brigade list"));
}

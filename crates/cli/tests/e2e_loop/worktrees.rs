//! Work that changes files: in a copy of the person's tree, brought in by apply, taken out by the host's own undo.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use brigade_testkit::{Sandbox, Script};
use serde_json::{Value, json};

use crate::stage::{Host, LIMIT, NOTICE, Parent, ended, sandbox, show, shown, work};

/// What a child does in its shell, and then says.
pub(crate) fn shell(name: &str, command: &str) -> String {
    let call = json!({"command": command, "description": "change files"});
    let says = format!("# {name}\n\nDone with {name}.\n\nAll of it.");
    work(name, Script::new().call("bash", &call).step().say(says))
}

/// A step that delegates this to an agent that edits.
pub(crate) fn editing(prompt: &str) -> Script {
    Script::new().call("delegate", &json!({"agent": "general", "prompt": prompt}))
}

/// A step that brings in what the newest delegation has changed.
fn applying(more: &Value) -> Script {
    let mut args = json!({"id": "{{delegation}}"});
    for (name, value) in more.as_object().into_iter().flatten() {
        args[name] = value.clone();
    }
    Script::new().call("delegation_apply", &args)
}

/// A repository with three committed files, one of them changed since, and one that nobody has added.
pub(crate) async fn repository(sandbox: &Sandbox) {
    let project = sandbox.project();
    fs::write(project.join("kept.txt"), "one\ntwo\nthree\n").unwrap();
    fs::write(project.join("gone.txt"), "to be removed\n").unwrap();
    fs::write(project.join("logo.bin"), [0, 1, 2, 3, 255]).unwrap();
    fs::write(project.join("own.txt"), "committed\n").unwrap();
    sandbox.git(&["add", "-A"]).await.unwrap();
    sandbox.git(&["commit", "-qm", "Begin"]).await.unwrap();
    fs::write(project.join("own.txt"), "the person's own, uncommitted\n").unwrap();
    fs::write(project.join("untracked.txt"), "nobody has added this\n").unwrap();
}

/// All that a person has: each file of the tree with its mode, and the repository itself but for the host's mark in
/// it.
fn everything(root: &Path) -> Files {
    fn walk(root: &Path, folder: &Path, all: &mut Files) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                walk(root, &path, all);
                continue;
            }
            let content = if meta.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
                    .into_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            all.insert(name, (meta.permissions().mode(), content));
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all.remove(".git/opencode");
    all
}

/// The files of the tree alone.
fn tree(root: &Path) -> Files {
    let mut all = everything(root);
    all.retain(|name, _| !name.starts_with(".git/"));
    all
}

type Files = BTreeMap<String, (u32, Vec<u8>)>;

/// The names of the files that are otherwise.
fn differences(one: &Files, other: &Files) -> Vec<String> {
    let names = one.keys().chain(other.keys());
    let mut different: Vec<String> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .cloned()
        .collect();
    different.dedup();
    different
}

/// Fails naming the files that are otherwise.
fn assert_same(one: &Files, other: &Files, what: &str) {
    let different = differences(one, other);
    let shown: Vec<_> = different
        .iter()
        .map(|name| (name, one.get(name), other.get(name)))
        .collect();
    assert!(different.is_empty(), "{what}: {shown:?}");
}

const CHANGES: &str = "printf 'one\\ntwo\\nthree\\nfour\\n' > kept.txt && rm gone.txt && printf '\\000\\377\\001' > logo.bin \
                       && mkdir -p src && printf 'new\\n' > src/new.txt && cat own.txt untracked.txt";

#[tokio::test]
async fn changes_come_in_by_apply_and_the_hosts_undo_takes_them_out_again() {
    let sandbox = sandbox("").await;
    repository(&sandbox).await;
    let project = sandbox.project();
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Edits").await;
    // What the host itself puts there comes before.
    parent.says(Script::saying("hello")).await;
    let before = everything(&project);

    let script = editing(&shell("alpha", CHANGES)).step().say("under way");
    parent.says(script).await;
    let id = parent.delegations().await.remove(0);
    parent.notice(&id).await;
    parent.answered(4).await;
    assert_same(&everything(&project), &before, "before apply");
    let row = show(&sandbox, &id).await;
    assert_eq!(row["state"], "complete", "{row:#}");
    let changes = &row["worktree"]["changes"];
    assert_eq!(
        (&changes["files"], &changes["beside"]),
        (&json!(4), &json!([]))
    );
    assert_eq!(row["worktree"]["confinement"]["by"], "kernel", "{row:#}");
    let notice = parent
        .messages()
        .await
        .iter()
        .flat_map(|message| message.parts.clone())
        .filter_map(|part| part["text"].as_str().map(str::to_owned))
        .find(|text| text.starts_with(NOTICE))
        .unwrap();
    assert!(
        notice.contains("<changes>4 files changed, +2 -1</changes>"),
        "{notice}"
    );
    assert!(notice.contains(&format!("<apply>delegation_apply(\"{id}\")</apply>")));
    let artifact = ended(&sandbox, &id).await;
    assert!(
        artifact.contains("src/new.txt") && artifact.contains("logo.bin"),
        "{artifact}"
    );
    // The child has seen what nobody has committed.
    let child = row["child"].as_str().unwrap();
    let seen = crate::stage::turns_of(&sandbox, child)
        .last()
        .unwrap()
        .tool_results();
    assert!(
        seen.iter()
            .any(|text| text.contains("the person's own, uncommitted")),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .any(|text| text.contains("nobody has added this"))
    );

    let old = tree(&project);
    let end = parent
        .says(applying(&json!({})).step().say("applied"))
        .await;
    let said = parent.outputs("delegation_apply").await;
    assert!(
        said[0].starts_with(&format!("Applied {id}: 4 files.")),
        "{said:?}"
    );
    let mut new = old.clone();
    let mode = new["kept.txt"].0;
    new.insert(
        "kept.txt".into(),
        (mode, b"one\ntwo\nthree\nfour\n".to_vec()),
    );
    new.insert("src/new.txt".into(), (mode, b"new\n".to_vec()));
    new.insert("logo.bin".into(), (mode, vec![0, 255, 1]));
    new.remove("gone.txt");
    assert_same(&tree(&project), &new, "applied");
    let staged = sandbox
        .git(&["diff", "--cached", "--name-only"])
        .await
        .unwrap();
    assert_eq!(staged, "", "nothing is staged");

    // The person takes it back as any edit of the model's, and brings it again.
    let messages = parent.messages().await;
    let asked = messages
        .iter()
        .rfind(|message| message.role() == "user" && message.text().contains("delegation_apply"))
        .unwrap();
    host.revert(&parent.id, asked.id()).await.unwrap();
    assert_same(&tree(&project), &old, "undone");
    host.unrevert(&parent.id).await.unwrap();
    // OpenCode's redo brings files back and removes none, whoever has removed them.
    assert_eq!(differences(&tree(&project), &new), ["gone.txt"], "redone");
    let remove = json!({"command": "rm gone.txt", "description": "remove it"});
    parent
        .says(Script::new().call("bash", &remove).step().say("removed"))
        .await;
    assert_same(&tree(&project), &new, "removed by the model");
    let messages = parent.messages().await;
    let asked = messages
        .iter()
        .rfind(|message| message.role() == "user" && message.text().contains("rm gone.txt"))
        .unwrap();
    host.revert(&parent.id, asked.id()).await.unwrap();
    assert_eq!(differences(&tree(&project), &new), ["gone.txt"]);
    host.unrevert(&parent.id).await.unwrap();
    assert_eq!(differences(&tree(&project), &new), ["gone.txt"]);
    assert!(end.error().is_none());
    // All of it is in the tree: the copy is needed no more, and the repository is whole.
    shown(&sandbox, &id, "the removal", |row| {
        row["worktree"]["state"] == "removed"
    })
    .await;
    sandbox.git(&["fsck", "--strict"]).await.unwrap();
    assert_eq!(
        sandbox
            .git(&["worktree", "list"])
            .await
            .unwrap()
            .lines()
            .count(),
        1
    );
    assert_eq!(sandbox.git(&["stash", "list"]).await.unwrap(), "");
}

#[tokio::test]
async fn two_on_the_same_file_both_finish_and_the_second_apply_shows_the_conflict() {
    let sandbox = sandbox("").await;
    repository(&sandbox).await;
    let project = sandbox.project();
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Two").await;
    let first = shell(
        "alpha",
        "printf 'one\\nFIRST\\nthree\\n' > kept.txt; echo a > alpha.txt",
    );
    let second = shell(
        "beta",
        "printf 'one\\nSECOND\\nthree\\n' > kept.txt; echo b > beta.txt",
    );
    let script = Script::new()
        .call("delegate", &json!({"agent": "general", "prompt": first}))
        .call("delegate", &json!({"agent": "general", "prompt": second}));
    parent.says(script.step().say("under way")).await;
    let ids = parent.delegations().await;
    for id in &ids {
        ended(&sandbox, id).await;
    }
    parent.rest().await;
    let apply = |id: &str, more: Value| {
        let mut args = json!({"id": id});
        for (name, value) in more.as_object().into_iter().flatten() {
            args[name] = value.clone();
        }
        Script::new()
            .call("delegation_apply", &args)
            .step()
            .say("so")
    };
    parent.says(apply(&ids[0], json!({}))).await;
    assert!(
        fs::read_to_string(project.join("kept.txt"))
            .unwrap()
            .contains("FIRST")
    );
    let old = tree(&project);
    parent.says(apply(&ids[1], json!({}))).await;
    let said = parent.outputs("delegation_apply").await.pop().unwrap();
    assert!(said.starts_with("Nothing was changed: 1 file of"), "{said}");
    assert!(
        said.contains("FIRST") && said.contains("SECOND") && said.contains("<<<<<<<"),
        "{said}"
    );
    assert_same(&tree(&project), &old, "a conflict changes nothing");
    // What does not conflict can come alone, the rest with markers.
    parent
        .says(apply(&ids[1], json!({"paths": ["beta.txt"]})))
        .await;
    assert_eq!(fs::read_to_string(project.join("beta.txt")).unwrap(), "b\n");
    assert!(
        fs::read_to_string(project.join("kept.txt"))
            .unwrap()
            .contains("FIRST")
    );
    parent.says(apply(&ids[1], json!({"markers": true}))).await;
    let marked = fs::read_to_string(project.join("kept.txt")).unwrap();
    assert!(
        marked.contains("<<<<<<<") && marked.contains("FIRST") && marked.contains("SECOND"),
        "{marked}"
    );
}

#[tokio::test]
async fn a_planning_agent_has_nothing_edited_and_applies_nothing() {
    let sandbox = sandbox("").await;
    repository(&sandbox).await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Plan").await;
    let says = |script: Script| json!({"agent": "plan", "parts": [{"type": "text", "text": script.to_string()}]});
    let script = editing(&shell("alpha", "echo x > x.txt")).step().say("so");
    host.prompt_with(&parent.id, &says(script)).await.unwrap();
    let said = parent.outputs("delegate").await.remove(0);
    assert!(
        said.starts_with("Delegation refused: agent general can change files"),
        "{said}"
    );
    assert!(said.contains("plan may not"), "{said}");
    // What another agent has had changed is not for this one to bring in.
    let script = editing(&shell("beta", "echo y > y.txt"))
        .step()
        .say("under way");
    parent.says(script).await;
    let outputs = parent.outputs("delegate").await;
    let id = outputs[1]
        .lines()
        .next()
        .unwrap()
        .strip_prefix("Delegation started: ")
        .unwrap();
    ended(&sandbox, id).await;
    parent.rest().await;
    let script = Script::new()
        .call("delegation_apply", &json!({"id": id}))
        .step()
        .say("so");
    host.prompt_with(&parent.id, &says(script)).await.unwrap();
    let said = parent.outputs("delegation_apply").await.remove(0);
    assert!(said.contains("may not edit files"), "{said}");
    assert!(!sandbox.project().join("y.txt").exists());
    // From the shell the person may.
    let done = sandbox.brigade(&["apply", id]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(sandbox.project().join("y.txt").exists());
    let done = sandbox.brigade(&["apply", "--undo", id]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(!sandbox.project().join("y.txt").exists());
    let done = sandbox.brigade(&["discard", id]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let patch = show(&sandbox, id).await["worktree"]["changes"]["patch"].clone();
    assert!(
        Path::new(patch.as_str().unwrap()).exists(),
        "the patch stays"
    );
}

#[tokio::test]
async fn one_begins_with_what_another_has_left_and_outside_git_none_begins() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    repository(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Chain").await;
    let script = editing(&shell("alpha", "echo alpha > alpha.txt"))
        .step()
        .say("under way");
    parent.says(script).await;
    let first = parent.delegations().await.remove(0);
    ended(&sandbox, &first).await;
    parent.rest().await;
    let prompt = shell("beta", "cat alpha.txt > beta.txt");
    let args = json!({"agent": "general", "prompt": prompt, "from": first});
    parent
        .says(
            Script::new()
                .call("delegate", &args)
                .step()
                .say("under way"),
        )
        .await;
    let second = parent.delegations().await.remove(1);
    ended(&sandbox, &second).await;
    let row = show(&sandbox, &second).await;
    let files = row["worktree"]["changes"]["shown"].as_array().unwrap();
    let paths: Vec<&str> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["beta.txt"]);
    assert_eq!(row["worktree"]["from"], json!(first));
    let done = sandbox.brigade(&["diff", &second]).await.unwrap();
    assert!(done.stdout.contains("+alpha"), "{done:?}");

    let outside = sandbox.root().join("outside");
    fs::create_dir(&outside).unwrap();
    let elsewhere = host.client().at(&outside).within(LIMIT);
    let session = elsewhere.create("Outside").await.unwrap();
    let script = editing(&shell("gamma", "echo x > x.txt")).step().say("so");
    elsewhere.prompt(&session.id, script).await.unwrap();
    let messages = elsewhere.messages(&session.id).await.unwrap();
    let said = messages
        .iter()
        .flat_map(|message| message.parts_of("tool"))
        .find_map(|part| part["state"]["output"].as_str().map(str::to_owned))
        .unwrap();
    assert!(said.contains("is in no git working tree"), "{said}");
    assert!(said.contains("`task` tool"), "{said}");
}

#[tokio::test]
async fn a_projects_setup_command_runs_confined_and_its_failure_is_told() {
    let sandbox = sandbox("").await;
    repository(&sandbox).await;
    let escapes = sandbox.home().join("escaped");
    let setup = format!(
        "echo installed > deps.txt; touch {} ; echo 'no network' >&2; exit 3",
        escapes.display()
    );
    let project = format!("[worktree]\nsetup = {setup:?}\n");
    fs::write(sandbox.project().join(".brigade.toml"), project).unwrap();
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Setup").await;
    let script = editing(&shell("alpha", "cat deps.txt")).step().say("begun");
    parent.says(script).await;
    let id = parent.delegations().await.remove(0);
    ended(&sandbox, &id).await;
    let row = show(&sandbox, &id).await;
    assert_eq!(row["state"], "complete", "{row:#}");
    let setup = row["worktree"]["setup"].as_str().unwrap();
    assert!(
        setup.starts_with("exit status: 3, saying: no network (see "),
        "{setup}"
    );
    assert!(!escapes.exists(), "it has written into the person's home");
    let child = row["child"].as_str().unwrap();
    let turns = crate::stage::turns_of(&sandbox, child);
    assert!(
        turns[0]
            .prompt
            .contains("The command that sets it up: exit status: 3")
    );
    let seen = turns.last().unwrap().tool_results();
    assert!(
        seen.iter().any(|text| text.contains("installed")),
        "{seen:?}"
    );
}

//! What a snapshot takes, and what the tree that is made of it is like.

use std::fs;
use std::path::PathBuf;

use brigade_worktree::{Limits, Reason, SnapshotError, no_step, snapshot};

use crate::rig::{Rig, built, everything, executable, link, put};

#[tokio::test]
async fn the_tree_is_the_persons_and_nothing_of_theirs_is_touched() {
    let rig = Rig::new();
    rig.git(&["branch", "other"]);
    rig.git(&["tag", "-a", "v1", "-m", "one"]);
    rig.write("changed", "stashed\n");
    rig.git(&["stash", "-q"]);
    rig.write("changed", "one\nstaged\nthree\n");
    rig.git(&["add", "changed"]);
    rig.write("changed", "one\nstaged\nunstaged\n");
    fs::remove_file(rig.top().join("deleted")).unwrap();
    rig.write("new/file", "untracked\n");
    rig.write("new/binary", [0_u8, 159, 1, 0]);
    rig.write("script", "#!/bin/sh\n");
    executable(&rig.top().join("script"));
    link(&rig.top(), "link", "new/file");
    rig.write("ignored", "ignored\n");
    let hook = rig.top().join(".git/hooks/post-index-change");
    fs::write(
        &hook,
        format!("#!/bin/sh\ntouch {}/ran\n", rig.path().display()),
    )
    .unwrap();
    executable(&hook);

    let before = everything(&rig.top(), true);
    let place = rig.place("one");
    let taken = rig.take(&place).await;
    built(&place, &taken).await;
    assert_eq!(everything(&rig.top(), true), before);
    assert!(!rig.path().join("ran").exists());

    let mut person = everything(&rig.top(), false);
    person.remove(&PathBuf::from("ignored"));
    assert_eq!(everything(&place.tree(), false), person);

    // The child's repository says of itself what the person's does, and shares nothing with it.
    let tree = place.tree();
    for asked in [
        vec!["status", "--porcelain"],
        vec!["log", "--all", "--oneline"],
        vec!["for-each-ref"],
        vec!["stash", "list"],
        vec!["diff", "--cached"],
        vec!["symbolic-ref", "HEAD"],
        vec!["config", "user.name"],
    ] {
        assert_eq!(rig.git_in(&tree, &asked), rig.git(&asked), "{asked:?}");
    }
    rig.git_in(&tree, &["commit", "-q", "-a", "-m", "child"]);
    rig.git_in(&tree, &["stash", "-q", "-u"]);
    rig.git_in(&tree, &["branch", "-D", "other"]);
    rig.git_in(&tree, &["config", "user.name", "Child"]);
    rig.git_in(&tree, &["gc", "-q"]);
    assert_eq!(everything(&rig.top(), true), before);
    rig.check();
}

#[tokio::test]
async fn a_folder_a_linked_worktree_and_a_detached_head_will_do() {
    let rig = Rig::new();
    rig.git(&["worktree", "add", "-q", "--detach", "../linked"]);
    let linked = rig.path().join("linked");
    put(&linked, "sub/extra", "extra\n");
    let before = everything(&rig.top(), true);
    let place = rig.place("one");
    let taken = rig.take_from(&place, &linked.join("sub")).await;
    assert_eq!(taken.top, linked);
    assert_eq!(taken.prefix, PathBuf::from("sub"));
    built(&place, &taken).await;
    assert_eq!(taken.directory(&place), place.tree().join("sub"));
    assert_eq!(everything(&place.tree(), false), everything(&linked, false));
    assert_eq!(
        rig.git_in(&place.tree(), &["rev-parse", "HEAD"]),
        rig.git(&["rev-parse", "HEAD"])
    );
    let on_branch = rig.command_in(&place.tree(), &["symbolic-ref", "-q", "HEAD"]);
    assert!(!on_branch.status.success());
    assert_eq!(everything(&rig.top(), true), before);
}

#[tokio::test]
async fn without_a_commit_there_is_a_tree_all_the_same() {
    for options in [&[][..], &["--object-format=sha256"][..]] {
        let rig = Rig::empty(options);
        rig.write("staged", "staged\n");
        rig.git(&["add", "staged"]);
        rig.write("untracked", "untracked\n");
        let place = rig.place("one");
        let taken = rig.begin(&place).await;
        assert_eq!(
            everything(&place.tree(), false),
            everything(&rig.top(), false)
        );
        let asked = ["status", "--porcelain", "--branch"];
        assert_eq!(rig.git_in(&place.tree(), &asked), rig.git(&asked));
        assert_eq!(taken.base.len(), if options.is_empty() { 40 } else { 64 });
    }
}

#[tokio::test]
async fn indexes_in_every_state_are_read() {
    let rig = Rig::new();
    // Unmerged.
    rig.git(&["checkout", "-q", "-b", "theirs"]);
    rig.write("changed", "theirs\n");
    rig.commit("theirs");
    rig.git(&["checkout", "-q", "main"]);
    rig.write("changed", "ours\n");
    rig.commit("ours");
    assert!(
        !rig.command_in(&rig.top(), &["merge", "theirs"])
            .status
            .success()
    );
    // Intent to add, assumed unchanged, skipped without a sparse checkout; and all of it split.
    rig.write("intended", "intended\n");
    rig.git(&["add", "-N", "intended"]);
    rig.git(&["update-index", "--assume-unchanged", "kept"]);
    rig.write("kept", "assumed\n");
    rig.git(&["update-index", "--skip-worktree", "sub/inner"]);
    rig.write("sub/inner", "skipped\n");
    rig.git(&["update-index", "--split-index"]);
    rig.write("deleted", "split\n");
    rig.git(&["add", "deleted"]);

    let before = everything(&rig.top(), true);
    let place = rig.place("one");
    rig.begin(&place).await;
    assert_eq!(everything(&rig.top(), true), before);
    assert_eq!(
        everything(&place.tree(), false),
        everything(&rig.top(), false)
    );
    let asked = ["ls-files", "-s", "-v"];
    assert_eq!(rig.git_in(&place.tree(), &asked), rig.git(&asked));
}

#[tokio::test]
async fn what_is_not_checked_out_stays_so_and_is_not_deleted() {
    for sparse_index in ["--no-sparse-index", "--sparse-index"] {
        let rig = Rig::new();
        rig.write("far/away", "away\n");
        rig.write("far/deep/er", "er\n");
        rig.commit("far");
        rig.git(&["sparse-checkout", "set", "--cone", sparse_index, "sub"]);
        assert!(!rig.top().join("far").exists());
        let before = everything(&rig.top(), true);
        let place = rig.place("one");
        let taken = rig.begin(&place).await;
        assert_eq!(everything(&rig.top(), true), before);
        assert_eq!(taken.not_checked_out, 2);
        assert_eq!(
            everything(&place.tree(), false),
            everything(&rig.top(), false)
        );
        let head = rig.git(&["rev-parse", "HEAD^{tree}"]);
        assert_eq!(taken.base, head, "nothing is missing in the tree");
        assert_eq!(rig.git_in(&place.tree(), &["status", "--porcelain"]), "");
    }
}

#[tokio::test]
async fn shallow_clones_and_other_stores_of_names_are_taken() {
    let rig = Rig::new();
    rig.write("kept", "second\n");
    rig.commit("second");
    let url = format!("file://{}", rig.top().display());
    rig.git(&["clone", "-q", "--depth=1", &url, "../shallow"]);
    let shallow = rig.path().join("shallow");
    let place = rig.place("one");
    let taken = rig.take_from(&place, &shallow).await;
    built(&place, &taken).await;
    assert_eq!(
        everything(&place.tree(), false),
        everything(&shallow, false)
    );
    rig.git_in(&place.tree(), &["fsck"]);
    assert_eq!(
        rig.git_in(&place.tree(), &["rev-list", "--count", "HEAD"]),
        "1"
    );

    let other = rig.path().join("other");
    fs::create_dir(&other).unwrap();
    // Not every git knows this.
    if rig
        .command_in(
            &other,
            &["init", "-q", "-b", "main", "--ref-format=reftable"],
        )
        .status
        .success()
    {
        put(&other, "file", "file\n");
        rig.git_in(&other, &["add", "-A"]);
        rig.git_in(
            &other,
            &[
                "-c",
                "user.name=P",
                "-c",
                "user.email=p@e",
                "commit",
                "-qm",
                "x",
            ],
        );
        let place = rig.place("two");
        let taken = rig.take_from(&place, &other).await;
        built(&place, &taken).await;
        let asked = ["log", "--format=%H %D"];
        assert_eq!(
            rig.git_in(&place.tree(), &asked),
            rig.git_in(&other, &asked)
        );
    }
}

#[tokio::test]
async fn repositories_within_are_left_out_and_named() {
    let rig = Rig::new();
    let other = Rig::new();
    rig.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        other.top().to_str().unwrap(),
        "module",
    ]);
    rig.git(&["commit", "-q", "-m", "module"]);
    fs::create_dir(rig.top().join("young")).unwrap();
    rig.git_in(&rig.top().join("young"), &["init", "-q"]);
    rig.write("young/file", "in a repository without commits\n");
    let before = everything(&rig.top(), true);
    let place = rig.place("one");
    let taken = rig.take(&place).await;
    let tree = built(&place, &taken).await;
    assert_eq!(everything(&rig.top(), true), before);
    let named: Vec<_> = taken
        .left_out
        .iter()
        .map(|left| (left.path.to_str().unwrap(), left.reason))
        .collect();
    let expected = [
        ("module", Reason::Submodule),
        ("young", Reason::NestedRepository),
    ];
    assert_eq!(named, expected);
    assert_eq!(tree.submodules, [PathBuf::from("module")]);
    assert_eq!(
        fs::read_dir(place.tree().join("module")).unwrap().count(),
        0
    );
    assert!(!place.tree().join("young").exists());

    // In the submodule itself it is a repository like any other.
    let place = rig.place("two");
    let taken = rig.take_from(&place, &rig.top().join("module")).await;
    built(&place, &taken).await;
    assert!(place.tree().join("kept").exists());
    assert_eq!(rig.git_in(&place.tree(), &["status", "--porcelain"]), "");
    assert_eq!(
        rig.git_in(&place.tree(), &["rev-parse", "--show-toplevel"]),
        place.tree().to_str().unwrap()
    );
}

#[tokio::test]
async fn line_ends_names_and_cases_are_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let rig = Rig::empty(&[]);
    rig.git(&["config", "core.autocrlf", "true"]);
    rig.git(&["config", "core.safecrlf", "true"]);
    rig.write("windows", "one\r\ntwo\r\n");
    rig.write("Case", "upper\r\n");
    rig.write("case", "lower\r\n");
    rig.write("mixed", "one\r\ntwo\n");
    rig.write("with \"quotes\"\nand lines", "x\r\n");
    fs::write(
        rig.top().join(std::ffi::OsStr::from_bytes(b"\xff\xfe")),
        "bytes\r\n",
    )
    .unwrap();
    rig.git(&["config", "core.safecrlf", "false"]);
    rig.commit("first");
    rig.git(&["config", "core.safecrlf", "true"]);
    rig.write("windows", "one\r\ntwo\r\nthree\r\n");
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let mut expected = everything(&rig.top(), false);
    // Git itself makes them so.
    expected.get_mut(&PathBuf::from("mixed")).unwrap().1 = b"one\r\ntwo\r\n".to_vec();
    assert_eq!(everything(&place.tree(), false), expected);
    assert_eq!(
        rig.git_in(
            &place.tree(),
            &["cat-file", "-p", &format!("{}:windows", taken.base)]
        ),
        "one\ntwo\nthree"
    );
}

#[tokio::test]
async fn filter_programs_run_as_in_the_persons_git_and_never_for_the_child() {
    let rig = Rig::new();
    rig.git(&["config", "filter.up.clean", "tr a-z A-Z"]);
    rig.git(&["config", "filter.up.smudge", "tr A-Z a-z"]);
    rig.git(&["config", "filter.up.required", "true"]);
    rig.write(".gitattributes", "*.up filter=up\n");
    rig.write("file.up", "content\n");
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let stored = format!("{}:file.up", taken.base);
    assert_eq!(
        rig.git_in(&place.tree(), &["cat-file", "-p", &stored]),
        "CONTENT"
    );
    assert_eq!(
        fs::read_to_string(place.tree().join("file.up")).unwrap(),
        "CONTENT\n"
    );

    rig.git(&["config", "filter.up.clean", "echo no such luck >&2; false"]);
    rig.write("file.up", "other\n");
    let failed = snapshot(
        &rig.top(),
        &rig.place("two"),
        &Limits::default(),
        None,
        &no_step(),
    )
    .await;
    match failed {
        Err(SnapshotError::Filter { stderr }) => {
            assert!(
                stderr.contains("no such luck") && stderr.contains("'up'"),
                "{stderr}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_the_reason() {
    let rig = Rig::new();
    let outside = rig.path().join("home");
    let at = |directory: PathBuf, limits: Limits| {
        let place = rig.place("refused");
        async move {
            let error = snapshot(&directory, &place, &limits, None, &no_step()).await;
            error.unwrap_err()
        }
    };
    let error = at(outside, Limits::default()).await;
    assert!(matches!(error, SnapshotError::NotGit { .. }), "{error}");
    rig.git(&["clone", "-q", "--bare", ".", "../bare"]);
    let error = at(rig.path().join("bare"), Limits::default()).await;
    assert!(matches!(error, SnapshotError::NotGit { .. }), "{error}");

    rig.write("small", "small");
    rig.write("large", "x".repeat(10_000));
    let limits = Limits {
        untracked_bytes: 5_000,
        ..Limits::default()
    };
    let error = at(rig.top(), limits).await;
    assert!(
        error.to_string().contains("large with 10000 bytes"),
        "{error}"
    );
    assert!(!rig.place("refused").tree().exists());
}

#[tokio::test]
async fn folders_that_are_besides_the_work_are_not_taken() {
    let rig = Rig::new();
    rig.write("data/brigade/store", "ours");
    let place = brigade_worktree::Place::new(rig.top().join("data/brigade/worktrees/one"))
        .with_environment(rig.environment());
    let limits = Limits {
        besides: vec![rig.top().join("data/brigade")],
        ..Limits::default()
    };
    let taken = snapshot(&rig.top(), &place, &limits, None, &no_step())
        .await
        .unwrap();
    assert_eq!(taken.base, rig.git(&["rev-parse", "HEAD^{tree}"]));
}

#[tokio::test]
async fn the_hosts_folders_are_linked_and_no_work() {
    let rig = Rig::new();
    rig.write(".opencode/agent/a.md", "agent");
    rig.write(
        ".opencode/.gitignore",
        "node_modules/\npackage.json\n.gitignore\n",
    );
    rig.write(".opencode/package.json", "{}");
    rig.write(".opencode/node_modules/dependency/index.js", "x");
    rig.commit("agents");
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let folder = place.tree().join(".opencode");
    assert!(folder.join("node_modules/dependency/index.js").exists());
    assert!(folder.join("node_modules").is_symlink());
    assert!(folder.join("package.json").is_file());
    assert_eq!(rig.git_in(&place.tree(), &["status", "--porcelain"]), "");
    assert!(crate::rig::collected(&place, &taken).await.is_unchanged());
}

#[tokio::test]
async fn partial_clones_are_taken_without_fetching() {
    let rig = Rig::new();
    rig.git(&["config", "uploadpack.allowFilter", "true"]);
    rig.write("far/away", "away\n");
    rig.commit("far");
    rig.write("kept", "second\n");
    rig.commit("second");
    let url = format!("file://{}", rig.top().display());
    rig.git(&[
        "clone",
        "-q",
        "--filter=blob:none",
        "--sparse",
        &url,
        "../partial",
    ]);
    let partial = rig.path().join("partial");
    // From here on the remote is out of reach.
    fs::rename(rig.top(), rig.path().join("gone")).unwrap();
    fs::remove_file(partial.join("deleted")).unwrap();
    put(&partial, "changed", "changed\n");
    let before = everything(&partial, true);
    let place = rig.place("one");
    let taken = rig.take_from(&place, &partial).await;
    built(&place, &taken).await;
    assert_eq!(
        everything(&place.tree(), false),
        everything(&partial, false)
    );
    put(&place.tree(), "kept", "child\n");
    fs::remove_file(place.tree().join(".gitignore")).unwrap();
    let found = crate::rig::collected(&place, &taken).await;
    assert_eq!(found.changes.len(), 2);
    let target = brigade_worktree::Target::new(&partial);
    let plan = brigade_worktree::plan(&place, &taken.base, &found.result, &target, &[], &no_step())
        .await
        .unwrap();
    assert_eq!((plan.operations.len(), plan.conflicts.len()), (2, 0));
    assert_eq!(everything(&partial, true), before);
}

#[tokio::test]
async fn an_old_git_and_none_at_all_are_told() {
    let rig = Rig::new();
    let bin = rig.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let with = |place: &str| {
        brigade_worktree::Place::new(rig.path().join("work").join(place))
            .with_environment([("PATH", bin.clone()), ("HOME", rig.home())])
    };
    let limits = Limits::default();
    let none = snapshot(&rig.top(), &with("one"), &limits, None, &no_step()).await;
    assert!(
        matches!(
            &none,
            Err(SnapshotError::Fault(brigade_worktree::Fault::NoGit { .. }))
        ),
        "{none:?}"
    );
    put(&bin, "git", "#!/bin/sh\necho git version 2.37.9\n");
    executable(&bin.join("git"));
    let old = snapshot(&rig.top(), &with("one"), &limits, None, &no_step())
        .await
        .unwrap_err();
    assert!(
        old.to_string().contains("2.38 or later") && old.to_string().contains("2.37.9"),
        "{old}"
    );
}

#[tokio::test]
async fn an_edit_in_the_second_of_the_index_is_seen() {
    let rig = Rig::new();
    // The time of a file's inode can't be set to a past one.
    rig.git(&["config", "core.trustctime", "false"]);
    let path = rig.top().join("kept");
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    let at = |path: &std::path::Path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(then).unwrap();
    };
    at(&path);
    rig.git(&["add", "kept"]);
    let old = fs::read_to_string(&path).unwrap();
    let new = "x".repeat(old.len());
    fs::write(&path, &new).unwrap();
    at(&path);
    at(&rig.top().join(".git/index"));
    let place = rig.place("one");
    let taken = rig.take(&place).await;
    built(&place, &taken).await;
    assert_eq!(fs::read_to_string(place.tree().join("kept")).unwrap(), new);
}

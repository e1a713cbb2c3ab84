//! Nobody can be asked in the background: what would ask is refused at once.

use brigade_testkit::{Method, Script};

use serde_json::{Value, json};

use crate::rig::{LIMIT, Rig, answer};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_child_may_not_read_is_refused_without_asking() {
    let rig = Rig::new("").await;
    rig.sandbox.write("b.env", "SECRET=hidden\n").unwrap();
    let outside = rig.sandbox.root().join("outside.txt");
    std::fs::write(&outside, "not of the project\n").unwrap();
    let root = rig.root().await;

    let read = |path: &std::path::Path| json!({ "filePath": path });
    let question = json!({"questions": [{"question": "Which?", "header": "Which", "options": [{"label": "a", "description": "a"}]}]});
    let work = Script::new()
        .call("read", &read(&rig.sandbox.project().join("b.env")))
        .step()
        .call("read", &read(&outside))
        .step()
        .call("question", &question)
        .step()
        .say("I went on without.");
    let id = rig.delegate(&root, "explore", &work).await;
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(answer(&artifact), "I went on without.");
    let told = rig.told(&shown);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(!told[0].contains("hidden"), "{told:#?}");
    assert!(!told[1].contains("not of the project"), "{told:#?}");
    for refused in &told[..2] {
        assert!(refused.contains("prevents you from using"), "{refused}");
    }
    assert!(told[2].contains("unavailable tool"), "{}", told[2]);
    assert_eq!(rig.server.permissions().await.unwrap(), Vec::<Value>::new());
    assert_eq!(asked(&rig), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_that_still_arises_is_refused_in_words_and_counted() {
    let rig = Rig::new("").await;
    rig.sandbox.write("b.env", "SECRET=hidden\n").unwrap();
    let root = rig.root().await;
    let secret = json!({"filePath": rig.sandbox.project().join("b.env")});
    let question = json!({"questions": [{"question": "Which one?", "header": "Which", "options": [
        {"label": "a", "description": "the first"}, {"label": "b", "description": "the second"},
    ]}]});
    let goes_on = Script::new()
        .call("read", &secret)
        .step()
        .call("question", &question)
        .step()
        .say("I went on without.");
    let model = rig.sandbox.model();
    model.when("Your work was interrupted", goes_on);
    let id = rig
        .delegate(&root, "explore", &Script::new().gate("never"))
        .await;
    model.reached("never", 1, LIMIT).await.unwrap();
    // Somebody opens what the child was made without; a run that begins afterwards has it.
    let child = rig.show(&id).await["child"].as_str().unwrap().to_owned();
    let rules = json!({"permission": [
        {"permission": "read", "pattern": "*.env", "action": "ask"},
        {"permission": "question", "pattern": "*", "action": "allow"},
    ]});
    let (status, _) = rig
        .server
        .request(Method::PATCH, &format!("/session/{child}"), Some(&rules))
        .await
        .unwrap();
    assert_eq!(status, 200);
    rig.server.kill9().await.unwrap();
    let Rig { sandbox, .. } = rig;
    let rig = Rig::serve(sandbox).await;

    // It goes on in a server of Brigade's own, whose asks are heard there alone: they are counted below.
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(answer(&artifact), "I went on without.");
    let told = rig.told(&shown);
    let [read, question] = &told[..] else {
        panic!("{told:#?}");
    };
    assert!(
        read.contains("this is a background delegation and nobody can be asked"),
        "{read}"
    );
    assert!(read.contains("b.env") && !read.contains("hidden"), "{read}");
    assert!(question.contains("Decide by yourself"), "{question}");
    assert_eq!(shown["progress"]["refused"], 2, "{shown:#}");
    let text = rig.sandbox.brigade(&["show", &id]).await.unwrap().stdout;
    assert!(text.contains("2 permission asks"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_loops_is_ended_and_the_reason_says_so() {
    let rig = Rig::new("").await;
    let root = rig.root().await;
    let same = json!({"filePath": rig.sandbox.project().join("src/main.txt")});
    let work = Script::new()
        .say("I begin.")
        .call("read", &same)
        .call("read", &same)
        .call("read", &same)
        .step()
        .say("never said");
    let id = rig.delegate(&root, "explore", &work).await;
    let (shown, artifact) = rig.ends_as(&id, "error").await;
    let why =
        "a refused permission ended its turn: the same tool call three times in a row (doom_loop)";
    assert_eq!(shown["reason"], why);
    assert!(answer(&artifact).contains("I begin."), "{artifact}");
    assert!(rig.notice(&root, &id).await.contains(why));
    assert_eq!(rig.server.permissions().await.unwrap(), Vec::<Value>::new());
}

fn asked(rig: &Rig) -> usize {
    let events = rig.events.all();
    let asks = events
        .iter()
        .filter(|event| event["type"] == "permission.asked" || event["type"] == "question.asked");
    asks.count()
}

//! The throwaway project, the agents in it, and what the scripted model does there.

use brigade_testkit::model::script::Op;
use brigade_testkit::{Sandbox, Script};
use serde_json::json;

use crate::error::Result;

/// A piece of work that is delegated.
pub(super) struct Piece {
    /// Who does it.
    pub(super) agent: &'static str,
    /// What is asked of them.
    pub(super) prompt: &'static str,
    /// Where the scripted model waits before it answers.
    pub(super) gate: &'static str,
    /// A passage of the answer.
    pub(super) finding: &'static str,
    /// The title of the answer.
    pub(super) title: &'static str,
    file: &'static str,
}

/// The three pieces of the first conversation, and one more.
pub(super) const PIECES: [Piece; 4] = [
    Piece {
        agent: "explore",
        prompt: "Where in src/ is a login token checked, and what does each check cost? Name file and line.",
        gate: "first",
        finding: "checkToken() hashes the token anew on every call",
        title: "The token is hashed on every request",
        file: "src/auth.js",
    },
    Piece {
        agent: "explore",
        prompt: "Compare docs/caching.md with src/cache.js: what is promised, and what is done?",
        gate: "second",
        finding: "the code keeps entries for 5 seconds where the page says 5 minutes",
        title: "The cache forgets sixty times too early",
        file: "src/cache.js",
    },
    Piece {
        agent: "researcher",
        prompt: "Which files would have to change if tokens were cached after their first check?",
        gate: "third",
        finding: "only src/auth.js would have to change",
        title: "One file has to change",
        file: "docs/caching.md",
    },
    Piece {
        agent: "explore",
        prompt: "Is there any test for the login in this project? Name it, or say that there is none.",
        gate: "fourth",
        finding: "there is no test for the login",
        title: "The login has no test",
        file: "README.md",
    },
];

/// Files of a small project, committed.
pub(super) async fn project(sandbox: &Sandbox) -> Result<()> {
    sandbox.write(
        "README.md",
        "# Shop\n\nA small web shop. `src/` has the server, `docs/` what it promises.\n",
    )?;
    sandbox.write(
        "src/auth.js",
        "import { createHash } from \"node:crypto\";\nimport { cached } from \"./cache.js\";\n\n\
         export function checkToken(token) {\n  return cached(token, () =>\n    createHash(\"sha512\").update(token).digest(\"hex\"));\n}\n",
    )?;
    sandbox.write(
        "src/cache.js",
        "const entries = new Map();\nconst TTL_MS = 5_000;\n\nexport function cached(key, make) {\n  const hit = entries.get(key);\n  \
         if (hit && Date.now() - hit.at < TTL_MS) return hit.value;\n  const value = make();\n  entries.set(key, { at: Date.now(), value });\n  return value;\n}\n",
    )?;
    sandbox.write(
        "docs/caching.md",
        "# Caching\n\nTokens are cached for 5 minutes after their first check.\n",
    )?;
    sandbox.git(&["add", "README.md", "src", "docs"]).await?;
    sandbox
        .git(&["commit", "--quiet", "--message", "Add the shop"])
        .await?;
    Ok(())
}

/// An agent of the project's own beside the host's: it reads and does nothing else.
pub(super) fn agents(sandbox: &Sandbox) -> Result<()> {
    let front = "description: Reads and weighs, changes nothing\nmode: subagent\npermission:\n  edit: deny\n  bash: deny\n  task: deny";
    Ok(sandbox.agent(
        "researcher",
        front,
        "You read with care and answer in full.",
    )?)
}

impl Piece {
    /// What the scripted model does as this piece's agent.
    pub(super) fn script(&self, sandbox: &Sandbox, pause: Op) -> Script {
        Script::new()
            .call(
                "read",
                &json!({"filePath": sandbox.project().join(self.file)}),
            )
            .step()
            .op(pause)
            .say(self.answer())
    }

    /// An answer too long to stand in a notice, as most real ones are.
    fn answer(&self) -> String {
        let mut answer = format!("# {}\n\n{}.\n", self.title, self.finding);
        for n in 1..=40 {
            answer.push_str(&format!(
                "\n{n}. Seen in {}: a line of evidence as an agent would give it, with what was looked at, what it means and what it does not.\n",
                self.file
            ));
        }
        answer
    }
}

/// Teaches the scripted model to be of some use to a person who tries it by hand.
pub(crate) fn teach_by_hand(sandbox: &Sandbox) {
    let model = sandbox.model();
    let (first, second, third) = (&PIECES[0], &PIECES[1], &PIECES[2]);
    for (piece, seconds) in [(first, 4), (second, 8), (third, 12)] {
        model.when(
            piece.prompt,
            piece.script(sandbox, Op::Sleep(seconds * 1000)),
        );
    }
    // Notices come before the words below, which they may hold as well.
    model.when(
        "<task-notification>",
        Script::new()
            .call("delegation_read", &json!({"id": "{{delegation}}"}))
            .step()
            .say("All three are back; I have read the last one. Ask me to `read` another, or to `list` them."),
    );
    let mut delegate =
        Script::new().say("I have three agents look into the login, and go on with you meanwhile.");
    for piece in [first, second, third] {
        delegate = delegate.call(
            "delegate",
            &json!({"agent": piece.agent, "prompt": piece.prompt}),
        );
    }
    let delegate = delegate.step().say("Three are under way: they end in 4, 8 and 12 seconds. Go on talking to me; a line will tell you of each, and after the last I come back to you by myself.");
    let read = Script::new()
        .call("delegation_read", &json!({"id": "{{delegation:1}}"}))
        .step()
        .say("That is the first one's result.");
    let list = Script::new()
        .call("delegation_list", &json!({"scope": "project"}))
        .step()
        .say("Those are this project's delegations.");
    for (words, script) in [
        (["delegate", "Delegate"], delegate),
        (["read", "Read"], read),
        (["list", "List"], list),
    ] {
        for word in words {
            model.when(word, script.clone());
        }
    }
    model.configure(|defaults| {
        defaults.reply = Script::saying(
            "I am a scripted model and know three words: `delegate`, `read` and `list`.",
        );
        defaults.summary = "The person is trying things out.".to_owned();
    });
}

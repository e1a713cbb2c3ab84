//! The plan for a child, on the host's real agents and on any rules whatever.

use proptest::prelude::*;
use serde::Deserialize;

use super::Action::{Allow, Ask, Deny};
use super::*;

/// What `GET /agent` of OpenCode 1.18.33 answers, reduced to what decides.
#[derive(Deserialize)]
struct Agent {
    name: String,
    permission: Ruleset,
}

fn real(json: &str, name: &str) -> Ruleset {
    let agents: Vec<Agent> = serde_json::from_str(json).unwrap();
    agents
        .into_iter()
        .find(|agent| agent.name == name)
        .unwrap()
        .permission
}

fn agent(name: &str) -> Ruleset {
    real(include_str!("fixtures/agents-1.18.33.json"), name)
}

/// The same with `"permission": {"edit": "ask"}` in the person's configuration.
fn agent_with_edit_ask(name: &str) -> Ruleset {
    real(include_str!("fixtures/agents-1.18.33-edit-ask.json"), name)
}

fn rules(list: &[(&str, &str, Action)]) -> Ruleset {
    Ruleset(list.iter().map(|(p, q, a)| Rule::new(*p, *q, *a)).collect())
}

fn request<'a>(agent: &'a Ruleset, parent: &'a Ruleset) -> Request<'a> {
    Request {
        agent,
        parent,
        mcp_servers: &[],
        host_tools: &[],
        mcp: McpPolicy::Agent,
        run: None,
        asks: AskPolicy::Refuse,
    }
}

fn read_only(request: &Request<'_>) -> ReadOnly {
    match plan(request) {
        Plan::ReadOnly(child) => child,
        other => panic!("{other:?}"),
    }
}

fn open(child: &ReadOnly) -> &[String] {
    match &child.enforcement {
        Enforcement::Enforced => &[],
        Enforcement::ByRule(remains) => remains,
    }
}

#[test]
fn explore_is_accepted_and_can_only_read() {
    let (explore, build) = (agent("explore"), agent("build"));
    let child = read_only(&request(&explore, &build));
    assert_eq!(child.enforcement, Enforcement::Enforced);
    assert_eq!(child.withheld, ["the shell (bash), which is open to it"]);
    let mut expected = rules(&[
        ("*", "*", Deny),
        ("read", "*", Allow),
        ("read", "*.env", Deny),
        ("read", "*.env.*", Deny),
        ("read", "*.env.example", Allow),
        ("grep", "*", Allow),
        ("glob", "*", Allow),
        ("list", "*", Allow),
        ("webfetch", "*", Allow),
        ("websearch", "*", Allow),
        ("skill", "*", Deny),
        ("delegation_read", "*", Deny),
        ("delegation_list", "*", Deny),
        ("bash", "*", Deny),
    ]);
    for closed in [
        "edit",
        "task",
        "todowrite",
        "question",
        "plan_enter",
        "plan_exit",
        "external_directory",
        "doom_loop",
        "delegate",
        "delegation_cancel",
        "delegation_send",
        "delegation_apply",
    ] {
        expected.0.push(Rule::close(closed));
    }
    assert_eq!(child.rules, expected);
    let whole = explore.then(&child.rules);
    for (tool, offered) in [
        ("read", true),
        ("grep", true),
        ("webfetch", true),
        ("bash", false),
        ("write", false),
    ] {
        assert_eq!(whole.tool_offered(tool), offered, "{tool}");
    }
    assert_eq!(whole.evaluate("read", "a/.env"), Deny);
    assert_eq!(whole.evaluate("read", "a/.env.example"), Allow);
}

fn writing(request: &Request<'_>) -> Writing {
    match plan(request) {
        Plan::Writing(child) => child,
        other => panic!("{other:?}"),
    }
}

#[test]
fn agents_that_edit_are_write_capable() {
    let build = agent("build");
    let general = agent("general");
    let child = writing(&request(&general, &build));
    let whole = general.then(&child.rules);
    for (tool, offered) in [
        ("write", true),
        ("apply_patch", true),
        ("bash", true),
        ("read", true),
        ("task", false),
        ("delegate", false),
        ("delegation_apply", false),
        ("question", false),
        ("external_directory", false),
    ] {
        assert_eq!(whole.tool_offered(tool), offered, "{tool}");
    }
    assert_eq!(whole.evaluate("edit", "src/main.rs"), Allow);
    assert_eq!(whole.evaluate("edit", "../theirs/main.rs"), Deny);
    assert_eq!(whole.evaluate("external_directory", "/home/*"), Deny);
    assert_eq!(whole.evaluate("bash", "make -j2 && ./test > log"), Allow);
    // An agent that plans writes its plans and nothing else.
    let planner = agent("plan");
    let whole = planner.then(&writing(&request(&planner, &build)).rules);
    assert_eq!(whole.evaluate("edit", ".opencode/plans/a.md"), Allow);
    assert_eq!(whole.evaluate("edit", "src/main.rs"), Deny);
    let all = [
        "build",
        "compaction",
        "explore",
        "general",
        "plan",
        "summary",
        "title",
    ]
    .map(|name| (name, agent(name)));
    let guarded = guarded(
        all.iter()
            .map(|(name, rules)| (*name, request(rules, &build))),
    );
    assert_eq!(guarded, ["compaction", "explore", "summary", "title"]);
}

#[test]
fn who_may_not_edit_has_nothing_edited_unless_the_configuration_says_so() {
    let (general, planner) = (agent("general"), agent("plan"));
    assert!(!may_edit(&planner));
    assert!(may_edit(&agent("build")) && may_edit(&Ruleset::default()));
    assert!(matches!(
        plan(&request(&general, &planner)),
        Plan::BeyondCaller { .. }
    ));
    let child = writing(&Request {
        run: Some(RunMode::Worktree),
        ..request(&general, &planner)
    });
    let whole = general.then(&child.rules);
    assert_eq!(whole.evaluate("edit", "src/main.rs"), Allow);
}

#[test]
fn what_would_ask_about_a_command_is_answered_by_policy() {
    let build = agent("build");
    let careful = rules(&[
        ("*", "*", Allow),
        ("bash", "*", Ask),
        ("bash", "make *", Allow),
        ("bash", "rm *", Deny),
    ]);
    let with = |asks| {
        writing(&Request {
            asks,
            ..request(&careful, &build)
        })
    };
    let refused = with(AskPolicy::Refuse);
    assert!(
        refused
            .withheld
            .contains(&"shell commands that would ask a person".to_owned())
    );
    assert_eq!(refused.rules.evaluate("bash", "make test"), Allow);
    assert_eq!(refused.rules.evaluate("bash", "curl x"), Deny);
    let allowed = with(AskPolicy::Allow);
    assert_eq!(allowed.rules.evaluate("bash", "curl x"), Allow);
    assert_eq!(allowed.rules.evaluate("bash", "rm -rf x"), Deny);
}

#[test]
fn a_general_ask_for_edit_neither_gives_nor_takes_the_right() {
    let build = agent_with_edit_ask("build");
    for name in ["general", "plan", "build"] {
        let rules = agent_with_edit_ask(name);
        assert!(
            matches!(plan(&request(&rules, &build)), Plan::Writing(_)),
            "{name}"
        );
    }
    let explore = agent_with_edit_ask("explore");
    let child = read_only(&request(&explore, &build));
    assert_eq!(child.enforcement, Enforcement::Enforced);
    assert!(child.withheld.contains(&"editing files".to_owned()));
    assert!(!explore.then(&child.rules).tool_offered("edit"));
}

#[test]
fn the_configuration_decides_otherwise() {
    let (general, build) = (agent("general"), agent("build"));
    let with = |run| {
        plan(&Request {
            run: Some(run),
            ..request(&general, &build)
        })
    };
    let Plan::ReadOnly(child) = with(RunMode::ReadOnly) else {
        panic!("not read-only")
    };
    assert!(child.withheld.contains(&"editing files".to_owned()));
    assert!(!general.then(&child.rules).tool_offered("apply_patch"));
    assert!(general.then(&child.rules).tool_offered("skill"));
    assert!(matches!(with(RunMode::Worktree), Plan::Writing(_)));
    assert!(matches!(with(RunMode::Refuse), Plan::Refused { .. }));
    assert_eq!(
        RunMode::ReadOnly.tightened(RunMode::Worktree),
        RunMode::ReadOnly
    );
    assert_eq!(
        RunMode::ReadOnly.tightened(RunMode::Refuse),
        RunMode::Refuse
    );
}

#[test]
fn a_reviewers_shell_patterns_stay_and_are_named() {
    let reviewer = rules(&[
        ("*", "*", Allow),
        ("edit", "*", Deny),
        ("bash", "*", Deny),
        ("bash", "git diff*", Allow),
        ("bash", "git log *", Allow),
        ("bash", "git diff --output*", Deny),
        ("bash", "npm test", Ask),
        ("bash", "* --help", Allow),
    ]);
    let build = agent("build");
    let child = read_only(&request(&reviewer, &build));
    assert_eq!(
        open(&child),
        ["shell commands git diff*", "shell commands git log *"]
    );
    assert_eq!(
        child.withheld,
        ["shell commands * --help, which name no program"]
    );
    let whole = reviewer.then(&child.rules);
    for (command, action) in [
        ("git diff --stat", Allow),
        ("git log", Allow),
        ("git diff --output=x", Deny),
        ("npm test", Deny),
        ("rm --help", Deny),
        ("rm -rf x", Deny),
    ] {
        assert_eq!(whole.evaluate("bash", command), action, "{command}");
    }
}

#[test]
fn a_shell_that_asks_by_default_is_withheld() {
    let rules = rules(&[
        ("*", "*", Deny),
        ("bash", "*", Ask),
        ("bash", "npm *", Allow),
    ]);
    let build = agent("build");
    let child = read_only(&request(&rules, &build));
    assert_eq!(child.enforcement, Enforcement::Enforced);
    assert!(child.withheld[0].contains("would ask"));
}

#[test]
fn mcp_tools_stay_as_the_agents_rules_have_them() {
    let researcher = rules(&[
        ("*", "*", Allow),
        ("edit", "*", Deny),
        ("bash", "*", Deny),
        ("*_delete", "*", Deny),
        ("linear_*", "*", Ask),
        ("linear_search", "*", Allow),
    ]);
    let build = agent("build");
    let servers = [
        "github".to_owned(),
        "linear".to_owned(),
        "external".to_owned(),
    ];
    let base = Request {
        mcp_servers: &servers,
        ..request(&researcher, &build)
    };
    let child = read_only(&base);
    assert_eq!(
        open(&child),
        [
            "MCP tools github_*",
            "MCP tools linear_search",
            "MCP tools external_*"
        ]
    );
    let whole = researcher.then(&child.rules);
    for (tool, offered) in [
        ("github_search", true),
        ("github_delete", false),
        ("linear_search", true),
        ("linear_create", false),
        ("external_x", true),
        ("external_directory", false),
        ("plugin_tool", false),
    ] {
        assert_eq!(whole.tool_offered(tool), offered, "{tool}");
    }
    let named = read_only(&Request {
        mcp: McpPolicy::Named,
        ..base
    });
    assert_eq!(open(&named), ["MCP tools linear_search"]);
    // Where one server's prefix contains another's, a name is a name for its own server only.
    let by_name = rules(&[("*", "*", Deny), ("git_*", "*", Allow)]);
    let both = ["git".to_owned(), "git_hub".to_owned()];
    let child = read_only(&Request {
        mcp: McpPolicy::Named,
        mcp_servers: &both,
        ..request(&by_name, &build)
    });
    assert!(by_name.then(&child.rules).tool_offered("git_log"));
    assert!(!by_name.then(&child.rules).tool_offered("git_hub_search"));
    // A plugin's tool that looks like a server's is closed where it is known.
    let tools = ["github_plugin".to_owned(), "read".to_owned()];
    let child = read_only(&Request {
        host_tools: &tools,
        ..base
    });
    assert!(!researcher.then(&child.rules).tool_offered("github_plugin"));
    assert!(researcher.then(&child.rules).tool_offered("read"));
    // What the parent may not use, the child may not either.
    let parent = rules(&[("*", "*", Allow), ("github_*", "*", Deny)]);
    let child = read_only(&Request {
        parent: &parent,
        ..base
    });
    assert!(!researcher.then(&child.rules).tool_offered("github_search"));
}

#[test]
fn a_parent_that_may_read_some_passes_on_no_more() {
    let (explore, parent) = (
        agent("explore"),
        rules(&[
            ("*", "*", Allow),
            ("read", "*", Deny),
            ("read", "src/*", Allow),
            ("read", "src/key*", Deny),
            ("grep", "*", Deny),
        ]),
    );
    let child = read_only(&request(&explore, &parent));
    let whole = explore.then(&child.rules);
    assert_eq!(whole.evaluate("read", "src/a.rs"), Allow);
    assert_eq!(whole.evaluate("read", "src/key.pem"), Deny);
    assert_eq!(whole.evaluate("read", "docs/a.md"), Deny);
    assert_eq!(whole.evaluate("read", "src/.env"), Deny);
    assert!(!whole.tool_offered("grep"));
    assert!(
        child
            .withheld
            .contains(&"grep, which the caller lacks".to_owned())
    );
}

const PERMISSIONS: [&str; 24] = [
    "*",
    "edit",
    "bash",
    "read",
    "grep",
    "webfetch",
    "task",
    "todowrite",
    "question",
    "github_*",
    "github_search",
    "git_*",
    "git_hub_x",
    "*_search",
    "gi*",
    "e*",
    "*e*",
    "external_*",
    "delegation_*",
    "delegate",
    "?ead",
    "doom_*",
    "plan_exit",
    "b*h *",
];
const PATTERNS: [&str; 14] = [
    "*",
    "*",
    "*",
    "**",
    "?",
    "",
    "*.env",
    "*.env.example",
    "src/*",
    "src\\a*",
    "git *",
    "git diff*",
    "* --help",
    "?*",
];
const SERVERS: [&str; 7] = [
    "github",
    "git",
    "git_hub",
    "external",
    "delegation",
    "doom",
    "plan",
];
const KEYS: [&str; 9] = [
    "github_search",
    "github_x",
    "git_x",
    "git_hub_x",
    "git_hub_search",
    "external_x",
    "delegation_x",
    "doom_x",
    "plan_x",
];
const TARGETS: [&str; 14] = [
    "*",
    "",
    "a",
    "src/a",
    "src/a.env",
    ".env",
    "x.env.example",
    "x.env.local",
    "git",
    "git diff",
    "git diff --stat",
    "git push",
    "rm --help",
    "rm -rf /",
];
const NEVER: [&str; 15] = [
    "edit",
    "write",
    "apply_patch",
    "task",
    "todowrite",
    "question",
    "plan_enter",
    "plan_exit",
    "external_directory",
    "doom_loop",
    "delegate",
    "delegation_cancel",
    "delegation_send",
    "delegation_apply",
    "foreign",
];

fn any_rules() -> impl Strategy<Value = Ruleset> {
    let rule = (
        proptest::sample::select(&PERMISSIONS[..]),
        proptest::sample::select(&PATTERNS[..]),
        proptest::sample::select(&[Allow, Allow, Ask, Deny][..]),
    )
        .prop_map(|(permission, pattern, action)| Rule::new(permission, pattern, action));
    proptest::collection::vec(rule, 0..14).prop_map(Ruleset)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_rules_whatever_give_a_child_more_than_reading(
        agent in any_rules(),
        parent in any_rules(),
        approvals in any_rules(),
        servers in proptest::sample::subsequence(&SERVERS[..], 0..=SERVERS.len()),
        named in any::<bool>(),
        run in proptest::option::of(Just(RunMode::ReadOnly)),
    ) {
        let servers: Vec<String> = servers.into_iter().map(str::to_owned).collect();
        let mcp = if named { McpPolicy::Named } else { McpPolicy::Agent };
        let request = Request { agent: &agent, parent: &parent, mcp_servers: &servers, host_tools: &[], mcp, run, asks: AskPolicy::Refuse };
        let Plan::ReadOnly(child) = plan(&request) else {
            prop_assert!(run.is_none());
            return Ok(());
        };
        let whole = agent.then(&child.rules);
        // The host decides on offering without approvals: whatever was approved for ever, these stay away.
        for tool in NEVER {
            prop_assert!(!whole.tool_offered(tool), "{tool} is offered");
            for target in TARGETS {
                prop_assert_eq!(whole.evaluate(permission_of(tool), target), Deny);
            }
        }
        let shell: Vec<&String> = open(&child).iter().filter(|what| what.starts_with("shell")).collect();
        prop_assert_eq!(whole.tool_offered("bash"), !shell.is_empty());
        for target in TARGETS {
            // An allow is one that the agent's own rules grant and the parent does not lack.
            for permission in ["read", "grep", "glob", "webfetch", "skill", "delegation_read", "bash"] {
                let action = whole.evaluate(permission, target);
                prop_assert!(action != Ask, "{permission} {target} asks");
                prop_assert_eq!(action, child.rules.evaluate(permission, target));
                if action == Allow {
                    prop_assert_eq!(agent.evaluate(permission, target), Allow);
                    prop_assert!(parent.evaluate(permission, target) != Deny, "{permission} {target}");
                }
            }
            prop_assert!(target.contains("example") || !target.contains(".env") || whole.evaluate("read", target) == Deny);
        }
        for open_command in ["rm --help", "rm -rf /", "a"] {
            prop_assert_eq!(whole.evaluate("bash", open_command), Deny);
        }
        for key in KEYS {
            // The host asks for an MCP tool with the pattern `*`.
            let action = whole.evaluate(key, "*");
            prop_assert!(action != Ask);
            if action == Allow {
                prop_assert_eq!(agent.evaluate(key, "*"), Allow);
                prop_assert!(parent.evaluate(key, "*") != Deny);
                prop_assert!(servers.iter().any(|server| key.starts_with(&mcp_prefix(server))));
                prop_assert!(open(&child).iter().any(|what| {
                    what.strip_prefix("MCP tools ").is_some_and(|pattern| matches(key, pattern))
                }), "{key} is not on record");
            }
            // Even an approval for ever opens only what was in sight.
            if whole.then(&approvals).evaluate(key, "*") == Allow && !whole.tool_offered(key) {
                prop_assert_eq!(action, Deny);
            }
        }
    }

    #[test]
    fn no_rules_whatever_let_a_child_write_more_than_its_agent_and_its_caller_may(
        agent in any_rules(),
        parent in any_rules(),
        run in proptest::option::of(Just(RunMode::Worktree)),
        asks in proptest::sample::select(&[AskPolicy::Refuse, AskPolicy::Allow][..]),
    ) {
        let request = Request { asks, run, ..request(&agent, &parent) };
        let Plan::Writing(child) = plan(&request) else {
            prop_assert!(run.is_none());
            return Ok(());
        };
        let whole = agent.then(&child.rules);
        for tool in NEVER.into_iter().filter(|tool| permission_of(tool) != "edit") {
            prop_assert!(!whole.tool_offered(tool), "{tool} is offered");
            prop_assert_eq!(whole.evaluate(permission_of(tool), "a"), Deny);
        }
        let firm = |rules: &Ruleset| Ruleset(rules.0.iter().filter(|rule| rule.action != Ask).cloned().collect());
        for target in TARGETS {
            for permission in ["read", "grep", "edit", "bash"] {
                prop_assert!(whole.evaluate(permission, target) != Ask, "{permission} {target} asks");
                prop_assert_eq!(whole.evaluate(permission, target), child.rules.evaluate(permission, target));
            }
            if whole.evaluate("edit", target) == Allow {
                prop_assert_eq!(firm(&agent).evaluate("edit", target), Allow);
                prop_assert!(run.is_some() || firm(&parent).evaluate("edit", target) != Deny, "edit {target}");
            }
            if whole.evaluate("bash", target) == Allow {
                let own = agent.evaluate("bash", target);
                prop_assert!(own == Allow || (own == Ask && asks == AskPolicy::Allow), "bash {target}");
                prop_assert!(parent.evaluate("bash", target) != Deny, "bash {target}");
            }
        }
        prop_assert_eq!(whole.evaluate("edit", "../a"), Deny);
        prop_assert_eq!(whole.evaluate("edit", "/etc/passwd"), Deny);
    }

    #[test]
    fn with_nothing_in_the_way_the_child_reads_as_its_agent_does(agent in any_rules()) {
        let parent = rules(&[("*", "*", Allow)]);
        let request = Request { run: Some(RunMode::ReadOnly), ..request(&agent, &parent) };
        let child = read_only(&request);
        let whole = agent.then(&child.rules);
        for target in TARGETS {
            if !target.contains(".env") {
                let as_agent = agent.evaluate("read", target) == Allow;
                prop_assert_eq!(whole.evaluate("read", target) == Allow, as_agent, "{}", target);
            }
        }
    }
}

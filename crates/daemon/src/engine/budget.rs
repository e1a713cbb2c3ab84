//! Budgets: whether there is anything left of what may be used.

use brigade_core::id::SessionId;
use brigade_core::text::replies::Refusal;

use super::Engine;
use super::register::unavailable;
use crate::config::Budget;

impl Engine {
    /// Refuses where a budget is used up. What runs goes on: it is counted, and not stopped.
    pub(super) async fn within_budget(
        &self,
        root: &SessionId,
        budget: &Budget,
    ) -> Result<(), Refusal> {
        let store = self.store();
        let limited = budget.session_cost.is_some() || budget.session_tokens.is_some();
        // The shell is no session: what was ever asked for there has no sum that could be used up.
        if limited && !root.is_shell() {
            let used = store.used_in_session(root).await;
            let used = used.map_err(|error| unavailable(&error))?;
            let whose = "this session's delegations have used";
            check(
                whose,
                used,
                budget.session_cost,
                budget.session_tokens,
                "session",
            )?;
        }
        if budget.day_cost.is_some() || budget.day_tokens.is_some() {
            let used = store.used_today().await;
            let used = used.map_err(|error| unavailable(&error))?;
            let whose = "today's delegations of all projects have used";
            check(whose, used, budget.day_cost, budget.day_tokens, "day")?;
        }
        Ok(())
    }
}

fn check(
    whose: &str,
    used: brigade_store::Used,
    cost: Option<f64>,
    tokens: Option<u64>,
    table: &str,
) -> Result<(), Refusal> {
    let refused = |used: String, limit: String, key: &str| {
        Err(Refusal::BudgetUsedUp {
            used: format!("{whose} {used} of the {limit} that {key} in [budget] allows"),
            key: key.to_owned(),
        })
    };
    if let Some(limit) = cost.filter(|limit| used.cost >= *limit) {
        let used = format!("${:.2}", used.cost);
        return refused(used, format!("${limit:.2}"), &format!("{table}_cost"));
    }
    if let Some(limit) = tokens.filter(|limit| used.tokens >= *limit) {
        let used = format!("{} tokens", used.tokens);
        return refused(used, limit.to_string(), &format!("{table}_tokens"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_figures_and_says_how_to_raise_them() {
        let used = brigade_store::Used {
            cost: 5.004,
            tokens: 1_000,
        };
        let of = |cost, tokens| {
            check(
                "this session's delegations have used",
                used,
                cost,
                tokens,
                "session",
            )
        };
        of(None, None).unwrap();
        of(Some(5.01), Some(1_001)).unwrap();
        let refusal = of(Some(5.0), None).unwrap_err().to_string();
        assert!(
            refusal.contains("have used $5.00 of the $5.00 that session_cost in [budget] allows"),
            "{refusal}"
        );
        assert!(refusal.contains("raise session_cost"), "{refusal}");
        let refusal = of(Some(9.0), Some(1_000)).unwrap_err().to_string();
        assert!(
            refusal.contains("1000 tokens of the 1000 that session_tokens"),
            "{refusal}"
        );
    }
}

//! The texts that models and people see. All pure: small views in, text out.

pub mod artifact;
pub mod changes;
pub mod desktop;
pub mod ledger;
pub mod line;
pub mod notice;
pub mod replies;
pub mod rules;
pub mod title;
pub mod worktree;

//! The texts that models and people see. All pure: small views in, text out.

pub mod line;
pub mod notice;
pub mod title;

//! What becomes of a delegation in the real OpenCode: how it ends, what it may do, who may stop it.

mod asks;
mod endings;
mod limits;
mod rig;
mod stops;

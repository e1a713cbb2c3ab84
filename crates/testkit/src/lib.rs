//! Scripted model, real-OpenCode rig, test daemon, fake clock.

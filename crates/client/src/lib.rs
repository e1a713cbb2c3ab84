//! Finds, starts and talks to the daemon.

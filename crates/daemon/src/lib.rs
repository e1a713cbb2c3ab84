//! The engine, recovery, scheduling, delivery and the HTTP server.

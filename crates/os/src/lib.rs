//! What Brigade asks of the operating system: paths, process identity, exits, locks.

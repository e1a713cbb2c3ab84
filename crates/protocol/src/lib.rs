//! What travels on Brigade's socket: versioned types and error codes.

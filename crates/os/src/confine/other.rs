//! Systems that have nothing of the kind for a program to bind itself with.

use std::io;

use super::{Confined, NotAvailable, Writable};

pub(super) fn available() -> Result<u32, NotAvailable> {
    Err(NotAvailable::System)
}

pub(super) fn confine(_writable: &Writable) -> io::Result<Confined> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        NotAvailable::System,
    ))
}

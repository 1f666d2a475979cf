//! How many files and sockets this process may have open: as many as there is memory for.

/// Nothing has to be raised.
pub fn raise_descriptor_limit() {}

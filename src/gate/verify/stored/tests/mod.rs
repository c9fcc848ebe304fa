//! The promises of stored keys, with a store that does as it is told.

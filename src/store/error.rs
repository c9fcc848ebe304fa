//! What can go wrong with a store.

use std::fmt;

/// Why the store did not do what it was asked to. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// What kind of trouble it is.
    pub fault: Fault,
    /// For the operator: what the database said. Holds no secret and no value of a row.
    pub text: String,
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Out of reach, too slow, or broken off.
    Unreachable,
    /// Somebody else holds it for too long.
    Locked,
    /// There is no room left.
    Full,
    /// It may not be written.
    ReadOnly,
    /// A uniqueness or reference rule forbids it.
    Conflict,
    /// What was read is not what this version writes.
    Corrupt,
}

impl Fault {
    /// Stable name, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Locked => "locked",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
        }
    }
}

impl StoreError {
    /// An error of this kind.
    pub fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into() }
    }

    /// See [`Fault::Corrupt`].
    pub fn corrupt(text: impl Into<String>) -> Self {
        Self::new(Fault::Corrupt, text)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Unreachable => "the store is out of reach",
            Fault::Locked => "the store is locked by somebody else",
            Fault::Full => "the store has no room left: free some disk space",
            Fault::ReadOnly => "the store may not be written: look at the permissions of its file and directory",
            Fault::Conflict => "the store refuses a duplicate",
            Fault::Corrupt => "the store holds something unexpected",
        };
        if self.text.is_empty() { f.write_str(what) } else { write!(f, "{what}: {}", self.text) }
    }
}

impl std::error::Error for StoreError {}

//! When and from where keys were used; written in batches.

use super::{KeyUse, Store, StoreError};

impl Store {
    /// Adds uses, all or none. Touches neither version nor feed.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn note_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let _ = uses;
        unimplemented!()
    }
}

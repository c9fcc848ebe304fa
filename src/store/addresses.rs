//! Address lists of principals and keys.

use ipnet::IpNet;

use super::{AddressEntry, Holder, Store, StoreError, Write};
use crate::clock::UnixMillis;

impl Store {
    /// A list, in the order of its entries' ids; those that have run out included.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn addresses(&self, holder: Holder, id: &str) -> Result<Vec<AddressEntry>, StoreError> {
        let _ = (holder, id);
        unimplemented!()
    }
}

impl Write {
    /// A list as this transaction sees it.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn addresses(&mut self, holder: Holder, id: &str) -> Result<Vec<AddressEntry>, StoreError> {
        let _ = (holder, id);
        unimplemented!()
    }

    /// Adds an entry; `realm` is the holder's.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: the network is in the list already.
    pub async fn add_address(&mut self, realm: &str, entry: &AddressEntry) -> Result<(), StoreError> {
        let _ = (realm, entry);
        unimplemented!()
    }

    /// Removes an entry, by network. None: there is no such entry. Else whether an entry that counts at `at` is left:
    /// without one, every address is allowed from now on.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn remove_address(
        &mut self,
        holder: Holder,
        id: &str,
        network: IpNet,
        at: UnixMillis,
    ) -> Result<Option<bool>, StoreError> {
        let _ = (holder, id, network, at);
        unimplemented!()
    }
}

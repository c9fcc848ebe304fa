//! How hashes are computed, and what that costs. Only `phc` makes schemes, within bounds.

use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::hashing::HashFault;

/// Memory of one hash as they are made now: the measure of a seat in the pool.
pub(super) const SEAT_BYTES: u64 = 19 * 1024 * 1024;

/// Most bytes of a password that bcrypt takes notice of.
const BCRYPT_BYTES: usize = 72;

/// An algorithm with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Argon2 { algorithm: Algorithm, version: Version, kib: u32, passes: u32, lanes: u32 },
    Scrypt { log_n: u8, r: u32, p: u32 },
    Pbkdf2Sha256 { rounds: u32 },
    Pbkdf2Sha512 { rounds: u32 },
    Bcrypt { cost: u32 },
}

impl Scheme {
    /// What new hashes are made with: OWASP's smallest for argon2id, which is the library's default.
    pub(super) const CURRENT: Self = Self::Argon2 {
        algorithm: Algorithm::Argon2id,
        version: Version::V0x13,
        kib: Params::DEFAULT_M_COST,
        passes: Params::DEFAULT_T_COST,
        lanes: Params::DEFAULT_P_COST,
    };

    /// Bytes of memory that a computation takes at once.
    pub(super) fn memory(&self) -> u64 {
        match *self {
            Self::Argon2 { kib, .. } => u64::from(kib) * 1024,
            Self::Scrypt { log_n, r, p } => {
                let blocks = 1_u64.checked_shl(log_n.into()).unwrap_or(u64::MAX).saturating_add(p.into());
                blocks.saturating_mul(u64::from(r) * 128)
            }
            Self::Pbkdf2Sha256 { .. } | Self::Pbkdf2Sha512 { .. } | Self::Bcrypt { .. } => 8 * 1024,
        }
    }

    /// Seats of the pool that a computation takes: at least one.
    pub(super) fn seats(&self) -> u32 {
        u32::try_from(self.memory().div_ceil(SEAT_BYTES)).unwrap_or(u32::MAX).max(1)
    }

    /// The hash of `password`, of as many bytes as `output` has room for.
    ///
    /// # Errors
    /// [`HashFault::Failed`].
    pub(super) fn compute(&self, password: &[u8], salt: &[u8], output: &mut [u8]) -> Result<(), HashFault> {
        match *self {
            Self::Argon2 { algorithm, version, kib, passes, lanes } => {
                let params = Params::new(kib, passes, lanes, Some(output.len())).map_err(|_| HashFault::Failed)?;
                let argon2 = Argon2::new(algorithm, version, params);
                let mut room = Room::of(argon2.params().block_count());
                argon2
                    .hash_password_into_with_memory(password, salt, output, &mut room.blocks[..])
                    .map_err(|_| HashFault::Failed)
            }
            Self::Scrypt { log_n, r, p } => {
                let params = scrypt::Params::new(log_n, r, p).map_err(|_| HashFault::Failed)?;
                scrypt::scrypt(password, salt, &params, output).map_err(|_| HashFault::Failed)
            }
            Self::Pbkdf2Sha256 { rounds } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, output);
                Ok(())
            }
            Self::Pbkdf2Sha512 { rounds } => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, output);
                Ok(())
            }
            Self::Bcrypt { cost } => {
                let salt = salt.try_into().map_err(|_| HashFault::Failed)?;
                let hash = bcrypt::bcrypt(cost, salt, &bcrypt_key(password));
                let hash = hash.get(..output.len()).ok_or(HashFault::Failed)?;
                output.copy_from_slice(hash);
                Ok(())
            }
        }
    }

    /// Whether a password with these bytes can have been hashed so. Bcrypt repeats what it is given: where a NUL does
    /// not end it, `a NUL a` would be `a`.
    pub(super) fn takes(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt { .. } => !password.contains(&0),
            Self::Argon2 { .. } | Self::Scrypt { .. } | Self::Pbkdf2Sha256 { .. } | Self::Pbkdf2Sha512 { .. } => true,
        }
    }
}

/// A password as bcrypt takes it: with a NUL behind it, and no more than 72 bytes of both. The other systems cut there
/// without a word, and what they took must be taken here.
fn bcrypt_key(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(BCRYPT_BYTES));
    key.extend(password.iter().copied().chain([0]).take(BCRYPT_BYTES));
    key
}

/// What argon2 fills, 19 MiB with the parameters of now. It is handed on from one hash to the next: given back to the
/// allocator it would be cut up for small things, and the next hash would need another one.
struct Room {
    blocks: Vec<Block>,
}

/// Rooms that wait for their next hash; never more than there were hashes at once, which is what the seats allow.
static ROOMS: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

impl Room {
    fn of(blocks: usize) -> Self {
        let kept = ROOMS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Made anew, a room is as large as asked for and no larger, which growing would not promise.
        let fresh = || vec![Block::default(); blocks];
        let mut room = Self { blocks: kept.filter(|kept| kept.capacity() >= blocks).unwrap_or_else(fresh) };
        // Argon2 writes a block before it reads it, so what another hash left has no part in this one.
        room.blocks.resize(blocks, Block::default());
        room
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Scheme::Argon2 { kib, .. } = Scheme::CURRENT else { return };
        // Imported hashes may ask for much more; that much is not kept.
        if self.blocks.capacity() <= usize::try_from(kib).unwrap_or(0) {
            ROOMS.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.blocks));
        }
    }
}

//! Hashes as they are stored: PHC strings, and bcrypt's own form. What is understood, and how dear it may be.
//!
//! Whoever can import a hash decides how much work a login is: no more than 256 MiB and about a second of one core, else
//! it is refused at import, and not computed if it got into the store another way.

use std::fmt;

use argon2::password_hash::phc::{Decimal, PasswordHash};
use argon2::{Algorithm, Version};
use data_encoding::BASE64_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::hashing::HashFault;
use super::scheme::Scheme;

/// Most memory of one hash.
const MAX_MEMORY: u64 = 256 * 1024 * 1024;
/// Most KiB that argon2 may fill, all passes together.
const MAX_ARGON2_KIB: u64 = 1024 * 1024;
/// Most blocks of 128 bytes that scrypt may mix, all lanes together: 512 MiB.
const MAX_SCRYPT_BLOCKS: u64 = 4 * 1024 * 1024;
/// Most rounds of PBKDF2, all blocks of the output together.
const MAX_PBKDF2_ROUNDS: u64 = 2_000_000;
/// Costs of bcrypt: 2 to this.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// Longest text that is looked at.
const MAX_CHARS: usize = 512;

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;

/// A hash as it is stored. Not printed: who has it can try passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Phc(String);

/// Why a hash is not taken over. Says nothing of what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportFault {
    /// Of no algorithm that is understood.
    #[error("must be a hash of argon2id, argon2i, scrypt, pbkdf2-sha256, pbkdf2-sha512 or bcrypt")]
    Unknown,
    /// Not what that algorithm writes.
    #[error("is not a complete hash as its algorithm writes it")]
    Malformed,
    /// Would take too much memory or time.
    #[error("takes more than 256 MiB or too long to compute: lower its parameters, or set a new password")]
    TooCostly,
}

/// Whether a hash that was made elsewhere can be taken over: its form is understood, its parameters stay within bounds.
///
/// # Errors
/// See [`ImportFault`].
pub fn check_imported(phc: &str) -> Result<(), ImportFault> {
    Stored::read(phc).map(drop)
}

/// Whether a hash should be replaced when its password is known: another algorithm, other parameters, or not understood.
pub fn needs_rehash(phc: &Phc) -> bool {
    !Stored::read(&phc.0).is_ok_and(|stored| stored.is_current())
}

impl Phc {
    /// A hash from the store. Whether it is one shows when it is compared with a password.
    pub fn stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A hash that was made elsewhere.
    ///
    /// # Errors
    /// See [`check_imported`].
    pub fn imported(text: &str) -> Result<Self, ImportFault> {
        check_imported(text).map(|()| Self(text.to_owned()))
    }

    /// The text, for the store.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text, for the store.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phc(redacted)")
    }
}

/// A hash in its parts, within bounds.
pub(super) struct Stored {
    pub(super) scheme: Scheme,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Stored {
    /// What an unknown user's password is compared with: parameters of now, and a result that nothing has.
    pub(super) fn dummy() -> Self {
        Self { scheme: Scheme::CURRENT, salt: vec![0; SALT_BYTES], output: vec![0; OUTPUT_BYTES] }
    }

    /// Takes a text apart.
    pub(super) fn read(text: &str) -> Result<Self, ImportFault> {
        if text.len() > MAX_CHARS {
            return Err(ImportFault::Malformed);
        }
        let stored = if text.starts_with("$2") { read_bcrypt(text)? } else { read_phc(text)? };
        if stored.is_bounded() { Ok(stored) } else { Err(ImportFault::TooCostly) }
    }

    /// A new hash of `password` in the scheme of now.
    pub(super) fn make(password: &[u8]) -> Result<Phc, HashFault> {
        let mut salt = [0_u8; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| HashFault::NoRandomness)?;
        let mut output = [0_u8; OUTPUT_BYTES];
        Scheme::CURRENT.compute(password, &salt, &mut output)?;
        let Scheme::Argon2 { algorithm, version, kib, passes, lanes } = Scheme::CURRENT else {
            return Err(HashFault::Failed);
        };
        let (salt, output) = (BASE64_NOPAD.encode(&salt), BASE64_NOPAD.encode(&output));
        let version = u32::from(version);
        Ok(Phc(format!("${algorithm}$v={version}$m={kib},t={passes},p={lanes}${salt}${output}")))
    }

    /// Whether it is of the scheme of now.
    pub(super) fn is_current(&self) -> bool {
        self.scheme == Scheme::CURRENT && self.salt.len() >= SALT_BYTES && self.output.len() >= OUTPUT_BYTES
    }

    /// Whether it was made of `password`. Takes equally long either way.
    pub(super) fn fits(&self, password: &[u8]) -> Result<bool, HashFault> {
        let mut output = Zeroizing::new(vec![0_u8; self.output.len()]);
        self.scheme.compute(password, &self.salt, &mut output)?;
        let same: bool = output.ct_eq(&self.output).into();
        Ok(same && self.scheme.takes(password))
    }

    fn is_bounded(&self) -> bool {
        let blocks = |bytes: usize| self.output.len().div_ceil(bytes) as u64;
        let bounded = match self.scheme {
            Scheme::Argon2 { kib, passes, .. } => u64::from(kib) * u64::from(passes) <= MAX_ARGON2_KIB,
            Scheme::Scrypt { log_n, r, p } => {
                log_n < 32 && (u128::from(r) * u128::from(p)) << log_n <= u128::from(MAX_SCRYPT_BLOCKS)
            }
            Scheme::Pbkdf2Sha256 { rounds } => u64::from(rounds) * blocks(32) <= MAX_PBKDF2_ROUNDS,
            Scheme::Pbkdf2Sha512 { rounds } => u64::from(rounds) * blocks(64) <= MAX_PBKDF2_ROUNDS,
            Scheme::Bcrypt { cost } => BCRYPT_COSTS.contains(&cost),
        };
        bounded && self.scheme.memory() <= MAX_MEMORY
    }
}

fn read_phc(text: &str) -> Result<Stored, ImportFault> {
    let name = text.strip_prefix('$').and_then(|rest| rest.split('$').next()).ok_or(ImportFault::Unknown)?;
    let known = ["argon2id", "argon2i", "scrypt", "pbkdf2-sha256", "pbkdf2-sha512"];
    if !known.contains(&name) {
        return Err(ImportFault::Unknown);
    }
    let hash = PasswordHash::new(text).map_err(|_| ImportFault::Malformed)?;
    let (Some(salt), Some(output)) = (hash.salt, hash.hash) else { return Err(ImportFault::Malformed) };
    let scheme = read_scheme(name, &hash, output.len()).ok_or(ImportFault::Malformed)?;
    Ok(Stored { scheme, salt: salt.to_vec(), output: output.as_ref().to_vec() })
}

fn read_scheme(name: &str, hash: &PasswordHash, length: usize) -> Option<Scheme> {
    let scheme = match name {
        "argon2id" | "argon2i" => {
            let [kib, passes, lanes] = numbers(hash, ["m", "t", "p"], 3)?;
            let params = argon2::Params::new(kib, passes, lanes, Some(length)).ok()?;
            let algorithm = if name == "argon2i" { Algorithm::Argon2i } else { Algorithm::Argon2id };
            // Strings without a version are older than versions are.
            let version = Version::try_from(hash.version.unwrap_or(0x10)).ok()?;
            let (kib, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
            return Some(Scheme::Argon2 { algorithm, version, kib, passes, lanes });
        }
        "scrypt" => {
            let [log_n, r, p] = numbers(hash, ["ln", "r", "p"], 3)?;
            Scheme::Scrypt { log_n: u8::try_from(log_n).ok()?, r, p }
        }
        _ => {
            let [rounds, stated] = numbers(hash, ["i", "l"], 1)?;
            // How long the output is may be said, and is then true.
            if stated != 0 && usize::try_from(stated).ok()? != length {
                return None;
            }
            if name == "pbkdf2-sha256" { Scheme::Pbkdf2Sha256 { rounds } } else { Scheme::Pbkdf2Sha512 { rounds } }
        }
    };
    hash.version.is_none().then_some(scheme)
}

/// The parameters, each once, nothing else, none of them zero. Those after the first `required` may be missing: 0.
fn numbers<const N: usize>(hash: &PasswordHash, names: [&str; N], required: usize) -> Option<[Decimal; N]> {
    let mut found = [0; N];
    for (name, value) in hash.params.iter() {
        let at = names.iter().position(|known| *known == name.as_str())?;
        let place = found.get_mut(at).filter(|place| **place == 0)?;
        *place = value.decimal().ok().filter(|number| *number > 0)?;
    }
    found.iter().take(required).all(|number| *number > 0).then_some(found)
}

/// `$2b$12$` + 22 characters of salt + 31 of hash. The letters stand for faults in programs that others had: of them
/// only `x` is computed otherwise, and is not taken.
fn read_bcrypt(text: &str) -> Result<Stored, ImportFault> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let (cost, rest) = rest.ok_or(ImportFault::Unknown)?.split_once('$').ok_or(ImportFault::Malformed)?;
    if cost.len() != 2 || !cost.bytes().all(|byte| byte.is_ascii_digit()) || rest.len() != 53 {
        return Err(ImportFault::Malformed);
    }
    let cost = cost.parse().map_err(|_| ImportFault::Malformed)?;
    let (salt, output) = rest.split_at_checked(22).ok_or(ImportFault::Malformed)?;
    let salt = bcrypt_bytes(salt).ok_or(ImportFault::Malformed)?;
    let output = bcrypt_bytes(output).ok_or(ImportFault::Malformed)?;
    Ok(Stored { scheme: Scheme::Bcrypt { cost }, salt, output })
}

/// Bcrypt's base64: an alphabet of its own, and what is left over of the last character counts for nothing.
fn bcrypt_bytes(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'.' => 0,
            b'/' => 1,
            b'A'..=b'Z' => byte - b'A' + 2,
            b'a'..=b'z' => byte - b'a' + 28,
            b'0'..=b'9' => byte - b'0' + 54,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &str = "correct horse battery st\u{e4}ple";

    /// Made by other programs: `bcrypt` and `argon2-cffi` of Python, and its hashlib.
    const FOREIGN: [&str; 13] = [
        "$2a$04$X.pKqUdQyZLRW2m/TDjEvO28AfxIAtvf6yX66jsSdhEzalfpyKnCG",
        "$2b$04$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYSy",
        "$2y$04$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYSy",
        "$2a$05$VwBtgp8P7rrBYDoyfKhauOZt8i1P5z.GiI4/wFi/QtD3raDeh2qAW",
        "$2b$05$HF3CnzWksCsKisqrZ9i82uYt4qdA4Wp.ZLbeqIX7dIe1PDN2RnEzG",
        "$scrypt$ln=10,r=8,p=2$EJ4AAQIDBAUGBwgJCgsMDQ$7IODqJw7l/HwccgSkfGGMuPkS24Dm1Jn20lW4XC3/TQ",
        "$scrypt$ln=14,r=8,p=1$EJ4AAQIDBAUGBwgJCgsMDQ\
         $AocYpSTHnpHD7cywMwHTTZTq2L2jJB3yua0+K2SoYdUmTGreBNGapDwUxbWHyg8nYvV0tdxOsocVgL91HFFyWg",
        "$pbkdf2-sha256$i=1000,l=32$EJ4AAQIDBAUGBwgJCgsMDQ$puUOlzPTc4c4n17uYLlhnrTCI2o6FHcIdrnbQSvti4Y",
        "$pbkdf2-sha512$i=1000,l=64$EJ4AAQIDBAUGBwgJCgsMDQ\
         $b9ooYX/TAObdLP6DHtuWf1B0fuRhAtJmCWNXolIQqm785NRyeOnRMGqGbNzbxiMks8VoUN7c8j6LgYGmFLsPbw",
        "$pbkdf2-sha512$i=1000$EJ4AAQIDBAUGBwgJCgsMDQ$b9ooYX/TAObdLP6DHtuWf1B0fuRhAtJmCWNXolIQqm4",
        "$argon2i$v=19$m=1024,t=3,p=2$EJ4AAQIDBAUGBwgJCgsMDQ$7nOFlad/5raLV9j74zfYc9M2mqh5yFxYKfXv/OI6Vhw",
        "$argon2id$v=19$m=2048,t=1,p=1$EJ4AAQIDBAUGBwgJCgsMDQ$oVfxw+19uB0d5NhQV04EvACF3x+aLt8EYGLKZAvMhBQ",
        "$argon2i$m=512,t=2,p=1$EJ4AAQIDBAUGBwgJCgsMDQ$AfBkyzweTP6VaJXc6v+6HTJRA7JicfgXOVTWte1+vVY",
    ];

    const CURRENT: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$EJ4AAQIDBAUGBwgJCgsMDQ$30M7dPYQ1p8LjNmm/C3CLNux7LnzMbg4+qHW62kdtmc";

    fn fits(phc: &str, password: &str) -> bool {
        Stored::read(phc).unwrap_or_else(|fault| panic!("{phc}: {fault}")).fits(password.as_bytes()).unwrap()
    }

    fn refused(phc: &str) -> ImportFault {
        check_imported(phc).expect_err(phc)
    }

    #[test]
    fn what_other_programs_made_is_understood_and_to_be_replaced() {
        for phc in FOREIGN {
            assert_eq!(check_imported(phc), Ok(()), "{phc}");
            assert!(fits(phc, PASSWORD), "{phc}");
            for wrong in ["correct horse battery stable", "", &format!("{PASSWORD} "), "\0"] {
                assert!(!fits(phc, wrong), "{phc}: {wrong}");
            }
            assert!(needs_rehash(&Phc::stored(phc)), "{phc}");
        }
        assert!(fits(CURRENT, PASSWORD) && !fits(CURRENT, "x") && !needs_rehash(&Phc::stored(CURRENT)));
        assert!(needs_rehash(&Phc::stored("x")));
    }

    #[test]
    fn what_is_made_here_is_current_and_salted() {
        let (one, other) = (Stored::make(b"a password").unwrap(), Stored::make(b"a password").unwrap());
        assert_ne!(one, other);
        assert!(one.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", one.expose());
        assert!(fits(one.expose(), "a password") && !fits(one.expose(), "another") && !needs_rehash(&one));
        assert_eq!(format!("{one:?}"), "Phc(redacted)");
    }

    #[test]
    fn bcrypt_takes_no_notice_of_what_follows_72_bytes_and_ends_at_no_nul() {
        let long = "$2b$04$8YG7Yg5bDp1N.2.BVBimreLfaGSoaX1rrL2mbryGwiw9fiuto91xG";
        assert!(fits(long, &"x".repeat(72)) && fits(long, &"x".repeat(73)) && fits(long, &"x".repeat(1024)));
        assert!(!fits(long, &"x".repeat(71)));
        let shorter = "$2b$04$8YG7Yg5bDp1N.2.BVBimre82y20B8fvMa589qH16sxW0R/haVkUAm";
        assert!(fits(shorter, &"y".repeat(71)) && !fits(shorter, &"y".repeat(72)));
        let short = "$2b$04$8YG7Yg5bDp1N.2.BVBimrekKfckAilkbE/joXpI0TChldxPJoNabC";
        assert!(fits(short, "a"));
        for wrong in ["aa", "a\0a", "a\0", "a\0b", ""] {
            assert!(!fits(short, wrong), "{wrong:?}");
        }
    }

    #[test]
    fn left_over_bits_of_a_salt_of_bcrypt_count_for_nothing() {
        // The last character of the salt holds two bits that matter: `e` and `f` mean the same.
        assert!(fits("$2b$04$8YG7Yg5bDp1N.2.BVBimrfkKfckAilkbE/joXpI0TChldxPJoNabC", "a"));
    }

    #[test]
    fn what_is_too_dear_is_refused_and_never_computed() {
        let salted = |head: &str| format!("{head}$EJ4AAQIDBAUGBwgJCgsMDQ$puUOlzPTc4c4n17uYLlhnrTCI2o6FHcIdrnbQSvti4Y");
        for good in [
            "$argon2id$v=19$m=262144,t=4,p=4",
            "$argon2id$v=19$m=65536,t=3,p=4",
            "$scrypt$ln=17,r=8,p=1",
            "$scrypt$ln=13,r=8,p=10",
            "$pbkdf2-sha256$i=2000000",
            "$pbkdf2-sha512$i=210000",
        ] {
            assert_eq!(check_imported(&salted(good)), Ok(()), "{good}");
        }
        for dear in [
            "$argon2id$v=19$m=262145,t=1,p=1",
            "$argon2id$v=19$m=2097152,t=1,p=4",
            "$argon2id$v=19$m=262144,t=5,p=1",
            "$argon2i$v=19$m=8,t=4294967295,p=1",
            "$scrypt$ln=18,r=8,p=1",
            "$scrypt$ln=17,r=8,p=5",
            "$scrypt$ln=20,r=4294967295,p=4294967295",
            "$scrypt$ln=63,r=1,p=1",
            "$scrypt$ln=255,r=1,p=1",
            "$scrypt$ln=1,r=1,p=4294967295",
            "$pbkdf2-sha256$i=2000001",
            "$pbkdf2-sha512$i=4294967295",
        ] {
            assert_eq!(refused(&salted(dear)), ImportFault::TooCostly, "{dear}");
        }
        let bcrypt = |cost: &str| format!("$2b${cost}$8YG7Yg5bDp1N.2.BVBimrekKfckAilkbE/joXpI0TChldxPJoNabC");
        assert_eq!(check_imported(&bcrypt("14")), Ok(()));
        for dear in ["15", "31", "32", "99", "03", "00"] {
            assert_eq!(refused(&bcrypt(dear)), ImportFault::TooCostly, "{dear}");
        }
        // Twice the output is twice the work.
        let long = "AocYpSTHnpHD7cywMwHTTZTq2L2jJB3yua0+K2SoYdUmTGreBNGapDwUxbWHyg8nYvV0tdxOsocVgL91HFFyWg";
        let pbkdf2 = |name: &str| format!("${name}$i=1500000,l=64$EJ4AAQIDBAUGBwgJCgsMDQ${long}");
        assert_eq!(refused(&pbkdf2("pbkdf2-sha256")), ImportFault::TooCostly);
        assert_eq!(check_imported(&pbkdf2("pbkdf2-sha512")), Ok(()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for unknown in [
            "",
            "hunter2",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "$1$salt$hash",
            "$6$rounds=5000$salt$hash",
            "{SSHA}abc",
            "$2x$04$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYSy",
            "$2$04$abc",
            "$2",
            "$argon2d$v=19$m=8,t=1,p=1$a$b",
            "$ARGON2ID$v=19$m=8,t=1,p=1$a$b",
            "pbkdf2_sha256$1000$salt$hash",
            "$pbkdf2$i=1$a$b",
        ] {
            assert_eq!(refused(unknown), ImportFault::Unknown, "{unknown}");
        }
        let tail = "EJ4AAQIDBAUGBwgJCgsMDQ$puUOlzPTc4c4n17uYLlhnrTCI2o6FHcIdrnbQSvti4Y";
        for head in [
            "$argon2id$v=19$m=0,t=1,p=1",
            "$argon2id$v=19$m=8,t=1",
            "$argon2id$v=19",
            "$argon2id$v=18$m=64,t=1,p=1",
            "$argon2id$v=19$m=64,t=1,p=1,p=1",
            "$argon2id$v=19$m=64,t=1,p=1,keyid=a",
            "$argon2id$v=19$m=64,t=1,p=16",
            "$argon2id$v=19$m=064,t=1,p=1",
            "$argon2id$v=19$m=-1,t=1,p=1",
            "$argon2id$v=19$m=4294967296,t=1,p=1",
            "$scrypt$ln=10,r=8",
            "$scrypt$v=1$ln=10,r=8,p=1",
            "$scrypt$n=1024,r=8,p=1",
            "$scrypt$ln=256,r=8,p=1",
            "$pbkdf2-sha256$i=0",
            "$pbkdf2-sha256$i=1000,l=31",
            "$pbkdf2-sha256$l=32",
            "$pbkdf2-sha256$v=1$i=1000",
            "$pbkdf2-sha256",
        ] {
            assert_eq!(refused(&format!("{head}${tail}")), ImportFault::Malformed, "{head}");
        }
        for malformed in [
            "$argon2id$v=19$m=64,t=1,p=1",
            "$argon2id$v=19$m=64,t=1,p=1$EJ4AAQIDBAUGBwgJCgsMDQ",
            "$argon2id$v=19$m=64,t=1,p=1$short$puUOlzPTc4c4n17uYLlhnrTCI2o6FHcIdrnbQSvti4Y",
            "$2b$4$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYSy",
            "$2b$+4$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYSy",
            "$2b$04$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYS",
            "$2b$04$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYSyy",
            "$2b$04$LJfm6jEeBf5ngnTAMFugjuQ4LHh9kSjVN.wDG60v4wzGNjZzKTYS=",
            "$2b$04$LJfm6jEeBf5ngnTAMFu\u{fc}juQ4LHh9kSjVN.wDG60v4wzGNjZzKTYSy",
            "$2b$04",
            "$2b$",
        ] {
            assert_eq!(refused(malformed), ImportFault::Malformed, "{malformed}");
        }
        assert_eq!(refused(&format!("{CURRENT}\n")), ImportFault::Malformed);
        assert_eq!(refused(&format!(" {CURRENT}")), ImportFault::Unknown);
        assert_eq!(refused(&"$".repeat(513)), ImportFault::Malformed);
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_refused(
            text in any::<String>(),
            head in "\\$(2[aby]|argon2id|argon2i|scrypt|pbkdf2-sha(256|512))\\$(v=[0-9]{1,3}\\$)?",
            middle in "([a-z]{1,2}=[0-9]{0,10},?){0,4}|[0-9]{2}",
            tail in "(\\$[./A-Za-z0-9+]{0,60}){0,3}",
        ) {
            prop_assert!(check_imported(&text).is_err());
            if let Ok(stored) = Stored::read(&format!("{head}{middle}{tail}")) {
                prop_assert!(stored.scheme.memory() <= MAX_MEMORY);
            }
        }
    }
}

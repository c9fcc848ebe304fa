//! The check at start that the cryptography is there and tells good from bad.
//!
//! HMAC, ECDSA and EdDSA keys are made on the spot, sign, and verify. RSA key generation can take a second, so RSA is
//! checked by known signatures; that RSA signing works is found out when a private key is loaded.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::EncodingKey;

use super::key::{Curve, Material};
use super::{Algorithm, VerifyKey};
use crate::secret::Secret;

const MESSAGE: &[u8] = b"portcullis self test";
const OTHER_MESSAGE: &[u8] = b"portcullis self tess";

const MODULUS: &str = "\
    n-RtcHsuRiSapQablWsY5i2kQx1TvlUvFyI1YRSeALA6yN11Q_NGnsmTu7qwdJQced99JxPNT5mDtG9i4DAMYW-Z1vQyPs8_ArCcT8WvkXhT\
    URnuLlZR7wq5BM1L7f7pU2qoEG7uBQ3hOAiQ5WpAKJyD6HFLRbm0df8A1Fw7TiIVExF1rWHIvKp1jL3WPnGopPIkvS5mdSnGv-t4pr_-1yEL\
    NnEhgZ7N5dlddoYo7bB1prs4uznemzuCIriEnzCe7_dF2FAueyJtutPShL_VgP0-P8Btb-WbyPRHKKa6LthBYvNSzpFSwnkCde9LFPXHaA2j\
    GsWQwK5mOj26S_7kjQ";

/// Signatures over [`MESSAGE`] by the private half of [`MODULUS`], which was thrown away.
#[rustfmt::skip] // one line break a hundred characters, whatever the nesting
const RSA_SIGNATURES: [(Algorithm, &str); 6] = [
    (Algorithm::RS256, "\
    V9LaNWREaXmhxGgix64GP0m6a2Mgt0ocWv6etJUHw-w8nmC0cPpvA238Wni4BREIqKkNfyBf0FiBJhTO_0dwImpAilg73BcdjsLX_fjuBioK\
    CeoToOqMmzMwCoNjD7MYi_-yvUW8tdYJFBnArE_dhsxkSz8Q_0c4dxWFHFQMec05d0PxPf7wNOHmFuQBjhMggO9OpANMY3OSayRPoV5r4wSB\
    9uRpnbWWGCb5a7C0SLR1KZzCoKOmnT5rnqRjDT4ZP4ORbx5jvLC7KZl3WbHDmbBQn0LJv7_kxcTkFGERxNO27rNWcLnaj-fRQJ5QjJpCO7Fm\
    99cjRyCHl-AtB-ZB6g"),
    (Algorithm::RS384, "\
    JQbl1yAM7RfbrGOwViehm0M7zITSDYE4Aq5iOIzO2mZvj9cbKXGkezA2plmcdu8x1UqW4CPLe5SSwcjISYFaToR_fbVW_ux21bk8MrynNg53\
    Zt5VrC2UktLzB_8bxpzpBLhnmG44eZ5i-ygaolh14_RL_eS10AoR_bu-CAXejH9Lk2HzIcBIE5xnhgaF9HxJjSF65I2r04Ye4IpffuHOlYGo\
    P85OS6V1OCE1T4bj3_6xP7XtgWAKOEhovYcc1hailRejGRq_8_beLqRbGsp_cRtSny8teNmzeCanQlMhqDEuhPIb1TpwguBBKbSSWhv2lrSY\
    byHOMcYBaO3YbRltfA"),
    (Algorithm::RS512, "\
    EdhsgyzB-IBPj1ZHMM1S4RabhlbLl7DhBP1Qhd98bcztJJXQT36cOEYFv-M5dJXBw_qPwi9smfy5jgvSbIJhjOlwGo4OapkP5DUK-Gg4knQt\
    anHCTvP2KCNQWJccvROt27MBWjK5D54osZc9wpBrGZnPohZz29tFDQEzDZRNHz0xuHvSXkZ5HPRuCmgGmNvaP6ihtJKq_WKmVui16uM6msvP\
    RVM0HeqvhxK9psM-drIXihwmfXq15ah0Zm47ylDz2wO_4dPB5LHFgi9nzW8Up_XcNMgXT-TI74pEz4sfh1XZsofosVZNo3kPxdXxRpWxD2Jp\
    6kits6CxcVT3I-QHDw"),
    (Algorithm::PS256, "\
    aPADQIdvX9jXIi6sbk-WmB8Vri8GwV-VHVHaxn5M1WilLXcEdU0ZfiZStjw3WgV2-S_6KnzA8eDRJCCMfI53f17FqRk81cwcEkLnYmNxOWAZ\
    XECWssey46yXmcoAvZPSseQsv83OyxGeSono9cqydEawVf20nHw-xzKOHSxqTOLohLd-FUkYkvK2dC2kzYLRyJJq0RL9TUFLrmaH_cHnA2Cx\
    uqFaiCxORMZqjfoyUhmQokNzWw-xKg2KWZGBkxbRep4jJWS0cdPHKV_VPBCD2xlKU4zfq1yCV-PaftX0Q5l86vWcVEngeI7jDWbmxe3tyt6t\
    vEc7uMdPSJSNh7kKNg"),
    (Algorithm::PS384, "\
    nAP_pisQ-KZqd6cRyg47_OtQsWoIzJGULd_dXKSAi0uQ3AHLuTdDcMduG5jUHuR0lcsVNA9SNGhznA6UfBC4LUyWmWhB5vDdJKA1IhGDqoxM\
    7-bIys5a5IVQ7oacExjeoFHlxGI5Rqaek_BxTdHkzCwhur9KoTnkErqvVuZPcHSJjRdJxPJd5C1JkfTRT-Tuc0yn78eEYRUAC49lwibPbMPe\
    fwUsPXiSXU3V2DrRAEKY4iEyDm81HOWmftz93nnnqwrmWZVU6uZGizk0AF9f__K7Go04PdCvtqpDrRSqC-IKKpSzTvSrC0A77sa9hfkj9ZSB\
    jinP39LeJ6sbJBQ9VA"),
    (Algorithm::PS512, "\
    gr1yv-CcyM3bdJlzZk8WUkciX0RDsik4uA6lHEVHmUXTi55R2z3LES92qjdsQd0eyd30VxlAR-JzkqOmSciuypA1iO0RpdAVjsP4c_mJF1FF\
    RBYYL1Bp1CAJYVAc8Wp0QdSx0tcZuWKI6G1TKQYwpVLFjhRJ6K_mKrZIkzFEsF1Q0m5PqfzMFpJ1uIKpqpTeM1tv7DOt4-7I47-TnZSUf6VH\
    y3M4x8hUa5dSLUjucF-Xs1MY1NJMFTR2GpllnfWONnMePurq4Ks9eoOgbwE8NnEQR9EbWEuBcMFKNW-S7k6S1vRaRQbZdaoRNNpKHH4a-Clp\
    g4xsEENIv4VExx7Wuw"),
];

/// Signs and verifies once with every algorithm (RSA: verifies only): a build without a crypto back end fails at start,
/// not at the first request. A signature that fits another message must not verify.
///
/// # Errors
/// The name of the first algorithm that does not work.
pub fn self_test() -> Result<(), String> {
    for &algorithm in Algorithm::ALL {
        let works = case(algorithm).is_some_and(|(key, signature)| {
            key.verifies(algorithm, MESSAGE, &signature) && !key.verifies(algorithm, OTHER_MESSAGE, &signature)
        });
        if !works {
            return Err(format!("{algorithm} does not work: the cryptography of this build is broken"));
        }
    }
    Ok(())
}

fn case(algorithm: Algorithm) -> Option<(VerifyKey, String)> {
    if let Some((_, signature)) = RSA_SIGNATURES.iter().find(|(signed, _)| *signed == algorithm) {
        let modulus = BASE64URL_NOPAD.decode(MODULUS.as_bytes()).ok()?;
        let key = VerifyKey::from_material(None, &Material::rsa(&modulus, &[1, 0, 1]), &[algorithm]).ok()?;
        return Some((key, (*signature).to_owned()));
    }
    let (key, signing) = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => {
            let (curve, signing) = match algorithm {
                Algorithm::ES256 => (Curve::P256, &ECDSA_P256_SHA256_FIXED_SIGNING),
                _ => (Curve::P384, &ECDSA_P384_SHA384_FIXED_SIGNING),
            };
            let pair = EcdsaKeyPair::generate(signing).ok()?;
            let material = Material::Ec { curve, point: pair.public_key().as_ref().to_vec() };
            (
                VerifyKey::from_material(None, &material, &[algorithm]),
                EncodingKey::from_ec_der(pair.to_pkcs8v1().ok()?.as_ref()),
            )
        }
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::generate().ok()?;
            let material = Material::Ed { x: pair.public_key().as_ref().to_vec() };
            (
                VerifyKey::from_material(None, &material, &[algorithm]),
                EncodingKey::from_ed_der(pair.to_pkcs8().ok()?.as_ref()),
            )
        }
        _ => {
            let mut secret = vec![0; 64];
            getrandom::fill(&mut secret).ok()?;
            let signing = EncodingKey::from_secret(&secret);
            (VerifyKey::from_secret(&Secret::new(secret), &[algorithm]), signing)
        }
    };
    Some((key.ok()?, jsonwebtoken::crypto::sign(MESSAGE, &signing, algorithm.in_library()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_works_in_this_build() {
        assert_eq!(self_test(), Ok(()));
    }
}

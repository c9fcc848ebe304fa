//! J-25, J-26, J-28: signatures that nobody made by signing.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;

use super::number::Number;
use super::*;
use crate::support::keys::{key_set, random, unusable_rsa_jwk};
use crate::support::token::{curve_order, ecdsa_to_der, ecdsa_twin, parts, signature, with_signature};

fn house_of(key: &Key) -> (House, Signer) {
    let (issuers, signer) = simple(key, "");
    (House::new(&[issuers], ""), signer)
}

#[test]
fn j25_no_special_number_is_an_ecdsa_signature() {
    for key in [Key::p256(), Key::p384()] {
        let (house, signer) = house_of(&key);
        let token = signer.token().sign();
        let good = signature(&token);
        let len = good.len() / 2;
        let order = Number::from_bytes(&curve_order(len));
        let one = Number::small(1);
        let mut numbers = vec![
            vec![0; len],
            one.to_bytes(len),
            order.subtract(&one).to_bytes(len),
            order.to_bytes(len),
            order.add(&one).to_bytes(len),
            vec![0xff; len],
        ];
        let (r, s) = good.split_at(len);
        numbers.extend([r.to_vec(), s.to_vec()]);
        for first in &numbers {
            for second in &numbers {
                let forged = [first.as_slice(), second].concat();
                if forged != good {
                    house.refuses(&with_signature(&token, &forged), "signature");
                }
            }
        }
        // The halves may not be written as themselves plus the order either, where that fits.
        for (at, half) in [(0, r), (len, s)] {
            let sum = Number::from_bytes(half).add(&order);
            let mut forged = good.clone();
            let bytes = sum.to_bytes(len + 1);
            forged.splice(at..at + len, bytes[1..].iter().copied());
            house.refuses(&with_signature(&token, &forged), "signature");
        }
        house.accepts(&token);
    }
}

#[test]
fn j26_an_ecdsa_signature_has_one_form_and_yet_two_values() {
    for key in [Key::p256(), Key::p384()] {
        let (house, signer) = house_of(&key);
        let token = signer.token().sign();
        let good = signature(&token);
        let (r, s) = good.split_at(good.len() / 2);
        for bad in [
            ecdsa_to_der(&good),
            [good.as_slice(), &[0]].concat(),
            [&[0], good.as_slice()].concat(),
            good[..good.len() - 1].to_vec(),
            good[1..].to_vec(),
            [&[0], r, &[0], s].concat(),
            [s, r].concat(),
            [good.as_slice(), &good].concat(),
            good.iter().rev().copied().collect(),
            r.to_vec(),
            vec![],
        ] {
            house.refuses(&with_signature(&token, &bad), "signature");
        }
        // Everybody can make the second value, so a token's bytes say nothing about which token it is.
        let twin = with_signature(&token, &ecdsa_twin(&good));
        assert_ne!(twin, token);
        for token in [&token, &twin, &token, &twin] {
            let seen = house.accepts(token);
            assert_eq!(seen.header("x-auth-credential-id"), jti_of(token).as_deref());
        }
    }
}

fn jti_of(token: &str) -> Option<String> {
    let claims: serde_json::Value =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(parts(token)[1].as_bytes()).ok()?).ok()?;
    claims["jti"].as_str().map(str::to_owned)
}

#[test]
fn an_ed25519_signature_has_one_value() {
    let key = Key::ed25519();
    let (house, signer) = house_of(&key);
    let token = signer.token().sign();
    let good = signature(&token);
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
    // The order of the base point; numbers stand there little-endian.
    let order = HEXLOWER.decode(b"1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed").expect("hex");
    let order = Number::from_bytes(&order);
    let (r, s) = good.split_at(32);
    let mut sum = Number::from_bytes(&reversed(s));
    for _ in 0..8 {
        sum = sum.add(&order);
        house.refuses(&with_signature(&token, &[r, &reversed(&sum.to_bytes(32))].concat()), "signature");
    }
    let identity = [&[1][..], &[0; 31]].concat();
    for bad in [
        vec![0; 64],
        vec![0xff; 64],
        [identity.as_slice(), &[0; 32]].concat(),
        [identity.as_slice(), s].concat(),
        [r, &[0; 32]].concat(),
        [s, r].concat(),
        good[..63].to_vec(),
        [good.as_slice(), &[0]].concat(),
        vec![],
    ] {
        house.refuses(&with_signature(&token, &bad), "signature");
    }
    for bit in [0, 7, 255, 256, 300, 505, 511] {
        house.refuses(&crate::support::token::flip_signature_bit(&token, bit), "signature");
    }
    house.accepts(&token);
}

#[test]
fn a_mac_is_compared_whole() {
    let (house, signer) = simple_house("");
    let token = signer.token().sign();
    let good = signature(&token);
    for bad in [
        vec![],
        vec![0; 32],
        good[..1].to_vec(),
        good[..16].to_vec(),
        good[..31].to_vec(),
        [good.as_slice(), &[0]].concat(),
        [good.as_slice(), &good].concat(),
        signer.key.sign_bytes(Alg::HS384, b"x"),
    ] {
        house.refuses(&with_signature(&token, &bad), "signature");
    }
    for bit in [0, 100, 255] {
        house.refuses(&crate::support::token::flip_signature_bit(&token, bit), "signature");
    }
    house.accepts(&token);
}

#[test]
fn j28_no_other_number_and_no_other_padding_is_an_rsa_signature() {
    let key = Key::rsa2048();
    let algorithms = [Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512];
    let house = House::new(&[issuer("idp", ISS, &algorithms, &static_key(&key), "")], "");
    let jwk = key.jwk("k");
    let modulus = BASE64URL_NOPAD.decode(jwk["n"].as_str().expect("a text").as_bytes()).expect("base64url");
    let n = Number::from_bytes(&modulus);
    let one = Number::small(1);
    for alg in algorithms {
        let signer = Signer::new(ISS, key.clone()).by(alg);
        let token = signer.token().sign();
        let good = signature(&token);
        let value = Number::from_bytes(&good);
        let mut bad = vec![
            vec![],
            vec![0; 256],
            one.to_bytes(256),
            n.subtract(&one).to_bytes(256),
            n.to_bytes(256),
            n.subtract(&value).to_bytes(256),
            vec![0xff; 256],
            n.add(&value).to_bytes(257),
            good[..255].to_vec(),
            good[1..].to_vec(),
            [&[0], good.as_slice()].concat(),
            [good.as_slice(), &[0]].concat(),
            [good.as_slice(), &good].concat(),
            vec![0; 1],
            vec![1; 1024],
        ];
        // The same key, the same text, another hash or padding.
        let message = token.rsplit_once('.').expect("three parts").0;
        bad.extend(
            algorithms.iter().filter(|other| **other != alg).map(|other| key.sign_bytes(*other, message.as_bytes())),
        );
        bad.extend((0..2048).step_by(173).map(|bit| {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        }));
        for bad in bad {
            house.refuses(&with_signature(&token, &bad), "signature");
        }
        house.accepts(&token);
    }
}

/// With the exponent 3 everybody can make a signature whose cube begins as a good one does (Bleichenbacher, 2006). What
/// is left of the block takes up the error of the root: whoever does not look at every byte is fooled.
#[test]
fn j28_a_cube_root_is_no_signature_wherever_the_rubbish_is_put() {
    let mut jwk = unusable_rsa_jwk("three", 3072);
    jwk["e"] = json!("Aw");
    let issuers = [issuer("idp", ISS, &[Alg::RS256], "{ jwks_file = \"three.json\" }", "")];
    let house = House::build(Gateway::builder().file("realms/three.json", key_set([jwk]).to_string()), &issuers, "");
    let signer = Signer::new(ISS, Key::rsa2048()).kid("three");
    let token = signer.token().sign();
    let message = token.rsplit_once('.').expect("three parts").0;
    let hash = digest(&SHA256, message.as_bytes());
    let hash = hash.as_ref();
    let oid = |params: &[u8]| [&HEXLOWER.decode(b"0609608648016503040201").expect("hex")[..], params].concat();
    let tlv = |tag: u8, body: &[u8]| match body.len() {
        len @ 0..=127 => [&[tag, len as u8], body].concat(),
        len => [&[tag, 0x82, (len >> 8) as u8, len as u8], body].concat(),
    };
    let info = |params: &[u8], hash: &[u8]| tlv(0x30, &[tlv(0x30, &oid(params)), tlv(0x04, hash)].concat());
    let plain = info(&[5, 0], hash);
    let block = |kind: u8, fill: u8, padding: usize, info: &[u8]| {
        let mut block = [&[0, kind], vec![fill; padding].as_slice(), &[0], info].concat();
        // From here on whatever the root makes of it; the largest value keeps the beginning.
        block.resize(384, 0xff);
        block
    };
    let filler = tlv(0x04, &random(40));
    for (what, target) in [
        ("rubbish behind the hash", block(1, 0xff, 8, &plain)),
        ("rubbish behind the hash, without padding", block(1, 0xff, 0, &plain)),
        ("no NULL", block(1, 0xff, 8, &info(&[], hash))),
        ("rubbish in the parameters", block(1, 0xff, 8, &info(&filler, hash))),
        ("a longer NULL", block(1, 0xff, 8, &info(&[5, 2, 1, 1], hash))),
        ("lengths in the long form", block(1, 0xff, 8, &[&[0x30, 0x81, 0x31][..], &plain[2..]].concat())),
        ("lengths that count the rubbish", block(1, 0xff, 8, &tlv(0x30, &[&plain[2..], &[0xff; 255]].concat()))),
        ("the hash alone", block(1, 0xff, 8, hash)),
        ("the hash as an octet string", block(1, 0xff, 8, &tlv(0x04, hash))),
        ("block type 0", block(0, 0, 8, &plain)),
        ("block type 2", block(2, 0xa5, 8, &plain)),
        ("other padding", block(1, 0xfe, 8, &plain)),
    ] {
        let target = Number::from_bytes(&target);
        let root = target.cube_root();
        let cube = root.multiply(&root).multiply(&root).to_bytes(384);
        assert_eq!(cube[..100], target.to_bytes(384)[..100], "{what}: the forgery is none");
        house.refuses(&with_signature(&token, &root.to_bytes(384)), "signature");
    }
}

#[test]
fn the_signature_covers_header_and_payload_as_they_are_written() {
    for key in [secret(), Key::p256(), Key::ed25519(), Key::rsa2048()] {
        let (house, signer) = house_of(&key);
        let (first, second) = (signer.token().sign(), signer.token().subject("bob").header("x", 1).sign());
        let ([h1, p1, s1], [h2, p2, s2]) = (parts(&first), parts(&second));
        for (header, payload, signature) in
            [(h1, p1, s2), (h1, p2, s1), (h2, p1, s1), (h1, p2, s2), (h2, p1, s2), (h2, p2, s1)]
        {
            house.refuses(&format!("{header}.{payload}.{signature}"), "signature");
        }
        house.accepts(&first);
        house.accepts(&second);
    }
}

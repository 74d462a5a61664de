//! An authenticator of our own makes good answers; each is then spoiled in one place.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use proptest::prelude::*;

use super::*;

const ID: &[u8] = &[7; 32];
const CHALLENGE: &[u8] = b"a challenge of more than 16 bytes";

fn site() -> Site {
    Site { id: "phial.example".to_owned(), origin: "https://phial.example".to_owned() }
}

fn client_data(kind: &str, challenge: &[u8], origin: &str, cross: bool) -> Vec<u8> {
    let said = serde_json::json!({
        "type": kind, "challenge": encoded(challenge), "origin": origin,
        "crossOrigin": cross, "other_keys_can_be_added_here": "do not compare",
    });
    serde_json::to_vec(&said).unwrap()
}

fn data(site: &str, flags: u8, counter: u32) -> Vec<u8> {
    let mut out = sha256(site.as_bytes()).to_vec();
    out.push(flags);
    out.extend_from_slice(&counter.to_be_bytes());
    out
}

fn key_of(pair: &EcdsaKeyPair) -> Vec<u8> {
    let point = pair.public_key().as_ref();
    let mut out = Vec::new();
    let mut e = minicbor::Encoder::new(&mut out);
    e.map(5).unwrap();
    e.i8(1).unwrap().i8(2).unwrap().i8(3).unwrap().i8(-7).unwrap().i8(-1).unwrap().i8(1).unwrap();
    e.i8(-2).unwrap().bytes(&point[1..33]).unwrap().i8(-3).unwrap().bytes(&point[33..]).unwrap();
    out
}

fn attestation(site: &str, flags: u8, key: &[u8]) -> Vec<u8> {
    let mut auth = data(site, flags, 1);
    auth.extend_from_slice(&[0; 16]);
    auth.extend_from_slice(&u16::try_from(ID.len()).unwrap().to_be_bytes());
    auth.extend_from_slice(ID);
    auth.extend_from_slice(key);
    let mut out = Vec::new();
    let mut e = minicbor::Encoder::new(&mut out);
    e.map(3).unwrap().str("fmt").unwrap().str("none").unwrap().str("attStmt").unwrap();
    e.map(0).unwrap().str("authData").unwrap().bytes(&auth).unwrap();
    out
}

fn pair() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

fn good_client(kind: &str) -> Vec<u8> {
    client_data(kind, CHALLENGE, "https://phial.example", false)
}

fn registered(pair: &EcdsaKeyPair) -> Made {
    let object = attestation("phial.example", 0x45, &key_of(pair));
    register(&site(), CHALLENGE, &good_client("webauthn.create"), &object).unwrap()
}

fn kept(pair: &EcdsaKeyPair) -> Passkey {
    let made = registered(pair);
    Passkey {
        id: made.id,
        key: made.key,
        site: "phial.example".to_owned(),
        name: "key".to_owned(),
        added: String::new(),
    }
}

fn signed(pair: &EcdsaKeyPair, data: &[u8], client: &[u8]) -> Vec<u8> {
    let message = [data, &sha256(client)].concat();
    pair.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec()
}

#[test]
fn a_passkey_registers_and_logs_in() {
    let pair = pair();
    let made = registered(&pair);
    assert_eq!((made.id.as_str(), made.counter), (encoded(ID).as_str(), 1));
    let (data, client) = (data("phial.example", 0x05, 2), good_client("webauthn.get"));
    let signature = signed(&pair, &data, &client);
    let shown = assert(&site(), CHALLENGE, &kept(&pair), &client, &data, &signature).unwrap();
    assert_eq!(shown, Shown { counter: 2, verified: true });
}

#[test]
fn a_registration_that_is_wrong_in_one_thing_is_refused() {
    let pair = pair();
    let (key, client) = (key_of(&pair), good_client("webauthn.create"));
    let check = |client: &[u8], object: &[u8], expected: Problem| {
        assert_eq!(register(&site(), CHALLENGE, client, object), Err(expected));
    };
    let good = attestation("phial.example", 0x45, &key);
    check(&good_client("webauthn.get"), &good, Problem::Form);
    let other =
        client_data("webauthn.create", b"another challenge", "https://phial.example", false);
    check(&other, &good, Problem::Challenge);
    for origin in ["https://evil.example", "http://phial.example", "https://phial.example.evil"] {
        let other = client_data("webauthn.create", CHALLENGE, origin, false);
        check(&other, &good, Problem::Site);
    }
    let framed = client_data("webauthn.create", CHALLENGE, "https://phial.example", true);
    check(&framed, &good, Problem::Site);
    check(&client, &attestation("evil.example", 0x45, &key), Problem::Site);
    check(&client, &attestation("phial.example", 0x44, &key), Problem::Presence);
    check(&client, &attestation("phial.example", 0x41, &key), Problem::Verification);
    check(&client, &attestation("phial.example", 0x05, &key), Problem::Form);
    check(&client, &attestation("phial.example", 0x55, &key), Problem::Form);
    // ES384 on P-384 is not taken, nor a P-256 key under EdDSA's number.
    let mut other = key.clone();
    other[4] = 0x38 - 0x10;
    check(&client, &attestation("phial.example", 0x45, &other), Problem::Algorithm);
    check(&client, &good[..good.len() - 1], Problem::Form);
    check(b"{}", &good, Problem::Form);
}

#[test]
fn an_assertion_that_is_wrong_in_one_thing_is_refused() {
    let pair = pair();
    let passkey = kept(&pair);
    let (good, client) = (data("phial.example", 0x05, 9), good_client("webauthn.get"));
    let signature = signed(&pair, &good, &client);
    let check = |passkey: &Passkey, client: &[u8], data: &[u8], signature: &[u8], expected| {
        let got = super::assert(&site(), CHALLENGE, passkey, client, data, signature);
        assert_eq!(got, Err(expected));
    };
    check(&passkey, &good_client("webauthn.create"), &good, &signature, Problem::Form);
    let other = client_data("webauthn.get", b"another", "https://phial.example", false);
    check(&passkey, &other, &good, &signed(&pair, &good, &other), Problem::Challenge);
    let other = client_data("webauthn.get", CHALLENGE, "https://evil.example", false);
    check(&passkey, &other, &good, &signed(&pair, &good, &other), Problem::Site);
    let absent = data("phial.example", 0x04, 9);
    check(&passkey, &client, &absent, &signed(&pair, &absent, &client), Problem::Presence);
    let counted = data("phial.example", 0x05, 10);
    check(&passkey, &client, &counted, &signature, Problem::Signature);
    check(&kept(&super::tests::pair()), &client, &good, &signature, Problem::Signature);
    let elsewhere = Passkey { site: "other.example".to_owned(), ..passkey.clone() };
    check(&elsewhere, &client, &good, &signature, Problem::Site);
    check(&passkey, &client, &good[..36], &signature, Problem::Form);
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(object in proptest::collection::vec(any::<u8>(), 0..300)) {
        let client = good_client("webauthn.create");
        prop_assert!(register(&site(), CHALLENGE, &client, &object).is_err());
        prop_assert!(register(&site(), CHALLENGE, &object, &object).is_err());
        let _ = cose(&object);
    }
}

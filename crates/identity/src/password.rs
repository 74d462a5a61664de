//! Passwords, after NIST SP 800-63B-4 §3.1.1: which are taken, and how they are kept.
//!
//! A password is never the only factor here, so eight characters would do; twelve are
//! asked for (decision 0062). Any character may stand in it, there is no rule about kinds
//! of characters, and none has to be changed after some time. It is refused when it is
//! what many people choose, or is made of the account's or the service's name. What is
//! kept is an argon2id hash (RFC 9106) as a PHC string.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as B64;
use phial_base::Rng;
use phial_crypto::constant_time_eq;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// Fewest characters.
pub const FEWEST: usize = 12;
/// Most characters that are taken: far more than the 64 that must be.
pub const MOST: usize = 256;
/// What must be left of a password once all that is easily guessed is taken out.
const REST: usize = 5;

/// Memory in KiB, passes and lanes: the second of OWASP's equal choices for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Common words of passwords, one a line: a list of our own.
const COMMON: &str = include_str!("password/common.txt");

/// Why a password is not taken. Words for whoever chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Too short.
    #[error("use at least 12 characters; a few words together are easy to remember")]
    Short,
    /// Longer than is taken.
    #[error("use at most 256 characters")]
    Long,
    /// Too many would guess it.
    #[error(
        "this is easily guessed: it is made of words that many people choose, of names, or of \
         rows of keys or digits"
    )]
    Common,
}

/// A password in the one form in which it is judged and hashed: NFKC, so that the same
/// keys on another keyboard give the same bytes (SP 800-63B-4 §3.1.1.2).
#[must_use]
pub fn normal(typed: &str) -> Zeroizing<String> {
    // Cut before it is normalized: what is longer is refused anyway.
    Zeroizing::new(typed.chars().take(MOST + 1).nfkc().collect())
}

/// Whether a password may be chosen. `context`: names that it must not be made of.
///
/// # Errors
/// Why not.
pub fn fit(typed: &str, context: &[&str]) -> Result<(), Unfit> {
    let password = normal(typed);
    let length = password.chars().count();
    if length < FEWEST {
        return Err(Unfit::Short);
    }
    if length > MOST {
        return Err(Unfit::Long);
    }
    if rest(&password, context) < REST {
        return Err(Unfit::Common);
    }
    Ok(())
}

/// How many different characters are left of it when common words, names of the context,
/// rows of keys or digits, years and repetitions are taken out.
fn rest(password: &str, context: &[&str]) -> usize {
    let mut folded: Vec<char> = password.to_lowercase().chars().map(unleet).collect();
    let mut words: Vec<Vec<char>> = COMMON
        .lines()
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .chain(context.iter().flat_map(|name| {
            let name = name.to_lowercase();
            name.split(|c: char| !c.is_alphanumeric())
                .filter(|part| part.len() >= 3)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        }))
        .map(|word| word.chars().map(unleet).collect())
        .collect();
    words.sort_by_key(|w| std::cmp::Reverse(w.len()));
    for word in &words {
        while let Some(at) = folded.windows(word.len()).position(|w| w == word.as_slice()) {
            folded.splice(at..at + word.len(), ['\u{0}']);
        }
    }
    let mut left = std::collections::BTreeSet::new();
    let mut before: Option<char> = None;
    for c in folded {
        // One that follows the one before, on either side, adds nothing.
        let row =
            before.is_some_and(|b| (i64::from(u32::from(b)) - i64::from(u32::from(c))).abs() <= 1);
        if c != '\u{0}' && !row {
            left.insert(c);
        }
        before = Some(c);
    }
    left.len()
}

/// The letter that a digit or a sign is often put in the place of. Applied to words and
/// passwords alike.
fn unleet(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        c => c,
    }
}

/// The PHC string of a password.
///
/// # Errors
/// [`crate::Error::Damaged`] when the library refuses: it does not for these parameters.
pub fn hash(typed: &str, rng: &dyn Rng) -> Result<String, crate::Error> {
    let mut salt = [0u8; 16];
    rng.fill(&mut salt);
    let out = derive(&normal(typed), &salt, COST)?;
    let (m, t, p) = COST;
    Ok(format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", B64.encode(salt), B64.encode(*out)))
}

/// Whether `typed` is the password of this PHC string. `None` stands for an account that
/// has none, or for no account: that takes as long.
#[must_use]
pub fn verify(typed: &str, phc: Option<&str>) -> bool {
    let password = normal(typed);
    let kept = phc.and_then(parse);
    let (salt, wanted, cost) = kept.clone().unwrap_or((vec![0; 16], vec![0; 32], COST));
    let found = derive(&password, &salt, cost);
    let same = found.is_ok_and(|f| constant_time_eq(f.as_ref(), &wanted));
    same && kept.is_some()
}

fn derive(
    password: &str,
    salt: &[u8],
    (m, t, p): (u32, u32, u32),
) -> Result<Zeroizing<[u8; 32]>, crate::Error> {
    let params = Params::new(m, t, p, Some(32)).map_err(|_| crate::Error::Damaged)?;
    let mut out = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, out.as_mut())
        .map_err(|_| crate::Error::Damaged)?;
    Ok(out)
}

type Kept = (Vec<u8>, Vec<u8>, (u32, u32, u32));

/// A PHC string that [`hash`] made, perhaps with other costs.
fn parse(phc: &str) -> Option<Kept> {
    let mut parts = phc.split('$').skip(1);
    if parts.next()? != "argon2id" || parts.next()? != "v=19" {
        return None;
    }
    let mut cost = parts.next()?.split(',').map(|c| c.split_once('=')?.1.parse::<u32>().ok());
    let cost = (cost.next()??, cost.next()??, cost.next()??);
    let (salt, wanted) = (B64.decode(parts.next()?).ok()?, B64.decode(parts.next()?).ok()?);
    // Memory is bounded whatever the record says.
    (parts.next().is_none() && wanted.len() == 32 && cost.0 <= 1 << 20)
        .then_some((salt, wanted, cost))
}

#[cfg(test)]
mod tests {
    use phial_base::SystemRng;

    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let phc = hash("a river of small stones", &SystemRng::new()).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify("a river of small stones", Some(&phc)));
        for other in ["a river of small stoneS", "a river of small stones ", ""] {
            assert!(!verify(other, Some(&phc)));
        }
        assert!(!verify("", None));
        assert!(!verify("a river of small stones", None));
        assert!(!verify("a river of small stones", Some("$argon2id$v=19$m=1")));
        let again = hash("a river of small stones", &SystemRng::new()).unwrap();
        assert_ne!(phc, again, "each hash has a salt of its own");
    }

    #[test]
    fn the_hash_is_argon2id_of_rfc_9106() {
        // Made with the reference implementation (argon2 -id -t 2 -k 256 -p 1 -v 13).
        let phc =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(verify("password", Some(phc)));
        assert!(!verify("passwore", Some(phc)));
    }

    #[test]
    fn one_text_typed_two_ways_is_one_password() {
        // A letter and its accent apart; a full-width letter; a ligature.
        for (a, b) in [("caf\u{e9}", "cafe\u{301}"), ("\u{ff41}bc", "abc"), ("\u{fb01}n", "fin")] {
            assert_eq!(normal(a), normal(b));
        }
    }

    #[test]
    fn what_is_easily_guessed_is_refused() {
        let check = |password: &str| fit(password, &["dr.ana", "Phial", "Sunrise Clinic"]);
        for bad in [
            "password1234",
            "P@ssw0rd2024!",
            "qwertyuiop123",
            "aaaaaaaaaaaaaaaa",
            "123456789012",
            "abcdefghijklmnop",
            "phialphialphial",
            "ana-sunrise-clinic",
            "welcomewelcome",
            "iloveyou2026!",
            "summer2026summer",
            "abababababababab",
            "hospital-nurse-1",
        ] {
            assert_eq!(check(bad), Err(Unfit::Common), "{bad}");
        }
        assert_eq!(check("elevenchars"), Err(Unfit::Short));
        assert_eq!(check(&"ab9x".repeat(65)), Err(Unfit::Long));
        for good in [
            "a river of small stones",
            "correct horse battery staple",
            "g7#kQ2vZp!m4",
            "m\u{fc}de katzen schlafen lang",
            "\u{7dd1}\u{306e}\u{77f3}\u{3068}\u{9752}\u{3044}\u{5ddd}\u{306e}\u{591c}\u{306b}\u{6b4c}\u{3046}",
            &"the quick brown fox ".repeat(5),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }
}

//! Random names and secrets that nobody can guess.

/// Returns 128 random bits in hexadecimal, for an id or the name of a file.
pub(crate) fn id() -> String {
    hex(&bytes::<16>())
}

/// Returns whether a text has the form of an [`id`].
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns 256 random bits in hexadecimal, for a key or a session.
pub(crate) fn secret() -> String {
    hex(&bytes::<32>())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness the server cannot make secrets, and so cannot run safely.
    #[allow(clippy::expect_used, reason = "a system without a random source cannot serve")]
    getrandom::fill(&mut bytes).expect("the system has no source of randomness");
    bytes
}

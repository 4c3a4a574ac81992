//! Names and secrets that nobody can guess.

/// 128 random bits in hexadecimal: an id, a file's name.
pub(crate) fn id() -> String {
    hex(&bytes::<16>())
}

/// 256 random bits in hexadecimal: a key, a session.
pub(crate) fn secret() -> String {
    hex(&bytes::<32>())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness no secret can be made, and nothing that is safe can go on.
    #[allow(clippy::expect_used, reason = "a system without a random source cannot serve")]
    getrandom::fill(&mut bytes).expect("the system has no source of randomness");
    bytes
}

#[cfg(feature = "model")]
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of bytes in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Computes the SHA-256 of what is read in parts.
#[cfg(feature = "model")]
pub(crate) struct Sha256Reader {
    hash: Sha256,
    part: Vec<u8>,
}

#[cfg(feature = "model")]
impl Default for Sha256Reader {
    fn default() -> Self {
        Self { hash: Sha256::new(), part: vec![0; 1 << 20] }
    }
}

#[cfg(feature = "model")]
impl Sha256Reader {
    /// Reads the next part, and returns its length; 0 at the end.
    pub(crate) fn next(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let length = source.read(&mut self.part)?;
        self.hash.update(&self.part[..length]);
        Ok(length)
    }

    /// Returns the hash in hexadecimal.
    pub(crate) fn finish(self) -> String {
        hexadecimal(&self.hash.finalize())
    }
}

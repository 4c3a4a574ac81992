//! Files that are put together of new bytes and parts of another file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use crate::units::Place;

/// The bytes of such a file, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pieces(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    /// The bytes at a place in the other file.
    Copied(Place),
}

impl Pieces {
    /// Returns a file that begins with these bytes.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self(vec![Piece::Bytes(bytes)])
    }

    /// Returns the bytes of some ranges of the other file.
    pub(crate) fn copied(ranges: &[Range<u64>]) -> Self {
        let size = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let copied = |range: &Range<u64>| Piece::Copied(Place { position: range.start, size: size(range) });
        Self(ranges.iter().map(copied).collect())
    }

    /// Adds bytes.
    pub(crate) fn add(&mut self, bytes: Vec<u8>) {
        self.0.push(Piece::Bytes(bytes));
    }

    /// Adds the bytes at a place in the other file.
    pub(crate) fn copy(&mut self, place: Place) {
        match self.0.last_mut() {
            Some(Piece::Copied(last)) if last.end() == Some(place.position) => last.size += place.size,
            _ => self.0.push(Piece::Copied(place)),
        }
    }

    /// Opens the other file. Returns the bytes of all pieces.
    pub(crate) fn open(self, path: &Path) -> io::Result<impl Read + Send + use<>> {
        Ok(PieceReader { file: File::open(path)?, pieces: self.0.into_iter(), piece: None })
    }
}

/// A reader of all pieces in turn.
struct PieceReader {
    file: File,
    pieces: std::vec::IntoIter<Piece>,
    /// The rest of the piece that is being read.
    piece: Option<Rest>,
}

enum Rest {
    Bytes(io::Cursor<Vec<u8>>),
    /// This many bytes from the file's current position.
    Copied(u64),
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = match &mut self.piece {
                Some(Rest::Bytes(bytes)) => bytes.read(buffer)?,
                Some(Rest::Copied(left)) => {
                    let got = (&mut self.file).take(*left).read(buffer)?;
                    *left -= got as u64;
                    if got == 0 && *left > 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    got
                }
                None => 0,
            };
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            self.piece = match self.pieces.next() {
                Some(Piece::Bytes(bytes)) => Some(Rest::Bytes(io::Cursor::new(bytes))),
                Some(Piece::Copied(place)) => {
                    self.file.seek(SeekFrom::Start(place.position))?;
                    Some(Rest::Copied(place.size))
                }
                None => return Ok(0),
            };
        }
    }
}

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use super::{SYNC, tables::Tables};

/// Bytes of a packet.
pub(super) const PACKET: usize = 188;

/// Bytes before each packet: none, or a time stamp in the files of cameras and discs.
const STAMPS: [usize; 2] = [0, 4];

/// Packets at the beginning of a file that tell how it is stored.
const FIRST: usize = 8;

/// Most bytes of a file in which the beginning of one picture is searched.
const MOST_READ: u64 = 8 << 20;

/// Bytes of each picture that tell whether it is a frame: parameter sets, messages and the head of its first part.
const BEGINNING: usize = 2048;

/// Packets that a reader of an excerpt takes at a time.
const AT_A_TIME: usize = 512;

/// A video in a transport stream (ISO/IEC 13818-1), all of which arrived: no packet is missing, damaged or scrambled,
/// and the tables say the same about it throughout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Track {
    /// Bytes before each packet.
    stamp: usize,
    /// Identifier of the packets of the video.
    pid: u16,
    /// Packets with tables of this video alone.
    tables: Vec<u8>,
}

/// The fields of a packet that tell where it belongs.
pub(super) struct Head {
    pub(super) pid: u16,
    /// Whether a picture, a part of sound or a table begins here.
    pub(super) starts: bool,
    is_scrambled: bool,
    counter: u8,
    /// Whether the counter may start anew here.
    breaks: bool,
    /// First byte of the content; the length of the packet if it has none.
    pub(super) content: usize,
}

impl Head {
    /// Returns `None` if the packet is damaged.
    pub(super) fn of(packet: &[u8; PACKET]) -> Option<Self> {
        let &[sync, high, low, flags, length, ref rest @ ..] = packet;
        if sync != SYNC || high & 0x80 != 0 {
            return None;
        }
        let (has_fields, has_content) = (flags & 0x20 != 0, flags & 0x10 != 0);
        let after_fields = if has_fields { 5 + usize::from(length) } else { 4 };
        Some(Self {
            pid: u16::from_be_bytes([high & 0x1f, low]),
            starts: high & 0x40 != 0,
            is_scrambled: flags & 0xc0 != 0,
            counter: flags & 0x0f,
            breaks: has_fields && length > 0 && rest[0] & 0x80 != 0,
            content: if has_content { after_fields.min(PACKET) } else { PACKET },
        })
    }
}

impl Track {
    /// Reads a file. Returns `None` unless all of the stream with the identifier `pid` is there, and `is_frame` returns
    /// `true` for the beginning of each picture. A stream may go on anew, as after a change of segments, at one of the
    /// positions of key frames, which are in order.
    pub(crate) fn of_whole(
        path: &Path,
        pid: u16,
        keys: &[u64],
        mut is_frame: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Option<Self>> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let Some(stamp) = stamp_of(file.get_mut())? else { return Ok(None) };
        file.seek(SeekFrom::Start(0))?;
        let mut tables = Tables::of(pid);
        let (mut position, mut last) = (0u64, None);
        let mut bytes = [0; PACKET + STAMPS[1]];
        // The first bytes of the current picture.
        let mut picture = Vec::with_capacity(BEGINNING + PACKET);
        while fill(&mut file, &mut bytes[..stamp + PACKET])? {
            let Some((packet, head)) = packet_of(&bytes, stamp) else { return Ok(None) };
            if head.pid == pid && head.content < PACKET {
                let follows = last.is_none_or(|last: u8| head.counter == (last + 1) & 0x0f) && !head.breaks;
                let begins_anew = head.starts && keys.binary_search(&position).is_ok();
                if head.is_scrambled || !(follows || begins_anew) {
                    return Ok(None);
                }
                last = Some(head.counter);
                if head.starts {
                    if !(picture.is_empty() || of_picture(&picture).is_some_and(&mut is_frame)) {
                        return Ok(None);
                    }
                    picture.clear();
                }
                if head.starts || (!picture.is_empty() && picture.len() < BEGINNING) {
                    picture.extend(&packet[head.content..]);
                }
            } else if !tables.take(packet, &head) {
                return Ok(None);
            }
            position += (stamp + PACKET) as u64;
        }
        let is_whole = of_picture(&picture).is_some_and(is_frame);
        Ok(tables.packets().filter(|_| is_whole).map(|tables| Self { stamp, pid, tables }))
    }

    /// Reads at most `most` bytes of the picture whose first packet is at a position. Returns `None` if none is there.
    pub(crate) fn picture(&self, file: &mut File, position: u64, most: usize) -> io::Result<Option<Vec<u8>>> {
        file.seek(SeekFrom::Start(position))?;
        let mut file = BufReader::with_capacity(1 << 16, file.take(MOST_READ));
        let mut bytes = [0; PACKET + STAMPS[1]];
        let mut content: Option<Vec<u8>> = None;
        while fill(&mut file, &mut bytes[..self.stamp + PACKET])? {
            let Some((packet, head)) = packet_of(&bytes, self.stamp) else { return Ok(None) };
            if head.pid == self.pid {
                match &mut content {
                    None if head.starts => content = Some(packet[head.content..].to_vec()),
                    Some(content) if !head.starts => content.extend(&packet[head.content..]),
                    Some(_) => break,
                    None => return Ok(None),
                }
            } else if content.is_none() {
                return Ok(None);
            }
            if content.as_ref().is_some_and(|content| content.len() >= most) {
                break;
            }
        }
        Ok(content.as_deref().and_then(of_picture).map(<[u8]>::to_vec))
    }

    /// Opens a file as a stream that has the tables, and the video's packets of some ranges of bytes.
    pub(crate) fn excerpt(self, path: &Path, ranges: Vec<Range<u64>>) -> io::Result<impl Read + Send + use<>> {
        let (file, content) = (File::open(path)?, self.tables.clone());
        let (ranges, range) = (ranges.into_iter(), 0..0);
        Ok(TrackReader { file, track: self, ranges, range, counter: 0, content, read: 0 })
    }
}

/// Returns the bytes of a picture, before which are a start code, its kind and its length, flags, and the length of
/// further fields.
fn of_picture(content: &[u8]) -> Option<&[u8]> {
    let fields = content.starts_with(&[0, 0, 1]).then(|| content.get(8))??;
    content.get(9 + usize::from(*fields)..)
}

/// Fills a buffer. Returns `false` at the end of the file, even within a packet.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the packet after a time stamp of `stamp` bytes, and its head, or `None` if it is damaged.
fn packet_of(bytes: &[u8], stamp: usize) -> Option<(&[u8; PACKET], Head)> {
    let packet = bytes.get(stamp..)?.first_chunk()?;
    Some((packet, Head::of(packet)?))
}

/// Returns the number of bytes before each packet, or `None` if the file does not begin with packets.
fn stamp_of(file: &mut File) -> io::Result<Option<usize>> {
    let mut bytes = Vec::new();
    file.take((FIRST * (PACKET + STAMPS[1])) as u64).read_to_end(&mut bytes)?;
    let begins = |&stamp: &usize| {
        let mut packets = bytes.chunks_exact(stamp + PACKET).take(FIRST);
        packets.len() > 0 && packets.all(|packet| packet[stamp] == SYNC)
    };
    Ok(STAMPS.into_iter().find(begins))
}

/// The bytes of an excerpt.
struct TrackReader {
    file: File,
    track: Track,
    ranges: std::vec::IntoIter<Range<u64>>,
    /// The part of the current range that is still to be read.
    range: Range<u64>,
    /// Counter of the next packet of the video.
    counter: u8,
    content: Vec<u8>,
    /// Number of bytes of `content` that were read.
    read: usize,
}

impl TrackReader {
    /// Replaces the content, which was read, by that of the next packets. Returns `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let length = self.track.stamp + PACKET;
        (self.content, self.read) = (Vec::new(), 0);
        while self.content.is_empty() {
            if self.range.is_empty() {
                let Some(range) = self.ranges.next() else { return Ok(false) };
                self.range = range;
            }
            let bytes = (self.range.end - self.range.start).min((AT_A_TIME * length) as u64);
            self.file.seek(SeekFrom::Start(self.range.start))?;
            let mut packets = vec![0; bytes as usize];
            self.file.read_exact(&mut packets)?;
            self.range.start += bytes;
            for bytes in packets.chunks_exact(length) {
                let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the transport stream has changed");
                let (packet, head) = packet_of(bytes, self.track.stamp).ok_or_else(damaged)?;
                if head.pid == self.track.pid {
                    let mut packet = *packet;
                    // A packet without content has the counter of the one before it.
                    if head.content < PACKET {
                        self.counter = (self.counter + 1) & 0x0f;
                    }
                    packet[3] = packet[3] & 0xf0 | self.counter;
                    self.content.extend(packet);
                }
            }
        }
        Ok(true)
    }
}

impl Read for TrackReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.content.len() && !self.advance()? {
            return Ok(0);
        }
        let got = (&self.content[self.read..]).read(buffer)?;
        self.read += got;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clips::Clips;

    const BUSY: &str = "-f lavfi -i testsrc2=s=96x64:r=25,noise=alls=20:allf=t,trim=end_frame=50 \
         -f lavfi -i sine=d=2 -map 0 -map 1 -c:v libx264 -g 10 -c:a aac -pix_fmt yuv420p";
    const VIDEO: u16 = 0x100;

    fn packets(bytes: &[u8], pid: u16) -> Vec<usize> {
        let of_pid = |&at: &usize| Head::of(bytes[at..].first_chunk().unwrap()).unwrap().pid == pid;
        (0..bytes.len()).step_by(PACKET).filter(of_pid).collect()
    }

    fn starts(bytes: &[u8]) -> Vec<usize> {
        let starts = |&at: &usize| Head::of(bytes[at..].first_chunk().unwrap()).unwrap().starts;
        packets(bytes, VIDEO).into_iter().filter(starts).collect()
    }

    #[test]
    fn a_stream_is_whole_unless_a_packet_is_missing_damaged_or_scrambled() {
        let clips = Clips::new();
        let whole = std::fs::read(clips.make("whole.ts", BUSY)).unwrap();
        let of = |bytes: &[u8], keys: &[u64]| {
            Track::of_whole(&clips.write("clip.ts", bytes), VIDEO, keys, |_| true).unwrap()
        };
        let track = of(&whole, &[]).unwrap();
        assert_eq!((track.stamp, track.pid, track.tables.len()), (0, VIDEO, 2 * PACKET));
        let stamped: Vec<u8> = whole.chunks(PACKET).flat_map(|packet| [&[9, 9, 9, 9], packet].concat()).collect();
        assert_eq!(of(&stamped, &[]), Some(Track { stamp: 4, ..track.clone() }));
        // A part of a packet at the end is not read.
        assert_eq!(of(&whole[..whole.len() - 50], &[]), Some(track.clone()));

        let (video, sound, starts) = (packets(&whole, VIDEO), packets(&whole, 0x101), starts(&whole));
        let without = |at: usize| [&whole[..at], &whole[at + PACKET..]].concat();
        assert_eq!(of(&without(video[20]), &[]), None);
        assert_eq!(of(&without(sound[2]), &[]), Some(track.clone()));
        // The counter may start anew at a key frame, but not at another one.
        let anew = without(*video.iter().rfind(|&&at| at < starts[10]).unwrap());
        let at = (starts[10] - PACKET) as u64;
        assert_eq!(of(&anew, &[0, at]), Some(track.clone()));
        assert_eq!(of(&anew, &[0, at + 1]), None);

        let changed = |at: usize, change: fn(u8) -> u8| {
            let mut bytes = whole.clone();
            bytes[at] = change(bytes[at]);
            of(&bytes, &[])
        };
        assert_eq!(changed(video[20], |sync| sync + 1), None);
        assert_eq!(changed(video[20] + 1, |flags| flags | 0x80), None);
        assert_eq!(changed(video[20] + 3, |flags| flags | 0x80), None);
        let tables = packets(&whole, 0x1000);
        assert_eq!(changed(tables[1] + 20, |byte| byte ^ 1), None);
        assert_eq!(changed(packets(&whole, 0)[1] + 8, |number| number + 1), None);
        assert_eq!(Track::of_whole(&clips.path("whole.ts"), 0x77, &[], |_| true).unwrap(), None);
        let mut pictures = Vec::new();
        let all = Track::of_whole(&clips.path("whole.ts"), VIDEO, &[], |picture| {
            pictures.push(picture.len());
            picture.starts_with(&[0, 0, 0, 1, 9])
        });
        assert!(all.unwrap() == Some(track) && pictures.len() == 50, "{pictures:?}");
        assert!(pictures.iter().all(|&bytes| bytes > 100 && bytes < BEGINNING + PACKET), "{pictures:?}");
        let mut some = pictures.len();
        let not_last = Track::of_whole(&clips.path("whole.ts"), VIDEO, &[], |_| {
            some -= 1;
            some > 0
        });
        assert_eq!(not_last.unwrap(), None);
        assert_eq!(of(b"G", &[]), None);
        assert_eq!(of(&[SYNC; 4000], &[]), None);
    }

    #[test]
    fn an_excerpt_has_the_tables_and_the_packets_of_the_video() {
        let clips = Clips::new();
        let path = clips.make("whole.ts", BUSY);
        let whole = std::fs::read(&path).unwrap();
        let track = Track::of_whole(&path, VIDEO, &[], |_| true).unwrap().unwrap();
        let starts = starts(&whole);
        let ranges = vec![starts[10] as u64..starts[12] as u64, starts[40] as u64..whole.len() as u64];
        let mut excerpt = Vec::new();
        track.clone().excerpt(&path, ranges.clone()).unwrap().read_to_end(&mut excerpt).unwrap();
        let heads: Vec<_> =
            excerpt.chunks(PACKET).map(|packet| Head::of(packet.first_chunk().unwrap()).unwrap()).collect();
        assert_eq!((heads[0].pid, heads[1].pid), (0, 0x1000));
        assert!(heads[2..].iter().all(|head| head.pid == VIDEO));
        assert!(heads[2..].windows(2).all(|pair| pair[1].counter == (pair[0].counter + 1) & 0x0f));
        assert_eq!(heads[2..].iter().filter(|head| head.starts).count(), 2 + 10);
        let mut file = File::open(&path).unwrap();
        let picture = track.picture(&mut file, starts[10] as u64, 1 << 20).unwrap().unwrap();
        assert!(picture.starts_with(&[0, 0, 0, 1]), "{:?}", &picture[..9]);
        assert!(track.picture(&mut file, starts[10] as u64, 40).unwrap().unwrap().len() < 2 * PACKET);
        assert_eq!(track.picture(&mut file, starts[10] as u64 + 1, 40).unwrap(), None);
        assert_eq!(track.picture(&mut file, whole.len() as u64, 40).unwrap(), None);
        // The file became shorter.
        clips.write("whole.ts", &whole[..whole.len() / 2]);
        assert!(track.excerpt(&path, ranges).unwrap().read_to_end(&mut excerpt).is_err());
    }
}

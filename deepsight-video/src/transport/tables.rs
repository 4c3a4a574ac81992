//! The tables of a transport stream (ISO/IEC 13818-1, section 2.4.4): of its programs, and of the streams of each.

use std::collections::HashMap;

use super::{
    SYNC,
    track::{Head, PACKET},
};

/// Most bytes of a table.
const MAX_TABLE: usize = 1024;

/// Kind of the table of programs, and identifier of the packets with it.
const OF_PROGRAMS: u8 = 0;

/// Kind of a table of streams.
const OF_STREAMS: u8 = 2;

/// Bytes of a table before its entries: its kind, its length, and to what it belongs.
const FIELDS: usize = 8;

/// Bytes of the checksum after the entries.
const CHECKSUM: usize = 4;

/// The tables that lead to a stream.
pub(super) struct Tables {
    pid: u16,
    /// Numbers of the programs, each with the identifier of the packets with its table of streams.
    programs: Option<Vec<(u16, u16)>>,
    entry: Option<Entry>,
    /// Beginnings of tables, by the identifier of their packets.
    begun: HashMap<u16, Vec<u8>>,
}

/// What the table of a program's streams says about the stream.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    program: u16,
    /// Identifier of the packets with the table.
    table: u16,
    /// Kind of the stream.
    kind: u8,
    descriptors: Vec<u8>,
}

impl Tables {
    /// Returns the tables that lead to the stream with an identifier, before any is read.
    pub(super) fn of(pid: u16) -> Self {
        Self { pid, programs: None, entry: None, begun: HashMap::new() }
    }

    /// Takes a packet of any other stream. Returns `false` if a table is damaged, or says something else about the
    /// stream than before.
    pub(super) fn take(&mut self, packet: &[u8; PACKET], head: &Head) -> bool {
        let has_tables = head.pid == 0 || self.programs.iter().flatten().any(|&(_, table)| table == head.pid);
        let content = &packet[head.content..];
        if !has_tables || content.is_empty() {
            return true;
        }
        let begun = self.begun.entry(head.pid).or_default();
        let mut tables = Vec::new();
        if head.starts {
            // A byte says how many bytes of the table before follow.
            let before = content.len().min(1 + usize::from(content[0]));
            if !begun.is_empty() {
                begun.extend(&content[1..before]);
                tables.extend(complete(begun));
            }
            begun.clear();
            begun.extend(&content[before..]);
        } else if !begun.is_empty() {
            begun.extend(content);
        }
        tables.extend(std::iter::from_fn(|| complete(begun)));
        tables.iter().all(|table| self.read(head.pid, table))
    }

    fn read(&mut self, pid: u16, table: &[u8]) -> bool {
        let kind = table[0];
        if kind != if pid == 0 { OF_PROGRAMS } else { OF_STREAMS } {
            return true;
        }
        let end = table.len().saturating_sub(CHECKSUM);
        let Some(entries) = table.get(FIELDS..end).filter(|_| checksum(table) == 0) else { return false };
        // A table that is not current yet is sent some time before.
        match table[5] & 1 == 1 {
            true if kind == OF_PROGRAMS => {
                let program = |entry: &[u8]| (number(entry, 0), number(entry, 2) & 0x1fff);
                let programs: Vec<_> =
                    entries.chunks_exact(4).map(program).filter(|&(number, _)| number != 0).collect();
                // Few streams have more programs than one table can list.
                table[7] == 0 && programs == *self.programs.get_or_insert_with(|| programs.clone())
            }
            true => self.read_streams(pid, number(table, 3), entries),
            false => true,
        }
    }

    fn read_streams(&mut self, table: u16, program: u16, entries: &[u8]) -> bool {
        if !self.programs.iter().flatten().any(|&known| known == (program, table)) {
            return true;
        }
        match (&self.entry, entry_of(entries, self.pid)) {
            (known, Some((kind, descriptors))) => {
                let entry = Entry { program, table, kind, descriptors: descriptors.to_vec() };
                let is_same = known.as_ref().is_none_or(|known| *known == entry);
                self.entry = Some(entry);
                is_same
            }
            (Some(known), None) => known.program != program,
            (None, None) => true,
        }
    }

    /// Returns packets with tables that lead to the stream and to no other one, or `None` if no table does, or it would
    /// not fit into a packet.
    pub(super) fn packets(&self) -> Option<Vec<u8>> {
        let Entry { program, table, kind, descriptors } = self.entry.as_ref()?;
        let with_flags = |flags: u16, number: u16| (flags << 12 | number).to_be_bytes();
        let of_program = [program.to_be_bytes(), with_flags(0xe, *table)].concat();
        let length = u16::try_from(descriptors.len()).ok()?;
        // The clock is that of the stream, and nothing is said about the program.
        let head = [with_flags(0xe, self.pid), with_flags(0xf, 0)].concat();
        let of_stream = [&[*kind][..], &with_flags(0xe, self.pid), &with_flags(0xf, length), descriptors].concat();
        let programs = packet(0, OF_PROGRAMS, 1, &of_program)?;
        let streams = packet(*table, OF_STREAMS, *program, &[head, of_stream].concat())?;
        Some([programs, streams].concat())
    }
}

/// Removes a whole table from the beginning of some bytes, and returns it.
fn complete(begun: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = 3 + usize::from(u16::from_be_bytes([*begun.get(1)?, *begun.get(2)?]) & 0x0fff);
    // Bytes of all ones fill the rest of a packet.
    if begun[0] == 0xff || length > MAX_TABLE {
        begun.clear();
        return None;
    }
    (begun.len() >= length).then(|| begun.drain(..length).collect())
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Returns the kind and the descriptors of a stream in the entries of a table of streams.
fn entry_of(entries: &[u8], pid: u16) -> Option<(u8, &[u8])> {
    let length = |high: u8, low: u8| usize::from(u16::from_be_bytes([high & 0x0f, low]));
    let &[_, _, high, low, ref rest @ ..] = entries else { return None };
    let mut entries = rest.get(length(high, low)..)?;
    while let &[kind, pid_high, pid_low, high, low, ref rest @ ..] = entries {
        let descriptors = rest.get(..length(high, low))?;
        if u16::from_be_bytes([pid_high & 0x1f, pid_low]) == pid {
            return Some((kind, descriptors));
        }
        entries = &rest[descriptors.len()..];
    }
    None
}

/// Returns a packet with a table about `subject`.
fn packet(pid: u16, kind: u8, subject: u16, entries: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(FIELDS - 3 + entries.len() + CHECKSUM).ok()?;
    let (length, subject) = ((0xb << 12 | length).to_be_bytes(), subject.to_be_bytes());
    let table = [&[kind][..], &length, &subject, &[0xc1, 0, 0], entries].concat();
    let pid = (0x4 << 12 | pid).to_be_bytes();
    let mut packet = [&[SYNC][..], &pid, &[0x10, 0], &table, &checksum(&table).to_be_bytes()].concat();
    let fits = packet.len() <= PACKET;
    packet.resize(PACKET, 0xff);
    fits.then_some(packet)
}

/// The checksum of tables (ISO/IEC 13818-1, annex A), which is 0 if it includes the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte) << 24, |sum, _| sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PID: u16 = 0x100;

    fn take(tables: &mut Tables, packet: &[u8]) -> bool {
        let packet: &[u8; PACKET] = packet.try_into().unwrap();
        tables.take(packet, &Head::of(packet).unwrap())
    }

    /// Returns the entries of streams with some descriptors.
    fn streams(streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
        let entry = |&(kind, pid, descriptors): &(u8, u16, &[u8])| {
            [&[kind][..], &pid.to_be_bytes(), &[0, descriptors.len() as u8], descriptors].concat()
        };
        [vec![0xe1, 0, 0, 2, 9, 9], streams.iter().flat_map(entry).collect()].concat()
    }

    fn programs(programs: &[(u16, u16)]) -> Vec<u8> {
        let entries: Vec<u8> =
            programs.iter().flat_map(|(number, pid)| [number.to_be_bytes(), pid.to_be_bytes()].concat()).collect();
        packet(0, OF_PROGRAMS, 1, &entries).unwrap()
    }

    #[test]
    fn tables_lead_to_a_stream_among_those_of_several_programs() {
        let mut tables = Tables::of(PID);
        let sound = streams(&[(0x0f, 0x101, &[])]);
        let both = |descriptors| streams(&[(3, 0x102, &[1, 2, 3]), (0x1b, PID, descriptors)]);
        // The table of streams comes before that of programs, then for each program.
        let of = |pid, program, entries: &[u8]| packet(pid, OF_STREAMS, program, entries).unwrap();
        assert!(take(&mut tables, &of(0x20, 2, &both(b"abc"))) && tables.packets().is_none());
        assert!(take(&mut tables, &programs(&[(0, 0x10), (1, 0x1f), (2, 0x20)])));
        assert!(take(&mut tables, &of(0x1f, 1, &sound)) && tables.packets().is_none());
        assert!(take(&mut tables, &of(0x20, 2, &both(b"abc"))));
        let alone = tables.packets().unwrap();
        let mut again = Tables::of(PID);
        assert!(alone.chunks(PACKET).all(|packet| take(&mut again, packet)));
        assert_eq!((&again.entry, again.programs.as_deref()), (&tables.entry, Some(&[(2, 0x20)][..])));
        assert_eq!(again.packets().unwrap(), alone);

        // Another stream may change, this one may not.
        let other = streams(&[(0x1b, PID, b"abc"), (6, 0x102, &[])]);
        assert!(take(&mut tables, &of(0x20, 2, &other)) && take(&mut tables, &of(0x1f, 1, &[0; 4])));
        assert!(!take(&mut tables, &of(0x20, 2, &both(b"abd"))));
        assert!(!take(&mut tables, &of(0x20, 2, &sound)));
        assert!(!take(&mut tables, &programs(&[(2, 0x20)])));
        let mut damaged = of(0x1f, 1, &sound);
        damaged[20] ^= 1;
        assert!(!take(&mut tables, &damaged));
    }

    #[test]
    fn tables_may_go_on_in_the_next_packet() {
        let descriptors: Vec<_> = (0..120u8).collect();
        let long = streams(&[(6, 0x101, &descriptors), (6, 0x102, &descriptors), (2, PID, b"d")]);
        assert!(packet(0x20, OF_STREAMS, 1, &long).is_none());
        let mut table =
            [&[OF_STREAMS][..], &(0xb000 | (long.len() as u16 + 9)).to_be_bytes(), &[0, 1, 0xc1, 0, 0], &long].concat();
        table.extend(checksum(&table).to_be_bytes());
        // Two tables, of which the second begins in the packet in which the first ends.
        let mut tables = Tables::of(PID);
        assert!(take(&mut tables, &programs(&[(1, 0x20)])));
        let twice = [&table[..], &table].concat();
        let (mut at, mut packets) = (0, Vec::new());
        while at < twice.len() {
            let starts = at == 0 || (at < table.len() && at + PACKET - 4 > table.len());
            let mut packet = vec![SYNC, if starts { 0x40 } else { 0 }, 0x20, 0x10];
            if starts {
                packet.push(if at == 0 { 0 } else { (table.len() - at) as u8 });
            }
            let end = twice.len().min(at + PACKET - packet.len());
            packet.extend(&twice[at..end]);
            packet.resize(PACKET, 0xff);
            (packets, at) = ([packets, vec![packet]].concat(), end);
        }
        assert!(packets.len() == 3 && take(&mut tables, &packets[0]) && tables.entry.is_none());
        assert!(take(&mut tables, &packets[1]) && tables.entry.take().is_some());
        assert!(take(&mut tables, &packets[2]) && tables.entry.is_some());
        assert!(tables.packets().is_some());
        // Descriptors that do not fit into one packet.
        let many = vec![7; 170];
        let entry = Entry { program: 1, table: 0x20, kind: 2, descriptors: many };
        assert!(Tables { entry: Some(entry), ..Tables::of(PID) }.packets().is_none());
    }
}

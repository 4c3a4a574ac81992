//! Whether the pictures of a transport stream are whole frames, or fields in packets of their own.

use h264_reader::{
    Context,
    nal::{
        Nal as _, RefNal, UnitType,
        pps::{PicParamSetId, PicParameterSet},
        sps::{FrameMbsFlags, SeqParameterSet},
    },
    rbsp::BitRead,
};

use crate::units::{Unit, after_start_codes};

/// A reader of the beginnings of a stream's pictures.
#[derive(Default)]
pub(crate) struct CodedFields {
    is_h264: bool,
    is_mpeg2: bool,
    /// Parameter sets of H.264.
    sets: Context,
    /// Size, shape, rate and scan type of MPEG-2.
    sequence: Option<Vec<u8>>,
    /// Whether pictures may consist of fields.
    allowed: bool,
    /// Whether a parameter set was not readable, as one that states a level below its picture's size.
    unknown: bool,
}

impl CodedFields {
    pub(crate) fn of(codec: &str) -> Self {
        Self { is_h264: codec == "h264", is_mpeg2: codec == "mpeg2video", ..Self::default() }
    }

    /// Takes the beginning of a picture. Returns `false` unless it is known to be a frame that a decoder shows.
    pub(crate) fn is_frame(&mut self, picture: &[u8]) -> bool {
        (!self.is_mpeg2 || self.is_mpeg2_frame(picture)) && (!self.is_h264 || self.is_h264_frame(picture) == Some(true))
    }

    /// Returns whether the frames so far may consist of fields, or `None` if a parameter set was not readable.
    pub(crate) fn are_allowed(&self) -> Option<bool> {
        (!self.unknown).then_some(self.allowed)
    }

    /// A decoder loses a frame where the shape of the picture changes, as between a film and an advertisement.
    fn is_mpeg2_frame(&mut self, picture: &[u8]) -> bool {
        let units = after_start_codes(picture);
        let extension = |number: u8| {
            let is_it = |unit: &&Unit| matches!(unit.bytes(), [0xb5, kind, ..] if kind >> 4 == number);
            units.iter().find(is_it).map(Unit::bytes)
        };
        let of_sequence = units.iter().map(Unit::bytes).find(|bytes| bytes[0] == 0xb3);
        if let (Some(head), Some(extension)) = (of_sequence, extension(1)) {
            let sequence = [&head[..head.len().min(5)], &extension[..extension.len().min(4)]].concat();
            self.allowed |= extension.get(2).is_some_and(|flags| flags & 8 == 0);
            if *self.sequence.get_or_insert_with(|| sequence.clone()) != sequence {
                return false;
            }
        }
        // The third number tells a frame from a field.
        extension(8).and_then(|bytes| bytes.get(3)).is_some_and(|structure| structure & 3 == 3)
    }

    /// Returns `None` if the picture cannot be read. Of those before the first parameter sets nothing is known, and
    /// nothing is shown.
    fn is_h264_frame(&mut self, picture: &[u8]) -> Option<bool> {
        for unit in after_start_codes(picture) {
            let is_slice = [1, 5].contains(&(unit.head & 0x1f));
            let unit = RefNal::new(unit.bytes(), &[], !is_slice);
            match unit.header().ok()?.nal_unit_type() {
                UnitType::SeqParameterSet => match SeqParameterSet::from_bits(unit.rbsp_bits()) {
                    Ok(set) => {
                        self.allowed |= set.frame_mbs_flags != FrameMbsFlags::Frames;
                        self.sets.put_seq_param_set(set);
                    }
                    Err(_) => self.unknown = true,
                },
                UnitType::PicParameterSet if self.allowed => {
                    self.sets.put_pic_param_set(PicParameterSet::from_bits(&self.sets, unit.rbsp_bits()).ok()?);
                }
                _ if is_slice && self.allowed => return self.is_slice_of_frame(unit.rbsp_bits()),
                _ => {}
            }
        }
        Some(!self.allowed)
    }

    /// Reads the head of a slice as far as `field_pic_flag` (ITU-T H.264, section 7.3.3).
    fn is_slice_of_frame(&self, mut bits: impl BitRead) -> Option<bool> {
        bits.read_ue("first_mb_in_slice").ok()?;
        bits.read_ue("slice_type").ok()?;
        let id = PicParamSetId::from_u32(bits.read_ue("pic_parameter_set_id").ok()?).ok()?;
        let set = self.sets.sps_by_id(self.sets.pps_by_id(id)?.seq_parameter_set_id)?;
        if set.chroma_info.separate_colour_plane_flag {
            bits.read::<2, u8>("colour_plane_id").ok()?;
        }
        bits.read_var::<u32>(u32::from(set.log2_max_frame_num()), "frame_num").ok()?;
        Some(set.frame_mbs_flags == FrameMbsFlags::Frames || !bits.read_bit("field_pic_flag").ok()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{clips::Clips, transport::Track};

    /// Returns the beginnings of the pictures of a clip.
    fn pictures(words: &str) -> Vec<Vec<u8>> {
        let (clips, mut pictures) = (Clips::new(), Vec::new());
        let source = "-f lavfi -i testsrc2=s=96x64:r=25,trim=end_frame=12";
        let path = clips.make("clip.ts", &format!("{source} {words} -pix_fmt yuv420p"));
        let track = Track::of_whole(&path, 0x100, &[], |picture| {
            pictures.push(picture.to_vec());
            true
        });
        assert!(track.unwrap().is_some() && pictures.len() == 12);
        pictures
    }

    #[test]
    fn a_field_in_a_packet_of_its_own_is_told_from_a_frame() {
        let pictures = pictures("-c:v libx264 -g 5 -x264opts tff=1 -flags +ildct+ilme");
        let mut fields = CodedFields::of("h264");
        // Pictures before the first parameter sets are not shown.
        assert!(fields.is_frame(&pictures[1]) && fields.are_allowed() == Some(false));
        assert!(pictures.iter().all(|picture| fields.is_frame(picture)) && fields.are_allowed() == Some(true));
        // One of the first bits is the flag. Others make the head unreadable.
        let mut field = pictures[1].clone();
        let slice = (0..field.len() - 3).rfind(|&at| field[at..at + 3] == [0, 0, 1]).unwrap() + 4;
        let flips = (0..24).filter(|bit| {
            let (byte, mask) = (slice + bit / 8, 0x80 >> (bit % 8));
            field[byte] ^= mask;
            let is_field = fields.is_h264_frame(&field) == Some(false);
            field[byte] ^= mask;
            is_field
        });
        assert!(flips.count() > 0);
        assert!(!fields.is_frame(&field[..slice + 1]) && !fields.is_frame(b"\0\0\x01\x67\x64"));
    }

    #[test]
    fn sequences_and_parameter_sets_tell_whether_frames_may_have_fields() {
        for (codec, words, allowed) in [
            ("h264", "-c:v libx264", false),
            ("mpeg2video", "-c:v mpeg2video", false),
            ("mpeg2video", "-c:v mpeg2video -flags +ildct+ilme", true),
            ("h264", "-c:v libx264 -level 1 -flags +ildct+ilme", true),
            ("hevc", "-c:v libx265 -x265-params log-level=error", false),
        ] {
            let mut fields = CodedFields::of(codec);
            assert!(pictures(words).iter().all(|picture| fields.is_frame(picture)), "{words}");
            assert_eq!(fields.are_allowed(), Some(allowed), "{words}");
        }
    }

    #[test]
    fn parameter_sets_that_cannot_be_read_tell_nothing() {
        let mut fields = CodedFields::of("h264");
        assert!(fields.is_frame(b"\0\0\x01\x67\x64\0\x0a\0\0\x01\x65\x88") && fields.are_allowed().is_none());
    }

    #[test]
    fn mpeg2_whose_shape_changes_or_that_has_single_fields_is_refused() {
        let narrow = pictures("-c:v mpeg2video -aspect 4:3");
        let mut fields = CodedFields::of("mpeg2video");
        assert!(narrow.iter().all(|picture| fields.is_frame(picture)));
        assert!(!fields.is_frame(&pictures("-c:v mpeg2video -aspect 16:9")[0]));
        let mut field = narrow[1].clone();
        let extension = field.windows(5).position(|at| at[..4] == [0, 0, 1, 0xb5] && at[4] >> 4 == 8).unwrap();
        field[extension + 6] ^= 2;
        assert!(!fields.is_frame(&field));
    }
}

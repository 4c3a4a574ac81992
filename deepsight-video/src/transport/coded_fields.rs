//! Whether the pictures of a transport stream are whole frames, or fields in packets of their own.

use h264_reader::{
    Context,
    nal::{
        Nal as _, RefNal, UnitType,
        pps::PicParameterSet,
        slice::{FieldPic, SliceHeader},
        sps::{FrameMbsFlags, SeqParameterSet},
    },
};

use crate::units::{Unit, after_start_codes};

/// A reader of the beginnings of a stream's pictures.
#[derive(Default)]
pub(crate) struct CodedFields {
    is_h264: bool,
    is_mpeg2: bool,
    /// Parameter sets of H.264.
    sets: Context,
    /// Whether pictures may consist of fields.
    allowed: bool,
}

impl CodedFields {
    pub(crate) fn of(codec: &str) -> Self {
        Self { is_h264: codec == "h264", is_mpeg2: codec == "mpeg2video", ..Self::default() }
    }

    /// Takes the beginning of a picture. Returns `false` unless it is known to be a frame. ffmpeg puts both fields of
    /// MPEG-2 into one packet.
    pub(crate) fn is_frame(&mut self, picture: &[u8]) -> bool {
        if self.is_mpeg2 {
            let sequence =
                |unit: &Unit| matches!(unit.bytes(), [0xb5, kind, flags, ..] if kind >> 4 == 1 && flags & 8 == 0);
            self.allowed |= after_start_codes(picture).iter().any(sequence);
        }
        !self.is_h264 || self.is_h264_frame(picture).unwrap_or(false)
    }

    /// Returns whether the frames so far may consist of fields.
    pub(crate) fn are_allowed(&self) -> bool {
        self.allowed
    }

    /// Returns `None` if the picture cannot be read. Of those before the first parameter sets nothing is known, and
    /// nothing is shown.
    fn is_h264_frame(&mut self, picture: &[u8]) -> Option<bool> {
        for unit in after_start_codes(picture) {
            let is_slice = [1, 5].contains(&(unit.head & 0x1f));
            let unit = RefNal::new(unit.bytes(), &[], !is_slice);
            let header = unit.header().ok()?;
            match header.nal_unit_type() {
                UnitType::SeqParameterSet => {
                    let set = SeqParameterSet::from_bits(unit.rbsp_bits()).ok()?;
                    self.allowed |= set.frame_mbs_flags != FrameMbsFlags::Frames;
                    self.sets.put_seq_param_set(set);
                }
                UnitType::PicParameterSet if self.allowed => {
                    self.sets.put_pic_param_set(PicParameterSet::from_bits(&self.sets, unit.rbsp_bits()).ok()?);
                }
                _ if is_slice && self.allowed => {
                    let (slice, ..) = SliceHeader::from_bits(&self.sets, &mut unit.rbsp_bits(), header, None).ok()?;
                    return Some(slice.field_pic == FieldPic::Frame);
                }
                _ => {}
            }
        }
        Some(!self.allowed)
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
        assert!(fields.is_frame(&pictures[1]) && !fields.are_allowed());
        assert!(pictures.iter().all(|picture| fields.is_frame(picture)) && fields.are_allowed());
        // The flag follows three numbers of variable length, here of 1, 1 to 7 and 1 bits, and one of 4 or more.
        let mut field = pictures[1].clone();
        let slice = (0..field.len() - 3).rfind(|&at| field[at..at + 3] == [0, 0, 1]).unwrap() + 4;
        let flips = (7..24).filter(|bit| {
            let (byte, mask) = (slice + bit / 8, 0x80 >> (bit % 8));
            field[byte] ^= mask;
            let was_frame = fields.is_frame(&field);
            field[byte] ^= mask;
            !was_frame
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
            ("hevc", "-c:v libx265 -x265-params log-level=error", false),
        ] {
            let mut fields = CodedFields::of(codec);
            assert!(pictures(words).iter().all(|picture| fields.is_frame(picture)), "{words}");
            assert_eq!(fields.are_allowed(), allowed, "{words}");
        }
    }
}

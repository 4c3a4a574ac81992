//! Persons, videos and frames in file names.

/// Returns the persons in a name like those of Celeb-DF: `id0_0001` shows id0, `id0_id16_0001` the body of id0 with the
/// face of id16. Other words before and after are ignored.
pub(super) fn persons(name: &str) -> (Option<String>, Option<String>) {
    let file = name.rsplit('/').next().unwrap_or(name);
    let mut persons = file.split('_').filter(|word| is_person(word)).map(str::to_owned);
    (persons.next(), persons.next())
}

fn is_person(word: &str) -> bool {
    word.strip_prefix("id").is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns video and frame of a picture that was cut from a video: `id0_0001_frame_12_face_0` is frame 12 of
/// `id0_0001`.
pub(super) fn video_and_frame(name: &str) -> Option<(&str, u64)> {
    let (video, rest) = name.rsplit_once("_frame_")?;
    let digits = rest.split('_').next()?;
    Some((video, digits.parse().ok()?)).filter(|(video, _)| !video.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_are_read_from_names_like_those_of_celeb_df_and_from_no_others() {
        let of = |name| {
            let (target, source) = persons(name);
            (target.unwrap_or_default(), source.unwrap_or_default())
        };
        assert_eq!(of("id0_0001"), ("id0".into(), String::new()));
        assert_eq!(of("id0_id16_0001"), ("id0".into(), "id16".into()));
        assert_eq!(of("sub/fake_id60_id61_0003_c"), ("id60".into(), "id61".into()));
        for name in ["00012", "idea_id_0001", "id1x", "id9/clip", "Idris_Elba_0001"] {
            assert_eq!(of(name), (String::new(), String::new()), "{name}");
        }
    }

    #[test]
    fn video_and_frame_are_read_from_a_picture_name() {
        assert_eq!(video_and_frame("id0_0001_frame_12_face_0"), Some(("id0_0001", 12)));
        assert_eq!(video_and_frame("clip_frame_7"), Some(("clip", 7)));
        assert_eq!(video_and_frame("Aaron_Guiel_0001"), None);
        assert_eq!(video_and_frame("_frame_1_face_0"), None);
    }
}

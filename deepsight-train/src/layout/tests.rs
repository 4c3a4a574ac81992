#![allow(clippy::unwrap_used)]

use std::fs;

use tempfile::TempDir;

use super::*;

fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        write(&folder, file, "");
    }
    folder
}

fn write(folder: &TempDir, file: &str, text: &str) {
    let path = folder.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn find(folder: &TempDir) -> Dataset {
    Dataset::find(folder.path(), None).unwrap()
}

fn clip<'a>(dataset: &'a Dataset, label: Label, name: &str) -> &'a Clip {
    let found = dataset.clips.iter().find(|clip| clip.label == label && clip.name == name);
    found.unwrap_or_else(|| panic!("{name}: {:#?}", dataset.clips))
}

fn persons(clip: &Clip) -> [&str; 2] {
    [&clip.target_id, &clip.source_id].map(|id| id.as_deref().unwrap_or_default())
}

fn names(dataset: &Dataset) -> Vec<String> {
    dataset.clips.iter().map(|clip| format!("{} {}", clip.label, clip.name)).collect()
}

#[test]
fn real_and_fake_folders_give_videos_pictures_of_videos_and_loose_pictures() {
    let folder = folder(&[
        "real/a.mp4",
        "real/a.mkv",
        "real/sub/b.MOV",
        "real/notes.txt",
        "real/.hidden.mp4",
        "fake/fake_id16_id6_0012_c.mp4",
        "fake/id0_id1_0001_frame_12_face_0.jpg",
        "fake/id0_id1_0001_frame_3_face_0.jpg",
        "fake/shots/1.png",
        "fake/shots/2.png",
        "fake/lonely.jpeg",
        "other/c.mp4",
    ]);
    let dataset = find(&folder);
    assert_eq!(dataset.layout, Layout::Folders);
    let expected = [
        "real a.mkv",
        "real a.mp4",
        "real sub/b",
        "fake fake_id16_id6_0012_c",
        "fake id0_id1_0001",
        "fake lonely",
        "fake shots",
    ];
    assert_eq!(names(&dataset), expected);
    assert_eq!(persons(clip(&dataset, Label::Fake, "fake_id16_id6_0012_c")), ["id16", "id6"]);
    let ClipMedia::Pictures(pictures) = &clip(&dataset, Label::Fake, "id0_id1_0001").media else { panic!() };
    assert_eq!(pictures.iter().map(|picture| picture.frame).collect::<Vec<_>>(), [Some(12), Some(3)]);
    let ClipMedia::Pictures(pictures) = &clip(&dataset, Label::Fake, "shots").media else { panic!() };
    assert_eq!((pictures.len(), pictures[0].frame), (2, None));
}

#[test]
fn a_folder_without_real_and_fake_needs_a_label() {
    let folder = folder(&["Aaron_Guiel_0001.jpg", "Abel_Pacheco_0001.jpg"]);
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("no videos or pictures: looked for real/ and fake/"), "{message}");
    let dataset = Dataset::find(folder.path(), Some(Label::Real)).unwrap();
    assert_eq!(names(&dataset), ["real Aaron_Guiel_0001", "real Abel_Pacheco_0001"]);
    let missing = Dataset::find(folder.path().join("missing"), None).unwrap_err().to_string();
    assert!(missing.contains("missing: cannot be read"), "{missing}");
}

#[test]
fn listed_pictures_keep_their_persons_and_split() {
    let folder = folder(&["x/1.jpg", "x/2.jpg", "y.png"]);
    let list = "file,label,video,target_id,source_id,split,frame\nx/1.jpg,fake,v,id1,id2,train,4\n\
                x/2.jpg,fake,v,id1,id2,train,9\ny.png,real,w,id3,,val,\n";
    write(&folder, "manifest.csv", list);
    let dataset = find(&folder);
    let v = clip(&dataset, Label::Fake, "v");
    assert_eq!((dataset.layout, persons(v), v.split), (Layout::Listed, ["id1", "id2"], Some(Split::Train)));
    let ClipMedia::Pictures(pictures) = &v.media else { panic!() };
    assert_eq!((pictures[1].frame, &pictures[1].path), (Some(9), &folder.path().join("x/2.jpg")));

    write(&folder, "manifest.csv", &list.replace("2.jpg,fake,v,id1,id2,train", "2.jpg,fake,v,id1,id2,val"));
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("row 2: split is `val`: must be the same in all rows of a video"), "{message}");
}

#[test]
fn face_forensics_names_give_target_source_and_original_and_its_lists_give_the_split() {
    let folder = folder(&[
        "original_sequences/youtube/c23/videos/000.mp4",
        "original_sequences/youtube/c23/videos/003.mp4",
        "original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        "manipulated_sequences/Deepfakes/c40/videos/000_003.mp4",
        "manipulated_sequences/Deepfakes/masks/videos/ignored.txt",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4",
    ]);
    write(&folder, "splits/train.json", r#"[["001", "870"]]"#);
    write(&folder, "splits/test.json", r#"[["000", "003"]]"#);
    let dataset = find(&folder);
    assert_eq!((dataset.layout, dataset.clips.len()), (Layout::FaceForensics, 6));
    let fake = clip(&dataset, Label::Fake, "Deepfakes/c40/000_003");
    assert_eq!((persons(fake), fake.split), (["ff000", "ff003"], Some(Split::Test)));
    assert_eq!(fake.original.as_deref(), Some("youtube/000"));
    assert_eq!(fake.method.as_deref(), Some("Deepfakes"));
    let real = clip(&dataset, Label::Real, "youtube/c23/003");
    assert_eq!((persons(real), real.split), (["ff003", ""], Some(Split::Test)));
    assert_eq!(real.original.as_deref(), Some("youtube/003"), "whatever the compression");
    assert_eq!(real.method, None);
    let actor = clip(&dataset, Label::Real, "actors/c23/01__exit_phone_room");
    assert_eq!((persons(actor), actor.split), (["ffactor01", ""], None));
    let acted = clip(&dataset, Label::Fake, "DeepFakeDetection/c23/01_02__exit_phone_room__YVGY8LOK");
    assert_eq!(persons(acted), ["ffactor01", "ffactor02"]);
    assert_eq!((&acted.original, acted.original.as_deref()), (&actor.original, Some("actors/01__exit_phone_room")));

    write(&folder, "splits/val.json", r#"[["003", "005"]]"#);
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("003: must not be in two lists"), "{message}");
    write(&folder, "splits/val.json", r#"{"a": 1}"#);
    assert!(Dataset::find(folder.path(), None).unwrap_err().to_string().contains("val.json: not the JSON"));
}

#[test]
fn dfdc_lists_give_label_and_original_and_a_split_only_where_they_name_two() {
    let folder = folder(&["part_0/a.mp4", "part_0/b.mp4", "part_1/c.mp4"]);
    let entry =
        |label: &str, split: &str| format!(r#"{{"label": "{label}", "split": "{split}", "original": "b.mp4"}}"#);
    let list = |split| {
        format!(
            r#"{{"a.mp4": {}, "b.mp4": {{"label": "REAL", "split": "train"}}, "gone.mp4": {}}}"#,
            entry("FAKE", split),
            entry("FAKE", split)
        )
    };
    write(&folder, "part_0/metadata.json", &list("train"));
    write(&folder, "part_1/metadata.json", r#"{"c.mp4": {"is_fake": 1, "split": "train"}}"#);
    let dataset = find(&folder);
    assert_eq!(
        (dataset.layout, names(&dataset)),
        (Layout::Dfdc, vec!["real b".into(), "fake a".into(), "fake c".into()])
    );
    assert_eq!(clip(&dataset, Label::Fake, "a").original.as_deref(), Some("b"));
    assert!(dataset.clips.iter().all(|clip| clip.split.is_none()), "all of it is the training set");

    write(&folder, "part_0/metadata.json", &list("test"));
    let dataset = find(&folder);
    assert_eq!(clip(&dataset, Label::Fake, "a").split, Some(Split::Test));
    assert_eq!(clip(&dataset, Label::Fake, "c").split, None, "open to training and validation");

    write(&folder, "part_1/a.mp4", "");
    write(&folder, "part_1/metadata.json", r#"{"a.mp4": {"label": "FAKE"}}"#);
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.ends_with("two fake clips are named a.mp4"), "{message}");

    write(&folder, "part_1/metadata.json", r#"{"c.mp4": {"label": "MAYBE"}}"#);
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("metadata.json: c.mp4: label must be REAL or FAKE"), "{message}");
}

#[test]
fn celeb_df_names_give_body_and_face_and_its_list_gives_the_test_split() {
    let folder = folder(&[
        "Celeb-real/id0_0001.mp4",
        "Celeb-real/id16_0001.mp4",
        "Celeb-synthesis/id0_id16_0001.mp4",
        "YouTube-real/00170.mp4",
    ]);
    write(&folder, "List_of_testing_videos.txt", "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id16_0001.mp4\n\n");
    let dataset = find(&folder);
    assert_eq!((dataset.layout, dataset.clips.len()), (Layout::CelebDf, 4));
    let fake = clip(&dataset, Label::Fake, "Celeb-synthesis/id0_id16_0001");
    assert_eq!((persons(fake), fake.split), (["id0", "id16"], Some(Split::Test)));
    assert_eq!(fake.original.as_deref(), Some("Celeb-real/id0_0001"));
    assert_eq!(persons(clip(&dataset, Label::Real, "Celeb-real/id0_0001")), ["id0", ""]);
    assert_eq!(clip(&dataset, Label::Real, "YouTube-real/00170").split, Some(Split::Test));
    assert_eq!(clip(&dataset, Label::Real, "Celeb-real/id16_0001").split, None);

    write(&folder, "List_of_testing_videos.txt", "nonsense\n");
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("List_of_testing_videos.txt: nonsense: must be a label and a video"), "{message}");
}

#[test]
fn real_and_fake_folders_take_precedence_over_a_metadata_list() {
    let folder = folder(&["real/a.mp4", "fake/b.mp4"]);
    write(&folder, "metadata.json", r#"{"a.mp4": {"label": "REAL", "split": "train"}}"#);
    let dataset = find(&folder);
    assert_eq!((dataset.layout, names(&dataset)), (Layout::Folders, vec!["real a".into(), "fake b".into()]));
}

#[test]
fn folders_of_labels_may_be_written_in_any_case() {
    for names_of in [["Real", "Fake"], ["REAL", "FAKE"], ["real", "Fake"]] {
        let folder = folder(&[&format!("{}/a.mp4", names_of[0]), &format!("{}/b.mp4", names_of[1])]);
        let dataset = find(&folder);
        assert_eq!((dataset.layout, names(&dataset)), (Layout::Folders, vec!["real a".into(), "fake b".into()]));
    }
}

#[test]
fn folders_of_splits_give_the_split() {
    let folder = folder(&[
        "train/real/id1_0001.mp4",
        "train/fake/id1_id2_0001.mp4",
        "Validation/Real/id3_0001.mp4",
        "test/FAKE/x/1.png",
        "test/FAKE/x/2.png",
    ]);
    let dataset = find(&folder);
    let splits: Vec<_> = dataset.clips.iter().map(|clip| (clip.name.as_str(), clip.split)).collect();
    let (train, val, test) = (Some(Split::Train), Some(Split::Val), Some(Split::Test));
    let expected = [("train/id1_0001", train), ("val/id3_0001", val), ("test/x", test), ("train/id1_id2_0001", train)];
    assert_eq!(splits, expected);
    assert_eq!(persons(clip(&dataset, Label::Fake, "train/id1_id2_0001")), ["id1", "id2"]);
}

#[test]
fn without_a_folder_for_validation_the_clips_of_training_are_open_to_it() {
    let folder = folder(&["train/real/a.mp4", "train/fake/b.mp4", "test/real/c.mp4"]);
    let dataset = find(&folder);
    assert_eq!(clip(&dataset, Label::Real, "train/a").split, None);
    assert_eq!(clip(&dataset, Label::Fake, "train/b").split, None);
    assert_eq!(clip(&dataset, Label::Real, "test/c").split, Some(Split::Test));
}

#[test]
fn a_folder_that_holds_only_one_folder_is_read_as_that_folder() {
    let folder = folder(&["faces/real-and-fake/train/real/a.png", "faces/real-and-fake/valid/fake/b.png"]);
    let dataset = find(&folder);
    assert_eq!(names(&dataset), ["real train/a", "fake val/b"]);
    assert_eq!(dataset.root, folder.path());
}

#[test]
fn dfdc_is_found_one_folder_deeper() {
    let folder = folder(&["zip_00/part_0/a.mp4", "zip_01/part_1/b.mp4", "notes.txt"]);
    write(&folder, "zip_00/part_0/metadata.json", r#"{"a.mp4": {"label": "REAL", "split": "train"}}"#);
    write(&folder, "zip_01/part_1/metadata.json", r#"{"b.mp4": {"label": "FAKE", "split": "train"}}"#);
    let dataset = find(&folder);
    assert_eq!((dataset.layout, names(&dataset)), (Layout::Dfdc, vec!["real a".into(), "fake b".into()]));
}

#[test]
fn a_list_of_a_test_set_leaves_everything_in_it() {
    let folder = folder(&["a.mp4", "b.mp4"]);
    let list = r#"{"a.mp4": {"label": "REAL", "split": "test"}, "b.mp4": {"label": "FAKE", "split": "test"}}"#;
    write(&folder, "metadata.json", list);
    assert!(find(&folder).clips.iter().all(|clip| clip.split == Some(Split::Test)));
}

#[test]
fn the_copy_of_face_forensics_on_kaggle_is_read_with_its_list() {
    let folder = folder(&[
        "FaceForensics++_C23/original/000.mp4",
        "FaceForensics++_C23/original/003.mp4",
        "FaceForensics++_C23/Deepfakes/000_003.mp4",
        "FaceForensics++_C23/Later/003_000.mp4",
        "FaceForensics++_C23/Unlisted/004_000.mp4",
    ]);
    // The folders decide without the list.
    let dataset = find(&folder);
    assert_eq!(dataset.layout, Layout::FaceForensics);
    assert_eq!(names(&dataset), ["real original/000", "real original/003", "fake Deepfakes/000_003"]);

    let list = "\u{feff},File Path,Label,Frame Count\r\n0,original\\000.mp4,REAL,396\r\n\
        1,Deepfakes\\000_003.mp4,FAKE,396\r\n2,Later/003_000.mp4,FAKE,100\r\n3,FaceSwap/gone.mp4,FAKE,100\r\n";
    write(&folder, "FaceForensics++_C23/csv/FF++_Metadata.csv", list);
    write(&folder, "FaceForensics++_C23/test.json", r#"[["000", "003"]]"#);
    let dataset = find(&folder);
    let expected = ["real original/000", "real original/003", "fake Deepfakes/000_003", "fake Later/003_000"];
    assert_eq!(names(&dataset), expected);
    let fake = clip(&dataset, Label::Fake, "Deepfakes/000_003");
    assert_eq!((persons(fake), fake.split), (["ff000", "ff003"], Some(Split::Test)));
    assert_eq!((fake.method.as_deref(), fake.original.as_deref()), (Some("Deepfakes"), Some("youtube/000")));
    let real = clip(&dataset, Label::Real, "original/000");
    assert_eq!((real.original.as_deref(), &real.method), (Some("youtube/000"), &None));

    write(&folder, "FaceForensics++_C23/csv/FF++_Metadata.csv", &list.replace("FAKE,396", "MAYBE,396"));
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("Deepfakes\\000_003.mp4: label must be REAL or FAKE"), "{message}");
    write(&folder, "FaceForensics++_C23/csv/FF++_Metadata.csv", "a,b\n1,2\n");
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("File Path"), "{message}");
}

#[cfg(unix)]
#[test]
fn linked_folders_of_labels_and_links_in_them_are_followed_and_loops_refused() {
    use std::os::unix::fs::symlink;

    let (data, folder) = (folder(&["clips/a.mp4", "more/b.mp4"]), folder(&["fake/c.mp4"]));
    symlink(data.path().join("clips"), folder.path().join("real")).unwrap();
    symlink(data.path().join("more"), folder.path().join("fake/linked")).unwrap();
    assert_eq!(names(&find(&folder)), ["real a", "fake c", "fake linked/b"]);
    symlink(folder.path(), data.path().join("more/back")).unwrap();
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("linked/back: a link to "), "{message}");
}

#[test]
fn lists_that_were_written_on_windows_are_read() {
    let celeb_df = folder(&["Celeb-real/id0_0001.mp4", "YouTube-real/00170.mp4"]);
    write(&celeb_df, "List_of_testing_videos.txt", "1 YouTube-real\\00170.mp4\r\n");
    assert_eq!(clip(&find(&celeb_df), Label::Real, "YouTube-real/00170").split, Some(Split::Test));

    let listed = folder(&["real/sub/1.jpg"]);
    write(&listed, "manifest.csv", "\u{feff}file,label,video\r\nreal\\sub\\1.jpg,real,v\r\n");
    let dataset = find(&listed);
    let ClipMedia::Pictures(pictures) = &clip(&dataset, Label::Real, "v").media else { panic!() };
    assert_eq!(pictures[0].path, listed.path().join("real/sub/1.jpg"));
    write(&listed, "manifest.csv", "file,label,video\nC:\\faces\\1.jpg,real,v\n");
    let message = Dataset::find(listed.path(), None).unwrap_err().to_string();
    assert!(message.contains("row 1") && message.contains("C:\\faces\\1.jpg"), "{message}");
}

#[test]
fn a_folder_in_no_known_layout_is_an_error_that_names_its_folders() {
    let folder = folder(&["genuine/a.mp4", "forged/b.mp4"]);
    let message = Dataset::find(folder.path(), None).unwrap_err().to_string();
    assert!(message.ends_with("found forged/, genuine/"), "{message}");
}

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn row(label: Label, video: &str, ids: &[&str]) -> Row {
    let mut row = Row::new(format!("{label}/{video}.png"), label, video);
    row.target_id = ids.first().map(|id| (*id).to_owned());
    row.source_id = ids.get(1).map(|id| (*id).to_owned());
    row
}

fn in_part(mut row: Row, split: Split) -> Row {
    row.split = Some(split);
    row
}

fn assigned(rows: &[Row], config: &SplitConfig) -> Vec<Row> {
    let mut rows = rows.to_vec();
    assign_splits(&mut rows, config).unwrap();
    rows
}

fn split_of(rows: &[Row], video: &str) -> Option<Split> {
    rows.iter().find(|row| row.video == video).unwrap().split
}

#[test]
fn chains_of_shared_persons_files_and_originals_stay_together() {
    let mut rows = vec![
        row(Label::Real, "a", &["id1"]),
        row(Label::Fake, "b", &["id2", "id1"]),
        row(Label::Fake, "c", &["id3", "id2"]),
        row(Label::Real, "d", &[]),
        row(Label::Fake, "e", &[]),
        row(Label::Real, "f", &[]),
    ];
    (rows[2].sha256, rows[3].sha256) = (Some("ff".into()), Some("ff".into()));
    rows[4].original = Some("d".into());
    for seed in 0..20 {
        let rows = assigned(&rows, &SplitConfig { seed, ..Default::default() });
        let first = rows[0].split;
        assert!(rows[..5].iter().all(|row| row.split == first), "{seed}");
        assert_ne!(rows[5].split, first, "two components, so two parts");
    }
}

#[test]
fn an_original_of_the_same_name_as_a_fake_is_another_video() {
    let rows = [row(Label::Real, "x", &[]), row(Label::Fake, "x", &[])];
    assert_eq!(components(&rows, SplitBy::Person).len(), 2);
}

#[test]
fn a_split_by_video_may_share_persons_but_not_originals() {
    let mut rows =
        vec![row(Label::Real, "a", &["id1"]), row(Label::Fake, "b", &["id1"]), row(Label::Real, "c", &["id1"])];
    rows[1].original = Some("a".into());
    assert_eq!(components(&rows, SplitBy::Person).len(), 1);
    assert_eq!(components(&rows, SplitBy::Video).len(), 2);
}

#[test]
fn with_few_components_every_part_still_gets_both_labels() {
    let mut rows = Vec::new();
    for person in ["id1", "id2", "id3"] {
        rows.push(row(Label::Real, person, &[person]));
        rows.push(row(Label::Fake, person, &[person]));
    }
    for seed in 0..20 {
        let summary = SplitSummary::of(&assigned(&rows, &SplitConfig { seed, ..Default::default() }));
        let one = SplitCount { videos: 1, crops: 1 };
        assert_eq!(summary.counts, [[one; 2], [one; 2], [one; 2], Default::default()], "{seed}");
    }
    let two = assigned(&rows[..4], &SplitConfig::default());
    assert_ne!(split_of(&two, "id1"), split_of(&two, "id2"));
    assert!(two.iter().all(|row| row.split != Some(Split::Test)), "train and val come first");
}

#[test]
fn an_official_split_is_kept_and_linked_videos_follow_it() {
    let mut rows = vec![
        in_part(row(Label::Real, "listed", &["id1"]), Split::Test),
        row(Label::Fake, "linked", &["id1", "id2"]),
        in_part(row(Label::Real, "torn", &["id3"]), Split::Test),
        in_part(row(Label::Real, "apart", &["id4"]), Split::Train),
        row(Label::Fake, "between", &["id3", "id4"]),
    ];
    rows.extend((0..40).map(|n| row(Label::ALL[n % 2], &format!("free{n}"), &[])));
    let kept = assigned(&rows, &SplitConfig::default());
    assert_eq!(split_of(&kept, "listed"), Some(Split::Test));
    assert_eq!(split_of(&kept, "linked"), Some(Split::Test));
    assert_eq!(split_of(&kept, "between"), None);
    let free = &kept[5..];
    assert!(free.iter().all(|row| row.split != Some(Split::Test)), "the list says what is tested");
    assert_eq!(free.iter().filter(|row| row.split == Some(Split::Val)).count(), 8, "15 of 85, of 20 of each label");

    let ignored = assigned(&rows, &SplitConfig { keep_official: false, ..Default::default() });
    assert!(ignored.iter().all(|row| row.split.is_some()));
    check_disjoint(&ignored, SplitBy::Person).unwrap();
}

#[test]
fn a_list_that_puts_every_video_into_other_splits_is_kept() {
    let listed =
        [in_part(row(Label::Real, "a", &["id1"]), Split::Test), in_part(row(Label::Fake, "b", &["id2"]), Split::Test)];
    let rows = assigned(&listed, &SplitConfig::default());
    assert!(rows.iter().all(|row| row.split == Some(Split::Test)));
    let anew = assigned(&listed, &SplitConfig { keep_official: false, ..Default::default() });
    assert!(anew.iter().any(|row| row.split == Some(Split::Train)), "the list is ignored on request");
}

#[test]
fn a_list_that_leaves_nothing_to_train_on_is_refused_unless_split_by_video() {
    let mut rows = vec![
        in_part(row(Label::Real, "a", &["id1"]), Split::Test),
        row(Label::Real, "b", &["id1"]),
        row(Label::Fake, "c", &["id2", "id1"]),
    ];
    // A real video without links does not help, because no fake is left to train on.
    for stranger in [None, Some(row(Label::Real, "free", &["id9"]))] {
        let mut rows: Vec<Row> = rows.iter().cloned().chain(stranger).collect();
        let message = assign_splits(&mut rows, &SplitConfig::default()).unwrap_err().to_string();
        assert!(message.contains("video is left for train") && message.contains("such as a"), "{message}");
    }
    assign_splits(&mut rows, &SplitConfig { by: SplitBy::Video, ..Default::default() }).unwrap();
    assert_eq!(split_of(&rows, "a"), Some(Split::Test));
    check_disjoint(&rows, SplitBy::Video).unwrap();
    let message = check_disjoint(&rows, SplitBy::Person).unwrap_err().to_string();
    assert!(message.contains("person id1"), "{message}");
}

#[test]
fn a_list_may_keep_all_fakes_from_training() {
    let mut rows = vec![
        row(Label::Real, "a", &["id1"]),
        in_part(row(Label::Real, "b", &["id2"]), Split::Val),
        in_part(row(Label::Fake, "c", &["id2", "id3"]), Split::Val),
    ];
    assign_splits(&mut rows, &SplitConfig::default()).unwrap();
    assert_eq!(split_of(&rows, "a"), Some(Split::Train));
}

#[test]
fn an_overlap_error_names_what_is_shared_and_both_videos() {
    let rows = |change: fn(&mut [Row])| {
        let mut rows = [
            in_part(row(Label::Real, "a", &["id1"]), Split::Train),
            in_part(row(Label::Fake, "b", &["id2", "id3"]), Split::Val),
            in_part(row(Label::Real, "c", &[]), Split::Test),
        ];
        change(&mut rows);
        check_disjoint(&rows, SplitBy::Person).map_err(|error| error.to_string())
    };
    assert_eq!(rows(|_| ()), Ok(()));
    let person = rows(|rows| rows[1].source_id = Some("id1".into())).unwrap_err();
    assert_eq!(person, "splits overlap: person id1 is in train (video a) and in val (video b)");
    let file = rows(|rows| {
        (rows[0].sha256, rows[2].sha256) = (Some("ff".into()), Some("ff".into()));
        rows[1].source_id = Some("id1".into());
    });
    let file = file.unwrap_err();
    assert!(file.ends_with("; 1 more is shared"), "{file}");
    let original = rows(|rows| rows[1].original = Some("c".into())).unwrap_err();
    assert!(original.contains("real video c is in val (video b) and in test (video c)"), "{original}");
    let video = rows(|rows| (rows[2].video, rows[2].label) = ("b".into(), Label::Fake)).unwrap_err();
    assert!(video.contains("fake video b"), "{video}");
}

#[test]
fn invalid_shares_are_refused() {
    for shares in [[0.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, f64::NAN, 0.0], [f64::INFINITY, 1.0, 1.0]] {
        let message = assign_splits(&mut [], &SplitConfig { shares, ..Default::default() }).unwrap_err().to_string();
        assert!(message.starts_with("shares is "), "{message}");
    }
    let rows: Vec<Row> = (0..10).map(|n| row(Label::Real, &n.to_string(), &[])).collect();
    let all = assigned(&rows, &SplitConfig { shares: [1.0, 0.0, 0.0], ..Default::default() });
    assert!(all.iter().all(|row| row.split == Some(Split::Train)));
}

/// Generates videos with persons, files and originals shared at random.
fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let id = |most: u32| prop::option::weighted(0.6, 0..most);
    let video = (any::<bool>(), id(60), id(60), id(200), id(40), 1usize..4);
    prop::collection::vec(video, 1..120).prop_map(|videos| {
        let mut rows = Vec::new();
        for (number, (fake, target, source, file, original, crops)) in videos.into_iter().enumerate() {
            let label = if fake { Label::Fake } else { Label::Real };
            let mut row = Row::new("", label, number.to_string());
            row.target_id = target.map(|id| format!("id{id}"));
            row.source_id = source.filter(|_| fake).map(|id| format!("id{id}"));
            row.sha256 = file.map(|hash| format!("{hash:x}"));
            row.original = original.filter(|_| fake).map(|name| name.to_string());
            rows.extend((0..crops).map(|crop| Row { file: format!("{number}-{crop}").into(), ..row.clone() }));
        }
        rows
    })
}

proptest! {
    #[test]
    fn parts_are_disjoint_complete_and_independent_of_the_row_order(rows in any_rows(), seed in any::<u64>()) {
        let config = SplitConfig { seed, ..Default::default() };
        let first = assigned(&rows, &config);
        prop_assert!(check_disjoint(&first, SplitBy::Person).is_ok());
        prop_assert!(first.iter().all(|row| row.split.is_some()));

        let mut turned = rows;
        turned.reverse();
        let middle = turned.len() / 3;
        turned.rotate_left(middle);
        let mut second = assigned(&turned, &config);
        second.sort_by(|a, b| a.file.cmp(&b.file));
        let mut first = first;
        first.sort_by(|a, b| a.file.cmp(&b.file));
        prop_assert_eq!(first, second);
    }

    #[test]
    fn small_components_approach_the_wanted_shares_of_both_labels(
        sizes in prop::collection::vec((0usize..4, 0usize..4), 60..200),
        seed in any::<u64>(),
    ) {
        let sizes: Vec<[usize; 2]> = sizes.into_iter().map(|(real, fake)| [real, fake.max(1 - real.min(1))]).collect();
        let parts = divide::divide(&sizes, [70.0, 15.0, 15.0], seed);
        for label in 0..2 {
            let total: usize = sizes.iter().map(|size| size[label]).sum();
            for (part, wanted) in [(0, 0.7), (1, 0.15), (2, 0.15)] {
                let of_part = sizes.iter().zip(&parts).filter(|(_, other)| **other == part);
                let held: usize = of_part.map(|(size, _)| size[label]).sum();
                let off = (held as f64 / total as f64 - wanted).abs();
                prop_assert!(off * total as f64 <= 3.0, "part {part}, label {label}: {held} of {total}");
            }
        }
    }

    #[test]
    fn official_parts_are_always_kept(rows in any_rows(), parts in prop::collection::vec(0usize..9, 120)) {
        let mut rows = rows;
        for row in &mut rows {
            let number: usize = row.video.parse().unwrap();
            row.split = Split::ALL.get(parts[number]).copied();
        }
        let mut after = rows.clone();
        // Nothing may be left to train on. In that case nothing is moved either.
        let _ = assign_splits(&mut after, &SplitConfig::default());
        for (before, after) in rows.iter().zip(&after) {
            prop_assert!(before.split.is_none() || before.split == after.split);
        }
        if check_disjoint(&rows, SplitBy::Person).is_ok() {
            prop_assert!(check_disjoint(&after, SplitBy::Person).is_ok(), "what is added overlaps with nothing");
        }
    }

    #[test]
    fn another_seed_gives_another_division(seed in 0u64..1000) {
        let rows: Vec<Row> = (0..100).map(|n| row(Label::ALL[n % 2], &n.to_string(), &[])).collect();
        let of = |seed| assigned(&rows, &SplitConfig { seed, ..Default::default() });
        prop_assert!(of(seed) != of(seed + 1));
    }
}

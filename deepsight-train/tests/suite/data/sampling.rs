use std::collections::{BTreeMap, HashSet};

use deepsight_train::sampler::{Draw, Sampler, SamplerConfig};
use deepsight_train::{Label, Row, Split};
use proptest::prelude::*;

use super::row;

/// Returns the rows of videos with 1, 2, 3, ... faces.
fn rows(real: usize, fake: usize) -> Vec<Row> {
    let faces = |label, videos: usize, name: &str| {
        let of = |video: usize| (0..=video).map(move |face| (video, face));
        let faces = (0..videos).flat_map(of);
        faces.map(|(v, f)| row(&format!("{name}/{v}_{f}.png"), label, &format!("{name}{v}"))).collect::<Vec<_>>()
    };
    [faces(Label::Real, real, "real"), faces(Label::Fake, fake, "fake")].concat()
}

fn by_video(rows: &[Row], draws: &[Draw], of: impl Fn(&Draw) -> bool) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for draw in draws.iter().filter(|draw| of(draw)) {
        *counts.entry(rows[draw.row].video.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn every_video_and_both_classes_have_the_same_weight() {
    let rows = rows(6, 15);
    let draws = Sampler::new(&rows, &SamplerConfig::new().with_draws(600), 7).unwrap().epoch(0);
    assert_eq!(draws.len(), 600);
    let real = by_video(&rows, &draws, |draw| rows[draw.row].label == Label::Real);
    assert_eq!(real.into_values().collect::<Vec<_>>(), [50; 6]);
    let fake = by_video(&rows, &draws, |draw| rows[draw.row].label == Label::Fake);
    assert_eq!(fake.into_values().collect::<Vec<_>>(), [20; 15]);
    let seen: HashSet<usize> = draws.iter().map(|draw| draw.row).collect();
    assert_eq!(seen.len(), rows.len(), "no video is drawn less often than it has faces");
}

#[test]
fn every_batch_of_even_size_is_balanced() {
    let rows = rows(6, 15);
    let draws = Sampler::new(&rows, &SamplerConfig::new().with_draws(640).with_self_blended(0.25), 7).unwrap().epoch(0);
    for batch in draws.chunks(16) {
        let real = batch.iter().filter(|draw| rows[draw.row].label == Label::Real && !draw.self_blended).count();
        assert_eq!((real, batch.iter().filter(|draw| draw.self_blended).count()), (8, 2));
    }
}

#[test]
fn a_self_blended_face_stands_beside_the_face_it_is_made_of() {
    let rows = rows(6, 15);
    let draws = Sampler::new(&rows, &SamplerConfig::new().with_self_blended(0.5), 7).unwrap().epoch(3);
    let pairs = draws.chunks(2).filter(|pair| pair[1].self_blended);
    for pair in pairs.clone() {
        assert_eq!(pair[0], Draw { self_blended: false, ..pair[1] });
    }
    assert_eq!(pairs.count(), draws.len().div_ceil(4));
}

#[test]
fn an_epoch_depends_only_on_seed_and_number() {
    let rows = rows(6, 15);
    let sampler = |seed| Sampler::new(&rows, &SamplerConfig::new().with_self_blended(0.5), seed).unwrap();
    let epoch = sampler(7).epoch(4);
    let resumed = sampler(7);
    resumed.epoch(0);
    assert_eq!(resumed.epoch(4), epoch);
    assert_ne!(sampler(7).epoch(5), epoch);
    assert_ne!(sampler(8).epoch(4), epoch);
    let seeds: HashSet<u64> = (0..5).flat_map(|number| sampler(7).epoch(number)).map(|draw| draw.seed).collect();
    let pairs = 5 * epoch.chunks(2).map(|pair| if pair[1].self_blended { 1 } else { 2 }).sum::<usize>();
    assert_eq!(seeds.len(), pairs, "no two augmentations are the same");
}

#[test]
fn faces_of_validation_and_test_are_never_drawn() {
    let mut rows = rows(6, 6);
    for (index, row) in rows.iter_mut().enumerate() {
        row.split = [None, Some(Split::Train), Some(Split::Val), Some(Split::Test)][index % 4];
    }
    let draws = Sampler::new(&rows, &SamplerConfig::new().with_draws(2000).with_self_blended(0.3), 1).unwrap().epoch(0);
    assert!(draws.iter().all(|draw| matches!(rows[draw.row].split, None | Some(Split::Train))));
}

#[test]
fn a_source_of_real_faces_alone_gives_as_many_fake_faces_as_real_ones() {
    let mut rows = rows(6, 15);
    rows.extend((0..40).map(|n| row(&format!("portraits/{n}.png"), Label::Real, &format!("portrait{n}"))));
    let config = SamplerConfig::new().with_draws(1000).with_self_blended(0.2).with_source("portraits", 0.3);
    let draws = Sampler::new(&rows, &config, 1).unwrap().epoch(0);
    let portraits = draws.iter().filter(|draw| rows[draw.row].file.starts_with("portraits"));
    assert_eq!(portraits.clone().count(), 300);
    assert_eq!(portraits.filter(|draw| draw.self_blended).count(), 150);
    let others = draws.iter().filter(|draw| !rows[draw.row].file.starts_with("portraits"));
    assert_eq!(others.filter(|draw| draw.self_blended).count(), 70);
}

/// Returns the rows of three people with two real videos each, and of a fake of each video that names its original.
fn pairable() -> Vec<Row> {
    let mut rows = Vec::new();
    for video in 0..6 {
        let (real, person) = (format!("real{video}"), format!("person{}", video / 2));
        for face in 0..3 {
            let mut row = row(&format!("real/{video}_{face}.png"), Label::Real, &real);
            row.target_id = Some(person.clone());
            rows.push(row);
        }
        let mut row = row(&format!("fake/{video}.png"), Label::Fake, &format!("fake{video}"));
        (row.target_id, row.original) = (Some(person), Some(real));
        rows.push(row);
    }
    rows
}

#[test]
fn a_paired_fake_stands_beside_its_original_with_the_same_augmentation() {
    let rows = pairable();
    let config = SamplerConfig::new().with_draws(400).with_paired(0.5).with_self_blended(0.2);
    let draws = Sampler::new(&rows, &config, 3).unwrap().epoch(1);
    let is_pair = |pair: &&[Draw]| pair[0].seed == pair[1].seed && !pair[1].self_blended;
    let pairs: Vec<_> = draws.chunks(2).filter(is_pair).collect();
    // A fifth of the 200 pairs is blended, and half of the rest is paired.
    assert_eq!(pairs.len(), 80);
    for pair in pairs {
        assert_eq!(rows[pair[1].row].label, Label::Fake);
        assert_eq!(rows[pair[1].row].original.as_ref(), Some(&rows[pair[0].row].video));
    }
}

#[test]
fn a_fake_without_its_original_is_paired_with_another_video_of_its_person() {
    let mut rows = pairable();
    rows.retain(|row| row.video != "real0");
    let draws = Sampler::new(&rows, &SamplerConfig::new().with_draws(400).with_paired(1.0), 3).unwrap().epoch(0);
    let lost = draws.chunks(2).filter(|pair| rows[pair[1].row].video == "fake0");
    let partners: HashSet<&str> = lost.map(|pair| rows[pair[0].row].video.as_str()).collect();
    assert_eq!(partners, HashSet::from(["real1"]));
}

#[test]
fn a_fake_whose_original_and_person_are_missing_is_an_error() {
    let error = |rows: &[Row]| {
        let config = SamplerConfig::new().with_paired(0.5);
        Sampler::new(rows, &config, 1).unwrap_err().to_string()
    };
    let mut rows = pairable();
    rows.iter_mut().filter(|row| row.video == "fake4").for_each(|row| row.original = Some("nobody".into()));
    rows.retain(|row| row.label == Label::Fake || row.target_id.as_deref() != Some("person2"));
    let message = error(&rows);
    assert!(
        message.starts_with("fake/4.png: its original `nobody` has no real face in training, nor has"),
        "{message}"
    );
    rows.iter_mut().for_each(|row| (row.original, row.target_id) = (None, None));
    assert!(error(&rows).contains("no fake face of training names an original"));
    let message = Sampler::new(&rows, &SamplerConfig::new().with_paired(1.5), 1).unwrap_err().to_string();
    assert_eq!(message, "paired is 1.5: must be within 0..=1");
}

#[test]
fn an_error_says_what_cannot_be_drawn() {
    let error = |rows: &[Row], config: &SamplerConfig| Sampler::new(rows, config, 1).unwrap_err().to_string();
    let plain = SamplerConfig::new();
    assert_eq!(error(&[], &plain), "training rows: no real faces to draw from");
    assert_eq!(error(&rows(3, 0), &plain), "training rows: no fake faces to draw from");
    assert_eq!(error(&rows(0, 3), &plain), "training rows: no real faces to draw from");
    assert!(Sampler::new(&rows(3, 0), &plain.clone().with_self_blended(1.0), 1).is_ok());
    assert_eq!(error(&rows(3, 3), &plain.clone().with_self_blended(1.1)), "self_blended is 1.1: must be within 0..=1");
    assert_eq!(error(&rows(3, 3), &plain.clone().with_draws(0)), "draws is 0: must be at least 1");
    let sources = plain.clone().with_source("a", 0.7).with_source("b", 0.7);
    assert_eq!(error(&rows(3, 3), &sources), "sum of the sources' shares is 1.4: must be at most 1");
    let elsewhere = plain.clone().with_source("elsewhere", 0.5);
    assert_eq!(error(&rows(3, 3), &elsewhere), "elsewhere: no real faces to draw from");
    let mut without = rows(3, 3);
    without[1].landmarks = None;
    let error = error(&without, &plain.with_self_blended(0.1));
    assert_eq!(error, "real/1_0.png: no landmarks in the manifest, which self-blended images need");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shares_hold_for_any_data(
        (real, fake, pairs, share, seed) in (1_usize..9, 1_usize..9, 1_usize..200, 0.0_f32..=1.0, any::<u64>()),
    ) {
        let rows = rows(real, fake);
        let config = SamplerConfig::new().with_draws(2 * pairs).with_self_blended(share);
        let draws = Sampler::new(&rows, &config, seed).unwrap().epoch(1);
        prop_assert_eq!(draws.len(), 2 * pairs);
        let blended = draws.iter().filter(|draw| draw.self_blended).count() as f32;
        prop_assert!((blended - share * pairs as f32).abs() <= 0.51);
        let counts = by_video(&rows, &draws, |draw| rows[draw.row].label == Label::Real && !draw.self_blended);
        prop_assert_eq!(counts.values().sum::<usize>(), pairs);
        let most = counts.values().copied().max().unwrap_or(0);
        let least = if counts.len() < real { 0 } else { counts.values().copied().min().unwrap_or(0) };
        prop_assert!(most - least <= 1);
    }
}

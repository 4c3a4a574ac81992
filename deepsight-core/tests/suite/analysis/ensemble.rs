//! Several models, one answer: how scores are combined, what each model answers, and when they disagree too much.

use deepsight_core::image::RgbImage;
use deepsight_core::{
    Analyzer, Combination, Ensemble, EnsembleConfig, EnsembleFile, EnsembleMember, Error, FaceClassifier, FaceCrop,
    FaceScore, ModelInfo, Reason, Reliability, Report, Verdict, with_causes,
};

use super::stand_ins::{Broken, Detector, face, frames};

/// A model that gives every face one probability, and expects crops of one size.
#[derive(Debug, Clone)]
struct Model {
    info: ModelInfo,
    score: f32,
    /// Dimensions that the crops must have.
    dimensions: (u32, u32),
    /// How many scores too many it gives.
    surplus: usize,
}

impl Model {
    fn new(name: &str, score: f32) -> Self {
        Self { info: ModelInfo::new(name), score, dimensions: (80, 100), surplus: 0 }
    }

    fn with_threshold(mut self, threshold: f32) -> Self {
        self.info.threshold = threshold;
        self
    }

    fn with_sha256(mut self, letter: &str) -> Self {
        self.info.sha256 = Some(letter.repeat(64));
        self
    }

    fn with_crop(mut self, crop: FaceCrop, dimensions: (u32, u32)) -> Self {
        (self.info.crop, self.dimensions) = (crop, dimensions);
        self
    }
}

impl FaceClassifier for Model {
    type Error = Broken;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Broken> {
        if let Some(face) = faces.iter().find(|face| face.dimensions() != self.dimensions) {
            return Err(Broken(format!("a crop of {:?}", face.dimensions())));
        }
        Ok(vec![FaceScore::new(self.score); faces.len() + self.surplus])
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }
}

fn ensemble(models: impl Into<Vec<Model>>, config: EnsembleConfig) -> Ensemble<Model> {
    Ensemble::new(models.into(), config).unwrap()
}

fn refused(models: impl Into<Vec<Model>>, config: EnsembleConfig) -> String {
    with_causes(&Ensemble::new(models.into(), config).unwrap_err())
}

fn analyze(classifier: impl FaceClassifier) -> Report {
    Analyzer::new(Detector::of(vec![face(20.0, 0.99)]), classifier).analyze(frames(6)).unwrap()
}

#[test]
fn models_of_unlike_thresholds_are_combined_relative_to_them() {
    // Odds of 4 at a threshold with odds of 1, and odds of 1 at a threshold with odds of 1/4: both are 4 times it.
    let models = [Model::new("a", 0.8), Model::new("b", 0.5).with_threshold(0.2)];
    let report = analyze(ensemble(models, EnsembleConfig::new()));
    assert_eq!(report.verdict, Verdict::Fake);
    assert!((report.fake_probability.unwrap() - 0.8).abs() < 1e-5, "{:?}", report.fake_probability);
    let answer = report.ensemble.as_ref().unwrap();
    assert!(answer.disagreement.unwrap() < 1e-5, "{answer:?}");
    let verdicts: Vec<_> = answer.models.iter().map(|model| (model.name.as_str(), model.verdict)).collect();
    assert_eq!(verdicts, [("a", Verdict::Fake), ("b", Verdict::Fake)]);
    assert_eq!(answer.models[1].fake_probability, Some(0.5));
    assert_eq!(report.frames[0].faces[0].by_model, [0.8, 0.5]);
}

#[test]
fn each_model_gets_the_crop_that_it_needs_and_equal_crops_are_cut_once() {
    let margin = FaceCrop::Margin { fraction: 0.25 };
    let models = [
        Model::new("box", 0.9),
        Model::new("wide", 0.9).with_crop(margin, (120, 150)),
        Model::new("box too", 0.9),
        Model::new("aligned", 0.9).with_crop(FaceCrop::Aligned { size: 64, scale: 1.0, down: 0.0 }, (64, 64)),
    ];
    let ensemble = ensemble(models, EnsembleConfig::new());
    assert_eq!(ensemble.info().crops().len(), 3);
    let report = analyze(&ensemble);
    assert_eq!((report.verdict, report.errors.count), (Verdict::Fake, 0), "{:?}", report.errors);
    let message = ensemble.classify(&[RgbImage::new(80, 100)]).unwrap_err().to_string();
    assert!(message.contains("needs 3 crops of each face, and got 1"), "{message}");
}

#[test]
fn a_large_disagreement_is_uncertain_and_says_what_each_model_answers() {
    // One model is very sure, so the mean is above the threshold.
    let models = [Model::new("sure", 0.999), Model::new("calm", 0.1)];
    let report = analyze(ensemble(models.clone(), EnsembleConfig::new()));
    assert!(report.fake_probability.unwrap() > 0.8);
    assert_eq!(report.verdict, Verdict::Uncertain);
    let Reason::ModelsDisagree { disagreement, limit, models: answers } = &report.reasons[0] else {
        panic!("{:?}", report.reasons);
    };
    assert!((disagreement - 0.899).abs() < 1e-3 && *limit == 0.5, "{disagreement}");
    assert_eq!(answers.len(), 2);
    assert_eq!(
        report.reasons[0].to_string(),
        "The models disagree by 89.9 points, and the limit is 50. sure says FAKE (99.9 %, threshold 50 %); \
         calm says REAL (10 %, threshold 50 %)."
    );
    let tolerant = analyze(ensemble(models, EnsembleConfig::new().with_max_disagreement(0.95)));
    assert_eq!(tolerant.verdict, Verdict::Fake);
}

#[test]
fn a_person_on_whom_models_disagree_counts_even_if_the_clip_seems_real() {
    let models = [Model::new("alarmed", 0.9), Model::new("calm", 0.001)];
    let report = analyze(ensemble(models, EnsembleConfig::new()));
    assert!(report.fake_probability.unwrap() < 0.2);
    assert_eq!(report.verdict, Verdict::Uncertain);
    assert!(matches!(report.reasons[0], Reason::ModelsDisagree { .. }), "{:?}", report.reasons);
}

#[test]
fn stacking_weighs_models_as_the_file_says() {
    let weights = Combination::Stacking { weights: vec![2.0, 0.0], intercept: 0.0 };
    let config = EnsembleConfig::new().with_combination(weights).with_max_disagreement(1.0);
    let report = analyze(ensemble([Model::new("a", 0.75), Model::new("b", 0.01)], config));
    // Odds of 3, squared.
    assert!((report.fake_probability.unwrap() - 0.9).abs() < 1e-5);
    assert_eq!(report.ensemble.unwrap().models[0].weight, 2.0);
}

#[test]
fn a_clip_without_faces_has_no_disagreement() {
    let models = [Model::new("a", 0.9), Model::new("b", 0.1)];
    let analyzer = Analyzer::new(Detector::of(vec![]), ensemble(models, EnsembleConfig::new()));
    let report = analyzer.analyze(frames(4)).unwrap();
    let answer = report.ensemble.unwrap();
    assert_eq!((report.verdict, report.fake_probability, answer.disagreement), (Verdict::Uncertain, None, None));
    assert!(answer.models.iter().all(|model| model.verdict == Verdict::Uncertain && model.fake_probability.is_none()));
}

#[test]
fn ensembles_that_make_no_sense_are_refused_with_the_reason() {
    let (a, b) = (Model::new("a", 0.5), Model::new("b", 0.5));
    let usual = EnsembleConfig::new();
    let alone = refused([a.clone()], usual.clone());
    assert!(alone.contains("an ensemble of 1 model(s)") && alone.contains("2 to 8"), "{alone}");
    assert!(refused(vec![a.clone(); 9], usual.clone()).contains("an ensemble of 9 model(s)"));
    let twice = refused([a.clone().with_sha256("c"), b.clone(), b.clone().with_sha256("c")], usual.clone());
    assert!(twice.contains("model b is given twice") && twice.contains("cccc"), "{twice}");
    let always = refused([a.clone(), b.clone().with_threshold(1.0)], usual.clone());
    assert!(always.contains("model b") && always.contains("threshold is 1"), "{always}");
    let inner = ensemble([a.clone(), b.clone()], usual.clone()).info();
    let nested = Model { info: inner, ..Model::new("", 0.5) };
    assert!(refused([a.clone(), nested], usual.clone()).contains("is an ensemble itself"));
    let stacked = |weights: &[f32]| {
        let combination = Combination::Stacking { weights: weights.to_vec(), intercept: 0.0 };
        refused([a.clone(), b.clone()], usual.clone().with_combination(combination))
    };
    assert!(stacked(&[1.0]).contains("weights is 1: it must have one number for each model"));
    assert!(stacked(&[1.0, f32::NAN]).contains("must have numbers in"));
    assert!(stacked(&[2.0, -1.0]).contains("must have numbers in 0..=100"));
    assert!(stacked(&[0.0, 0.0]).contains("must add up to more than 0"));
    let with = |config: EnsembleConfig| refused([a.clone(), b.clone()], config);
    assert!(with(usual.clone().with_threshold(0.0)).contains("threshold is 0: it must be above 0"));
    assert!(with(usual.clone().with_max_disagreement(1.5)).contains("max_disagreement is 1.5"));
    assert!(with(usual.with_name("a\nb")).contains("one line"));
}

#[test]
fn a_model_that_fails_is_named_and_unlike_outputs_are_refused() {
    let broken = Model { surplus: 1, ..Model::new("generous", 0.5) };
    let models = ensemble([Model::new("a", 0.5), broken], EnsembleConfig::new());
    let message = with_causes(&models.classify(&[RgbImage::new(80, 100)]).unwrap_err());
    assert_eq!(message, "model generous: it gave 2 scores for 1 faces");
    let wild = ensemble([Model::new("a", 0.5), Model::new("logits", 7.5)], EnsembleConfig::new());
    let message = with_causes(&wild.classify(&[RgbImage::new(80, 100)]).unwrap_err());
    assert_eq!(message, "model logits: its probability is 7.5, outside 0..=1");
    let small = [RgbImage::new(1, 1)];
    let message = with_causes(&wild.classify(&small).unwrap_err());
    assert_eq!(message, "model a: a crop of (1, 1)");
}

#[test]
fn a_session_reports_the_answers_of_the_models_too() {
    let models = ensemble([Model::new("sure", 0.999), Model::new("calm", 0.1)], EnsembleConfig::new());
    let detector = Detector::of(vec![face(20.0, 0.99)]);
    let analyzer = Analyzer::new(&detector, &models);
    let mut session = analyzer.session().unwrap();
    let updates: Vec<_> = frames(6).map(|frame| session.push(frame.unwrap())).collect();
    let last = updates.last().unwrap();
    assert_eq!((last.verdict, last.faces[0].by_model.len()), (Verdict::Uncertain, 2));
    assert_eq!(last.ensemble, session.finish().unwrap().ensemble);
}

#[test]
fn the_report_of_an_ensemble_is_read_back_and_its_page_has_a_row_for_each_model() {
    let mut wild = Model::new("<b>wild</b>", 0.9).with_sha256("e");
    wild.info.reliability = Some(Reliability::new(0.1));
    let mut report = analyze(ensemble([wild, Model::new("b", 0.8)], EnsembleConfig::new()));
    let json = report.to_json().unwrap();
    report.evidence.clear();
    assert_eq!(Report::from_json(&json).unwrap(), report);
    let page = report.to_html();
    assert!(page.contains("<h2>Models</h2>") && !page.contains("<b>wild"), "{page}");
    assert!(page.contains(
        "&lt;b&gt;wild&lt;/b&gt;</bdi></th><td>FAKE</td><td>90 %</td><td>50 %</td><td>0.50</td><td>eeeeeeeeeeee<"
    ));
    assert!(page.contains("<bdi>b</bdi></th><td>FAKE</td><td>80 %</td>"));
    assert!(page.contains("calibrated mean"));
}

#[test]
fn the_report_of_a_single_model_has_nothing_of_an_ensemble() {
    let report = analyze(Model::new("alone", 0.9));
    let json = report.to_json().unwrap();
    assert!(!json.contains("ensemble") && !json.contains("by_model"), "{json}");
    assert!(!report.to_html().contains("<h2>Models</h2>"));
}

fn member(name: &str, letter: &str) -> EnsembleMember {
    EnsembleMember::new(name, letter.repeat(64))
}

#[test]
fn a_written_ensemble_file_is_read_back_and_loads_its_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.json");
    let weights = Combination::Stacking { weights: vec![0.5, 1.5], intercept: -0.25 };
    let config = EnsembleConfig::new().with_name("both").with_combination(weights).with_threshold(0.6);
    let file = EnsembleFile::new(vec![member("a.model", "a"), member("b.model", "b")], config);
    file.write(&path).unwrap();
    assert!(EnsembleFile::is_one(&path));
    assert_eq!(EnsembleFile::read(&path).unwrap(), file);
    for name in ["a.model", "b.model"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let load = |path: &std::path::Path| {
        let letter = path.file_name().unwrap().to_str().unwrap()[..1].to_owned();
        Ok(Model::new(&letter, 0.5).with_sha256(&letter))
    };
    let loaded = Ensemble::load(&path, load).unwrap();
    assert_eq!((loaded.info().name.as_str(), loaded.info().threshold), ("both", 0.6));
    assert_eq!(loaded.models()[1].info.name, "b");
}

#[test]
fn a_model_of_an_ensemble_file_that_is_missing_or_another_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.json");
    EnsembleFile::new(vec![member("a.model", "a"), member("b.model", "b")], EnsembleConfig::new())
        .write(&path)
        .unwrap();
    let refused = || {
        let load = |_: &std::path::Path| Ok(Model::new("a", 0.5).with_sha256("A"));
        Ensemble::load(&path, load).unwrap_err()
    };
    std::fs::write(folder.path().join("a.model"), "").unwrap();
    let missing = refused().to_string();
    assert!(missing.contains("b.model is not at") && missing.contains("write the ensemble file again"), "{missing}");
    std::fs::write(folder.path().join("b.model"), "").unwrap();
    let error = refused();
    assert!(matches!(error, Error::EnsembleHash { .. }), "{error}");
    let other = error.to_string();
    assert!(other.contains("b.model has SHA-256 AAAA") && other.contains("made with bbbb"), "{other}");
}

#[test]
fn files_that_are_no_ensemble_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.json");
    let refused = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let message = EnsembleFile::read(&path).unwrap_err().to_string();
        assert!(!message.contains(char::is_control), "{message:?}");
        message
    };
    let whole =
        serde_json::to_string(&EnsembleFile::new(vec![member("a", "a"), member("b", "b")], EnsembleConfig::new()));
    let whole = whole.unwrap();
    for (text, part) in [
        (String::new(), "odd.json: it is not an ensemble file"),
        ("{}".into(), "deepsight_ensemble"),
        (whole.replace(":1,", ":2,"), "it has version 2; this program reads version 1"),
        (whole.replace(&"a".repeat(64), "abc"), "64 hexadecimal digits are needed"),
        (whole.replace("\"mean\"", "\"median\""), "unknown variant"),
        (whole.replace("\"threshold\":0.5", "\"threshold\":1.0"), "threshold is 1"),
        (
            whole.replace("\"threshold\"", "\"treshold\":0.6,\"threshold\""),
            "it has no field \"treshold\"; its fields are",
        ),
        (whole.replace("\"file\":\"a\"", "\"file\":\"a\",\"weight\":2"), "unknown field `weight`"),
        (" ".repeat(1 << 21), "it is larger than 1048576 bytes"),
    ] {
        let message = refused(&text);
        assert!(message.contains(part), "{part}: {message}");
    }
    // Every truncation is an error and no panic.
    for end in 0..whole.len() {
        refused(&whole[..end]);
    }
    assert!(!EnsembleFile::is_one(folder.path().join("missing")));
    std::fs::write(&path, [0x7b, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
    assert!(!EnsembleFile::is_one(&path), "a model file whose header has 123 bytes");
}

use deepsight_core::report::{Paper, Record, ReportPdf};
use deepsight_core::{Analyzer, Error, Input, Report};
use image::{Rgb, RgbImage};
use lopdf::{Dictionary, Document, Object};

use super::report::report;
use super::stand_ins::{Classifier, Detector, frames};

/// The text of each page, without its line breaks, which depend on the width of the page.
fn pages(pdf: &[u8]) -> Vec<String> {
    let document = Document::load_mem(pdf).unwrap();
    let text = |number: u32| document.extract_text(&[number]).unwrap();
    let words = |number: u32| text(number).split_whitespace().collect::<Vec<_>>().join(" ");
    document.get_pages().into_keys().map(words).collect()
}

/// How often the pages draw a picture. Equal pictures are in the file once.
fn pictures(pdf: &[u8]) -> usize {
    let document = Document::load_mem(pdf).unwrap();
    let drawn = |page| {
        let operations = document.get_and_decode_page_content(page).unwrap().operations;
        operations.iter().filter(|operation| operation.operator == "Do").count()
    };
    document.get_pages().into_values().map(drawn).sum()
}

fn has(dict: &Dictionary, key: &[u8], name: &[u8]) -> bool {
    dict.get(key).and_then(Object::as_name).is_ok_and(|found| found == name)
}

fn record() -> Record {
    Record::new()
        .with_created("2026-11-29T18:04:11+01:00")
        .with_program("deepsight 0.1.0")
        .with_case(Some("Wahlkampf 7/2026 – Ελλάδα".into()))
        .with_analyst(Some("A. Müller".into()))
        .with_tags(vec!["election".into(), "telegram".into()])
        .with_note(Some("Sent by a reader.\nThe lips move oddly.".into()))
}

#[test]
fn the_document_shows_what_the_report_says() {
    let report = report(8, true).with_record(record());
    let mut pdf = ReportPdf::new(&report);
    for index in report.telling_frames() {
        pdf = pdf.with_frame(index, &RgbImage::from_pixel(320, 180, Rgb([90, 120, 150]))).unwrap();
    }
    let bytes = pdf.to_pdf().unwrap();
    let text = pages(&bytes).join(" ");
    for part in [
        "talk.mp4",
        "FAKE",
        "At least one face looks forged.",
        "An estimate by a trained model, not proof",
        "Wahlkampf 7/2026 – Ελλάδα",
        "A. Müller",
        "2026-11-29T18:04:11+01:00",
        "election, telegram",
        "The lips move oddly.",
        "Person 1 (decides)",
        "face detection failed: no eyes",
        "Fake probability",
        "This report is not signed.",
        &"ab".repeat(32),
    ] {
        // A hash is divided where its line ends.
        let found = text.contains(part) || text.replace(' ', "").contains(&part.replace(' ', ""));
        assert!(found, "{part} in {text}");
    }
    for reason in &report.reasons {
        assert!(text.contains(&reason.to_string()), "{reason}");
    }
    // Three faces with their maps, and the frames of both people.
    assert_eq!(pictures(&bytes), 6 + report.telling_frames().len());
}

#[test]
fn the_report_is_attached_as_json() {
    let report = report(5, true).with_record(record());
    let document = Document::load_mem(&ReportPdf::new(&report).to_pdf().unwrap()).unwrap();
    let attached = document.objects.values().filter_map(|object| object.as_stream().ok());
    let attached: Vec<_> = attached.filter(|stream| has(&stream.dict, b"Type", b"EmbeddedFile")).collect();
    let [file] = attached[..] else { panic!("{} files", attached.len()) };
    let json = file.decompressed_content().unwrap_or_else(|_| file.content.clone());
    assert_eq!(String::from_utf8(json).unwrap(), report.to_json_pretty().unwrap());
}

#[test]
fn both_papers_have_their_size_and_every_page_its_number() {
    let report = report(8, true);
    for (paper, width, height) in [(Paper::A4, 595.28, 841.89), (Paper::Letter, 612.0, 792.0)] {
        let bytes = ReportPdf::new(&report).with_paper(paper).to_pdf().unwrap();
        let document = Document::load_mem(&bytes).unwrap();
        for id in document.get_pages().into_values() {
            let page = document.get_object(id).unwrap().as_dict().unwrap();
            let size: Vec<f32> = page
                .get(b"MediaBox")
                .unwrap()
                .as_array()
                .unwrap()
                .iter()
                .map(|side| side.as_float().unwrap())
                .collect();
            assert!((size[2] - width).abs() < 0.01 && (size[3] - height).abs() < 0.01, "{size:?}");
        }
        let texts = pages(&bytes);
        for (number, text) in texts.iter().enumerate() {
            assert!(text.contains(&format!("Page {} of {}", number + 1, texts.len())), "{text}");
        }
        assert_eq!(paper.to_string().parse::<Paper>(), Ok(paper));
    }
    assert!("a5".parse::<Paper>().is_err());
}

#[test]
fn a_document_without_faces_says_so_and_the_same_report_gives_the_same_bytes() {
    let report = report(4, false);
    let bytes = ReportPdf::new(&report).to_pdf().unwrap();
    let text = pages(&bytes).join(" ");
    assert!(text.contains("No reliable answer can be given.") && text.contains("no face was scored"), "{text}");
    assert_eq!(pictures(&bytes), 0);
    assert_eq!(ReportPdf::new(&report).to_pdf().unwrap(), bytes);
}

#[test]
fn long_texts_and_many_people_go_on_on_the_next_page_and_lose_nothing() {
    let mut report =
        report(8, true).with_record(record().with_note(Some((0..400).map(|word| format!("word{word}\n")).collect())));
    report.input = Input::new(format!("{}.mp4", "x".repeat(3000)));
    let track = report.tracks[0].clone();
    report.tracks = (0..300)
        .map(|id| {
            let mut track = track.clone();
            track.id = id;
            track
        })
        .collect();
    let texts = pages(&ReportPdf::new(&report).to_pdf().unwrap());
    let text = texts.join(" ");
    for word in 0..400 {
        assert!(text.contains(&format!("word{word} ")), "word{word}");
    }
    for person in 1..=300 {
        assert!(text.contains(&format!("Person {person} ")), "Person {person}");
    }
    // The head of a table stands on each of its pages.
    assert!(text.matches("Person Mean Highest").count() > 3);
    assert!(texts.len() < 40, "{} pages", texts.len());
}

#[test]
fn nothing_is_written_beside_the_page() {
    let long = record().with_analyst(Some("a very long name ".repeat(400))).with_case(Some("c\n".repeat(300)));
    let mut report = report(8, true).with_record(long);
    report.model.terms = "terms and conditions ".repeat(600);
    let mut pdf = ReportPdf::new(&report);
    for index in report.telling_frames() {
        pdf = pdf.with_frame(index, &RgbImage::new(100, 900)).unwrap();
    }
    let bytes = pdf.to_pdf().unwrap();
    let document = Document::load_mem(&bytes).unwrap();
    for page in document.get_pages().into_values() {
        // The page's axes are turned once, so that they begin at the top; pictures and texts turn them for themselves.
        for operation in document.get_and_decode_page_content(page).unwrap().operations {
            let numbers: Vec<f32> = operation.operands.iter().filter_map(|it| it.as_float().ok()).collect();
            let (x, y) = match (operation.operator.as_str(), &numbers[..]) {
                ("Tm" | "cm", [.., x, y]) | ("m" | "l", [x, y]) => (*x, *y),
                _ => continue,
            };
            assert!((0.0..=596.0).contains(&x) && (0.0..=842.0).contains(&y), "{operation:?}");
        }
    }
    let text = pages(&bytes).join(" ");
    let count = |wanted: &str| text.split(' ').filter(|word| *word == wanted).count();
    assert_eq!((count("conditions"), count("c")), (600, 300));
}

#[test]
fn a_picture_is_called_a_picture() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|_| 0.9));
    let config = deepsight_core::AnalyzerConfig::new().for_still_picture();
    let report = Analyzer::new(&detector, &classifier).with_config(config).analyze(frames(1)).unwrap();
    let text = pages(&ReportPdf::new(&report.of_still_picture()).to_pdf().unwrap()).join(" ");
    assert!(text.contains("Report on the faces in a picture") && text.contains("1 picture"), "{text}");
    assert!(!text.contains("Over time") && !text.contains("SHA-256 of the video"), "{text}");
}

#[test]
fn the_attached_json_is_the_one_that_was_read() {
    let json = report(5, true).to_json().unwrap().replace("at or above", "as was said before, above");
    let report = Report::from_json(&json).unwrap();
    let document = Document::load_mem(&ReportPdf::new(&report).with_json(&json).to_pdf().unwrap()).unwrap();
    let mut streams = document.objects.values().filter_map(|object| object.as_stream().ok());
    let file = streams.find(|stream| has(&stream.dict, b"Type", b"EmbeddedFile")).unwrap();
    assert_eq!(String::from_utf8(file.decompressed_content().unwrap()).unwrap(), json);
}

#[test]
fn extreme_values_and_letters_of_all_scripts_still_give_a_document() {
    let json = report(5, true).to_json().unwrap();
    for (from, to) in [
        ("\"track\":0", "\"track\":18446744073709551615"),
        ("\"id\":0", "\"id\":18446744073709551615"),
        ("\"time\":0.0,", "\"time\":-3e38,"),
        ("\"time\":0.0,", "\"time\":3e38,"),
        ("\"min_track_faces\":3", "\"min_track_faces\":0"),
        ("\"fake_probability\":0.5}", "\"fake_probability\":-3e38}"),
        ("\"threshold\":0.5,", "\"threshold\":3e38,"),
        ("clips/talk.mp4", "مرحبا/שלום/视频 🎬\\u0000\\u0007\\u202e\\u2066.mp4"),
        ("clips/talk.mp4", ""),
    ] {
        assert!(json.contains(from), "{from} in {json}");
        let report = Report::from_json(&json.replace(from, to)).unwrap();
        let record = record().with_created(to);
        let bytes = ReportPdf::new(&report.with_record(record)).to_pdf().unwrap();
        assert!(!pages(&bytes).is_empty(), "{to}");
    }
}

#[test]
fn the_telling_frames_are_the_highest_of_each_person_and_no_more_than_24() {
    let (detector, classifier) = (Detector::two_people(), Classifier::of(|number| f32::from(number) / 255.0));
    let report = Analyzer::new(&detector, &classifier).analyze(frames(12)).unwrap();
    let telling = report.telling_frames();
    for track in &report.tracks {
        let score = |frame: &deepsight_core::report::ReportFrame| {
            frame
                .faces
                .iter()
                .filter(|face| face.track == Some(track.id))
                .filter_map(|face| face.fake_probability)
                .fold(f32::MIN, f32::max)
        };
        let highest = report.frames.iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
        assert!(telling.contains(&highest.index), "{telling:?} lacks {}", highest.index);
    }
    let mut crowd = report.clone();
    crowd.frames = (0..60)
        .map(|index| {
            let mut frame = report.frames[0].clone();
            frame.index = index;
            frame.faces.truncate(1);
            frame.faces[0].track = Some(index as usize);
            frame.faces[0].fake_probability = Some(index as f32 / 60.0);
            frame
        })
        .collect();
    crowd.tracks = (0..60)
        .map(|id| {
            let mut track = report.tracks[0].clone();
            track.id = id;
            track
        })
        .collect();
    assert_eq!(crowd.telling_frames(), (36..60).collect::<Vec<_>>());
}

#[test]
fn a_picture_without_pixels_is_refused() {
    let report = report(4, false);
    let error = ReportPdf::new(&report).with_frame(0, &RgbImage::new(0, 0)).unwrap_err();
    assert!(matches!(&error, Error::Pdf { reason } if reason.contains("no pixels")), "{error}");
}

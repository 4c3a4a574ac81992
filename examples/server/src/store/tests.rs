//! The same tests over each kind of database.
#![allow(clippy::unwrap_used)]

use rusqlite::Connection;

use super::*;
use crate::audit::{Action, Actor, Entry};
use crate::domain::{Analysis, Finished, Label, MadeKey, Moment, Origin, Remarks, Settings, Status};
use crate::look::Look;

#[cfg(feature = "postgres")]
#[path = "../../tests/support/cluster.rs"]
mod cluster;

/// Calls `test` with an empty SQLite, and with an empty database of PostgreSQL if that is installed.
pub(super) fn over_each(test: impl Fn(&Store)) {
    let folder = tempfile::tempdir().unwrap();
    test(&Store::open(&folder.path().join("deepsight.sqlite")).unwrap());
    #[cfg(feature = "postgres")]
    over_postgres(test);
}

/// Calls `test` with an empty database of PostgreSQL, if that is installed.
#[cfg(feature = "postgres")]
pub(super) fn over_postgres(test: impl Fn(&Store)) {
    if let Some(address) = cluster::database() {
        let store = Store::open_shared(&address.parse().unwrap()).unwrap();
        store.join("all", 1, std::time::Duration::from_secs(60)).unwrap();
        test(&store);
    }
}

pub(super) fn entry(action: Action) -> Entry {
    Entry::new(action, &Actor { key: "desk".into(), address: "192.0.2.1".into(), request: "r1".into() })
}

/// Returns a new analysis of a client.
pub(super) fn analysis(id: &str, client: &str) -> Analysis {
    let origin = Origin { client: client.into(), owner: client.into(), ..Origin::default() };
    Analysis {
        id: id.into(),
        created: Moment(7),
        bytes: 1,
        sha256: id.into(),
        upload: Some(id.into()),
        ..Analysis::new("clip.mp4".into(), Settings::default(), origin)
    }
}

/// Adds an analysis whose video has arrived.
fn add(store: &Store, analysis: &Analysis, webhook: Option<&str>) {
    if let Some(name) = &analysis.upload {
        store.add_upload(name, Moment(1)).unwrap();
    }
    store.insert(analysis, webhook, &entry(Action::Submit)).unwrap();
}

/// An analysis in layout 1.
const IN_LAYOUT_1: &str = r#"
    INSERT INTO analyses (id, status, created, file_name, bytes, sha256, settings, upload, owner, fingerprint)
        VALUES ('a', 'queued', 7, 'clip.mp4', 1, '',
            '{"frames":1,"fps":null,"aggregation":"median","threshold":null,"min_face_size":20.0}', 'file', 'desk',
            '');"#;

#[test]
fn a_database_of_the_first_layout_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deepsight.sqlite");
    let connection = Connection::open(&path).unwrap();
    [sqlite::LAYOUTS[0], IN_LAYOUT_1].into_iter().try_for_each(|batch| connection.execute_batch(batch)).unwrap();
    drop(connection);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.known_uploads().unwrap().into_iter().collect::<Vec<_>>(), ["file"]);
    assert_eq!(store.unused_uploads().unwrap().len(), 0);
    let analysis = store.get("a").unwrap().unwrap();
    assert_eq!((&*analysis.origin.client, analysis.source), ("desk", None));
    drop(store);
    Store::open(&path).unwrap();
}

#[test]
fn a_full_disk_is_distinguished_from_other_errors() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("deepsight.sqlite")).unwrap();
    store.session().unwrap().batch("PRAGMA max_page_count = 1").unwrap();
    let full = (0..10_000).find_map(|number| store.add_upload(&format!("{number:032x}"), Moment(0)).err()).unwrap();
    assert!(full.is_full(), "{full:?}");
    let problem = Failure::of_store(&full, "the report");
    assert!(problem.status() == 507 && problem.detail().contains("the report could not be stored"), "{problem:?}");
    let taken = store.add_upload(&format!("{:032x}", 0), Moment(0)).unwrap_err();
    assert!(taken.is_taken() && !taken.is_full(), "{taken:?}");
    assert_eq!(Failure::of_store(&taken, "the report").status(), 500);
}

#[test]
fn a_database_of_another_program_or_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deepsight.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Foreign { .. })));
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Version { found: 99, .. })));
}

#[test]
fn a_name_that_exists_is_taken_and_a_lost_transaction_leaves_nothing() {
    over_each(|store| {
        store.add_upload("one", Moment(1)).unwrap();
        assert!(store.add_upload("one", Moment(2)).unwrap_err().is_taken());
        let first = Analysis {
            origin: Origin { idempotency_key: Some("k".into()), ..analysis("a", "desk").origin },
            ..analysis("a", "desk")
        };
        add(store, &first, Some("https://example.org/"));
        store.add_upload("b", Moment(1)).unwrap();
        let second = Analysis { id: "b".into(), upload: Some("b".into()), ..first };
        assert!(store.insert(&second, None, &entry(Action::Submit)).unwrap_err().is_taken());
        assert!(store.get("b").unwrap().is_none());
        assert_eq!(store.by_idempotency_key("desk", "k").unwrap().unwrap().id, "a");
        let mut rows = 0;
        store
            .export_audit(|_| {
                rows += 1;
                true
            })
            .unwrap();
        assert_eq!(rows, 1, "the refused analysis is not in the audit");
    });
}

/// Adds an analysis that is done.
fn done(store: &Store, analysis: &Analysis, finished: i64) {
    add(store, analysis, Some("https://example.org/"));
    let begun = match store.process() {
        None => store.begin(&analysis.id, Moment(8)).unwrap(),
        Some(_) => store.take_next(Moment(8)).unwrap().unwrap().id == analysis.id,
    };
    assert!(begun);
    let analysis = &Analysis { process: store.process(), ..analysis.clone() };
    let result = Finished {
        verdict: deepsight_core::Verdict::Fake,
        fake_probability: Some(0.75),
        threshold: 0.5,
        reasons: vec!["It is.".into()],
        faces: 2,
        people: 1,
        frames: 2,
        errors: 0,
        model: Some("m".into()),
    };
    let seen = Seen {
        pictures: vec![Picture { frame: u64::MAX, face: 1, jpeg: vec![7; 1000] }],
        look: Some(Look::from_bytes(&[1, 2, 3, 4, 5, 6, 7, 8])),
    };
    assert!(store.finish(analysis, Moment(finished), &result, "{ \"a\": 1 }", "<p>", &seen).unwrap());
}

#[test]
fn a_report_is_read_as_it_was_stored_and_goes_with_its_analysis() {
    over_each(|store| {
        let first = analysis("a", "desk");
        done(store, &first, 9);
        let read = store.get("a").unwrap().unwrap();
        assert_eq!((read.status, read.attempts, read.started), (Status::Done, 1, Some(Moment(8))));
        assert_eq!(read.result.unwrap().reasons, ["It is."]);
        assert_eq!(store.report_json("a").unwrap().unwrap(), "{ \"a\": 1 }");
        assert_eq!(store.report_html("a").unwrap().unwrap(), "<p>");
        assert_eq!(store.pictures("a").unwrap().into_iter().collect::<Vec<_>>(), [(u64::MAX, 1)]);
        assert_eq!(store.picture("a", u64::MAX, 1).unwrap().unwrap(), [7; 1000]);
        assert!(store.picture("a", 0, 0).unwrap().is_none());
        done(store, &analysis("b", "desk"), 10);
        let similar = store.similar(None, &store.get("a").unwrap().unwrap(), 5).unwrap();
        assert_eq!(similar.iter().map(|(other, alike)| (&*other.id, *alike)).collect::<Vec<_>>(), [("b", 1.0)]);
        assert_eq!(store.remove("a", &entry(Action::Remove)).unwrap(), Some(Some("a".into())));
        assert!(store.report_json("a").unwrap().is_none() && store.picture("a", u64::MAX, 1).unwrap().is_none());
        assert_eq!(store.remove("a", &entry(Action::Remove)).unwrap(), None);
        assert!(!store.fail(&first, Moment(11), &Failure::internal()).unwrap(), "it is removed");
    });
}

#[test]
fn the_list_is_searched_without_regard_to_the_case_of_the_letters_a_to_z_and_in_pages() {
    over_each(|store| {
        for (id, owner, file_name) in
            [("a", "desk", "Big_Clip%.mp4"), ("b", "desk", "bigXclip.mp4"), ("c", "news", "ÄRGER\\.mp4")]
        {
            let of_owner = analysis(id, owner);
            done(store, &Analysis { file_name: file_name.into(), sha256: "same".into(), ..of_owner }, 9);
        }
        let remarks = |tags: &[&str], note: &str| Remarks {
            label: Some(Label::Unclear),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            note: note.into(),
        };
        let told = entry(Action::Remark);
        assert_eq!(store.remark("a", &remarks(&["Election", "x"], "On Air"), &told).unwrap(), Some(true));
        assert_eq!(store.remark("a", &remarks(&["Election", "x"], "On Air"), &told).unwrap(), Some(false));
        assert_eq!(store.remark("b", &remarks(&["election"], ""), &told).unwrap(), Some(true));
        assert_eq!(store.remark("z", &remarks(&[], ""), &told).unwrap(), None);
        let found = |filter: Filter| -> String {
            let page = store.page(&filter, None, 9).unwrap();
            page.items.iter().map(|analysis| &*analysis.id).collect()
        };
        let search = |text: &str| found(Filter { search: Some(text.into()), ..Filter::default() });
        assert_eq!(search("BIG"), "ba");
        assert_eq!(search("g_c"), "a");
        assert_eq!(search("%"), "a");
        assert_eq!(search("\\"), "c");
        assert_eq!(search("on air"), "a");
        assert_eq!((search("Ärger"), search("ärger")), ("c".into(), String::new()), "only A to Z");
        // SQLite takes it for the end of the text.
        search("\0");
        let tag = |text: &str| found(Filter { tag: Some(text.into()), ..Filter::default() });
        assert_eq!((tag("ELECTION"), tag("elect")), ("ba".into(), String::new()));
        assert_eq!(found(Filter { label: Some(None), ..Filter::default() }), "c");
        assert_eq!(found(Filter { label: Some(Some(Label::Unclear)), ..Filter::default() }), "ba");
        assert_eq!(found(Filter { verdict: Some(deepsight_core::Verdict::Fake), ..Filter::default() }), "cba");
        assert_eq!(found(Filter { verdict: Some(deepsight_core::Verdict::Real), ..Filter::default() }), "");
        assert_eq!(found(Filter { owner: Some("news".into()), ..Filter::default() }), "c");
        assert_eq!(found(Filter { from: Some(Moment(7)), to: Some(Moment(8)), ..Filter::default() }), "cba");
        assert_eq!(found(Filter { to: Some(Moment(7)), ..Filter::default() }), "");
        let first = store.page(&Filter::default(), None, 2).unwrap();
        let second = store.page(&Filter::default(), first.next, 2).unwrap();
        assert_eq!((first.items.len(), second.items.len(), second.next), (2, 1, None));
        let tags = store.tags(None, 9).unwrap();
        assert_eq!((tags.len(), tags[0].1, &tags[1]), (2, 2, &("x".to_owned(), 1)));
        assert_eq!(tags[0].0.to_ascii_lowercase(), "election");
        assert_eq!(store.tags(Some("news"), 9).unwrap(), []);
        let earlier = |owner, before| store.earlier(owner, "same", before, 9).unwrap().len();
        assert_eq!((earlier(None, i64::MAX), earlier(Some("news"), i64::MAX), earlier(None, 0)), (3, 1, 0));
        let same = |model| store.same(Some("desk"), "same", &Settings::default(), model).unwrap();
        assert_eq!((same("m").unwrap().id, same("other").is_none()), ("b".into(), true));
    });
}

#[test]
fn what_is_too_old_or_too_much_is_removed_the_oldest_first() {
    over_each(|store| {
        for (id, finished) in [("a", 10), ("b", 20), ("c", 30)] {
            done(store, &Analysis { bytes: 100, ..analysis(id, "desk") }, finished);
        }
        add(store, &analysis("d", "desk"), None);
        assert_eq!(store.expire(Moment(0), Moment(0), 250).unwrap(), ["a"], "two videos fit");
        assert_eq!(store.expire(Moment(25), Moment(0), 250).unwrap(), ["b"]);
        assert!(store.get("a").unwrap().unwrap().upload.is_none());
        assert_eq!(store.expire(Moment(0), Moment(15), 250).unwrap(), [] as [&str; 0]);
        assert!(store.get("a").unwrap().is_none() && store.get("b").unwrap().is_some());
        assert_eq!(store.trim(u64::MAX).unwrap(), [] as [&str; 0]);
        assert_eq!(store.trim(0).unwrap(), ["c"]);
        let left = store.page(&Filter::default(), None, 9).unwrap().items;
        assert_eq!(left.iter().map(|analysis| &*analysis.id).collect::<Vec<_>>(), ["d"], "it has not ended");
        while store.shrink().unwrap() {}
    });
}

#[test]
fn a_webhook_is_ready_once_and_its_attempts_are_counted() {
    over_each(|store| {
        done(store, &analysis("a", "desk"), 9);
        assert_eq!(store.unannounced().unwrap(), ["a"]);
        assert!(store.announce("a", "{}", Moment(5)).unwrap() && !store.announce("a", "{}", Moment(5)).unwrap());
        assert_eq!((store.unannounced().unwrap().len(), store.pending_webhooks().unwrap()), (0, 1));
        let delivery = store.deliveries(9).unwrap().remove(0);
        assert!(store.claim_delivery(&delivery).unwrap());
        store.delivered(&delivery.id, Some(Moment(6))).unwrap();
        let again = store.deliveries(9).unwrap().remove(0);
        assert_eq!((again.attempts, again.due, &again.id), (1, Moment(6), &delivery.id));
        store.delivered(&delivery.id, None).unwrap();
        assert_eq!((store.deliveries(9).unwrap().len(), store.pending_webhooks().unwrap()), (0, 0));
    });
}

#[test]
fn uploads_in_parts_are_limited_by_client_and_in_bytes_and_become_part_of_an_analysis() {
    over_each(|store| {
        let add = |name: &str, bytes| {
            store.add_upload(name, Moment(1)).unwrap();
            let upload = PartialUpload {
                name: name.into(),
                owner: "desk".into(),
                client: "desk".into(),
                file_name: "clip.mp4".into(),
                metadata: "m".into(),
                bytes,
                changed: Moment(5),
            };
            store.add_partial_upload(&upload, 2, 100).unwrap()
        };
        assert!(add("a", 60) && !add("b", 50) && add("c", 40) && !add("d", 0));
        assert_eq!(store.partial_upload("a", "desk").unwrap().unwrap().bytes, 60);
        assert!(store.partial_upload("a", "news").unwrap().is_none());
        assert!(store.touch_partial_upload("a", Moment(9)).unwrap());
        assert!(store.claim_partial_upload("a").unwrap());
        assert_eq!(store.expire_partial_uploads(Moment(6)).unwrap(), ["c"]);
        assert!(!store.unused_uploads_before(Moment(2)).unwrap().contains(&"a".to_owned()));
        store.insert(&analysis("a", "desk"), None, &entry(Action::Submit)).unwrap();
        assert!(!store.take_partial_upload("a", "desk").unwrap(), "it is the analysis's");
        assert!(!store.unused_uploads_before(Moment(2)).unwrap().contains(&"a".to_owned()));
    });
}

#[test]
fn a_key_takes_its_links_with_it() {
    over_each(|store| {
        let key = MadeKey {
            name: "news".into(),
            is_admin: true,
            sha256: "00".into(),
            created: Moment(3),
            maker: "boss".into(),
        };
        store.add_key(&key, &entry(Action::NewKey)).unwrap();
        assert!(store.add_key(&key, &entry(Action::NewKey)).unwrap_err().is_taken());
        store.key_used("news", "2026-11-29").unwrap();
        store.key_used("news", "2026-11-30").unwrap();
        assert_eq!(store.key_uses().unwrap(), [("news".into(), "2026-11-30".into())]);
        let made = store.made_keys().unwrap();
        assert_eq!((&*made[0].maker, made[0].is_admin, made[0].created), ("boss", true, Moment(3)));
        let remove =
            |name, has_other_admin| store.remove_key(name, has_other_admin, &entry(Action::RevokeKey)).unwrap();
        assert!(!remove("news", false), "without it, nobody could make keys");
        store.add_key(&MadeKey { name: "sports".into(), sha256: "01".into(), ..key }, &entry(Action::NewKey)).unwrap();
        assert!(remove("news", false) && !remove("sports", false) && remove("sports", true));
        assert_eq!(store.made_keys().unwrap().len(), 0);
    });
}

#[cfg(feature = "postgres")]
mod shared {
    use std::time::Duration;

    use super::*;
    use crate::store::queue::Reserved;

    /// Opens the database of `store` as another process.
    fn another(address: &str) -> Store {
        let store = Store::open_shared(&address.parse().unwrap()).unwrap();
        store.join("worker", 1, Duration::from_secs(60)).unwrap();
        store
    }

    /// Calls `test` with two processes that share a database, and its address.
    fn over_two(test: impl Fn(&Store, &Store, &str)) {
        if let Some(address) = cluster::database() {
            test(&another(&address), &another(&address), &address);
        }
    }

    fn submit(store: &Store, id: &str) {
        add(store, &analysis(id, &id[..1]), None);
    }

    fn next(store: &Store) -> Option<String> {
        store.take_next(Moment(9)).unwrap().map(|analysis| analysis.id)
    }

    #[test]
    fn clients_take_turns_as_they_do_in_memory() {
        over_two(|one, two, _| {
            for id in ["a1", "a2", "a3", "b1", "c1", "c2"] {
                submit(one, id);
            }
            let waiting: Vec<String> = one.waiting().unwrap().into_iter().map(|(id, _)| id).collect();
            assert_eq!(waiting.len(), 6);
            let mut order = Vec::new();
            while let Some(id) = next(if order.len() % 2 == 0 { one } else { two }) {
                order.push(id);
            }
            assert_eq!(order, ["a1", "b1", "c1", "a2", "c2", "a3"]);
        });
    }

    #[test]
    fn a_new_client_comes_before_one_that_just_had_its_turn_and_after_all_others() {
        over_two(|one, _, _| {
            for id in ["a1", "a2", "a3"] {
                submit(one, id);
            }
            assert_eq!(next(one).unwrap(), "a1");
            submit(one, "b1");
            submit(one, "c1");
            let mut order = Vec::new();
            while let Some(id) = next(one) {
                if id.starts_with('b') && order.len() < 4 {
                    submit(one, &format!("b{}", order.len() + 2));
                }
                order.push(id);
            }
            assert_eq!(order, ["b1", "c1", "a2", "b2", "a3", "b5"]);
        });
    }

    #[test]
    fn only_the_process_that_holds_an_analysis_ends_it() {
        over_two(|one, two, _| {
            submit(one, "a1");
            let taken = one.take_next(Moment(9)).unwrap().unwrap();
            assert!(two.take_next(Moment(9)).unwrap().is_none());
            assert_eq!(one.held().unwrap().len(), 1);
            let stale = Analysis { process: two.process(), ..taken.clone() };
            assert!(!two.fail(&stale, Moment(10), &Failure::internal()).unwrap());
            two.put_back(&stale).unwrap();
            assert_eq!(one.get("a1").unwrap().unwrap().status, Status::Running);
            one.put_back(&taken).unwrap();
            let again = two.take_next(Moment(9)).unwrap().unwrap();
            assert_eq!(again.attempts, 1, "the attempt that was put back does not count");
            assert!(!one.fail(&taken, Moment(10), &Failure::internal()).unwrap());
            assert!(two.fail(&again, Moment(10), &Failure::internal()).unwrap());
            assert_eq!(one.get("a1").unwrap().unwrap().process, None);
        });
    }

    #[test]
    fn what_a_lost_process_held_is_free_for_the_others() {
        over_two(|one, two, address| {
            let lost = another(address);
            lost.renew(Duration::ZERO).unwrap();
            submit(one, "a1");
            let taken = lost.take_next(Moment(9)).unwrap().unwrap();
            let download = Analysis { upload: None, process: lost.process(), ..analysis("b1", "b") };
            lost.insert(&download, None, &entry(Action::Fetch)).unwrap();
            let question = Analysis { asker: lost.process(), ..analysis("c1", "c") };
            lost.add_upload("c1", Moment(1)).unwrap();
            lost.ask(&question).unwrap();
            lost.add_upload("half", Moment(1)).unwrap();
            assert!(matches!(lost.reserve("p0", "d", 9, 9).unwrap(), Reserved::Place));
            assert_eq!(one.unused_uploads().unwrap().len(), 0, "a process writes it");
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!((one.bury().unwrap(), two.bury().unwrap()), (1, 0));
            assert!(!lost.renew(Duration::from_secs(60)).unwrap());
            let mut unused = one.unused_uploads().unwrap();
            unused.sort();
            assert_eq!(unused, ["c1", "half"]);
            assert_eq!(two.unused_uploads().unwrap().len(), 0, "the first process deletes them");
            let late = lost.insert(&analysis("half", "d"), None, &entry(Action::Submit));
            assert!(matches!(late, Err(StoreError::Lost)), "its video is gone");
            assert!(one.get("c1").unwrap().is_none(), "nobody waits for the prediction");
            let orphan = two.take_orphan().unwrap().unwrap();
            assert_eq!((&*orphan.id, orphan.attempts), ("a1", 1));
            two.queue_again(&orphan).unwrap();
            let download = one.take_orphan().unwrap().unwrap();
            assert_eq!(download.id, "b1");
            assert!(one.fail(&download, Moment(9), &Failure::internal()).unwrap());
            assert!(one.take_orphan().unwrap().is_none());
            assert!(!lost.fail(&taken, Moment(9), &Failure::internal()).unwrap());
            assert_eq!(two.take_next(Moment(9)).unwrap().unwrap().attempts, 2);
            assert_eq!(one.crowd().unwrap().waiting, 0);
        });
    }

    #[test]
    fn places_are_counted_over_all_processes() {
        over_two(|one, two, _| {
            assert!(matches!(one.reserve("p1", "a", 3, 2).unwrap(), Reserved::Place));
            assert!(matches!(two.reserve("p2", "a", 3, 2).unwrap(), Reserved::Place));
            assert!(matches!(two.reserve("p3", "a", 3, 2).unwrap(), Reserved::TooMany(_)));
            submit(one, "b1");
            let Reserved::Full(crowd) = two.reserve("p3", "c", 3, 2).unwrap() else { panic!("the queue is full") };
            assert_eq!((crowd.waiting, crowd.workers), (3, 2));
            one.free("p1").unwrap();
            assert!(matches!(two.reserve("p3", "c", 3, 2).unwrap(), Reserved::Place));
        });
    }

    #[test]
    fn a_prediction_is_answered_once_and_not_listed() {
        over_two(|one, two, _| {
            let ask = |id: &str| {
                one.add_upload(id, Moment(1)).unwrap();
                one.ask(&Analysis { asker: one.process(), ..analysis(id, "a") }).unwrap();
            };
            ask("a1");
            assert_eq!(one.page(&Filter::default(), None, 9).unwrap().items.len(), 0);
            let taken = two.take_next(Moment(9)).unwrap().unwrap();
            assert!(!taken.is_stored() && one.take_answer("a1").unwrap().is_none());
            let mut deleted = 0;
            two.answer(&taken, Ok("{}"), || deleted += 1).unwrap();
            two.answer(&taken, Ok("{}"), || deleted += 1).unwrap();
            assert_eq!(deleted, 1, "the video is deleted by the process that holds the prediction");
            assert_eq!(one.take_answer("a1").unwrap(), Some(Ok("{}".into())));
            assert!(one.take_answer("a1").unwrap().is_none() && one.get("a1").unwrap().is_none());
            ask("a2");
            let taken = two.take_next(Moment(9)).unwrap().unwrap();
            one.withdraw("a2").unwrap();
            two.answer(&taken, Err(&Failure::internal()), || {}).unwrap();
            assert!(one.take_answer("a2").unwrap().is_none(), "the client has gone");
        });
    }

    #[test]
    fn progress_and_scores_are_followed_by_other_processes_and_end_with_the_analysis() {
        over_two(|one, two, _| {
            submit(one, "a1");
            let taken = two.take_next(Moment(9)).unwrap().unwrap();
            let counts = crate::domain::Counts { frames: 3, expected_frames: Some(9), faces: 2, errors: 0 };
            let under_way = crate::domain::UnderWay { counts, fetched: None };
            two.save_progress("a1", &under_way, 0, Some("[1,2]")).unwrap();
            two.save_progress("a1", &under_way, 2, Some("[3]")).unwrap();
            let followed = one.follow("a1", 0).unwrap().unwrap();
            assert_eq!((followed.status, followed.under_way), (Status::Running, under_way));
            assert_eq!(followed.faces, [(0, "[1,2]".into()), (2, "[3]".into())]);
            assert_eq!(one.follow("a1", 2).unwrap().unwrap().faces.len(), 1);
            assert_eq!(one.get("a1").unwrap().unwrap().under_way, Some(under_way));
            two.fail(&taken, Moment(9), &Failure::internal()).unwrap();
            assert_eq!(one.follow("a1", 0).unwrap().unwrap().faces.len(), 0);
            two.save_progress("a1", &under_way, 3, Some("[4]")).unwrap();
            assert_eq!(one.follow("a1", 0).unwrap().unwrap().faces.len(), 0, "it has ended");
            assert!(one.follow("other", 0).unwrap().is_none());
        });
    }

    #[test]
    fn a_webhook_and_an_upload_in_parts_are_claimed_by_one_process() {
        over_two(|one, two, _| {
            let failed = Analysis { process: one.process(), upload: None, ..analysis("a1", "a") };
            one.insert(&failed, Some("https://example.org/"), &entry(Action::Submit)).unwrap();
            one.fail(&failed, Moment(9), &Failure::internal()).unwrap();
            assert!(one.announce("a1", "{}", Moment(5)).unwrap() && !two.announce("a1", "{}", Moment(5)).unwrap());
            let [first, second] = [one, two].map(|store| store.deliveries(9).unwrap().remove(0));
            assert!(one.claim_delivery(&first).unwrap() && !two.claim_delivery(&second).unwrap());
            assert_eq!(two.deliveries(9).unwrap().len(), 0);
            one.delivered(&first.id, Some(Moment(6))).unwrap();
            assert!(!two.claim_delivery(&second).unwrap(), "it was sent meanwhile");

            one.add_upload("part", Moment(1)).unwrap();
            let upload = PartialUpload {
                name: "part".into(),
                owner: String::new(),
                client: String::new(),
                file_name: String::new(),
                metadata: String::new(),
                bytes: 1,
                changed: Moment(1),
            };
            one.add_partial_upload(&upload, 9, 9).unwrap();
            assert!(one.claim_partial_upload("part").unwrap() && !two.claim_partial_upload("part").unwrap());
            two.free_partial_upload("part").unwrap();
            assert!(!two.claim_partial_upload("part").unwrap(), "it is not this process's");
            one.free_partial_upload("part").unwrap();
            assert!(two.claim_partial_upload("part").unwrap());
        });
    }

    #[test]
    fn processes_hear_of_each_other_s_changes() {
        over_two(|one, two, _| {
            let (sender, heard) = std::sync::mpsc::channel();
            one.listen(move |text| drop(sender.send(text.to_owned())));
            let wait = Duration::from_secs(60);
            assert_eq!(heard.recv_timeout(wait).unwrap(), "", "the beginning");
            submit(two, "a1");
            let first = heard.recv_timeout(wait).unwrap();
            let second = heard.recv_timeout(wait).unwrap();
            assert_eq!((&*first, &*second), ("queue", "analysis a1"));
        });
    }

    #[test]
    fn a_lost_connection_is_replaced() {
        over_two(|one, two, _| {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE pid <> pg_backend_pid() AND datname = current_database()";
            one.ping().unwrap();
            two.session().unwrap().batch(kill).unwrap();
            // A statement fails at most once for each connection that was lost.
            let begun = std::time::Instant::now();
            while one.ping().is_err() {
                assert!(begun.elapsed() < Duration::from_secs(60));
            }
        });
    }

    #[test]
    fn tables_of_another_program_or_of_a_newer_version_are_refused_and_the_address_is_shown_without_secrets() {
        let Some(address) = cluster::database() else { return };
        cluster::sql(&address, "CREATE TABLE mine (x INT)");
        let open = |address: &str| Store::open_shared(&address.parse().unwrap()).map(drop);
        assert!(matches!(open(&address), Err(StoreError::Foreign { .. })));
        let Some(address) = cluster::database() else { return };
        let exists = || Store::look_into_shared(&address.parse().unwrap()).unwrap().is_some();
        assert!(!exists(), "it is empty");
        open(&address).unwrap();
        assert!(exists());
        cluster::sql(&address, "UPDATE deepsight SET layout = 99");
        assert!(matches!(open(&address), Err(StoreError::Version { found: 99, .. })));
        for (address, part) in [
            (address.replace("/test_", "/missing_"), "does not exist"),
            ("postgres://desk:secret@127.0.0.1:1/x".to_owned(), "127.0.0.1:1/x"),
            (format!("{address}&sslmode=require&password=secret"), "TLS"),
            ("hello secret".to_owned(), "--database"),
        ] {
            let error = deepsight_core::with_causes(&open(&address).unwrap_err());
            assert!(error.contains(part) && !error.contains("secret"), "{address}: {error}");
        }
        let guarded = cluster::named(cluster::GUARDED).unwrap();
        cluster::sql(&guarded.replace(cluster::GUARDED, "postgres"), "ALTER ROLE deepsight PASSWORD 'right'");
        let error = deepsight_core::with_causes(&open(&format!("{guarded}&password=secret")).unwrap_err());
        assert!(error.contains("password") && !error.contains("secret"), "{error}");
        open(&format!("{guarded}&password=right")).unwrap();
    }

    #[test]
    fn a_connection_with_tls_checks_the_certificate_and_the_host_and_tells_of_changes() {
        let Some(tls) = cluster::tls() else { return };
        let open = |address: String| Store::open_shared(&address.parse().unwrap());
        let roots = tls.authorities.display();
        let store = open(format!("{}&sslmode=verify-full&sslrootcert={roots}", tls.address)).unwrap();
        let sql = "SELECT CAST(ssl AS INT) AS is_tls FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let is_tls = |store: &Store| store.session().unwrap().value::<bool>("is_tls", sql, &[]).unwrap();
        assert_eq!(is_tls(&store), Some(true));
        let (sender, heard) = std::sync::mpsc::channel();
        store.listen(move |text| drop(sender.send(text.to_owned())));
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)).unwrap(), "");
        // The database refuses connections without TLS, and nothing falls back to one.
        let refused = [
            (format!("{}&sslmode=disable", tls.address), "pg_hba.conf"),
            (format!("{}&sslmode=require", tls.address), "UnknownIssuer"),
            (format!("{}&sslrootcert={}", tls.address, tls.stranger.display()), "invalid peer certificate"),
            (
                format!("{}&sslrootcert={roots}", tls.address.replace("host=", "host=elsewhere.example&hostaddr=")),
                "not valid for name",
            ),
            (format!("{}&sslrootcert=/missing.pem", tls.address), "/missing.pem"),
            (format!("{}&sslrootcert={}", tls.address, file!()), "cannot use the certificate authorities"),
        ];
        for (address, part) in refused {
            let error = deepsight_core::with_causes(&open(address.clone()).map(drop).unwrap_err());
            assert!(error.contains(part), "{address}: {error}");
        }
    }

    #[test]
    fn sessions_end_by_their_time_by_request_and_beyond_a_number() {
        over_two(|one, two, _| {
            let hour = Duration::from_secs(3600);
            one.add_session("a", "key", hour, 2).unwrap();
            one.add_session("b", "key", hour * 2, 2).unwrap();
            two.add_session("c", "key", hour * 3, 2).unwrap();
            let keys = ["a", "b", "c"].map(|cookie| one.session_key(cookie).unwrap().is_some());
            assert_eq!(keys, [false, true, true]);
            two.end_session("b").unwrap();
            assert!(one.session_key("b").unwrap().is_none());
            two.add_session("d", "key", Duration::ZERO, 9).unwrap();
            assert!(one.session_key("d").unwrap().is_none());
        });
    }

    #[test]
    fn a_database_is_bound_to_one_folder() {
        over_two(|one, two, _| {
            assert_eq!(one.bind("first").unwrap(), "first");
            assert_eq!(two.bind("second").unwrap(), "first");
        });
    }
}

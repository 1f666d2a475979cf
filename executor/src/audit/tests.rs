use std::path::Path;

use serde_json::Value;

use super::*;

fn at(path: &Path) -> Settings {
    Settings {
        place: Place::At(path.to_owned()),
        ..Settings::on()
    }
}

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Whole lines, of a file that may be written right now.
fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().matches('\n').count()
}

fn names(path: &Path) -> Vec<String> {
    let name = |record: &Value| record["ev"].as_str().unwrap().to_owned();
    records(path).iter().map(name).collect()
}

#[tokio::test]
async fn what_is_recorded_is_in_the_file_when_the_log_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/audit.jsonl");
    let audit = Audit::start(&at(&path), None).unwrap();
    audit.record(&Who::default(), Event::Start);
    audit.record_with(&Who::default(), || Event::Connect);
    audit.finish().await;
    assert_eq!(names(&path), ["start", "connect"]);
    assert_eq!(verify(&[&path]).unwrap().records, 2);
    // Too late, and it says so by its count.
    audit.record(&Who::default(), Event::Stop);
    assert_eq!((names(&path).len(), audit.lost()), (2, 1));
}

#[tokio::test]
async fn the_default_place_is_a_folder_for_the_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::start(&Settings::on(), Some(folder.path().join("farstep"))).unwrap();
    audit.record(&Who::default(), Event::Start);
    audit.finish().await;
    assert_eq!(names(&folder.path().join("farstep/audit.jsonl")), ["start"]);
}

#[tokio::test]
async fn a_default_place_that_cannot_be_used_stops_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let audit = Audit::start(&Settings::on(), Some(file.path().join("below a file"))).unwrap();
    audit.record(&Who::default(), Event::Start);
    assert_eq!(audit.admit(), Ok(()));
    audit.finish().await;
    assert!(Audit::start(&Settings::on(), None).is_ok());
}

#[tokio::test]
async fn a_required_log_that_cannot_be_opened_is_an_error_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut settings = at(&file.path().join("below a file"));
    settings.required = true;
    let refused = Audit::start(&settings, None).unwrap_err();
    assert!(matches!(refused, StartError::Open { .. }));
    settings.place = Place::Default;
    let refused = Audit::start(&settings, None).unwrap_err();
    assert!(matches!(refused, StartError::Nowhere));
}

/// Waits for what the thread of the log does.
async fn until(what: impl Fn() -> bool) {
    let all = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .expect("never happened");
}

#[tokio::test]
async fn a_required_log_that_fails_refuses_commands_until_it_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut settings = at(&path);
    settings.required = true;
    let audit = Audit::start(&settings, None).unwrap();
    assert_eq!(audit.admit(), Ok(()));
    // A folder of that name: nothing can be appended, whoever we are.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    audit.record(&Who::default(), Event::Connect);
    until(|| audit.admit() == Err(Unrecorded)).await;

    std::fs::remove_dir(&path).unwrap();
    until(|| audit.admit() == Ok(())).await;
    audit.finish().await;
    assert_eq!(
        (names(&path), audit.lost()),
        (vec!["connect".to_owned()], 0)
    );
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_the_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::create_dir(&path).unwrap();
    let audit = Audit::start(&at(&path), None).unwrap();
    let surplus = 10;
    audit.record(&Who::default(), Event::Connect);
    // The first is in the hands of the thread now, and stays there.
    until(|| audit.0.as_ref().unwrap().failing.load(Ordering::Relaxed)).await;
    for _ in 0..WAITING_MAX + surplus {
        audit.record(&Who::default(), Event::SessionNew);
    }
    assert_eq!(audit.lost(), surplus as u64);
    // Not required, so nothing is refused.
    assert_eq!(audit.admit(), Ok(()));

    std::fs::remove_dir(&path).unwrap();
    // The one that failed, those that waited, and what was lost.
    let written = WAITING_MAX + 2;
    until(|| path.is_file() && lines(&path) == written).await;
    audit.record(&Who::default(), Event::Start);
    audit.finish().await;
    let found = records(&path);
    let lost: Vec<_> = found
        .iter()
        .filter(|record| record["ev"] == "audit.lost")
        .map(|record| record["count"].clone())
        .collect();
    assert_eq!(lost, [surplus]);
    assert_eq!(verify(&[&path]).unwrap().records, written as u64 + 1);
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::create_dir(&path).unwrap();
    let audit = Audit::start(&at(&path), None).unwrap();
    let removed = || Event::FsRemove {
        path: "x".repeat(4000),
        recursive: false,
    };
    audit.record(&Who::default(), removed());
    until(|| audit.0.as_ref().unwrap().failing.load(Ordering::Relaxed)).await;
    let mut waiting = 0;
    while audit.lost() == 0 {
        audit.record(&Who::default(), removed());
        waiting += 1;
    }
    assert!(waiting < WAITING_MAX / 4, "{waiting} records wait");
    assert!(waiting * 5000 > WAITING_BYTES_MAX, "{waiting} records wait");
}

#[tokio::test]
async fn strangers_cannot_push_out_what_others_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::start(&at(&path), None).unwrap();
    let began = Instant::now();
    let flood = 50_000;
    for _ in 0..flood {
        audit.record(&Who::default(), Event::Connect);
    }
    let seconds = u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
    audit.record(&Who::default(), Event::SessionNew);
    audit.finish().await;
    let kept = records(&path)
        .iter()
        .filter(|record| record["ev"] == "connect")
        .count();
    assert!(
        kept <= usize::try_from((seconds + 1) * STRANGERS_A_SECOND).unwrap(),
        "{kept}"
    );
    assert_eq!(audit.lost(), u64::try_from(flood - kept).unwrap());
    let lost = records(&path)
        .iter()
        .filter_map(|record| record["count"].as_u64())
        .sum::<u64>();
    assert_eq!(lost, audit.lost());
    assert!(names(&path).contains(&"session.new".to_owned()));
}

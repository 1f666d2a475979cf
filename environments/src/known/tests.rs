use super::*;

fn host(environment: &str, place: &str, key: &str) -> KnownHost {
    KnownHost {
        environment: environment.to_owned(),
        kind: KeyKind::Tls,
        place: place.to_owned(),
        key: key.to_owned(),
        since_ms: 1,
    }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join(KNOWN_HOSTS);
    (folder, path)
}

#[test]
fn the_first_key_is_kept_and_another_one_is_told_with_it() {
    let (_folder, path) = file();
    for hosts in [KnownHosts::default(), KnownHosts::at(path.clone())] {
        assert_eq!(hosts.meet(host("a", "h:1", "k"), false).unwrap(), Met::New);
        assert_eq!(hosts.meet(host("a", "h:1", "k"), false).unwrap(), Met::Same);
        let other = hosts.meet(host("a", "h:1", "l"), false).unwrap();
        assert_eq!(other, Met::Other(host("a", "h:1", "k")));
        // Another kind, place or environment is another acquaintance.
        let noise = KnownHost {
            kind: KeyKind::Noise,
            ..host("a", "h:1", "n")
        };
        for new in [noise, host("a", "h:2", "l"), host("b", "h:1", "l")] {
            assert_eq!(hosts.meet(new, false).unwrap(), Met::New);
        }
        assert_eq!(hosts.forget("a").unwrap().len(), 3);
        assert_eq!(hosts.all().unwrap(), [host("b", "h:1", "l")]);
        assert_eq!(hosts.meet(host("a", "h:1", "l"), false).unwrap(), Met::New);
    }
    // What one program keeps the next one knows.
    let next = KnownHosts::at(path)
        .meet(host("b", "h:1", "x"), false)
        .unwrap();
    assert_eq!(next, Met::Other(host("b", "h:1", "l")));
}

#[test]
fn a_file_that_cannot_be_understood_is_no_empty_one_and_stays() {
    let (folder, path) = file();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    for text in ["", "{", "{\"version\":2,\"hosts\":[]}"] {
        std::fs::write(&path, text).unwrap();
        let hosts = KnownHosts::at(path.clone());
        let error = hosts
            .meet(host("a", "h:1", "k"), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains(KNOWN_HOSTS), "{error}");
        assert!(hosts.forget("a").is_err() && hosts.all().is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn many_who_meet_at_once_lose_nobody() {
    let (_folder, path) = file();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let hosts = KnownHosts::at(path.clone());
            scope.spawn(move || {
                for place in 0..4 {
                    let new = host(&format!("e{number}"), &format!("h:{place}"), "k");
                    assert_eq!(hosts.meet(new, false).unwrap(), Met::New);
                }
            });
        }
    });
    assert_eq!(KnownHosts::at(path).all().unwrap().len(), 32);
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = file();
    KnownHosts::at(path.clone())
        .meet(host("a", "h:1", "k"), false)
        .unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn a_key_that_others_vouch_for_takes_the_place_of_the_one_before_it() {
    let hosts = KnownHosts::default();
    assert_eq!(hosts.meet(host("a", "h:1", "k"), true).unwrap(), Met::New);
    let changed = hosts.meet(host("a", "h:1", "l"), true).unwrap();
    assert_eq!(changed, Met::Other(host("a", "h:1", "k")));
    assert_eq!(hosts.all().unwrap(), [host("a", "h:1", "l")]);
}

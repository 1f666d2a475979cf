//! Somebody exchanges directories for links, or names what is not theirs, while calls run
//! (`security` SR-52).

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Each takes some milliseconds, in which a directory is exchanged some hundred times.
const ROUNDS: usize = 40;

/// A tree under attack, and what must not be touched or seen outside of it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(scene.at("outside")).unwrap();
        for number in 0..20 {
            std::fs::write(scene.at(&format!("outside/secret{number}")), "secret").unwrap();
        }
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plant(&self, root: &str) {
        for directory in ["a", "b", "b/c"] {
            let directory = self.at(root).join(directory);
            std::fs::create_dir_all(&directory).unwrap();
            for number in 0..20 {
                std::fs::write(directory.join(format!("f{number}")), "harmless").unwrap();
            }
        }
    }

    /// Runs `call` while `directory` is a link to the outside every other moment.
    fn while_exchanging(&self, directory: &str, call: impl FnOnce()) {
        let (real, link) = (self.at("aside"), self.at("link"));
        let directory = self.at(directory);
        let _: std::io::Result<()> = std::fs::remove_file(&link);
        symlink(self.at("outside"), &link).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Any of these fails when the call was faster.
                    let swap = || {
                        std::fs::rename(&directory, &real)?;
                        std::fs::rename(&link, &directory)?;
                        std::fs::rename(&directory, &link)?;
                        std::fs::rename(&real, &directory)
                    };
                    let _: std::io::Result<()> = swap();
                }
            });
            let _end = End(&done);
            call();
        });
        let _: std::io::Result<()> = std::fs::remove_dir_all(&real);
    }

    fn assert_outside_is_whole(&self) {
        let names = std::fs::read_dir(self.at("outside")).unwrap();
        let contents = names.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        assert_eq!(contents.collect::<Vec<_>>(), vec!["secret"; 20]);
    }
}

/// Ends the exchanging, also when the call panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn contents(root: &Path) -> Vec<String> {
    let mut contents = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            contents.extend(self::contents(&entry.path()));
        } else if kind.is_file() {
            contents.push(std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    contents
}

static NEVER: AtomicBool = AtomicBool::new(false);

#[test]
fn a_removal_never_leaves_its_tree() {
    let scene = Scene::new();
    for round in 0..ROUNDS {
        scene.plant("tree");
        scene.while_exchanging(["tree/b", "tree/a", "tree/b/c"][round % 3], || {
            let how = Remove {
                recursive: true,
                force: true,
            };
            // It may fail; what it may not is to go elsewhere.
            let _: Result<(), FsError> = remove(
                &scene.at("tree"),
                how,
                Links::Follow,
                Bounds::from_now(&NEVER),
            );
        });
        scene.assert_outside_is_whole();
    }
}

#[test]
fn a_copy_never_reads_outside_its_source() {
    let scene = Scene::new();
    scene.plant("tree");
    for round in 0..ROUNDS {
        let destination = scene.at(&format!("copy{round}"));
        scene.while_exchanging("tree/b", || {
            let bounds = Bounds::from_now(&NEVER);
            let _: Result<(), FsError> = copy(&scene.at("tree"), &destination, true, bounds);
        });
        scene.plant("tree");
        let copied = contents(&destination);
        assert!(copied.iter().all(|content| content != "secret"), "{round}");
    }
}

#[test]
fn a_copy_never_writes_outside_its_destination() {
    let scene = Scene::new();
    scene.plant("tree");
    for round in 0..ROUNDS {
        scene.plant("copy");
        scene.while_exchanging(["copy/b", "copy/b/c"][round % 2], || {
            let (from, to) = (scene.at("tree"), scene.at("copy"));
            let _: Result<(), FsError> = copy(&from, &to, true, Bounds::from_now(&NEVER));
        });
        scene.assert_outside_is_whole();
    }
}

#[test]
fn a_walk_never_lists_what_is_outside() {
    let scene = Scene::new();
    scene.plant("tree");
    for _ in 0..ROUNDS {
        scene.while_exchanging("tree/b", || {
            let options = WalkOptions {
                max_depth: 8,
                max_directories: 100,
                max_entries: 1000,
                follow_directory_symlinks: false,
                prune_hidden_directories: false,
                everything: false,
            };
            let mut text = Vec::new();
            walk(&scene.at("tree"), &options)
                .unwrap()
                .write_json(&mut text);
            assert!(!String::from_utf8(text).unwrap().contains("secret"));
        });
        scene.plant("tree");
    }
}

#[test]
fn a_write_never_lands_outside() {
    let scene = Scene::new();
    let (target, large) = (scene.at("f"), vec![b'x'; 100_000]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _: std::io::Result<()> = std::fs::remove_file(&target);
                let _: std::io::Result<()> = symlink(scene.at("outside/secret0"), &target);
                let _: std::io::Result<()> = std::fs::remove_file(&target);
                let _: std::io::Result<()> = std::fs::write(&target, "harmless");
            }
        });
        let _end = End(&done);
        for _ in 0..ROUNDS * 20 {
            let _: Result<_, FsError> = write(&target, large.as_slice(), Links::Refuse);
        }
    });
    scene.assert_outside_is_whole();
}

#[test]
fn what_the_system_shows_of_this_process_is_refused() {
    if !Path::new("/proc/self/environ").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unlinked = tempfile::tempfile().unwrap();
    let own = std::process::id();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&unlinked);
    let through = folder.path().join("link");
    symlink("/proc/self/environ", &through).unwrap();
    let paths = [
        "/proc/self/environ".to_owned(),
        "/proc/thread-self/environ".to_owned(),
        "/proc/self/mem".to_owned(),
        "/proc/self/root/proc/self/environ".to_owned(),
        "/proc/self/exe".to_owned(),
        format!("/proc/{own}/environ"),
        format!("/proc/{own}/task/{own}/environ"),
        format!("/proc/self/fd/{descriptor}"),
        format!("/dev/fd/{descriptor}"),
        through.to_str().unwrap().to_owned(),
    ];
    for path in &paths {
        let path = Path::new(path);
        assert!(
            read(path, Links::Follow, 1 << 20).is_err(),
            "{path:?} can be read"
        );
        assert!(
            Handle::open(path, Mode::Read).is_err(),
            "{path:?} can be opened"
        );
        let to = folder.path().join("copy");
        // A link is copied as a link, which shows nothing.
        if copy(path, &to, false, Bounds::from_now(&NEVER)).is_ok() {
            assert!(to.is_symlink(), "{path:?} can be copied");
            std::fs::remove_file(&to).unwrap();
        }
        let _: std::io::Result<()> = std::fs::remove_file(&to);
    }
    for path in [
        "/proc/self/comm",
        "/proc/self/mem",
        "/proc/self/oom_score_adj",
    ] {
        let path = Path::new(path);
        assert!(
            write(path, b"x".as_slice(), Links::Follow).is_err(),
            "{path:?} can be written"
        );
    }
    // What belongs to nobody is as readable as ever.
    assert!(
        !read(Path::new("/proc/meminfo"), Links::Follow, 1 << 20)
            .unwrap()
            .is_empty()
    );
}

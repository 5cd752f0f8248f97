use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// The deadline against a hanging test; generous, because machines are slow at times.
const SOON: Duration = Duration::from_secs(20);

struct Place {
    folder: TempDir,
    watch: Watch,
}

impl Place {
    /// A watch over `cfg` and `hosts`, as they are when `prepare` has made them.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let files = ["lib/cfg", "hosts", "lib/cfg.disabled"]
            .map(|name| folder.path().join(name))
            .into();
        Self {
            watch: Watch::new(
                Some(folder.path().join("lib/cfg")),
                files,
                Sender::new(Told::default()),
            ),
            folder,
        }
    }

    fn usual() -> Self {
        Self::new(|folder| {
            fs::create_dir(folder.join("lib")).unwrap();
            fs::write(folder.join("lib/cfg"), [b'a'; 200]).unwrap();
            fs::write(folder.join("hosts"), "10.0.0.1 a\n").unwrap();
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn changes(&mut self) -> Duration {
        let started = Instant::now();
        timeout(SOON, self.watch.changed()).await.unwrap();
        started.elapsed()
    }

    /// Whether nothing is reported for longer than a change takes to be noticed.
    async fn rests(&mut self) -> bool {
        timeout(QUIET * 8, self.watch.changed()).await.is_err()
    }
}

#[tokio::test]
async fn files_are_seen_to_change_however_they_are_written() {
    let mut place = Place::usual();
    assert!(place.rests().await);
    let (config, next) = (place.path("lib/cfg"), place.path("lib/next"));

    fs::write(&config, [b'b'; 400]).unwrap();
    place.changes().await;
    fs::write(&next, [b'c'; 400]).unwrap();
    assert!(place.rests().await, "another file");
    fs::rename(&next, &config).unwrap();
    place.changes().await;
    fs::remove_file(&config).unwrap();
    fs::write(&config, [b'd'; 400]).unwrap();
    place.changes().await;
    fs::remove_file(&config).unwrap();
    assert!(
        place.changes().await >= HALF,
        "a missing file is waited for"
    );
    fs::write(&config, [b'e'; 400]).unwrap();
    place.changes().await;
    fs::write(place.path("hosts"), "").unwrap();
    place.changes().await;
    assert!(place.rests().await);
}

#[tokio::test]
async fn many_changes_are_one() {
    let mut place = Place::usual();
    for size in 1..100 {
        fs::write(place.path("lib/cfg"), vec![b'a'; 200 * size]).unwrap();
        fs::write(place.path("hosts"), "").unwrap();
    }
    place.changes().await;
    assert!(place.rests().await);
}

#[tokio::test]
async fn a_writer_is_waited_for() {
    let mut place = Place::usual();
    let config = place.path("lib/cfg");
    let append = || OpenOptions::new().append(true).open(&config).unwrap();
    let mut file = append();
    file.write_all(&[b'b'; 200]).unwrap();
    // The file is sound, but its writer still holds it open.
    assert!(place.rests().await);
    drop(file);
    place.changes().await;

    // The file ends within a record, and stays like that.
    append().write_all(b"c").unwrap();
    assert!(place.changes().await >= HALF);
    append().write_all(b"d").unwrap();
    assert!(place.rests().await);
    append().write_all(&[b'e'; 198]).unwrap();
    assert!(place.changes().await < SOON);
}

#[tokio::test]
async fn files_and_folders_may_come_later_and_be_replaced() {
    let mut place = Place::new(|_| ());
    assert!(place.rests().await);
    fs::create_dir(place.path("lib")).unwrap();
    assert!(place.rests().await);
    fs::write(place.path("lib/cfg"), [b'a'; 200]).unwrap();
    place.changes().await;
    fs::create_dir(place.path("new")).unwrap();
    fs::write(place.path("new/cfg"), [b'b'; 200]).unwrap();
    fs::rename(place.path("lib"), place.path("old")).unwrap();
    fs::rename(place.path("new"), place.path("lib")).unwrap();
    place.changes().await;
    fs::write(place.path("old/cfg"), [b'c'; 200]).unwrap();
    assert!(place.rests().await, "it is another file now");
    fs::write(place.path("lib/cfg"), [b'd'; 200]).unwrap();
    place.changes().await;
    fs::write(place.path("hosts"), "").unwrap();
    place.changes().await;
}

#[tokio::test]
async fn links_are_followed() {
    let mut place = Place::new(|folder| {
        for name in ["lib", "far", "further"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        fs::write(folder.join("further/cfg.1"), [b'a'; 200]).unwrap();
        symlink("../further/cfg.1", folder.join("far/link")).unwrap();
        symlink(folder.join("far/link"), folder.join("lib/cfg")).unwrap();
        symlink("hosts", folder.join("hosts")).unwrap();
    });
    fs::write(place.path("further/cfg.1"), [b'b'; 200]).unwrap();
    place.changes().await;
    fs::write(place.path("further/cfg.2"), [b'c'; 200]).unwrap();
    assert!(place.rests().await);
    symlink("../further/cfg.2", place.path("far/next")).unwrap();
    fs::rename(place.path("far/next"), place.path("far/link")).unwrap();
    place.changes().await;
    fs::write(place.path("further/cfg.2"), [b'd'; 400]).unwrap();
    place.changes().await;
}

#[tokio::test]
async fn events_that_are_lost_are_a_change() {
    let mut place = Place::usual();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    for turn in 0..=limit {
        // The kernel merges equal consecutive events, so the names alternate.
        let name = if turn % 2 == 0 { "lib/x" } else { "lib/y" };
        File::create(place.path(name)).unwrap();
    }
    place.changes().await;
    assert!(place.rests().await);
}

#[tokio::test]
async fn files_that_never_rest_are_read_all_the_same() {
    let mut place = Place::usual();
    let (hosts, next) = (place.path("hosts"), place.path("next"));
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            for line in (1..).take_while(|_| !done.load(Ordering::Relaxed)) {
                fs::write(&next, format!("10.0.0.1 a{line}\n")).unwrap();
                fs::rename(&next, &hosts).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    place.changes().await;
    done.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

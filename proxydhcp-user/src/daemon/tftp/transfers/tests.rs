use std::time::Duration;

use super::*;
use crate::daemon::tftp::transfer::GRACE;

fn client(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port)
}

fn take(transfers: &Arc<Transfers>, client: SocketAddrV4) -> Option<Place> {
    take_at(transfers, client, Instant::now())
}

fn take_at(transfers: &Arc<Transfers>, client: SocketAddrV4, now: Instant) -> Option<Place> {
    let taken = transfers.take_place_at(client, now).ok()?;
    Some(taken.place)
}

/// Has clients show a sign of life.
fn begin(transfers: &Transfers, is_it: impl Fn(&SocketAddrV4) -> bool) {
    let mut state = transfers.state();
    let running = state.running.iter_mut().filter(|(client, _)| is_it(client));
    running.for_each(|(_, it)| it.progress.moves(1));
}

#[test]
fn a_request_that_comes_twice_is_one() {
    let transfers = Arc::new(Transfers::with_most(8));
    let first = take(&transfers, client(1, 1000)).unwrap();
    assert!(take(&transfers, client(1, 1000)).is_none());
    drop(first);
    assert!(take(&transfers, client(1, 1000)).is_some());
}

#[test]
fn one_client_does_not_take_all_places() {
    let transfers = Arc::new(Transfers::with_most(100));
    let places: Vec<_> = (0..50)
        .filter_map(|n| take(&transfers, client(1, 1000 + n)))
        .collect();
    assert_eq!(places.len(), 50, "strangers yield to those that came later");
    assert_eq!(transfers.state().running.len(), MOST_FOR_ONE);
    begin(&transfers, |_| true);
    assert!(take(&transfers, client(1, 2000)).is_none());
    assert!(take(&transfers, client(2, 1000)).is_some());
}

#[test]
fn forged_requests_keep_no_client_out() {
    let transfers = Arc::new(Transfers::with_most(100));
    let forged: Vec<_> = (0..16)
        .filter_map(|n| take(&transfers, client(1, 1000 + n)))
        .collect();
    begin(&transfers, |it| it.port() == 1000);
    let own = take(&transfers, client(1, 2000));
    assert!(own.is_some());
    let has = |port| transfers.state().running.contains_key(&client(1, port));
    assert_eq!(
        [1000, 1001, 1002, 2000].map(has),
        [true, false, true, true],
        "the oldest stranger yields"
    );
    drop(forged);
    assert_eq!([1000, 1002, 2000].map(has), [false, false, true]);
}

#[test]
fn strangers_yield_the_oldest_first_and_others_do_not() {
    let transfers = Arc::new(Transfers::with_most(3));
    let mut places: Vec<_> = (1..=3)
        .filter_map(|n| take(&transfers, client(n, 1000)))
        .collect();
    begin(&transfers, |it| *it == client(1, 1000));
    places.push(take(&transfers, client(4, 1000)).unwrap());
    let has = |n| transfers.state().running.contains_key(&client(n, 1000));
    assert_eq!([1, 2, 3, 4].map(has), [true, false, true, true]);
    // The place of number 2 is dropped when its task has ended, and nobody else's goes with it.
    places.remove(1);
    assert_eq!([1, 2, 3, 4].map(has), [true, false, true, true]);
}

#[test]
fn when_all_have_begun_a_newcomer_waits() {
    let transfers = Arc::new(Transfers::with_most(2));
    let places: Vec<_> = (1..=2)
        .filter_map(|n| take(&transfers, client(n, 1000)))
        .collect();
    begin(&transfers, |_| true);
    assert!(take(&transfers, client(3, 1000)).is_none());
    drop(places);
    assert!(take(&transfers, client(3, 1000)).is_some());
    // What has ended is forgotten in time.
    for n in 0..1000 {
        drop(take(&transfers, client(3, n)));
    }
    assert!(transfers.state().came.len() <= 5);
}

#[test]
fn the_client_that_has_been_silent_for_longest_yields() {
    let transfers = Arc::new(Transfers::with_most(3));
    let places: Vec<_> = (1..=3)
        .filter_map(|n| take(&transfers, client(n, 1000)))
        .collect();
    for n in [3, 2, 1] {
        // The clock that counts them has a microsecond's resolution.
        std::thread::sleep(Duration::from_millis(1));
        begin(&transfers, |it| *it == client(n, 1000));
    }
    let soon = places[2].progress.secure_until();
    let has = |n| transfers.state().running.contains_key(&client(n, 1000));
    let before = soon.checked_sub(Duration::from_millis(1)).unwrap();
    assert!(take_at(&transfers, client(4, 1000), before).is_none());
    let _fourth = take_at(&transfers, client(4, 1000), soon).unwrap();
    assert_eq!([1, 2, 3, 4].map(has), [true, true, false, true]);
}

#[test]
fn a_client_that_acknowledges_a_block_now_and_then_yields_and_a_slow_one_does_not() {
    // In bytes, and the seconds from one acknowledgement to the next.
    for (block, pause, yields) in [(1456, 3, true), (512, 1, true), (8192, 2, false)] {
        let transfers = Arc::new(Transfers::with_most(2));
        let now = Instant::now();
        let places: Vec<_> = (1..=2)
            .filter_map(|n| take_at(&transfers, client(n, 1000), now))
            .collect();
        let mut came = None;
        for n in 0..30 {
            let now = now + n * Duration::from_secs(pause);
            let bytes = u64::from(n) * block;
            for place in &places {
                place.progress.moves_at(bytes, now);
            }
            // Just before the next acknowledgement.
            let late = now + Duration::from_millis(pause * 1000 - 10);
            if let Some(place) = take_at(&transfers, client(9, 1000), late) {
                came = Some(place);
                break;
            }
        }
        assert_eq!(came.is_some(), yields, "{block} bytes each {pause} s");
    }
}

#[test]
fn what_a_client_has_left_behind_keeps_it_out_for_seconds_only() {
    let transfers = Arc::new(Transfers::with_most(100));
    let _places: Vec<_> = (0..16)
        .filter_map(|n| take(&transfers, client(1, 1000 + n)))
        .collect();
    begin(&transfers, |_| true);
    let now = Instant::now();
    assert!(take_at(&transfers, client(1, 2000), now).is_none());
    let late = now + GRACE;
    assert!(take_at(&transfers, client(1, 2000), late).is_some());
}

#[test]
fn those_turned_away_and_displaced_are_known() {
    let transfers = Arc::new(Transfers::with_most(1));
    let first = transfers.take_place(client(1, 1000)).unwrap();
    assert!(first.displaced.is_none());
    let again = transfers.take_place(client(1, 1000)).unwrap_err();
    assert_eq!(again, NoPlace::Running);
    let second = transfers.take_place(client(2, 1000)).unwrap();
    assert_eq!(second.displaced.unwrap().client, client(1, 1000));
    begin(&transfers, |_| true);
    let third = transfers.take_place(client(3, 1000)).unwrap_err();
    assert_eq!(third, NoPlace::Full);
}

#[test]
fn a_low_limit_of_open_files_leaves_fewer_places() {
    assert_eq!(
        [0, 1024, 12_799, 12_800, u64::MAX].map(most_with),
        [1, 256, 6143, 6144, 6144]
    );
}

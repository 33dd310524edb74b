//! How long requests have waited, and what follows.

use super::*;

const LIMITS: OverloadLimits = OverloadLimits {
    target: Duration::from_millis(200),
    interval: Duration::from_millis(100),
};

fn after(state: &State, millis: u64) -> Instant {
    state.epoch + Duration::from_millis(millis)
}

/// The consequence of waits in milliseconds, each seen at a time in milliseconds.
fn looks(state: &State, waits: impl IntoIterator<Item = (u64, u64)>) -> Vec<Look> {
    let look = |(at, waited)| {
        let waited = Duration::from_millis(waited);
        let wait = Wait {
            in_all: waited,
            for_us: waited,
        };
        state.look(after(state, at), wait, LIMITS)
    };
    waits.into_iter().map(look).collect()
}

#[test]
fn a_wait_that_lasts_is_an_overload() {
    let state = State::new();
    let seen = looks(&state, [(10, 250), (60, 300), (109, 300), (110, 300)]);
    assert_eq!(seen, [Look::Serve, Look::Serve, Look::Serve, Look::Begin]);
    // From now on each counts for itself.
    let seen = looks(&state, [(111, 201), (112, 200), (113, 201)]);
    assert_eq!(seen, [Look::Shed, Look::Serve, Look::Shed]);
}

#[test]
fn who_comes_back_too_soon_is_shed_and_does_not_prolong_the_overload() {
    let state = State::new();
    looks(&state, [(10, 300), (60, 300), (110, 300)]);
    let wait = Wait {
        in_all: Duration::from_millis(900),
        for_us: Duration::from_millis(5),
    };
    assert_eq!(state.look(after(&state, 900), wait, LIMITS), Look::Shed);
    assert!(state.calm_down(after(&state, 6310)));
    assert_eq!(state.look(after(&state, 6311), wait, LIMITS), Look::Shed);
}

#[test]
fn a_hiccup_is_none() {
    let state = State::new();
    // Everything has waited for a pause of the process, and is served within the interval.
    let seen = looks(&state, (0..9).map(|step| (500 + step * 10, 500)));
    assert!(seen.iter().all(|look| *look == Look::Serve), "{seen:?}");
    // One that has not waited, then another pause.
    let seen = looks(&state, [(590, 10), (600, 300), (699, 300)]);
    assert!(seen.iter().all(|look| *look == Look::Serve), "{seen:?}");
}

#[test]
fn pauses_with_nothing_between_them_are_not_one_overload() {
    let state = State::new();
    let seen = looks(&state, (1..50).map(|step| (step * 1000, 300)));
    assert!(seen.iter().all(|look| *look == Look::Serve), "{seen:?}");
}

#[test]
fn an_overload_is_over_five_seconds_after_everybody_has_come_back() {
    let state = State::new();
    let begun = looks(&state, [(10, 300), (60, 300), (110, 300)]);
    assert_eq!(begun.last(), Some(&Look::Begin));
    // Connections are left alone for four times 300 ms.
    assert!(!state.calm_down(after(&state, 6309)));
    assert_eq!(looks(&state, [(6309, 300)]), [Look::Shed]);
    assert!(!state.calm_down(after(&state, 12508)));
    assert!(state.calm_down(after(&state, 12509)));
    // It takes an interval again.
    assert_eq!(looks(&state, [(12510, 300)]), [Look::Serve]);
}

#[test]
fn a_timer_that_comes_late_tells_how_long_a_turn_takes() {
    let state = State::new();
    let turn = |at| state.turn(after(&state, at)).as_millis();
    assert_eq!(turn(10), 0, "nothing is shed");
    state.expect_turn(after(&state, 100));
    assert_eq!(turn(90), 0);
    assert_eq!(turn(130), 30, "it is overdue");
    state.note_turn(after(&state, 150));
    state.expect_turn(after(&state, 200));
    assert_eq!(turn(160), 50, "it came late");
    assert_eq!(turn(280), 80, "it is later now");
    state.note_turn(after(&state, 201));
    assert_eq!(turn(202), 1);
    // It counts for one overload only.
    assert!(state.calm_down(after(&state, 60_000)));
    assert_eq!(turn(60_001), 0);
}

#[test]
fn a_stream_waits_for_the_turns_that_it_needs() {
    let millis = Duration::from_millis;
    for (age, since_read, turn, expected) in [
        (0, 0, 0, 0),
        (250, 10, 0, 250),
        (0, 110, 0, 220),
        (0, 10, 100, 210),
        (150, 60, 50, 160),
    ] {
        let wait = wait_of_stream(millis(age), millis(since_read), millis(turn));
        assert_eq!(wait, millis(expected), "{age} {since_read} {turn}");
    }
}

//! What a request does to what all workers have: it takes the table, looks its route up and holds it,
//! counts itself there and at the instance, asks for the server's stop, and lets the route go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dynamic_reverse_proxy::registry::{Registration, Registry, Rules};
use dynamic_reverse_proxy::route::Route;

use super::measure::{Case, Meter};
use super::runtime::Stop;

/// The routes that are asked for, and those that others change.
const BUSY: usize = 256;
const OTHERS: usize = 10_000;
const CHANGES_PER_SECOND: u32 = 1_000;

/// A registry with some routes, and the stop of a server.
pub(crate) struct Setting {
    registry: Registry,
    stop: Stop,
}

/// Which route a thread asks for.
const ROUTES: [&str; 2] = ["all threads on one route", "each on its own"];

impl Setting {
    pub(crate) fn new() -> Self {
        let setting = Self {
            registry: Registry::new(Rules::default()),
            stop: Stop::new(),
        };
        (0..BUSY + OTHERS).for_each(|number| setting.register(number, 4321));
        setting
    }

    fn register(&self, number: usize, port: u16) {
        let registration = Registration::new(&format!("/user/{number}"), port);
        let registered = self
            .registry
            .register_blocking(registration.expect("a registration"));
        drop(registered.expect("a route"));
    }

    pub(crate) fn routes(&self) -> Vec<Case<'_>> {
        let mut cases = vec![Case::new("table: taken and let go", |_thread, meter| {
            meter.ns(|| self.registry.generation())
        })];
        for (own, routes) in ROUTES.into_iter().enumerate() {
            let case = |when: &str, is_now: bool| {
                Case::new(&format!("hold: {routes}, {when}"), move |thread, meter| {
                    self.with_route(thread * own, is_now, meter, |_route| {})
                })
            };
            cases.extend([case("before", false), case("now", true)]);
        }
        cases
    }

    pub(crate) fn requests(&self) -> Vec<Case<'_>> {
        let mut cases = Vec::new();
        for (own, routes) in ROUTES.into_iter().enumerate() {
            let before = move |thread: usize, meter: &Meter| {
                let mut stop = self.stop.of_all();
                self.with_route(thread * own, false, meter, |route| {
                    self.visit(route);
                    stop.is_told();
                })
            };
            let now = move |thread: usize, meter: &Meter| {
                let mut stop = Stop::new().of_all();
                self.with_route(thread * own, true, meter, |route| {
                    self.visit(route);
                    stop.is_told();
                })
            };
            cases.push(Case::new(&format!("request: {routes}, before"), before));
            cases.push(Case::new(&format!("request: {routes}, now"), now));
        }
        cases
    }

    /// Finds the route of that number again and again, and holds it while `work` is done: by the count
    /// that all threads write, or by this thread's handle.
    fn with_route(
        &self,
        number: usize,
        by_handle: bool,
        meter: &Meter,
        mut work: impl FnMut(&Route),
    ) -> f64 {
        let (host, path) = ("www.example.com", format!("/user/{}/api/17", number % BUSY));
        if by_handle {
            meter.ns(|| work(&self.registry.lookup_ref(host, &path).expect("the route")))
        } else {
            meter.ns(|| work(&self.registry.lookup(host, &path).expect("the route")))
        }
    }

    /// What `proxy::visit` counts of a request with an answer of one piece.
    fn visit(&self, route: &Route) {
        let clock = self.registry.clock();
        let turn = route.activity.begin(clock.now());
        let instance = route.instance(usize::try_from(turn % 2).unwrap_or_default());
        instance.begin();
        assert!(instance.drain_ends().is_none());
        route.activity.send(66, clock.now());
        route.activity.end(Some(200), clock.now());
        instance.end();
    }

    /// Does something while a thread more gives other routes new targets.
    pub(crate) fn while_others_change(&self, work: impl FnOnce()) {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| self.change(&done));
            work();
            done.store(true, Ordering::Relaxed);
        });
    }

    fn change(&self, done: &AtomicBool) {
        let (begin, step) = (Instant::now(), Duration::from_secs(1) / CHANGES_PER_SECOND);
        for count in 0_u32.. {
            if done.load(Ordering::Relaxed) {
                let pace = f64::from(count) / begin.elapsed().as_secs_f64();
                println!("({pace:.0} changes a second were made)");
                return;
            }
            let number = BUSY + usize::try_from(count).unwrap_or_default() % OTHERS;
            self.register(number, if count % 2 == 0 { 4322 } else { 4323 });
            let due = step * (count + 1);
            thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    }
}

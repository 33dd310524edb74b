//! The proxy is killed at any moment, again and again, while many clients change its routes: everything
//! that was answered is there afterwards, and nothing is half there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Api, Client, Home, api_request};

const KILLS: usize = 25;
const CLIENTS: usize = 8;
/// Routes of a set, all of which have to be of one writing.
const SET: usize = 12;

/// What one route is to be: its port, or nothing. Several where the last change was not answered.
type Possible = Vec<Option<u16>>;

/// What one client knows of its own routes.
#[derive(Default)]
struct Known {
    routes: HashMap<String, Possible>,
    number: u16,
    answered: usize,
}

/// A connection that does not mind its end.
struct Line(Option<Client>, SocketAddr);

impl Line {
    async fn ask(&mut self, method: &str, target: &str, body: Option<&Value>) -> Option<u16> {
        let client = match &mut self.0 {
            Some(client) => client,
            None => self.0.insert(Client::connect(self.1).await),
        };
        let sent = client.offer(api_request(method, target, &[], body)).await;
        let response = client.read(false).await;
        if let (Ok(()), Some(response)) = (sent, response) {
            return Some(response.status);
        }
        self.0 = None;
        None
    }
}

impl Known {
    /// Some other port each time, so that every writing can be told from the others.
    fn port(&mut self) -> u16 {
        self.number = self.number % 60_000 + 1;
        1024 + self.number
    }

    /// A change of some of the routes; with an answer it is all that is possible.
    fn note(&mut self, changes: &[(String, Option<u16>)], answer: Option<u16>) {
        for (path, port) in changes {
            let possible = self
                .routes
                .entry(path.clone())
                .or_insert_with(|| vec![None]);
            match answer {
                Some(200 | 201) => *possible = vec![*port],
                // There was nothing to remove.
                Some(404) if port.is_none() => *possible = vec![None],
                Some(other) => panic!("{path}: {other}"),
                None => possible.push(*port),
            }
        }
        self.answered += usize::from(answer.is_some());
    }

    /// One change of some kind.
    async fn change(&mut self, line: &mut Line, own: usize, random: &mut fastrand::Rng) -> bool {
        let path = format!("/{own}/{}", random.usize(..6));
        let port = self.port();
        let answer = match random.usize(..10) {
            0..3 => {
                let ttl = random.bool().then_some("1h");
                let body = json!({ "prefix": path, "port": port, "ttl": ttl });
                let answer = line.ask("POST", "/register", Some(&body)).await;
                self.note(&[(path, Some(port))], answer);
                answer
            }
            3..5 => {
                let target = format!("/v1/routes/*{path}");
                let body = json!({ "port": port, "ttl": "1h" });
                let answer = line.ask("PUT", &target, Some(&body)).await;
                self.note(&[(path, Some(port))], answer);
                if answer.is_some() {
                    // A renewal changes nothing.
                    line.ask("PUT", &target, Some(&body)).await
                } else {
                    answer
                }
            }
            5..7 => {
                let answer = line
                    .ask("DELETE", &format!("/v1/routes/*{path}"), None)
                    .await;
                self.note(&[(path, None)], answer);
                answer
            }
            _ => {
                // All of a set at once, by the same port.
                let paths: Vec<_> = (0..SET).map(|n| format!("/{own}/set/{n}")).collect();
                let change = |path: &String| {
                    json!({ "op": "put", "host": "*", "prefix": path,
                            "instances": [{ "port": port, "ttl": "2h" }] })
                };
                let changes: Vec<_> = paths.iter().map(change).collect();
                let body = json!({ "changes": changes });
                let answer = line.ask("PATCH", "/v1/routes", Some(&body)).await;
                let changes: Vec<_> = paths.into_iter().map(|path| (path, Some(port))).collect();
                self.note(&changes, answer);
                answer
            }
        };
        answer.is_some()
    }

    /// Compares what is there with what is known, and knows it from then on.
    fn check(&mut self, found: &HashMap<String, u16>, own: usize, context: &str) {
        for (path, possible) in &mut self.routes {
            let found = found.get(path).copied();
            assert!(
                possible.contains(&found),
                "{context}: {path} is {found:?}, and could be {possible:?}"
            );
            *possible = vec![found];
        }
        let set: Vec<_> = (0..SET)
            .map(|n| found.get(&format!("/{own}/set/{n}")))
            .collect();
        assert!(
            set.iter().all(|port| *port == set[0]),
            "{context}: half a set: {set:?}"
        );
    }
}

/// The port of each route, and the generation.
async fn read(control: SocketAddr) -> (HashMap<String, u16>, u64) {
    let list = Api::at(control).await.get("/v1/routes").await;
    let list = list.expect("a list");
    let port = |route: &Value| {
        let prefix = route["prefix"].as_str().expect("a prefix").to_owned();
        let port = route["instances"][0]["port"].as_u64().expect("a port");
        (prefix, u16::try_from(port).expect("a port"))
    };
    let routes = list["routes"].as_array().expect("routes");
    let generation = list["generation"].as_u64().expect("a generation");
    (routes.iter().map(port).collect(), generation)
}

/// Clients that change their own routes until the proxy is gone.
fn clients(
    known: Vec<Known>,
    control: SocketAddr,
    seed: u64,
    all: &Arc<AtomicUsize>,
) -> Vec<JoinHandle<Known>> {
    known
        .into_iter()
        .enumerate()
        .map(|(own, mut known)| {
            let all = Arc::clone(all);
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed ^ (own as u64) << 32);
                let mut line = Line(None, control);
                while known.change(&mut line, own, &mut random).await {
                    all.fetch_add(1, Ordering::Relaxed);
                }
                known
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_answered_is_there_and_nothing_is_half() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let home = Home::new("threads: 2\nlog: warn,dynamic_reverse_proxy::server=info\n");
    let mut known: Vec<_> = (0..CLIENTS).map(|_| Known::default()).collect();
    let answered = Arc::new(AtomicUsize::new(0));
    let mut last = 0;
    for kill in 0..KILLS {
        let context = format!("seed {seed}, kill {kill}");
        let mut proxy = home.start().await;
        let control = proxy.control().await;
        let (found, generation) = read(control).await;
        assert!(generation >= last, "{context}: {generation} after {last}");
        last = generation;
        for (own, known) in known.iter_mut().enumerate() {
            known.check(&found, own, &context);
        }
        let clients = clients(known, control, random.u64(..), &answered);
        tokio::time::sleep(Duration::from_millis(random.u64(10..160))).await;
        proxy.signal("KILL");
        proxy.ended().await;
        known = Vec::new();
        for client in clients {
            known.push(
                client
                    .await
                    .unwrap_or_else(|error| panic!("{context}: {error}")),
            );
        }
    }
    let answered = answered.load(Ordering::Relaxed);
    assert!(answered > 4 * KILLS, "seed {seed}: only {answered} answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_set_is_one_or_the_other() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let home = Home::new("log: warn,dynamic_reverse_proxy::server=info\n");
    let set = |name: &str, port: u16| {
        let entry = |n: usize| {
            json!({ "host": "*", "prefix": format!("/{name}/{n}"),
                    "instances": [{ "port": port, "ttl": "1h" }, { "id": "b", "port": port }] })
        };
        json!({ "routes": (0..40).map(entry).collect::<Vec<_>>() })
    };
    let sets = Arc::new([set("a", 4001), set("b", 4002)]);
    let mut last: Vec<usize> = vec![];
    for kill in 0..8 {
        let mut proxy = home.start().await;
        let control = proxy.control().await;
        let (found, _) = read(control).await;
        let is_of = |which: usize| {
            let (name, port) = [("/a/", 4001), ("/b/", 4002)][which];
            let is_own = |(path, own): (&String, &u16)| path.starts_with(name) && *own == port;
            found.len() == 40 && found.iter().all(is_own)
        };
        let is_right = match last.as_slice() {
            [] => found.is_empty() || is_of(0) || is_of(1),
            possible => possible.iter().any(|which| is_of(*which)),
        };
        assert!(is_right, "seed {seed}, kill {kill}: {last:?}: {found:?}");
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (sets, stop) = (Arc::clone(&sets), Arc::clone(&stop));
            let before = last.clone();
            async move {
                let mut possible = before;
                let mut line = Line(None, control);
                for which in (0..2).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = line.ask("PUT", "/v1/routes", Some(&sets[which])).await;
                    let Some(status) = answer else {
                        // Before the first answer it may also be as it was: empty.
                        if !possible.is_empty() {
                            possible.push(which);
                        }
                        break;
                    };
                    assert_eq!(status, 200);
                    possible = vec![which];
                }
                possible
            }
        });
        tokio::time::sleep(Duration::from_millis(random.u64(10..200))).await;
        proxy.signal("KILL");
        stop.store(true, Ordering::Relaxed);
        proxy.ended().await;
        last = writer.await.expect("the writer");
    }
}

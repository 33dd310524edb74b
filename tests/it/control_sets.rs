//! Whole sets and lists of changes: all or nothing.

use serde_json::{Value, json};

use crate::support::{Client, Origin, TestProxy, answer, api_request, etag, generation, get};

fn set(entries: &[(&str, u16)]) -> Value {
    let routes: Vec<Value> = entries
        .iter()
        .map(|(prefix, port)| json!({"host": "*", "prefix": prefix, "instances": [{"port": port}]}))
        .collect();
    json!({ "routes": routes })
}

fn counts(document: &Value) -> [u64; 4] {
    ["created", "replaced", "unchanged", "removed"].map(|name| document[name].as_u64().unwrap())
}

fn results(document: &Value) -> Vec<&str> {
    let results = document["results"].as_array().unwrap().iter();
    results
        .map(|entry| entry["result"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_what_there_is_afterwards() {
    let origin = Origin::saying("here").await;
    let proxy = TestProxy::plain().await;
    let first = proxy
        .api(
            "PUT",
            "/v1/routes",
            Some(set(&[("/a", 1), ("/b", 2), ("/c", 3)])),
        )
        .await;
    let document = answer(&first, 200);
    assert_eq!(counts(&document), [3, 0, 0, 0]);
    assert_eq!(document.get("results"), None);
    assert_eq!(
        (document["generation"].as_u64(), generation(&first)),
        (Some(1), 1)
    );
    assert_eq!(
        etag(&first),
        etag(&proxy.api("GET", "/v1/routes", None).await)
    );

    let second = set(&[("/a", 1), ("/b", 20), ("/d", origin.port())]);
    let document = proxy
        .write("PUT", "/v1/routes", Some(second.clone()), 200)
        .await;
    assert_eq!(counts(&document), [1, 1, 1, 1]);
    assert_eq!(get(proxy.address(), "/d").await.text(), "here");
    assert_eq!(get(proxy.address(), "/c").await.status, 501);
    // What is unchanged keeps its own generation.
    assert_eq!(proxy.look("/v1/routes/*/a").await["generation"], 1);

    let same = proxy.api("PUT", "/v1/routes", Some(second)).await;
    assert_eq!(counts(&answer(&same, 200)), [0, 0, 3, 0]);
    assert_eq!(generation(&same), 2);
    let none = proxy.write("PUT", "/v1/routes", Some(set(&[])), 200).await;
    assert_eq!(counts(&none), [0, 0, 0, 3]);
    assert_eq!(proxy.look("/v1/status").await["routes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_made_in_their_order() {
    let proxy = TestProxy::plain().await;
    let instance = |id: &str, port: u16| json!({"id": id, "port": port});
    let change = |op: &str, prefix: &str, more: Value| {
        let mut change = json!({"op": op, "host": "*", "prefix": prefix});
        let fields = more.as_object().unwrap().clone();
        change.as_object_mut().unwrap().extend(fields);
        change
    };
    let changes = json!({"changes": [
        change("put", "/a", json!({"instances": [instance("a", 1)]})),
        change("join", "/a", json!({"instance": instance("b", 2)})),
        change("join", "/b", json!({"instance": {"port": 3}})),
        change("put", "/c", json!({"instances": [instance("a", 1)]})),
        change("join", "/c", json!({"instance": instance("a", 2)})),
        change("remove", "/c", json!({})),
        change("join", "/a", json!({"instance": instance("c", 3)})),
        change("leave", "/a", json!({"id": "b"})),
        change("join", "/a", json!({"instance": instance("c", 3)})),
    ]});
    let answered = proxy.api("PATCH", "/v1/routes", Some(changes)).await;
    let document = answer(&answered, 200);
    let expected = [
        "created",
        "created",
        "created",
        "created",
        "replaced",
        "removed",
        "created",
        "removed",
        "unchanged",
    ];
    assert_eq!(results(&document), expected);
    assert_eq!(counts(&document), [5, 1, 1, 2]);
    assert_eq!(document["results"][7]["prefix"], "/a");
    assert_eq!(
        (document["generation"].as_u64(), generation(&answered)),
        (Some(1), 1)
    );
    let list = proxy.look("/v1/routes").await;
    assert_eq!(list["total"], 2);
    let ids: Vec<&Value> = list["routes"][0]["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| &i["id"])
        .collect();
    assert_eq!(ids, ["a", "c"]);
    let empty = proxy
        .write("PATCH", "/v1/routes", Some(json!({"changes": []})), 200)
        .await;
    assert_eq!((counts(&empty), &empty["results"]), ([0; 4], &json!([])));
    let drain = json!({"changes": [change("remove", "/b", json!({"drain": "0s"}))]});
    let document = proxy.write("PATCH", "/v1/routes", Some(drain), 200).await;
    assert_eq!(
        (results(&document), counts(&document)),
        (vec!["draining"], [0, 0, 0, 1])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_a_mix() {
    let proxy = TestProxy::start("threads: 2\nlog: info,audit=off").await;
    let address = proxy.control().await;
    let sets: Vec<Value> = [1000, 2000]
        .map(|port| {
            let routes: Vec<Value> = (0..300)
                .map(|number| {
                    json!({"host": "*", "prefix": format!("/{port}/{number}"),
                           "instances": [{"port": port}]})
                })
                .chain([json!({"host": "*", "prefix": "/both", "instances": [{"port": port}]})])
                .collect();
            json!({ "routes": routes })
        })
        .into();
    proxy
        .write("PUT", "/v1/routes", Some(sets[0].clone()), 200)
        .await;
    let writers: Vec<_> = sets
        .into_iter()
        .map(|set| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for _ in 0..30 {
                    let request = api_request("PUT", "/v1/routes", &[], Some(&set));
                    assert_eq!(client.exchange(request).await.status, 200);
                }
            })
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        let list = proxy.look("/v1/routes").await;
        let routes = list["routes"].as_array().unwrap();
        let ports: std::collections::BTreeSet<u64> = routes
            .iter()
            .map(|route| route["instances"][0]["port"].as_u64().unwrap())
            .collect();
        assert_eq!((routes.len(), ports.len()), (301, 1), "{ports:?}");
        seen.extend(ports);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

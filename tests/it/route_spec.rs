//! A route is written down once: every door takes every setting and every field of an instance, and shows it
//! again; what earlier releases kept is read.

use std::fs;
use std::path::Path;

use dynamic_reverse_proxy::route::{Group, InstanceSpec, Settings};
use redb::{Database, ReadableDatabase, TableDefinition};
use serde_json::{Map, Value, json};

use crate::support::cli::Edge;
use crate::support::{Api, Home, Origin, Reader, TestProxy, get, problem};

/// A value of each setting, other than its default.
fn settings() -> Map<String, Value> {
    let samples = json!({
        "tls": "redirect",
        "hsts": "max-age=60; includeSubDomains",
        "client_certificate": "require",
        "timeouts": {"connect": "5s", "first_byte": "1h30m", "between_bytes": "off"},
    });
    let Value::Object(samples) = samples else {
        panic!("an object");
    };
    let named: Vec<&String> = samples.keys().collect();
    assert!(
        Settings::NAMES
            .iter()
            .all(|name| samples.contains_key(*name)),
        "{named:?}"
    );
    samples
}

/// A value of each field of an instance, but for its id and its place.
fn fields() -> Map<String, Value> {
    let samples = json!({
        "protocol": "auto",
        "https": {"server_name": "app.internal"},
        "owner": "team",
        "ttl": "1h",
    });
    let Value::Object(samples) = samples else {
        panic!("an object");
    };
    let elsewhere = ["id", "host", "port", "unix"];
    let is_known = |name: &&str| elsewhere.contains(name) || samples.contains_key(*name);
    assert!(InstanceSpec::NAMES.iter().all(is_known), "{samples:?}");
    samples
}

fn with(parts: &[&Map<String, Value>], own: Value) -> Value {
    let Value::Object(mut object) = own else {
        panic!("an object");
    };
    for part in parts {
        object.extend((*part).clone());
    }
    Value::Object(object)
}

/// The route has all the settings, and its instance all the fields.
fn is_whole(route: &Value, door: &str) {
    for (name, value) in settings() {
        assert_eq!(route[&name], value, "{door}: {name}: {route}");
    }
    for (name, value) in fields() {
        assert_eq!(
            route["instances"][0][&name], value,
            "{door}: {name}: {route}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_of_the_api_takes_every_setting() {
    let proxy = TestProxy::plain().await;
    let mut events = Reader::of(&proxy).await;
    let (settings, fields) = (settings(), fields());
    let single = with(&[&settings, &fields], json!({"port": 4321}));
    let instance = with(&[&fields], json!({"port": 4321}));
    let entry = |prefix: &str| {
        let own = json!({"host": "*", "prefix": prefix, "instances": [instance.clone()]});
        with(&[&settings], own)
    };
    let registration = with(
        &[&settings, &fields],
        json!({"prefix": "/register-it", "port": 4321}),
    );
    let response = proxy.register_json(registration.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let told = events.expect("route_created").await.data;
    is_whole(&told["after"], "events");
    let lines = proxy.log();
    let audit = lines.lines().find_map(|line| line.split_once("audit] "));
    let audit: Value = serde_json::from_str(audit.expect("an audit line").1).unwrap();
    is_whole(
        &with(
            &[audit["settings_after"].as_object().unwrap()],
            json!({"instances": audit["after"]}),
        ),
        "audit",
    );
    proxy
        .write("PUT", "/v1/routes/*/single", Some(single), 201)
        .await;
    let several = with(&[&settings], json!({"instances": [instance.clone()]}));
    proxy
        .write("PUT", "/v1/routes/*/several", Some(several), 201)
        .await;
    let put = with(
        &[entry("/patched").as_object().unwrap()],
        json!({"op": "put"}),
    );
    proxy
        .write("PATCH", "/v1/routes", Some(json!({"changes": [put]})), 200)
        .await;
    for door in ["/register-it", "/single", "/several", "/patched"] {
        is_whole(&proxy.look(&format!("/v1/routes/*{door}")).await, door);
    }
    let set = json!({"routes": [entry("/set")]});
    proxy.write("PUT", "/v1/routes", Some(set), 200).await;
    is_whole(&proxy.look("/v1/routes/*/set").await, "set");
    let list = proxy.look("/v1/routes").await;
    is_whole(&list["routes"][0], "list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_said_left_or_taken_back() {
    let proxy = TestProxy::plain().await;
    let route = with(&[&settings(), &fields()], json!({"port": 4321}));
    proxy.write("PUT", "/v1/routes/*/a", Some(route), 201).await;
    let set = async |change: Value| {
        let own = json!({"op": "set", "host": "*", "prefix": "/a"});
        let change = with(&[change.as_object().unwrap()], own);
        let body = json!({"changes": [change]});
        proxy.api("PATCH", "/v1/routes", Some(body)).await
    };
    let shown = async || proxy.look("/v1/routes/*/a").await;
    let instances = shown().await["instances"][0]["since"].clone();
    assert_eq!(set(json!({})).await.json()["unchanged"], 1);
    is_whole(&shown().await, "nothing");
    for (name, value) in settings() {
        assert_eq!(
            set(json!({&name: null})).await.json()["replaced"],
            1,
            "{name}"
        );
        assert_eq!(shown().await[&name], Value::Null, "{name}");
        let same = set(json!({&name: null})).await.json();
        assert_eq!(same["unchanged"], 1, "{name}: {same}");
        assert_eq!(
            set(json!({&name: value})).await.json()["replaced"],
            1,
            "{name}"
        );
        is_whole(&shown().await, &name);
    }
    assert_eq!(shown().await["instances"][0]["since"], instances);
    problem(&set(json!({"drain": "1s"})).await, (400, "INVALID_BODY"));
    problem(&set(json!({"tls": "on"})).await, (400, "INVALID_TLS"));
    is_whole(&shown().await, "refused");
    let elsewhere =
        json!({"changes": [{"op": "set", "host": "*", "prefix": "/b", "tls": "require"}]});
    let refused = proxy.api("PATCH", "/v1/routes", Some(elsewhere)).await;
    problem(&refused, (404, "NO_SUCH_ROUTE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_takes_every_setting() {
    let edge = Edge::start().await;
    let mut options = vec![
        "--port",
        "4321",
        "--protocol",
        "auto",
        "--owner",
        "team",
        "--ttl",
        "1h",
    ];
    options.extend(["--server-name", "app.internal"]);
    let mut texts = Settings::default();
    for (name, value) in settings() {
        texts.set(&name, &value).unwrap();
    }
    let texts: Vec<(String, String)> = texts
        .texts()
        .map(|(name, text)| (format!("--{}", name.replace('_', "-")), text))
        .collect();
    for (option, text) in &texts {
        options.extend([option.as_str(), text.as_str()]);
    }
    edge.ok(&[&["routes", "put", "/put"][..], &options].concat())
        .await;
    edge.ok(&[&["register", "--prefix", "/registered"][..], &options].concat())
        .await;
    for route in ["/put", "/registered"] {
        is_whole(&edge.json(&["routes", "get", route, "--json"]).await, route);
        let shown = edge.ok(&["routes", "get", route]).await.out;
        for (_, text) in &texts {
            assert!(shown.contains(text.as_str()), "{text}: {shown}");
        }
    }
    let file = edge.path().join("routes.json");
    let file = file.to_str().unwrap();
    edge.ok(&["routes", "export", file]).await;
    for prefix in ["/put", "/registered"] {
        edge.ok(&["routes", "remove", prefix]).await;
    }
    edge.ok(&["routes", "import", file]).await;
    for route in ["/put", "/registered"] {
        is_whole(
            &edge.json(&["routes", "get", route, "--json"]).await,
            "import",
        );
    }
    // A wrong value is said before anything is sent.
    let refused = edge
        .run(&["routes", "put", "/put", "--port", "1", "--hsts", "forever"])
        .await;
    refused.is(2, "max-age=31536000");
    // An instance has no settings of the route.
    let refused = edge
        .run(&[&["routes", "put", "/put", "--instance", "a"][..], &options].concat())
        .await;
    refused.is(2, "--instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_kept_whole() {
    let home = Home::new("");
    let mut proxy = home.start().await;
    let route = with(&[&settings(), &fields()], json!({"port": 4321}));
    proxy
        .write("PUT", "/v1/routes/*/kept", Some(route), 201)
        .await;
    proxy.stop().await;
    let proxy = home.start().await;
    is_whole(&proxy.look("/v1/routes/*/kept").await, "store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_route_takes_every_field_of_a_registration() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("app.sock");
    let mut fields = fields();
    fields.remove("ttl");
    let own =
        json!({"prefix": "/whole", "port": 4321, "instance": "one", "reqHostNames": ["a.example"]});
    let whole = with(&[&settings(), &fields], own);
    let routes = json!([
        whole,
        {"prefix": "/unix", "unix": socket},
        {"prefix": "/pair", "port": 4321, "instance": "a", "owner": 7},
        {"prefix": "/pair", "port": 4322, "instance": "b"},
    ]);
    let allowed = folder.path().display();
    // JSON is YAML.
    let proxy = TestProxy::start(&format!(
        "targets:\n  allow: ['unix:{allowed}']\nroutes: {routes}\n"
    ))
    .await;
    let mut shown = proxy.look("/v1/routes/a.example/whole").await;
    shown["instances"][0]["ttl"] = json!("1h");
    is_whole(&shown, "configuration");
    assert_eq!(shown["instances"][0]["id"], "one");
    let shown = proxy.look("/v1/routes/*/unix").await;
    assert_eq!(shown["instances"][0]["unix"], json!(socket));
    let shown = proxy.look("/v1/routes/*/pair").await;
    let pairs: Vec<_> = shown["instances"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&pairs[0]["port"], &pairs[1]["port"]),
        (&json!(4321), &json!(4322))
    );
    assert_eq!((&pairs[0]["owner"], pairs.len()), (&json!("7"), 2));
}

/// A store that release 0.8.0 wrote, and what it showed of it.
const STORE: &str = "tests/fixtures/store/0.8.0.redb";
const ROUTES: &str = "tests/fixtures/store/0.8.0.json";

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

fn number(file: &Path, name: &str) -> u64 {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_read().unwrap();
    let meta = transaction.open_table(META).unwrap();
    meta.get(name).unwrap().unwrap().value()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_0_8_0_opens_and_is_upgraded_once() {
    let configuration = "targets:\n  allow: ['unix:/run/apps']\n  tls:\n    - name: inner\n";
    let home = Home::new(configuration);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(here.join(STORE), home.file()).unwrap();
    assert_eq!(number(&home.file(), "format"), 1);
    let commits = number(&home.file(), "commits");
    let mut expected: Value =
        serde_json::from_slice(&fs::read(here.join(ROUTES)).unwrap()).unwrap();
    for start in 0..2 {
        let mut proxy = home.start().await;
        let mut shown = proxy.table().await;
        for list in [&mut shown, &mut expected] {
            for route in list["routes"].as_array_mut().unwrap() {
                for instance in route["instances"].as_array_mut().unwrap() {
                    instance.as_object_mut().unwrap().remove("in_flight");
                }
            }
        }
        assert_eq!(shown, expected, "start {start}");
        let said = proxy.log().contains("11 routes brought from format 1 to 2");
        assert_eq!(said, start == 0, "{}", proxy.log());
        proxy.stop().await;
        // Release 0.8.0 refuses every format above 1, and names this number when it does.
        assert_eq!(number(&home.file(), "format"), 2);
    }
    assert!(number(&home.file(), "commits") >= commits);
    // And it is one like any other.
    let origin = Origin::saying("app").await;
    let mut proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    api.put("/v1/routes/*/plain", json!({"port": origin.port()}))
        .await;
    proxy.stop().await;
    let proxy = home.start().await;
    assert_eq!(get(proxy.address(), "/plain").await.text(), "app");
}

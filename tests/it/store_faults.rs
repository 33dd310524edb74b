//! A store whose file goes away, cannot grow, or is another, while the proxy serves.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Api, Home, TestProxy, eventually};

async fn put(api: &mut Api, name: &str) -> (u16, Value) {
    let body = Some(json!({ "port": 4001 }));
    let response = api.call("PUT", &format!("/v1/routes/*/{name}"), body).await;
    (response.status, response.json())
}

/// The routes that there are after a crash.
async fn after_a_crash(home: &Home, mut proxy: TestProxy) -> Vec<String> {
    proxy.signal("KILL");
    proxy.ended().await;
    let proxy = home.start().await;
    let list = Api::of(&proxy)
        .await
        .get("/v1/routes")
        .await
        .expect("a list");
    let routes = list["routes"].as_array().expect("routes").iter();
    let prefix = |route: &Value| route["prefix"].as_str().expect("a prefix").to_owned();
    routes.map(prefix).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_on_disk_though_the_file_was_removed() {
    let home = Home::new("");
    let proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    assert_eq!(put(&mut api, "a").await.0, 201);
    fs::remove_file(home.file()).unwrap();
    assert_eq!(put(&mut api, "b").await.0, 201);
    proxy.logged(&["had been removed"]).await;
    assert_eq!(put(&mut api, "c").await.0, 201);
    assert_eq!(after_a_crash(&home, proxy).await, ["/a", "/b", "/c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_on_disk_though_the_folder_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("deep/state");
    let configuration = Home::store(&state);
    let proxy = TestProxy::start(&format!("port: 0\n{configuration}")).await;
    let mut api = Api::of(&proxy).await;
    assert_eq!(put(&mut api, "a").await.0, 201);
    fs::remove_dir_all(folder.path().join("deep")).unwrap();
    api.delete("/v1/routes/*/a").await;
    assert_eq!(put(&mut api, "b").await.0, 201);
    proxy.signal("KILL");
    let mut proxy = proxy;
    proxy.ended().await;
    let proxy = TestProxy::start(&format!("port: 0\n{configuration}")).await;
    let list = Api::of(&proxy).await.get("/v1/routes").await.unwrap();
    assert_eq!(
        (&list["total"], &list["routes"][0]["prefix"]),
        (&json!(1), &json!("/b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_anew_is_503() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let proxy = TestProxy::start(&format!("port: 0\n{}", Home::store(&state))).await;
    let mut api = Api::of(&proxy).await;
    assert_eq!(put(&mut api, "a").await.0, 201);
    let aside = folder.path().join("aside");
    fs::rename(&state, &aside).unwrap();
    fs::write(&state, "a file in the way").unwrap();
    let before = proxy.table().await;
    for _ in 0..2 {
        let (status, problem) = put(&mut api, "b").await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("STORE_FAILED")),
            "{problem}"
        );
        proxy.logged(&["the store fails"]).await;
    }
    assert_eq!(proxy.table().await, before);
    fs::remove_file(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    assert_eq!(put(&mut api, "b").await.0, 201);
    proxy.logged(&["the store works again"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_is_503_and_left_alone() {
    let home = Home::new("");
    let proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    assert_eq!(put(&mut api, "a").await.0, 201);
    let aside = home.file().with_extension("aside");
    fs::rename(home.file(), &aside).unwrap();
    fs::write(home.file(), "another").unwrap();
    let before = proxy.table().await;
    let (status, problem) = put(&mut api, "b").await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("STORE_FAILED")),
        "{problem}"
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("another file is there"), "{detail}");
    assert_eq!(proxy.table().await, before);
    assert_eq!(fs::read(home.file()).unwrap(), b"another");
    fs::rename(&aside, home.file()).unwrap();
    assert_eq!(put(&mut api, "b").await.0, 201);
    assert_eq!(after_a_crash(&home, proxy).await, ["/a", "/b"]);
}

/// Sets the largest size of a file that the proxy may write.
pub(crate) fn limit_files(pid: u32, bytes: &str) {
    let mut prlimit = Command::new("prlimit");
    let status = prlimit.args([
        "--pid",
        &pid.to_string(),
        &format!("--fsize={bytes}:unlimited"),
    ]);
    assert!(status.status().expect("prlimit runs").success());
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_507_and_removals_go_on() {
    let home = Home::new("");
    let proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    assert_eq!(put(&mut api, "first").await.0, 201);
    limit_files(proxy.pid(), &len(&home.file()).to_string());
    let name = |number: usize| format!("{number}/{}", "x".repeat(1900));
    let mut made = 0;
    let refused = loop {
        let (status, problem) = put(&mut api, &name(made)).await;
        if status != 201 {
            break (status, problem);
        }
        made += 1;
        assert!(made < 20_000, "the file never became too large");
    };
    assert_eq!(
        (refused.0, &refused.1["code"]),
        (507, &json!("STORE_FULL")),
        "{}",
        refused.1
    );
    let before = proxy.table().await;
    assert_eq!(put(&mut api, &name(made)).await.0, 507);
    assert_eq!(proxy.table().await, before);
    // Each of the routes goes, one by one, however full it is.
    for number in 0..made {
        api.delete(&format!("/v1/routes/*/{}", name(number))).await;
    }
    limit_files(proxy.pid(), "unlimited");
    eventually("it works again", async || {
        put(&mut api, "last").await.0 == 201
    })
    .await;
    assert_eq!(after_a_crash(&home, proxy).await, ["/first", "/last"]);
}

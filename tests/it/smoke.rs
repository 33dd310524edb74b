//! The harness itself.

use crate::support::{ClosedPort, Origin, TestProxy, get};

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_app_is_reached() {
    let origin = Origin::saying("hello").await;
    let mut proxy = TestProxy::plain().await;
    proxy.register("/shop", origin.port()).await;
    let response = get(proxy.address(), "/shop/cart").await;
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(origin.requests()[0].target(), "/shop/cart");
    let ended = proxy.stop().await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_comes_back_on_its_port() {
    let mut origin = Origin::saying("hello").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    assert_eq!(get(proxy.address(), "/").await.status, 200);
    origin.stop().await;
    assert_eq!(get(proxy.address(), "/").await.status, 500);
    origin.restart().await;
    assert_eq!(get(proxy.address(), "/").await.status, 200);
    let closed = ClosedPort::new();
    proxy.register("/closed", closed.port()).await;
    assert_eq!(get(proxy.address(), "/closed").await.status, 500);
}

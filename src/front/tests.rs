use bytes::BytesMut;

use super::*;
use crate::server::{DynamicProxy, Options, default_pingora_conf};

/// Beside this, an idle connection holds Pingora's transport (0.8 KiB), its write buffer
/// (1.5 KiB) and tokio's task and I/O registration; one with TLS rustls's state, too.
#[tokio::test]
async fn what_waits_for_a_request_is_small() {
    let (proxy, conf) = (
        DynamicProxy::new(Options::default()),
        default_pingora_conf(),
    );
    let options = FrontOptions {
        limits: HeadLimits {
            head: 1024,
            target: 1024,
            fields: 10,
        },
        head_timeout: LINGER,
        handshake_timeout: LINGER,
        idle_timeout: Some(LINGER),
        listeners: Listeners::default(),
        http2_streams: 100,
        request_ids: RequestIds::default(),
        frames: None,
        overload: None,
        engine: Engine::Direct,
    };
    let (handler, control) = (proxy.proxy(&conf), proxy.register_handler());
    let front = Arc::new(Front::new(
        handler,
        control,
        options,
        proxy.connections(),
        (proxy.clients(), Arc::default()),
    ));
    let (transport, _client) = tokio::io::duplex(64);
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let size = size_of::<Connection>()
        + size_of_val(&front.attend(
            (Box::new(transport), BytesMut::new()),
            shutdown,
            test_ticket(),
            (proxy.connections().enter(), None),
        ));
    assert!(size <= 1100, "{size} bytes");
}

//! The workers of a server: of the traffic as many as there are threads, of the control API and of
//! registrations one each.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use log::{info, warn};
use pingora_core::apps::ServerApp;
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use tokio::sync::watch;

use super::control_listener::{self, BoundControl, ControlListener, ControlListeners};
use super::dynamic_proxy::DynamicProxy;
use super::error::StartError;
use super::listener::{BindError, BoundListener};
use super::mounted::ControlService;
use super::service::{
    ControlWorker, Entrance, SocketFiles, Sockets, Started, TrafficWorker, Worker,
};
use super::traffic::Traffic;
use crate::config::Config;
use crate::front::Balance;
use crate::health::Health;

/// The client's writes are gathered up to this size before they go to the kernel, so that a head
/// and a small body are one packet. Reads go through the front's own buffer.
const WRITE_BUFFER: usize = 1460;

/// As many workers of one thread as the configuration has threads; with work stealing, Pingora's
/// one service of many. The first has the sockets that Pingora knows, the others copies of them.
pub(super) fn traffic(
    config: &Config,
    proxy: &DynamicProxy,
    traffic: Traffic,
    stop: &watch::Sender<bool>,
) -> Result<Vec<TrafficWorker>, StartError> {
    let (conf, count) = conf(config);
    let balance = Balance::new(count);
    let worker = |index| {
        let mut front = proxy.front(&conf);
        if count > 1 {
            front = front.seated(balance.seat(index));
        }
        let front = Arc::new(front);
        let mut service = Service::new("traffic".to_owned(), Entrance(Arc::clone(&front)));
        service.threads = Some(conf.threads);
        for address in &traffic.addresses {
            listen(&mut service, ListenerConfig::tcp(address.to_string()));
        }
        Ok(Worker {
            service,
            sockets: copies(&traffic.bound)?,
            stop: stop.clone(),
            health: proxy.health(),
            on_started: None,
            settle: Some(Box::new(move |shutdown| front.settle(shutdown))),
        })
    };
    let workers: Result<Vec<TrafficWorker>, StartError> = (0..count).map(worker).collect();
    let mut workers = workers?;
    if let Some(first) = workers.first_mut() {
        first.sockets = Sockets::Known(traffic.bound.into_iter().map(named).collect());
    }
    Ok(workers)
}

/// Pingora's configuration of one worker, and how many workers there are.
fn conf(config: &Config) -> (Arc<ServerConf>, usize) {
    let mut conf = config.pingora();
    let count = if conf.work_stealing { 1 } else { conf.threads };
    if !conf.work_stealing {
        // Pingora sizes a service's pools by this; each worker has its own.
        conf.threads = 1;
    }
    conf.upstream_keepalive_pool_size = pool_size(conf.upstream_keepalive_pool_size, count);
    (Arc::new(conf), count)
}

/// How many idle connections of one kind each of so many workers may keep: what is configured, as long as
/// all of them together leave three quarters of the files that may be open to others.
fn pool_size(configured: usize, workers: usize) -> usize {
    let Ok((files, _hard)) = rlimit::Resource::NOFILE.get() else {
        return configured;
    };
    let most = usize::try_from(files / 4).unwrap_or(usize::MAX) / workers.max(1);
    if configured > most {
        warn!(
            "each thread keeps at most {most} idle connections to targets rather than {configured}, since \
             only {files} files may be open"
        );
    }
    configured.min(most)
}

/// Copies of the sockets of the traffic, or of those that come from the process before.
fn copies(bound: &[BoundListener]) -> Result<Sockets, BindError> {
    if bound.is_empty() {
        return Ok(Sockets::CopiesOfKnown);
    }
    let copies = bound.iter().map(BoundListener::copy);
    Ok(Sockets::Copies(copies.collect::<Result<_, _>>()?))
}

fn named(listener: BoundListener) -> (String, OwnedFd) {
    (listener.address.to_string(), listener.socket)
}

/// The worker of the control API, or of registrations, on one thread; none if there are no listeners.
pub(super) fn control(
    ControlService(mut service): ControlService,
    BoundControl { wanted, bound }: BoundControl,
    (stop, health): (&watch::Sender<bool>, &Arc<Health>),
    files: &SocketFiles,
) -> Option<ControlWorker> {
    if wanted.listen.is_empty() {
        return None;
    }
    service.threads = Some(1);
    for name in names(&wanted, &bound) {
        listen(
            &mut service,
            control_listener::endpoint(&name, wanted.access()),
        );
    }
    let (sockets, on_started) = if bound.is_empty() {
        (Sockets::Inherited(wanted, Arc::clone(files)), None)
    } else {
        let started = told(&wanted, &bound);
        (known(bound, files), Some(started))
    };
    Some(Worker {
        service,
        sockets,
        stop: stop.clone(),
        health: Arc::clone(health),
        on_started,
        settle: None,
    })
}

/// The names of control listeners in Pingora's table of sockets.
fn names(wanted: &ControlListeners, bound: &[ControlListener]) -> Vec<String> {
    if bound.is_empty() {
        wanted.listen.iter().map(control_listener::name).collect()
    } else {
        bound.iter().map(|bound| bound.name.clone()).collect()
    }
}

/// Says in the log where the control API is, or where apps register.
fn told(wanted: &ControlListeners, bound: &[ControlListener]) -> Started {
    let title = wanted.title();
    let shown: Vec<String> = bound.iter().map(|bound| bound.shown.clone()).collect();
    Box::pin(async move {
        for shown in shown {
            info!("{title} on {shown}");
        }
    })
}

/// The sockets of control listeners, whose files go away with the server.
fn known(bound: Vec<ControlListener>, files: &SocketFiles) -> Sockets {
    files
        .lock()
        .extend(bound.iter().filter_map(|bound| bound.file.clone()));
    let sockets = bound.into_iter().map(|bound| (bound.name, bound.socket));
    Sockets::Known(sockets.collect())
}

fn listen<A: ServerApp>(service: &mut Service<A>, endpoint: ListenerConfig) {
    let buffers = L4BufferSettings::new(0, WRITE_BUFFER);
    service.add_listener(endpoint.l4_buffer(buffers));
}

//! Upstreams of HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Response, StatusCode};
use tokio::sync::mpsc;

use super::case::{Act, Asked};
use super::client_http2::fields;
use super::upstream::{Note, Shared};
use super::wire::{Framing, Io, to_latin1};

/// What a stream wants of its connection.
enum Order {
    GoAway(Reason),
    Close,
}

/// A connection: each of its streams is a task.
pub(crate) async fn serve(io: Io, shared: Arc<Shared>) {
    let Ok(mut connection) = h2::server::handshake(io).await else {
        return;
    };
    let (sender, mut orders) = mpsc::unbounded_channel();
    loop {
        // In this order, so that what was sent before an order is on its way.
        tokio::select! {
            biased;
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else {
                    return;
                };
                tokio::spawn(answer(request, respond, Arc::clone(&shared), sender.clone()));
            }
            order = orders.recv() => match order {
                Some(Order::GoAway(reason)) => connection.abrupt_shutdown(reason),
                Some(Order::Close) | None => return,
            },
        }
    }
}

async fn answer(
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
) {
    let (head, body) = request.into_parts();
    let asked = asked(&head);
    let acts = shared
        .case(&asked.target)
        .and_then(|case| case.http2.clone());
    let mut stream = Stream {
        note: shared.note(asked),
        incoming: body,
        respond,
        outgoing: None,
        orders,
    };
    for act in acts.unwrap_or_else(next) {
        // The other side may have given up on the stream.
        if stream.act(act).await.is_err() {
            return;
        }
    }
}

/// What is answered to the request that follows that of a case.
fn next() -> Vec<Act> {
    let head = Act::Head {
        status: 200,
        fields: Vec::new(),
        ends: false,
    };
    vec![Act::ReadBody, head, Act::Data(b"next".to_vec(), true)]
}

fn asked(head: &http::request::Parts) -> Asked {
    let mut authority: Vec<_> = head
        .uri
        .authority()
        .map(ToString::to_string)
        .into_iter()
        .collect();
    let fields = fields(&head.headers);
    for host in fields.all("host") {
        // RFC 9113, 8.3.1: the field may only repeat the pseudo-header field.
        if authority.first().is_none_or(|authority| authority != host) {
            authority.push(host.to_owned());
        }
    }
    Asked {
        method: head.method.to_string(),
        target: head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str())
            .to_owned(),
        version: "HTTP/2",
        scheme: head.uri.scheme_str().map(str::to_owned),
        authority,
        fields,
        framing: Some(Framing::Http2),
        ..Asked::default()
    }
}

/// A stream that is being answered.
struct Stream {
    note: Note,
    incoming: RecvStream,
    respond: SendResponse<Bytes>,
    outgoing: Option<SendStream<Bytes>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Stream {
    async fn act(&mut self, act: Act) -> Result<(), h2::Error> {
        match act {
            Act::ReadBody => drop(self.read_body().await?),
            Act::Interim(status) => {
                let status = StatusCode::from_u16(status).expect("a status");
                let mut interim = Response::new(());
                *interim.status_mut() = status;
                self.respond.send_informational(interim)?;
            }
            Act::Head {
                status,
                fields,
                ends,
            } => self.send_head(status, &fields, ends)?,
            Act::Data(bytes, ends) => self.send(bytes.into(), ends)?,
            Act::EchoBody => {
                let body = self.read_body().await?;
                let length = ("content-length", body.len().to_string());
                self.send_head(200, &[length], false)?;
                self.send(body, true)?;
            }
            Act::Reset(reason) => match &mut self.outgoing {
                Some(stream) => stream.send_reset(reason),
                None => self.respond.send_reset(reason),
            },
            Act::GoAway(reason) => self.order(Order::GoAway(reason)),
            Act::Close => self.order(Order::Close),
            Act::Silence => std::future::pending().await,
        }
        Ok(())
    }

    fn order(&self, order: Order) {
        // The connection may have ended by itself.
        drop(self.orders.send(order));
    }

    fn send_head(
        &mut self,
        status: u16,
        fields: &[(&'static str, String)],
        ends: bool,
    ) -> Result<(), h2::Error> {
        let mut head = Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, to_latin1(value));
        }
        let head = head.body(()).expect("a response");
        self.outgoing = Some(self.respond.send_response(head, ends)?);
        Ok(())
    }

    fn send(&mut self, bytes: Bytes, ends: bool) -> Result<(), h2::Error> {
        let stream = self.outgoing.as_mut().expect("a head was sent");
        stream.send_data(bytes, ends)
    }

    async fn read_body(&mut self) -> Result<Bytes, h2::Error> {
        let mut body = Vec::new();
        while let Some(piece) = self.incoming.data().await {
            let piece = piece?;
            body.extend_from_slice(&piece);
            self.incoming.flow_control().release_capacity(piece.len())?;
        }
        self.note.update(|asked| {
            asked.body.clone_from(&body);
            asked.is_whole = true;
        });
        Ok(body.into())
    }
}

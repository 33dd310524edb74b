//! That what is pure in here is right: `cargo bench --profile dev --bench peers -- --self-test`.

use crate::Result;
use crate::churn::connection::{Fault, Head, Length, Response};
use crate::churn::count::{Churn, Identity, Stage, Verdict, judge};
use crate::report::panels::figure_text;
use crate::report::short;

pub(crate) fn run() -> Result<()> {
    verdicts()?;
    identities()?;
    heads()?;
    sums()?;
    versions()?;
    println!("the bench's own tests: ok");
    Ok(())
}

fn expect(what: &str, is_so: bool) -> Result<()> {
    if is_so {
        return Ok(());
    }
    Err(format!("the bench's own test fails: {what}").into())
}

const UP: Stage = Stage::Up { life: 3 };
const NEXT: Stage = Stage::Up { life: 4 };
const LEAVING: Stage = Stage::Leaving { life: 3 };
const AWAY: Stage = Stage::Away;
const DEAD: Stage = Stage::Dead;

/// Of requests for app 17: the stages before and after, the response, and what to say of it.
fn verdicts() -> Result<()> {
    let (own, other, nobody) = ("app 17 life 3\n", "app 18 life 1\n", "Bad Gateway");
    let responses = [
        ([UP, UP], 200, own, Verdict::Right),
        ([UP, DEAD], 200, own, Verdict::Right),
        ([UP, UP], 200, other, Verdict::Wrong),
        ([AWAY, AWAY], 200, other, Verdict::Wrong),
        ([LEAVING, AWAY], 200, other, Verdict::Wrong),
        ([DEAD, DEAD], 200, other, Verdict::Stale),
        ([DEAD, UP], 200, other, Verdict::Stale),
        ([UP, UP], 502, nobody, Verdict::Failed),
        ([UP, UP], 404, nobody, Verdict::Failed),
        ([UP, UP], 200, nobody, Verdict::Failed),
        ([UP, LEAVING], 502, nobody, Verdict::Failed),
        ([UP, LEAVING], 404, nobody, Verdict::Away),
        ([UP, DEAD], 502, nobody, Verdict::Away),
        ([UP, NEXT], 502, nobody, Verdict::Away),
        ([AWAY, UP], 502, nobody, Verdict::Away),
        ([AWAY, AWAY], 502, nobody, Verdict::Away),
        ([DEAD, DEAD], 502, nobody, Verdict::Away),
    ];
    for (stages, status, body, verdict) in responses {
        let body = body.as_bytes().to_vec();
        let response = Ok(Response { status, body });
        let what = format!("{stages:?}, {response:?} is {verdict:?}");
        expect(&what, judge(17, stages, &response, 404) == verdict)?;
    }
    for fault in [Fault::Cut, Fault::Late, Fault::Refused] {
        for stages in [[UP, UP], [DEAD, DEAD], [AWAY, AWAY]] {
            let what = format!("{stages:?}, {fault:?} is no response");
            let verdict = judge(17, stages, &Err(fault), 404);
            expect(&what, verdict == Verdict::Lost(fault))?;
        }
    }
    Ok(())
}

fn identities() -> Result<()> {
    let identity = Identity { app: 17, life: 3 };
    let response = identity.response();
    let head = Head::read(&response)?.ok_or("half a response")?;
    let body = response.get(head.end..).unwrap_or_default();
    expect(
        "an app's response has its length",
        head.length == Length::Bytes(body.len()),
    )?;
    expect(
        "an app's response says who",
        Identity::read(body) == Some(identity),
    )?;
    for nobody in [
        "",
        "app 17",
        "app x life 3\n",
        "APP 17 life 3\n",
        "app 17 life\n",
    ] {
        expect(nobody, Identity::read(nobody.as_bytes()).is_none())?;
    }
    Ok(())
}

fn heads() -> Result<()> {
    let cases = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            200,
            Length::Bytes(5),
            false,
        ),
        (
            "HTTP/1.1 503 X\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
            503,
            Length::Bytes(0),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            200,
            Length::Chunked,
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            204,
            Length::Bytes(0),
            false,
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            502,
            Length::ToTheEnd,
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
            200,
            Length::Bytes(1),
            true,
        ),
    ];
    for (text, status, length, last) in cases {
        let end = text.find("\r\n\r\n").ok_or("no end")? + 4;
        let wanted = Head {
            status,
            length,
            last,
            end,
        };
        expect(text, Head::read(text.as_bytes())? == Some(wanted))?;
    }
    expect(
        "half a head",
        Head::read(b"HTTP/1.1 200 OK\r\nA: b\r\n")?.is_none(),
    )?;
    expect("what is no head", Head::read(b"SSH-2.0-x\r\n\r\n").is_err())
}

fn sums() -> Result<()> {
    let mut churn = Churn::default();
    let verdicts = [
        Verdict::Right,
        Verdict::Wrong,
        Verdict::Stale,
        Verdict::Failed,
        Verdict::Lost(Fault::Cut),
        Verdict::Lost(Fault::Refused),
        Verdict::Lost(Fault::Late),
        Verdict::Away,
    ];
    for verdict in verdicts {
        churn.add(verdict);
    }
    churn.closed = 2;
    let each = [
        churn.right,
        churn.wrong,
        churn.stale,
        churn.failed,
        churn.cut,
        churn.refused,
        churn.late,
        churn.away,
    ];
    expect("one of each", churn.requests == 8 && each == [1; 8])?;
    expect(
        "of 10,000",
        churn.part(churn.others()).to_bits() == 2500_f64.to_bits(),
    )?;
    expect("cut and closed connections", churn.connections() == 5)?;
    let texts = [0.0, 0.04, 3.21, 9.96, 123.4].map(figure_text);
    expect(
        "figures for people",
        texts == ["0", "0.0", "3.2", "10", "123"],
    )
}

fn versions() -> Result<()> {
    let cases = [
        ("1.22.1", "1.22.1"),
        ("2.6.12-1+deb12u4", "2.6.12"),
        ("v2.11.7", "2.11.7"),
        ("5.3.0, Node v20.20.2", "5.3.0"),
        ("dynamic-reverse-proxy 0.6.0, Node v20.20.2", "0.6.0"),
        ("a bare ProxyHttp on Pingora 0.9.1", "0.9.1"),
        ("no proxy: the origin alone", ""),
    ];
    for (version, wanted) in cases {
        expect(version, short(version) == wanted)?;
    }
    Ok(())
}

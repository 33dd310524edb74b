//! That the guard finds what it has to find: figures that are made up, and no valgrind.

use std::path::Path;

use crate::Result;
use crate::figures::Figures;
use crate::machine::Versions;
use crate::report::Report;

pub(crate) fn run() -> Result<()> {
    // What is stored, what is counted, and whether that is good.
    let cases = [
        ("the same", 100_000, true),
        ("4.9 % more", 104_900, true),
        ("4.9 % less", 95_100, true),
        ("6 % more", 106_000, false),
        ("6 % less", 94_000, false),
    ];
    for (what, counted, good) in cases {
        let report = Report::new(
            &read(&[("get", 100_000)])?,
            &figures(&[("get", counted)]),
            true,
        );
        expect(what, report.is_good() == good)?;
    }

    let stored = read(&[("get", 100_000), ("post", 50_000)])?;
    let report = Report::new(
        &stored,
        &figures(&[("get", 106_000), ("post", 50_000)]),
        true,
    );
    let fault = report.fault(Path::new("/tmp"));
    let needed = ["get: +6.0 %", "100000", "106000", "make guard-accept"];
    expect(
        "the message",
        needed.iter().all(|part| fault.contains(part)),
    )?;
    expect("nothing of what is good", !fault.contains("post:"))?;

    let part = figures(&[("get", 100_000)]);
    expect(
        "a scenario that is gone",
        !Report::new(&stored, &part, true).is_good(),
    )?;
    expect("some of them", Report::new(&stored, &part, false).is_good())?;
    let more = figures(&[("get", 100_000), ("post", 50_000), ("put", 1)]);
    expect(
        "a scenario that is new",
        !Report::new(&stored, &more, true).is_good(),
    )?;

    let mut other = figures(&[("get", 106_000), ("post", 50_000)]);
    "rustc 2".clone_into(&mut other.versions.rustc);
    let fault = Report::new(&stored, &other, true).fault(Path::new("/tmp"));
    expect(
        "the other compiler",
        fault.contains("rustc: rustc 1, now rustc 2"),
    )?;
    expect(
        "a file with an unknown key",
        Figures::parse("surprise: 1").is_err(),
    )?;

    println!("the guard finds what it has to find");
    Ok(())
}

/// Figures that have been to the file and back.
fn read(counts: &[(&str, u64)]) -> Result<Figures> {
    Figures::parse(&figures(counts).text())
}

fn figures(counts: &[(&str, u64)]) -> Figures {
    let mut figures = Figures::new(Versions {
        rustc: "rustc 1".to_owned(),
        cc: "cc 1".to_owned(),
        libc: "glibc 1".to_owned(),
        valgrind: "valgrind-1".to_owned(),
    });
    for &(name, count) in counts {
        figures.instructions.insert(name.to_owned(), count);
    }
    figures
}

fn expect(what: &str, holds: bool) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(format!("self-test: {what}: not as it should be").into())
}

//! `routes export`: all routes, in the form of an import.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::CliError;
use crate::cli::client::{Call, ConnectionArgs, block_on};
use crate::cli::wire::{Route, Routes};
use crate::route::{InstanceSpec, KeyedInstances, RouteSpec};

/// `routes export`. Instances that drain are left out: they are on their way out.
#[derive(Args, Debug)]
pub(in super::super) struct ExportArgs {
    /// The file; standard output if there is none, or if it is `-`. It is replaced as a whole.
    file: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    let mut client = args.connection.client()?;
    let answer = block_on(client.call(Call::get("/v1/routes")))?;
    let list: Routes = answer.read()?;
    let routes: Vec<RouteSpec> = list.routes.into_iter().filter_map(exported).collect();
    match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            write(&mut out, &routes)?;
            Ok(out.flush()?)
        }
        Some(path) => replace(path, &routes).map_err(|source| CliError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A route as it would be put again; `None` if all of it drains.
fn exported(route: Route) -> Option<RouteSpec> {
    let instances = route.own.instances.into_iter();
    let instances: Vec<InstanceSpec> = instances
        .filter(|instance| !instance.is_draining())
        .map(|instance| instance.group)
        .collect();
    (!instances.is_empty()).then_some(RouteSpec {
        own: KeyedInstances {
            host: Some(route.own.host),
            prefix: route.own.prefix,
            instances,
        },
        group: route.group,
    })
}

/// One route on each line, so that two exports can be compared.
fn write(out: &mut impl Write, routes: &[RouteSpec]) -> io::Result<()> {
    out.write_all(b"{\"routes\":[")?;
    for (index, route) in routes.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, route)?;
    }
    out.write_all(b"\n]}\n")
}

/// Writes beside the file, then moves it there: a reader never sees half of it. What is no plain
/// file (a pipe, a device) is written to as it is.
fn replace(path: &Path, routes: &[RouteSpec]) -> io::Result<()> {
    let is_special = path.metadata().is_ok_and(|found| !found.is_file());
    if is_special {
        let mut out = BufWriter::new(File::options().write(true).open(path)?);
        write(&mut out, routes)?;
        return out.flush();
    }
    // The file that a link points to is replaced, not the link.
    let path = path.canonicalize().unwrap_or_else(|error| {
        log::debug!("{}: {error}", path.display());
        path.to_owned()
    });
    let mut name = path.clone().into_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(name);
    let written = File::create(&beside).and_then(|file| {
        let mut out = BufWriter::new(&file);
        write(&mut out, routes)?;
        out.flush()?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    });
    if written.is_err()
        && let Err(error) = std::fs::remove_file(&beside)
    {
        log::debug!("{}: {error}", beside.display());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::wire::RouteSet;

    #[test]
    fn what_is_exported_can_be_imported() {
        let answer = r#"{"generation":3,"total":2,"next":null,"routes":[
            {"host":"*","prefix":"/a","generation":1,"tls":"require","instances":[
                {"id":"x","host":"localhost","port":1,"owner":null,"ttl":"30s","state":"ready"},
                {"id":"y","host":"localhost","port":2,"owner":"b","ttl":null,"state":"draining"}]},
            {"host":"*","prefix":"/b","instances":[
                {"id":"x","host":"localhost","port":1,"state":"draining"}]}]}"#;
        let list: Routes = serde_json::from_str(answer).unwrap();
        let routes: Vec<RouteSpec> = list.routes.into_iter().filter_map(exported).collect();
        let mut text = Vec::new();
        write(&mut text, &routes).unwrap();
        let set: RouteSet = serde_json::from_slice(&text).unwrap();
        assert_eq!(set.routes, routes);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"routes\":[\n{\"host\":\"*\",\"prefix\":\"/a\",\"instances\":\
             [{\"id\":\"x\",\"host\":\"localhost\",\"port\":1,\"ttl\":\"30s\"}],\
             \"tls\":\"require\"}\n]}\n"
        );
    }
}

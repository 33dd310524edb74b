//! Bodies that are lists of routes or of changes, however long: each entry is read, checked, made into
//! what the registry understands, and dropped before the next one is read. So a body of 64 MiB costs its
//! own bytes and what comes of it, and no tree of all that it says.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, StatusCode};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::{Deserialize, Deserializer};

use super::error::{invalid, not_made};
use super::input::{drain, key, parse, spec_blocking, text};
use super::problem::{Problem, internal};
use super::state::Control;
use crate::registry::{ChangeError, Edit, Exceeded, Limit, Registry, Spec};
use crate::route::{
    InstanceSpec, RouteKey, RouteSpec, Settings, SettingsPatch, With, clip_value, instance_id,
    optional_instances,
};

/// One change of a list: its own fields, and with `put` and `set` the route's settings.
pub(super) type ChangeInput = With<ChangeFields, SettingsPatch>;

/// One change of a list, without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeFields {
    #[serde(deserialize_with = "word")]
    op: Op,
    /// The request hosts: `*`, `example.com` or `*.example.com`.
    host: String,
    /// The path prefix.
    prefix: String,
    /// With `put`: the instances.
    #[serde(default, deserialize_with = "optional_instances")]
    instances: Option<Vec<InstanceSpec>>,
    /// With `join`: the instance.
    instance: Option<InstanceSpec>,
    /// With `leave`: the instance's name.
    id: Option<String>,
    /// With `remove` and `leave`: how long requests in flight may go on.
    drain: Option<String>,
}

/// The operation of a change in a list of changes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Op {
    /// The route has these instances and no others.
    Put,
    /// The route is gone.
    Remove,
    /// The route has this instance too.
    Join,
    /// The route does not have this instance any more.
    Leave,
    /// The route has other settings: those that are left out stay, and those that are `null` are taken back.
    Set,
}

/// Reads one of some words, and nothing that only stands for one (`{"put": null}`).
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Op, D::Error> {
    let word = String::deserialize(deserializer)?;
    Op::deserialize(word.into_deserializer())
}

type Result<T> = std::result::Result<T, Problem>;

/// An entry of a list.
pub(super) trait Entry: DeserializeOwned {
    /// The body's one field, which is the list.
    const FIELDS: &'static [&'static str];
    /// The checked entry, as the registry takes it.
    type Checked: Send + 'static;

    /// How many instances it asks for.
    fn instances(&self) -> usize;

    /// Checks it, and resolves its targets; `at` is where it stands in the body. Blocks while a name
    /// is looked up.
    fn check(&self, registry: &Registry, at: &str) -> Result<Self::Checked>;
}

/// Reads a body that is a list of entries, on a thread of its own, since that may take its time.
pub(super) async fn list<E: Entry + 'static>(
    control: &Arc<Control>,
    fields: &HeaderMap,
    body: Body,
) -> Result<Vec<E::Checked>> {
    let bytes = text(fields, body, control.api_body).await?;
    let registry = Arc::clone(&control.registry);
    let read = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        let list = List::<E> {
            registry: &registry,
            found: &mut found,
            entry: PhantomData,
        };
        parse(&bytes, list)?.map(|()| found)
    });
    read.await.unwrap_or_else(|error| {
        log::error!("a body cannot be read: {error}");
        Err(internal())
    })
}

/// The body, or its one field. What is wrong with an entry is no error of the syntax: the rest is read
/// as far as its syntax goes, whose errors come first.
struct List<'l, E: Entry> {
    registry: &'l Registry,
    found: &'l mut Vec<E::Checked>,
    entry: PhantomData<E>,
}

/// The name of a field, which has to be one of these.
struct Field(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Field {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, text: D) -> std::result::Result<(), D::Error> {
        text.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Field {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("field identifier")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<(), E> {
        if self.0.contains(&name) {
            return Ok(());
        }
        Err(E::unknown_field(&clip_value(name), self.0))
    }
}

/// The list itself.
struct Entries<'l, E: Entry>(List<'l, E>);

impl<'de, E: Entry> DeserializeSeed<'de> for List<'_, E> {
    type Value = Result<()>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        text: D,
    ) -> std::result::Result<Result<()>, D::Error> {
        text.deserialize_map(self)
    }
}

impl<'de, E: Entry> Visitor<'de> for List<'_, E> {
    type Value = Result<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Result<()>, A::Error> {
        let Self {
            registry, found, ..
        } = self;
        let name = E::FIELDS.first().copied().unwrap_or_default();
        let mut read = None;
        while map.next_key_seed(Field(E::FIELDS))?.is_some() {
            if read.is_some() {
                return Err(A::Error::duplicate_field(name));
            }
            let list = List::<E> {
                registry,
                found: &mut *found,
                entry: PhantomData,
            };
            read = Some(map.next_value_seed(Entries(list))?);
        }
        read.ok_or_else(|| A::Error::missing_field(name))
    }
}

impl<'de, E: Entry> DeserializeSeed<'de> for Entries<'_, E> {
    type Value = Result<()>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        text: D,
    ) -> std::result::Result<Result<()>, D::Error> {
        text.deserialize_seq(self)
    }
}

impl<'de, E: Entry> Visitor<'de> for Entries<'_, E> {
    type Value = Result<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Result<()>, A::Error> {
        let Self(list) = self;
        let name = E::FIELDS.first().copied().unwrap_or_default();
        let (mut checked, mut instances) = (Ok(()), 0);
        while let Some(entry) = seq.next_element::<E>()? {
            let count = list.found.len();
            let at = format!("/{name}/{count}");
            instances += entry.instances();
            let counts = [(Limit::Routes, count + 1), (Limit::Instances, instances)];
            checked = room(list.registry, counts, name)
                .and_then(|()| entry.check(list.registry, &at))
                .map(|entry| list.found.push(entry));
            if checked.is_err() {
                break;
            }
        }
        while checked.is_err() && seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(checked)
    }
}

/// Whether there is room for what has been read: a list of more than the table may hold is not read on.
fn room(registry: &Registry, counts: [(Limit, usize); 2], name: &str) -> Result<()> {
    for (limit, wanted) in counts {
        let most = registry.limits().most(limit);
        if wanted > most {
            registry.count_refusal(limit);
            let exceeded = Exceeded {
                limit,
                most,
                wanted,
            };
            return Err(not_made(&ChangeError::Limit(exceeded), "").at(format!("/{name}")));
        }
    }
    Ok(())
}

/// Checks the instances of an entry.
fn specs(instances: &[InstanceSpec], registry: &Registry, at: &str) -> Result<Vec<Spec>> {
    let instances = instances.iter().enumerate();
    instances
        .map(|(index, one)| spec_blocking(one, registry, &format!("{at}/instances/{index}")))
        .collect()
}

impl Entry for RouteSpec {
    const FIELDS: &'static [&'static str] = &["routes"];
    type Checked = (RouteKey, Vec<Spec>, Settings);

    fn instances(&self) -> usize {
        self.own.instances.len()
    }

    fn check(&self, registry: &Registry, at: &str) -> Result<Self::Checked> {
        let own = &self.own;
        let Some(host) = &own.host else {
            let detail = "The route lacks `host`; write \"*\" for any.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "INVALID_BODY", detail).at(at));
        };
        let key = key(registry, host, &own.prefix, at)?;
        let specs = specs(&own.instances, registry, at)?;
        Ok((key, specs, self.group.clone()))
    }
}

impl Entry for ChangeInput {
    const FIELDS: &'static [&'static str] = &["changes"];
    type Checked = Edit;

    fn instances(&self) -> usize {
        let one = usize::from(self.own.instance.is_some());
        self.own.instances.as_ref().map_or(one, Vec::len)
    }

    fn check(&self, registry: &Registry, at: &str) -> Result<Edit> {
        self.own.edit(&self.group, registry, at)
    }
}

impl ChangeFields {
    fn edit(&self, settings: &SettingsPatch, registry: &Registry, at: &str) -> Result<Edit> {
        self.has_its_fields(settings, at)?;
        let key = key(registry, &self.host, &self.prefix, at)?;
        let drain = drain(self.drain.as_deref())
            .map_err(|error| invalid(&error, &format!("{at}/drain")))?;
        let missing = |field: &str| self.refuse("lacks", field, at);
        Ok(match self.op {
            Op::Put => {
                let instances = self
                    .instances
                    .as_ref()
                    .ok_or_else(|| missing("instances"))?;
                let specs = specs(instances, registry, at)?;
                Edit::Put(key, specs, settings.said.clone())
            }
            Op::Join => {
                let instance = self.instance.as_ref().ok_or_else(|| missing("instance"))?;
                let spec = spec_blocking(instance, registry, &format!("{at}/instance"))?;
                Edit::Join(key, spec, Settings::default(), false)
            }
            Op::Set => Edit::Set(key, settings.clone()),
            Op::Remove => Edit::Leave(key, None, drain),
            Op::Leave => {
                let id = self.id.as_ref().ok_or_else(|| missing("id"))?;
                let id = instance_id(id);
                let id = id.map_err(|error| invalid(&error.into(), &format!("{at}/id")))?;
                Edit::Leave(key, Some(id), drain)
            }
        })
    }

    /// Each operation has fields of its own, and no others.
    fn has_its_fields(&self, settings: &SettingsPatch, at: &str) -> Result<()> {
        let has = [
            ("instances", self.instances.is_some()),
            ("instance", self.instance.is_some()),
            ("id", self.id.is_some()),
            ("drain", self.drain.is_some()),
        ];
        let own: &[&str] = match self.op {
            Op::Put => &["instances"],
            Op::Join => &["instance"],
            Op::Set => &[],
            Op::Remove => &["drain"],
            Op::Leave => &["id", "drain"],
        };
        let mut foreign = has.iter().filter(|(name, is)| *is && !own.contains(name));
        let foreign = foreign.next().map(|(name, _)| *name);
        let setting = || {
            let mut settings = settings.said.names();
            settings
                .next()
                .filter(|_| !matches!(self.op, Op::Put | Op::Set))
        };
        match foreign.or_else(setting) {
            None => Ok(()),
            Some(name) => Err(self.refuse("does not have", name, at)),
        }
    }

    fn refuse(&self, verb: &str, field: &str, at: &str) -> Problem {
        let op = match self.op {
            Op::Put => "put",
            Op::Remove => "remove",
            Op::Join => "join",
            Op::Leave => "leave",
            Op::Set => "set",
        };
        let detail = format!("A change with the op `{op}` {verb} `{field}`.");
        Problem::new(StatusCode::BAD_REQUEST, "INVALID_BODY", detail).at(format!("{at}/{field}"))
    }
}

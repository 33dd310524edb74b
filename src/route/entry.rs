//! A route, and what identifies it.

use std::fmt;
use std::sync::Arc;

use super::{Activity, HostPattern, Instance, InstanceId, PathPrefix, Settings, Target};

/// A route: which requests it takes, and where they go.
///
/// What each request asks for stands in front: with the counts of the `Arc`, on one line of memory.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Route {
    /// The instances, of which there is always one: the usual case needs no list.
    first: Arc<Instance>,
    others: Box<[Arc<Instance>]>,
    /// The activity behind it.
    pub activity: Arc<Activity>,
    /// Its settings; `None` if it has none.
    settings: Option<Box<Settings>>,
    is_plain: bool,
    /// The change that made it what it is.
    pub generation: Generation,
    /// The hosts that it holds for.
    pub host: HostPattern,
    /// The paths that it takes.
    pub prefix: PathPrefix,
}

/// The identity of a route: registering the same key again replaces the target. Whether two
/// prefixes that differ in case are one key is the table's to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// The hosts.
    pub host: HostPattern,
    /// The paths.
    pub prefix: PathPrefix,
}

/// The number of a change of the table; each change has a higher one than those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Route {
    /// A route to one instance.
    #[must_use]
    pub fn new(key: RouteKey, instance: Arc<Instance>, generation: Generation) -> Self {
        Self {
            host: key.host,
            prefix: key.prefix,
            generation,
            activity: Arc::new(Activity::new(0)),
            settings: None,
            is_plain: instance.target.is_plain(),
            first: instance,
            others: Box::default(),
        }
    }

    /// A route to several instances; `None` without any.
    #[must_use]
    pub fn with_instances(
        key: RouteKey,
        instances: impl IntoIterator<Item = Arc<Instance>>,
        generation: Generation,
        activity: Arc<Activity>,
    ) -> Option<Self> {
        let mut instances = instances.into_iter();
        let (first, others) = (instances.next()?, instances.collect::<Box<[_]>>());
        Some(Self {
            host: key.host,
            prefix: key.prefix,
            generation,
            activity,
            settings: None,
            is_plain: std::iter::once(&first)
                .chain(&others)
                .all(|instance| instance.target.is_plain()),
            first,
            others,
        })
    }

    /// Returns the route with these settings.
    #[must_use]
    pub fn with_settings(mut self, settings: Option<&Settings>) -> Self {
        let settings = settings.filter(|settings| !settings.is_default());
        self.settings = settings.cloned().map(Box::new);
        self
    }

    /// Its settings; `None` if it has none.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_deref()
    }

    /// Whether all its targets speak HTTP/1.1 without TLS.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The identity of this route.
    #[must_use]
    pub fn key(&self) -> RouteKey {
        RouteKey {
            host: self.host.clone(),
            prefix: self.prefix.clone(),
        }
    }

    /// The target of the first instance: the only one, for most routes.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.first.target
    }

    /// The instances, at least one.
    #[must_use]
    pub fn instances(&self) -> impl ExactSizeIterator<Item = &Arc<Instance>> {
        Instances {
            first: Some(&self.first),
            others: self.others.iter(),
        }
    }

    /// How many instances there are.
    #[must_use]
    pub fn instance_count(&self) -> usize {
        1 + self.others.len()
    }

    /// The instance at an index, counted on from the first again behind the last.
    #[must_use]
    pub fn instance(&self, index: usize) -> &Arc<Instance> {
        match index % self.instance_count() {
            0 => &self.first,
            index => self.others.get(index - 1).unwrap_or(&self.first),
        }
    }

    /// The instance with a name.
    #[must_use]
    pub fn instance_named(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.instances().find(|instance| instance.id == *id)
    }
}

/// The instances of a route.
struct Instances<'r> {
    first: Option<&'r Arc<Instance>>,
    others: std::slice::Iter<'r, Arc<Instance>>,
}

impl<'r> Iterator for Instances<'r> {
    type Item = &'r Arc<Instance>;

    fn next(&mut self) -> Option<Self::Item> {
        self.first.take().or_else(|| self.others.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = usize::from(self.first.is_some()) + self.others.len();
        (count, Some(count))
    }
}

impl ExactSizeIterator for Instances<'_> {}

/// Equal in what was asked for, and in the change that made them; not in what goes on behind them.
impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation
            && self.host == other.host
            && self.prefix == other.prefix
            && self.settings == other.settings
            && self.instances().eq(other.instances())
    }
}

impl Eq for Route {}

impl Generation {
    /// The number of the next change.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The host pattern and the prefix behind it: `*/shop`, `example.com/shop`.
impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.prefix)
    }
}

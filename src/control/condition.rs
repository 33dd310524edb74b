//! Conditional requests (RFC 9110, 13): a state as an entity tag, and what is expected of one.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::problem::Problem;
use crate::registry::{Condition, Expected, Registry};
use crate::route::{Generation, RouteKey};

/// The characters between the entity tags of a list (RFC 9110, 5.6.1).
const BETWEEN: [char; 3] = [',', ' ', '\t'];

/// The tag of a generation: of one table, in one store.
pub(super) fn tag(registry: &Registry, generation: Generation) -> HeaderValue {
    let text = format!("\"{:08x}-{generation}\"", registry.epoch());
    HeaderValue::from_str(&text).unwrap_or_else(|_never| HeaderValue::from_static("\"\""))
}

/// Reads the conditions that a request sets on a route, or on the whole table.
pub(super) fn conditions(
    registry: &Registry,
    fields: &HeaderMap,
    on: Option<&RouteKey>,
) -> Result<Vec<Condition>, Problem> {
    let mut conditions = Vec::new();
    if let Some(text) = joined(fields, &IF_MATCH)? {
        let expected = match text.trim() {
            "*" => Expected::Present,
            tags => Expected::OneOf(generations(registry, tags, &IF_MATCH)?),
        };
        conditions.push(Condition {
            on: on.cloned(),
            expected,
        });
    }
    if let Some(text) = joined(fields, &IF_NONE_MATCH)? {
        if text.trim() != "*" {
            return Err(bad(&IF_NONE_MATCH, "only `*` is understood here"));
        }
        conditions.push(Condition {
            on: on.cloned(),
            expected: Expected::Absent,
        });
    }
    Ok(conditions)
}

/// All lines of a field as one.
fn joined(fields: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut lines = Vec::new();
    for value in fields.get_all(name) {
        lines.push(
            value
                .to_str()
                .map_err(|_bytes| bad(name, "it is not ASCII"))?,
        );
    }
    Ok((!lines.is_empty()).then(|| lines.join(",")))
}

/// The generations that the tags of this registry stand for; another's match nothing.
fn generations(
    registry: &Registry,
    tags: &str,
    name: &HeaderName,
) -> Result<Vec<Generation>, Problem> {
    let epoch = format!("{:08x}", registry.epoch());
    let mut generations = Vec::new();
    let mut rest = tags.trim_start_matches(BETWEEN);
    if rest.is_empty() {
        let why = "it is empty; send an entity tag, or leave it out";
        return Err(bad(name, why));
    }
    while !rest.is_empty() {
        let tag = rest.strip_prefix("W/");
        // A weak tag never matches here (RFC 9110, 13.1.1).
        let is_weak = tag.is_some();
        // An opaque tag may have commas in it.
        let (opaque, behind) = tag
            .unwrap_or(rest)
            .strip_prefix('"')
            .and_then(|tag| tag.split_once('"'))
            .filter(|(_, behind)| behind.is_empty() || behind.starts_with(BETWEEN))
            .ok_or_else(|| bad(name, "an entity tag stands in quotes"))?;
        let number = opaque
            .split_once('-')
            .filter(|(tagged, _)| *tagged == epoch && !is_weak)
            .and_then(|(_, number)| number.parse().ok());
        generations.extend(number.map(Generation));
        rest = behind.trim_start_matches(BETWEEN);
    }
    Ok(generations)
}

fn bad(name: &HeaderName, why: &str) -> Problem {
    let detail = format!("The field {name}: {why}.");
    Problem::new(StatusCode::BAD_REQUEST, "INVALID_CONDITION", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Rules;

    #[test]
    fn tags_stand_for_generations_of_this_registry() {
        let registry = Registry::new(Rules::default());
        let own = tag(&registry, Generation(7));
        let text = own.to_str().unwrap();
        let read = |value: &str| {
            let mut fields = HeaderMap::new();
            fields.append(IF_MATCH, HeaderValue::from_str(value).unwrap());
            conditions(&registry, &fields, None).map(|c| c[0].expected.clone())
        };
        assert_eq!(read(text), Ok(Expected::OneOf(vec![Generation(7)])));
        assert_eq!(
            read(&format!("\"x\", {text}")),
            Ok(Expected::OneOf(vec![Generation(7)]))
        );
        assert_eq!(read("*"), Ok(Expected::Present));
        assert_eq!(read(&format!("W/{text}")), Ok(Expected::OneOf(vec![])));
        let listed = format!("W/\"a,b\" ,,\t\"c, d\",{text}, ");
        assert_eq!(read(&listed), Ok(Expected::OneOf(vec![Generation(7)])));
        for bad in [
            "",
            " , ",
            "7",
            "\"7",
            "7\"",
            "w/\"7\"",
            "W/W/\"7\"",
            "\"a\"b",
            "\"a\"\"b\"",
            "*, \"a\"",
        ] {
            assert_eq!(read(bad).unwrap_err().code, "INVALID_CONDITION", "{bad}");
        }
        assert_eq!(read("7").unwrap_err().code, "INVALID_CONDITION");
    }
}

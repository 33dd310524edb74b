//! Replies of the proxy's own, which no upstream is asked for.

use super::super::case::{Body, Case, Outcome, Rule, Seen, field};

pub(crate) fn cases() -> Vec<Case> {
    let none = || Outcome::Own(501, "NOT_FOUND");
    let html = Rule::new("a page", |_, seen: &Seen| {
        let types = seen.fields.all("content-type");
        seen.status == 501 && types.len() == 1 && types[0].starts_with("text/html")
    });
    let json = || field("content-type", &["application/json"]);
    let bare = Rule::new("no body", |_, seen: &Seen| seen.body.is_empty());
    let own = |case: Case| {
        let target = format!("/none/{}", case.name);
        case.answering(200, &[], "").target(target)
    };
    vec![
        own(Case::new("no_route", none())).sees(json()),
        own(Case::new("no_route_json", none()).with("Accept", "application/json")).sees(json()),
        own(Case::new("no_route_html", Outcome::Answered).with("Accept", "text/html")).sees(html),
        own(Case::new("no_route_head", none()).method("HEAD")).sees(bare),
        own(Case::new("no_route_post", none()).method("POST")).body(Body::Length(b"body".to_vec())),
        own(Case::new("no_route_chunked", none()).method("POST"))
            .body(Body::Unknown(b"body".to_vec())),
    ]
}

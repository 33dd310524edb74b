use http::HeaderMap;

use super::*;
use crate::proxy::rules::failure::Reason;
use crate::proxy::rules::response::Asked;

/// Notes what has come.
#[derive(Default)]
struct Notes {
    interim: usize,
    status: Option<u16>,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    is_ended: bool,
}

impl ResponseSink for Notes {
    fn inform(&mut self, _head: &ResponseHead<'_>) -> Result<(), Failure> {
        self.interim += 1;
        Ok(())
    }

    fn begin(&mut self, head: &ResponseHead<'_>) -> Result<(), Failure> {
        self.status = Some(head.status.as_u16());
        self.fields = head
            .for_client()
            .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec()))
            .collect();
        Ok(())
    }

    fn data(&mut self, _context: &mut Context<'_>, data: &[u8]) -> Result<(), Failure> {
        self.body.extend_from_slice(data);
        Ok(())
    }

    fn end(&mut self, _trailers: Option<HeaderMap>) -> Result<(), Failure> {
        self.is_ended = true;
        Ok(())
    }
}

/// Reads a response that comes in these pieces; returns its parts as they were reported.
fn heard(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Notes, Failure> {
    let mut response = ResponseReader::new(Question {
        asked: Asked::Body,
        id_field: "x-request-id",
    });
    let mut notes = Notes::default();
    let mut context = Context::from_waker(std::task::Waker::noop());
    for piece in pieces {
        response.hear(&mut context, piece.as_ref(), &mut notes)?;
    }
    Ok(notes)
}

#[test]
fn a_response_is_the_same_wherever_the_reads_cut() {
    let text = b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nX: a\r\n b\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for cut in 0..text.len() {
        let notes = heard([&text[..cut], &text[cut..]]).unwrap();
        assert_eq!((notes.interim, notes.status), (1, Some(200)), "{cut}");
        assert_eq!(
            (&notes.body[..], notes.is_ended),
            (&b"hello"[..], true),
            "{cut}"
        );
    }
    let notes = heard(text.iter().map(std::slice::from_ref)).unwrap();
    assert_eq!((notes.status, &notes.body[..]), (Some(200), &b"hello"[..]));
}

#[test]
fn what_is_not_http_is_refused_at_once() {
    for text in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad field\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    ] {
        let failure = heard([text]).err().expect(text);
        let invalid = ResponseError::NotHttp;
        assert!(
            matches!(failure.reason, Reason::Response(error) if error == invalid),
            "{text:?}"
        );
    }
}

#[test]
fn a_control_character_in_a_value_becomes_a_space() {
    let notes = heard(["HTTP/1.1 200 OK\r\nX: a\x01b\x7f\r\nContent-Length: 0\r\n\r\n"]).unwrap();
    assert_eq!(notes.status, Some(200));
    assert_eq!(notes.fields, [("X".to_owned(), b"a b".to_vec())]);
}

#[test]
fn interim_responses_are_counted() {
    let hint = "HTTP/1.1 103 Hints\r\n\r\n";
    let few = [hint].repeat(100).concat() + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(heard([few]).unwrap().status, Some(200));
    let many = [hint].repeat(101).concat();
    assert!(heard([many]).is_err());
}

/// The head comes in lines of five bytes; parsing it anew for each would be quadratic.
#[test]
fn a_head_in_small_pieces_is_parsed_a_few_times() {
    let mut head = PartialHead::default();
    head.begin(b"HTTP/1.1 200 OK\r\nX: a\r\n");
    let worth = (0..40_000)
        .filter(|_| head.is_worth_parsing(b"\r\n a "))
        .count();
    assert!(worth <= 16, "{worth}");
    assert!(head.is_worth_parsing(b"\r\n\r\n"));
}

//! Whether a request may be sent again.

/// How a try has ended without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Loss {
    /// The upstream has said that it has not looked at the request: a stream that was refused, or is above
    /// the last one that `GOAWAY` names (RFC 9113, 8.7).
    Untouched,
    /// A connection that had been idle died before a byte of a response.
    DiedIdle,
    /// Anything else: the upstream may have acted on the request.
    Other,
}

/// Information about a request whose try has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Attempted {
    pub(in crate::proxy) loss: Loss,
    /// Whether the request may be made twice (RFC 9110, 9.2.2). One that asks for another protocol may not.
    pub(in crate::proxy) is_idempotent: bool,
    /// Whether the client has a part of a response.
    pub(in crate::proxy) has_begun: bool,
    /// Whether the request has been sent again already.
    pub(in crate::proxy) is_resent: bool,
}

impl Attempted {
    /// Whether the request may be sent once more, over a new connection.
    pub(in crate::proxy) fn may_resend(self) -> bool {
        let is_harmless = match self.loss {
            Loss::Untouched => true,
            Loss::DiedIdle => self.is_idempotent,
            Loss::Other => false,
        };
        is_harmless && !self.has_begun && !self.is_resent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_harmless_is_sent_again_and_once() {
        use Loss::{DiedIdle, Other, Untouched};
        let cases = [
            // loss, idempotent, begun, resent, may
            (Untouched, false, false, false, true),
            (Untouched, true, false, false, true),
            (Untouched, true, true, false, false),
            (Untouched, true, false, true, false),
            (DiedIdle, true, false, false, true),
            (DiedIdle, false, false, false, false),
            (DiedIdle, true, true, false, false),
            (DiedIdle, true, false, true, false),
            (Other, true, false, false, false),
            (Other, false, false, false, false),
        ];
        for (loss, is_idempotent, has_begun, is_resent, may) in cases {
            let attempted = Attempted {
                loss,
                is_idempotent,
                has_begun,
                is_resent,
            };
            assert_eq!(attempted.may_resend(), may, "{attempted:?}");
        }
    }
}

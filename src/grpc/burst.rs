//! The calls that came in one burst, answered step by step: each step is done for all before the next is for any.
//!
//! The instructions of one step fit into a processor's first cache of 32 KiB, those of all steps do not. Answered
//! one by one, each call would fetch the whole way through this server and h2 anew (docs/design.md).

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::Request;

use super::connection::Waiting;
use super::service::{Answered, Asked, Begun, Calls, Decided};

/// Room for the calls of a burst at each step, kept from burst to burst.
#[derive(Default)]
pub(super) struct Burst {
    arrived: Vec<(Request<RecvStream>, SendResponse<Bytes>)>,
    asked: Vec<Asked>,
    answered: Vec<Answered>,
}

impl Burst {
    /// One more call.
    pub(super) fn push(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.arrived.push((request, respond));
    }

    pub(super) fn len(&self) -> usize {
        self.arrived.len()
    }

    /// Answers all calls but those that have to wait, which go on in `waiting`.
    pub(super) fn answer(&mut self, calls: &Arc<Calls>, waiting: &mut impl Extend<Waiting>) {
        for (request, respond) in self.arrived.drain(..) {
            match calls.begin(request, respond) {
                Begun::Asked(asked) => self.asked.push(asked),
                Begun::Waits(call) => waiting.extend([call]),
            }
        }
        for asked in self.asked.drain(..) {
            match calls.decide(asked) {
                Decided::Answered(answered) => self.answered.push(answered),
                Decided::Waits(call) => waiting.extend([call]),
                Decided::Failed => {}
            }
        }
        for answered in self.answered.drain(..) {
            answered.send();
        }
    }
}

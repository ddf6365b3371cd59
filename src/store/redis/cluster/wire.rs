//! What goes over the wire, with the keys that a cluster has.

use std::sync::Arc;

use redis::{Cmd, Value};
use smallvec::SmallVec;

use super::super::reply::read;
use super::super::script::{Script, TEXT};
use super::super::settings::{Address, Settings};
use super::super::work::{Undone, Work};
use super::errand::Errand;
use super::slot::{Tag, key_tags};
use crate::engine::{Group, Settlement};
use crate::store::StoreError;
use crate::store::queue::Exchange;
use crate::time::{Clock, Stopwatch};

/// How errands are written and answers are read.
#[derive(Debug)]
pub(super) struct Wire {
    key_prefix: Box<[u8]>,
    script: Script,
    /// Says what time it is for the script; `None`: the node's clock does.
    clock: Option<Arc<dyn Clock>>,
}

impl Wire {
    /// As the settings say.
    pub(super) fn new(settings: &Settings, clock: Option<Arc<dyn Clock>>) -> Self {
        Self { key_prefix: settings.key_prefix.as_bytes().into(), script: Script::new(TEXT), clock }
    }

    /// Settles what is in one slot; a part of a request also asks what was booked.
    pub(super) fn settle(&self, settlement: &Settlement, is_part: bool) -> Work {
        Work::settle(&self.key_prefix, &key_tags(settlement), settlement, is_part)
    }

    /// Gives back to one slot what these charges of `settlement` booked.
    pub(super) fn give_back(&self, undone: &[(Group, Undone<'_>)]) -> Work {
        let tags: SmallVec<[Tag; 2]> =
            undone.iter().map(|(group, undone)| Tag::of(*group, undone.charge)).collect();
        let undone: SmallVec<[Undone<'_>; 2]> = undone.iter().map(|(_, undone)| *undone).collect();
        Work::undo(&self.key_prefix, &tags, &undone)
    }

    /// The call that runs `errands` in order; `by_text` sends the whole script.
    pub(super) fn call(&self, errands: &[Errand], by_text: bool) -> Cmd {
        let now = self.clock.as_ref().map(|clock| clock.now());
        self.script.call(errands.iter().map(|errand| &errand.work), now, by_text)
    }

    /// Gives the answer of a call on `node` to those who wait; what is wrong with it, if anything is.
    pub(super) fn finish(
        errands: Vec<Errand>,
        answer: &Value,
        node: &Address,
        since: Stopwatch,
    ) -> Option<StoreError> {
        let exchange = Exchange { since, settlements: errands.len() };
        let answers = read(answer, errands.iter().map(|errand| &errand.work));
        let failure = answers.iter().find_map(|answer| answer.as_ref().err()).cloned();
        for (errand, answer) in errands.into_iter().zip(answers) {
            errand.finish(answer, node, exchange);
        }
        failure
    }
}

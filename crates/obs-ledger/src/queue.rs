//! Group commit without a thread of its own: whoever finds nobody committing commits for all who
//! wait. A batch forms while the one before is being synced, so a caller waits for at most two
//! commits.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::{LedgerError, Receipt};

/// Most receipts in one commit.
const BATCH_RECEIPTS_MAX: usize = 256;

type Outcome = Result<Vec<u64>, LedgerError>;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<u64, Vec<Receipt>>,
    done: BTreeMap<u64, Outcome>,
    next_ticket: u64,
    committing: bool,
    closed: bool,
}

impl Queue {
    /// Hands receipts in and returns when `commit` has answered for them. `commit` gets the
    /// receipts of several callers in order of arrival and gives each its sequence number.
    pub(crate) fn submit(
        &self,
        receipts: Vec<Receipt>,
        commit: impl Fn(Vec<Receipt>) -> Outcome,
    ) -> Outcome {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(LedgerError::Closed);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.insert(ticket, receipts);
        loop {
            if let Some(outcome) = state.done.remove(&ticket) {
                return outcome;
            }
            if state.committing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.committing = true;
            let (tickets, batch) = state.take_batch();
            drop(state);
            let outcome = commit(batch);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.committing = false;
            state.hand_out(tickets, outcome);
            self.changed.notify_all();
        }
    }

    /// Refuses new receipts and waits for those that are in.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        while state.committing || !state.waiting.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// The oldest waiting callers, at least one, with how many receipts each has.
    fn take_batch(&mut self) -> (Vec<(u64, usize)>, Vec<Receipt>) {
        let mut tickets = Vec::new();
        let mut batch = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            let fits = batch.len() + entry.get().len() <= BATCH_RECEIPTS_MAX;
            if !fits && !tickets.is_empty() {
                break;
            }
            let (ticket, receipts) = entry.remove_entry();
            tickets.push((ticket, receipts.len()));
            batch.extend(receipts);
        }
        (tickets, batch)
    }

    fn hand_out(&mut self, tickets: Vec<(u64, usize)>, outcome: Outcome) {
        let mut rest = outcome.map(Vec::into_iter);
        for (ticket, count) in tickets {
            let mine = match &mut rest {
                Ok(numbers) => Ok(numbers.take(count).collect()),
                Err(e) => Err(e.clone()),
            };
            self.done.insert(ticket, mine);
        }
    }
}

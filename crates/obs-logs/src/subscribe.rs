//! Live tails: every accepted record, in order of acceptance, to each subscriber.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_types::LogRecord;

/// The receiving end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    receiver: Receiver<Arc<LogRecord>>,
    dropped: Arc<AtomicU64>,
}

impl Subscription {
    /// Waits for the next record; `None` after `timeout`, or when the engine is gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Arc<LogRecord>> {
        self.receiver.recv_timeout(timeout).ok()
    }

    pub fn try_recv(&self) -> Option<Arc<LogRecord>> {
        self.receiver.try_recv().ok()
    }

    /// Records that were not delivered because this subscriber was too slow; reset by reading.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// Where records go, and how many could not.
type Subscriber = (SyncSender<Arc<LogRecord>>, Arc<AtomicU64>);

#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    all: Mutex<Vec<Subscriber>>,
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, Vec<Subscriber>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds at most `capacity` records; more are dropped and counted, writers never wait.
    pub(crate) fn add(&self, capacity: usize) -> Subscription {
        let (sender, receiver) = sync_channel(capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        self.lock().push((sender, Arc::clone(&dropped)));
        Subscription { receiver, dropped }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn publish(&self, records: &[Arc<LogRecord>]) {
        self.lock().retain(|(sender, dropped)| {
            for record in records {
                match sender.try_send(Arc::clone(record)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => {
                        dropped.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(TrySendError::Disconnected(_)) => return false,
                }
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_loses_records_and_knows_it() {
        let all = Subscribers::default();
        let slow = all.add(2);
        let record = Arc::new(LogRecord::default());
        all.publish(&[Arc::clone(&record), Arc::clone(&record), record]);
        assert!(slow.try_recv().is_some() && slow.try_recv().is_some());
        assert!(slow.try_recv().is_none());
        assert_eq!((slow.take_dropped(), slow.take_dropped()), (1, 0));
        drop(slow);
        all.publish(&[Arc::new(LogRecord::default())]);
        assert!(all.is_empty());
    }
}

//! What waits for the appender: one queue, under one lock.
//!
//! A thread that looks for work again and again, or gives its turn away in the hope of
//! some, loses its place on a busy machine for as long as others compute. The appender
//! therefore sleeps, and whoever brings enough wakes it, once. It refuses more than
//! [`MAX_WAITING`] submissions, and everything once the appender has ended.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::appender::Job;
use crate::error::{Error, Fault};

/// Submissions that may wait before further ones are refused.
const MAX_WAITING: usize = 65_536;

/// The queue.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

struct Inner {
    jobs: VecDeque<Job>,
    /// Submissions among the jobs, and jobs that can't wait for company.
    submissions: usize,
    urgent: usize,
    /// The appender sleeps until this is so; `None` when it does not sleep.
    asleep: Option<Enough>,
    closed: bool,
}

/// What is worth waking for.
#[derive(Clone, Copy)]
pub(super) enum Enough {
    /// Any job.
    Any,
    /// So many submissions, or a job that can't wait.
    Company(usize),
}

impl Inner {
    fn has(&self, enough: Enough) -> bool {
        match enough {
            Enough::Any => !self.jobs.is_empty(),
            Enough::Company(most) => self.submissions >= most || self.urgent > 0,
        }
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        let inner =
            Inner { jobs: VecDeque::new(), submissions: 0, urgent: 0, asleep: None, closed: false };
        Queue { inner: Mutex::new(inner), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job at the end, and wakes the appender if that is enough.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many wait, or the appender has ended.
    pub(super) fn put(&self, job: Job) -> Result<(), Error> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Error::Unavailable(Fault::Stopped));
        }
        match job {
            Job::Append { .. } if inner.submissions >= MAX_WAITING => {
                return Err(Error::Unavailable(Fault::Busy));
            }
            Job::Append { .. } => inner.submissions += 1,
            Job::Later(_) => {}
            Job::Flush(_) | Job::Stop => inner.urgent += 1,
        }
        inner.jobs.push_back(job);
        let wake = inner.asleep.is_some_and(|enough| inner.has(enough));
        if wake {
            inner.asleep = None;
        }
        drop(inner);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Sleeps until there is enough, or until then.
    pub(super) fn wait(&self, enough: Enough, until: Option<Instant>) {
        let mut inner = self.lock();
        while !inner.has(enough) {
            inner.asleep = Some(enough);
            inner = match until {
                None => self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let woken = self.filled.wait_timeout(inner, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        inner.asleep = None;
    }

    /// How many submissions wait.
    pub(super) fn submissions(&self) -> usize {
        self.lock().submissions
    }

    /// Takes jobs in their order, until the submissions among them have so many entries.
    pub(super) fn take(&self, most: usize) -> Vec<Job> {
        let mut inner = self.lock();
        let mut taken = Vec::with_capacity(inner.jobs.len());
        let mut entries = 0;
        while entries < most
            && let Some(job) = inner.jobs.pop_front()
        {
            match &job {
                Job::Append { entries: more, .. } => {
                    inner.submissions -= 1;
                    entries += more.len();
                }
                Job::Later(_) => {}
                Job::Flush(_) | Job::Stop => inner.urgent -= 1,
            }
            let stop = matches!(job, Job::Stop);
            taken.push(job);
            if stop {
                break;
            }
        }
        taken
    }

    /// Takes no more; what waits is dropped, so that whoever waits for it is told.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let left = std::mem::take(&mut inner.jobs);
        (inner.submissions, inner.urgent) = (0, 0);
        drop(inner);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::auditlog::appender::Reply;

    fn append() -> (Job, crossbeam_channel::Receiver<Result<crate::auditlog::Receipt, Error>>) {
        let (to, from) = crossbeam_channel::bounded(1);
        (Job::Append { entries: Vec::new(), output: None, reply: Reply::Thread(to) }, from)
    }

    #[test]
    fn the_one_who_brings_enough_wakes_and_a_flush_does_not_wait_for_company() {
        let queue = Arc::new(Queue::new());
        let sleeper = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                queue.wait(Enough::Company(3), None);
                queue.submissions()
            })
        };
        for _ in 0..3 {
            queue.put(append().0).unwrap();
        }
        assert_eq!(sleeper.join().unwrap(), 3);
        assert_eq!(queue.take(usize::MAX).len(), 3);
        let (to, _from) = crossbeam_channel::bounded(1);
        queue.put(Job::Flush(to)).unwrap();
        queue.wait(Enough::Company(100), None);
        assert_eq!(queue.take(usize::MAX).len(), 1);
        queue.put(Job::Later(Vec::new())).unwrap();
        queue.wait(Enough::Any, None);
        queue.wait(Enough::Company(1), Some(Instant::now() + Duration::from_millis(1)));
        assert_eq!(queue.submissions(), 0);
    }

    #[test]
    fn who_waits_in_a_queue_that_closes_is_told() {
        let queue = Queue::new();
        let (job, answer) = append();
        queue.put(job).unwrap();
        queue.close();
        assert!(answer.recv().is_err());
        assert!(matches!(queue.put(append().0), Err(Error::Unavailable(Fault::Stopped))));
    }

    #[test]
    fn nothing_is_taken_after_a_stop() {
        let queue = Queue::new();
        queue.put(Job::Stop).unwrap();
        queue.put(append().0).unwrap();
        assert_eq!(queue.take(usize::MAX).len(), 1);
        assert_eq!(queue.submissions(), 1);
    }
}

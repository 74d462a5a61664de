//! Receipts that reach a thread together.
//!
//! Waking a task of another thread costs a system call. A thread that answers many
//! requests at a time therefore keeps a tray: the appender puts all receipts of a commit
//! into it and wakes the thread once; the thread itself hands them to its tasks. It owns
//! no promise: without a tray each task is woken by itself, and what lies in a tray that
//! was taken away is dropped, so that whoever waits for it is told that nothing is
//! durable.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::Receipt;
use crate::error::Error;

type Answer = Result<Receipt, Error>;

/// Receipts on their way to one thread.
#[derive(Default)]
pub(super) struct Tray {
    arrived: Mutex<Vec<(oneshot::Sender<Answer>, Answer)>>,
    filled: Notify,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Tray>>> = const { RefCell::new(None) };
}

/// This thread's tray, if it keeps one.
pub(super) fn here() -> Option<Arc<Tray>> {
    HERE.with_borrow(Clone::clone)
}

impl Tray {
    /// Lays an answer down, waking nobody.
    pub(super) fn put(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push((to, answer));
    }

    /// Wakes the thread.
    pub(super) fn ring(&self) {
        self.filled.notify_one();
    }

    fn hand_out(&self) {
        let arrived =
            std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner));
        for (to, answer) in arrived {
            // Whoever stopped waiting has released nothing.
            drop(to.send(answer));
        }
    }
}

/// Takes the tray away when the thread stops handing out.
struct Kept {
    tray: Arc<Tray>,
    /// A tray is of the thread that made it.
    _here: PhantomData<*const ()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        HERE.with_borrow_mut(|here| *here = None);
        self.tray.hand_out();
    }
}

/// Gives this thread a tray, for as long as the future lives, and hands out what
/// arrives in it. For a thread that runs all its tasks itself: appends made by tasks of
/// this thread are answered only while the future is polled.
pub fn hand_out_receipts() -> impl Future<Output = Infallible> {
    let tray = Arc::new(Tray::default());
    HERE.with_borrow_mut(|here| *here = Some(Arc::clone(&tray)));
    let kept = Kept { tray, _here: PhantomData };
    async move {
        loop {
            kept.tray.filled.notified().await;
            kept.tray.hand_out();
        }
    }
}

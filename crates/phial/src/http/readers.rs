//! The threads that answer reads: one for each core, each with connections of its own
//! from their first byte to their last.
//!
//! A read takes a tenth of a millisecond and waits once, for the audit log. When the
//! thread that reads the question also finds, opens and sends the answer, nobody needs
//! waking but by the audit log, and that once for all reads of a commit. It refuses
//! work that may take long: that belongs on the other threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use phial_store::auditlog::hand_out_receipts;
use tokio::runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One connection's whole life, begun on the thread that will live it.
pub(super) type Guest = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The threads. Dropping them ends their connections.
pub(super) struct Readers(Vec<Reader>);

struct Reader {
    /// `None` once it is to end.
    door: Option<UnboundedSender<Guest>>,
    guests: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    /// Starts them.
    pub(super) fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        (0..cores).map(Reader::start).collect::<Result<_, _>>().map(Readers)
    }

    /// Gives a connection to the thread that has the fewest.
    pub(super) fn give(&self, guest: Guest) {
        let least = self.0.iter().min_by_key(|r| r.guests.load(Ordering::Relaxed));
        let Some((reader, door)) = least.and_then(|r| Some((r, r.door.as_ref()?))) else { return };
        let here = Present::new(&reader.guests);
        let guest: Guest = Box::new(move || {
            let life = guest();
            Box::pin(async move {
                let _here = here;
                life.await;
            })
        });
        // A thread that ended takes nobody in: the connection is closed.
        drop(door.send(guest));
    }
}

/// Counts a connection of a thread while it lasts.
struct Present(Arc<AtomicUsize>);

impl Present {
    fn new(guests: &Arc<AtomicUsize>) -> Self {
        guests.fetch_add(1, Ordering::Relaxed);
        Present(Arc::clone(guests))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    fn start(n: usize) -> std::io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (door, comers) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("reads-{n}"))
            .spawn(move || runtime.block_on(receive(comers)))?;
        Ok(Reader { door: Some(door), guests: Arc::default(), thread: Some(thread) })
    }
}

/// Lets connections in until the door is shut.
async fn receive(mut comers: UnboundedReceiver<Guest>) {
    let receipts = hand_out_receipts();
    tokio::pin!(receipts);
    loop {
        tokio::select! {
            biased;
            never = &mut receipts => match never {},
            guest = comers.recv() => match guest {
                Some(guest) => drop(tokio::spawn(guest())),
                None => return,
            },
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for reader in &mut self.0 {
            reader.door = None;
        }
        for reader in &mut self.0 {
            if let Some(thread) = reader.thread.take() {
                // A thread that panicked has nothing left to end.
                let _ = thread.join();
            }
        }
    }
}

//! Where passwords are judged: argon2id takes 19 MiB and tens of milliseconds each, so
//! only so many at once, and so many wait. Attempts from browsers that are known have
//! places of their own: a flood of others keeps none of them waiting (decision 0064).

use std::sync::Arc;

use phial_identity::password;
use tokio::sync::Semaphore;

/// Attempts from unknown browsers that may wait.
const WAITING: usize = 64;

/// The places.
pub(crate) struct Hashing {
    known: Arc<Semaphore>,
    others: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// Nobody can be judged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Default for Hashing {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Hashing {
            known: Arc::new(Semaphore::new(cores)),
            others: Arc::new(Semaphore::new((cores / 2).max(1))),
            queue: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

impl Hashing {
    /// Whether this is the password of the PHC string. An account without one takes as
    /// long as any other.
    pub(crate) async fn verify(
        &self,
        known: bool,
        typed: &str,
        phc: Option<String>,
    ) -> Result<bool, Full> {
        let typed = password::normal(typed);
        self.run(known, move || password::verify(&typed, phc.as_deref())).await
    }

    /// Hashes a password that somebody chose.
    pub(crate) async fn hash(
        &self,
        typed: &str,
        rng: Arc<dyn phial_base::Rng>,
    ) -> Result<Result<String, phial_identity::Error>, Full> {
        let typed = password::normal(typed);
        self.run(true, move || password::hash(&typed, rng.as_ref())).await
    }

    async fn run<T: Send + 'static>(
        &self,
        known: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let places = if known { &self.known } else { &self.others };
        let _waiting = match known {
            true => None,
            false => Some(Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Full)?),
        };
        let place = Arc::clone(places).acquire_owned().await.map_err(|_| Full)?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, also when whoever asked went away.
            let _place = place;
            work()
        });
        done.await.map_err(|_| Full)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_from_unknown_browsers_keeps_no_known_one_waiting() {
        let hashing = Arc::new(Hashing::default());
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let flood: Vec<_> = (0..WAITING)
            .map(|_| {
                let (hashing, gate) = (Arc::clone(&hashing), Arc::clone(&gate));
                let work = move || {
                    let _closed = gate.lock().unwrap().recv();
                };
                tokio::spawn(async move { hashing.run(false, work).await })
            })
            .collect();
        while hashing.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.run(false, || 1).await, Err(Full));
        assert_eq!(hashing.run(true, || 2).await, Ok(2));
        drop(open);
        for one in flood {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        assert_eq!(hashing.run(false, || 3).await, Ok(3));
    }
}

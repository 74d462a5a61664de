//! Blobs as objects of an S3-compatible bucket, `PREFIX/TENANT/HH/NAME`. It refuses plain
//! HTTP to anything but this machine.
//!
//! An object is there when its upload is completed, and not before: what a directory does
//! with a name, a bucket does with that. Uploads that were begun and never ended are for
//! the bucket's lifecycle rule to clear (docs/operations.md). All requests run on one
//! thread of their own, so that whoever waits here, blocks nothing there.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Certificate, ClientOptions, MultipartId, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
};
use phial_base::step::{Part, Step, durable};
use phial_base::{RowId, Sensitive, TenantId};
use tokio::runtime;
use tokio::sync::oneshot;

use crate::error::{Error, Fault};

/// The size of a part of an upload: more than the 5 MiB that S3 demands.
const PART: usize = 8 << 20;

/// Where a bucket is, and who may use it.
pub struct BucketSettings {
    /// `https://host[:port]`; AWS itself when `None`. Plain HTTP is for this machine.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What all objects of ours begin with; may be empty.
    pub prefix: String,
    /// The access key's id.
    pub access_key_id: String,
    /// The access key's secret.
    pub secret_access_key: Sensitive<String>,
    /// PEM of a certificate authority to trust beside the system's.
    pub authority: Option<Vec<u8>>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How often a request that failed is sent again.
    pub retries: usize,
}

struct Inner {
    store: Arc<AmazonS3>,
    prefix: String,
    runtime: runtime::Handle,
    /// Ends the thread when it is dropped.
    _end: oneshot::Sender<()>,
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket(..)")
    }
}

fn error_of(e: object_store::Error) -> Error {
    use object_store::Error as E;
    Error::Unavailable(match e {
        E::NotFound { .. } => Fault::Missing,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Fault::Permission,
        _ => Fault::Remote,
    })
}

fn is_here(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let host = host.split('/').next().unwrap_or_default();
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|here| {
        host.strip_prefix(here).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    })
}

impl Bucket {
    /// A bucket with these settings. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the settings make none.
    pub fn new(settings: BucketSettings) -> Result<Self, Error> {
        let plain = settings.endpoint.as_deref().is_some_and(|e| !e.starts_with("https://"));
        if plain && !settings.endpoint.as_deref().is_some_and(is_here) {
            return Err(Error::Invalid("a bucket's endpoint needs https, unless it is here"));
        }
        let mut client = ClientOptions::new()
            .with_timeout(settings.timeout)
            .with_connect_timeout(Duration::from_secs(5).min(settings.timeout))
            .with_allow_http(plain);
        if let Some(pem) = &settings.authority {
            let bad = |_| Error::Invalid("the bucket's authority is no PEM certificate");
            for one in Certificate::from_pem_bundle(pem).map_err(bad)? {
                client = client.with_root_certificate(one);
            }
        }
        let retry = RetryConfig {
            max_retries: settings.retries,
            retry_timeout: settings.timeout * 4,
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::new()
            .with_region(settings.region)
            .with_bucket_name(settings.bucket)
            .with_access_key_id(settings.access_key_id)
            .with_secret_access_key(settings.secret_access_key.reveal().clone())
            .with_client_options(client)
            .with_retry(retry)
            // One by one: not every bucket that calls itself compatible has more.
            .with_disable_bulk_delete(true);
        if let Some(endpoint) = settings.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|_| Error::Invalid("the bucket's settings"))?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("bucket".to_owned()).spawn(move || {
            // Ends with an error, which says that nobody needs it any more.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Bucket(Arc::new(Inner {
            store: Arc::new(store),
            prefix: settings.prefix,
            runtime: handle,
            _end: end,
        })))
    }

    fn store(&self) -> Arc<AmazonS3> {
        Arc::clone(&self.0.store)
    }

    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, Error> {
        let (give, take) = sync_channel(1);
        self.0.runtime.spawn(async move { give.send(work.await) });
        take.recv().map_err(|_| Error::Unavailable(Fault::Stopped))?.map_err(error_of)
    }
}

/// The part of a bucket that holds one tenant's blobs.
pub(super) struct Objects {
    bucket: Bucket,
    root: Path,
    /// Where the steps of this are said to happen: there is no file.
    beside: PathBuf,
}

impl Objects {
    pub(super) fn new(bucket: Bucket, tenant: &TenantId, beside: PathBuf) -> Self {
        let parts = bucket.0.prefix.split('/').filter(|p| !p.is_empty());
        let root = Path::from_iter(parts.chain([tenant.as_str()]));
        Objects { bucket, root, beside }
    }

    fn path(&self, name: RowId) -> Path {
        let name = hex::encode(name.0);
        let first: String = name.chars().take(2).collect();
        self.root.clone().join(first).join(name)
    }

    fn place(&self, name: RowId) -> PathBuf {
        self.beside.join(hex::encode(name.0))
    }

    pub(super) fn begin(&self, name: RowId) -> Upload {
        let (bucket, path, place) = (self.bucket.clone(), self.path(name), self.place(name));
        let object = Object { bucket, path, place, id: None, parts: Vec::new() };
        Upload { object, waiting: Vec::new() }
    }

    pub(super) fn find(&self, name: RowId) -> Result<Option<Found>, Error> {
        let (store, path) = (self.bucket.store(), self.path(name));
        let asked = path.clone();
        match self.bucket.wait(async move { store.head(&asked).await }) {
            Ok(meta) => Ok(Some(Found { bucket: self.bucket.clone(), path, len: meta.size })),
            Err(Error::Unavailable(Fault::Missing)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn names(&self) -> Result<Vec<RowId>, Error> {
        let (store, root) = (self.bucket.store(), self.root.clone());
        self.bucket.wait(async move {
            let mut names = Vec::new();
            // One page of the listing after the other.
            let mut listed = store.list(Some(&root));
            while let Some(found) = listed.try_next().await? {
                let mut name = RowId([0; 16]);
                let found = found.location;
                let last = found.filename().unwrap_or_default();
                if hex::decode_to_slice(last, &mut name.0).is_ok() {
                    names.push(name);
                }
            }
            Ok(names)
        })
    }

    pub(super) fn remove(&self, name: RowId) -> Result<(), Error> {
        let (store, path) = (self.bucket.store(), self.path(name));
        durable(Step::BlobRemove, Part::Whole, &self.place(name), || {
            match self.bucket.wait(async move { store.delete(&path).await }) {
                Err(Error::Unavailable(Fault::Missing)) => Ok(()),
                done => done,
            }
        })
    }
}

/// An object that is being uploaded: nothing of it is there yet.
struct Object {
    bucket: Bucket,
    path: Path,
    place: PathBuf,
    /// Set when it has more than one part.
    id: Option<MultipartId>,
    parts: Vec<PartId>,
}

impl Object {
    fn put_part(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        let (store, path) = (self.bucket.store(), self.path.clone());
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let (store, path) = (self.bucket.store(), self.path.clone());
                let id = self.bucket.wait(async move { store.create_multipart(&path).await })?;
                self.id.insert(id).clone()
            }
        };
        let at = self.parts.len();
        let part = self
            .bucket
            .wait(async move { store.put_part(&path, &id, at, PutPayload::from(bytes)).await })?;
        self.parts.push(part);
        Ok(())
    }

    fn abort(&mut self) {
        if let Some(id) = self.id.take() {
            let (store, path) = (self.bucket.store(), self.path.clone());
            // What can't be ended now is for the bucket's lifecycle rule.
            self.bucket.0.runtime.spawn(async move { store.abort_multipart(&path, &id).await });
        }
    }
}

/// What is being written to an object.
pub(super) struct Upload {
    object: Object,
    waiting: Vec<u8>,
}

impl Upload {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.waiting.extend_from_slice(bytes);
        while self.waiting.len() > PART {
            let rest = self.waiting.split_off(PART);
            let full = std::mem::replace(&mut self.waiting, rest);
            self.object.put_part(full)?;
        }
        Ok(())
    }

    /// Hands over all of it; a small one waits for its name.
    pub(super) fn finish(mut self) -> Result<Pending, Error> {
        let mut last = std::mem::take(&mut self.waiting);
        let place = self.object.place.clone();
        durable(Step::BlobPut, Part::Write, &place, || {
            if self.object.id.is_some() {
                self.object.put_part(std::mem::take(&mut last))?;
            }
            Ok::<(), Error>(())
        })?;
        let id = self.object.id.take();
        let object = Object {
            bucket: self.object.bucket.clone(),
            path: self.object.path.clone(),
            place,
            id,
            parts: std::mem::take(&mut self.object.parts),
        };
        Ok(Pending { object: Mutex::new(object), small: last, published: AtomicBool::new(false) })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.object.abort();
    }
}

/// An object that is whole at the other side, or in memory, and not to be seen yet.
pub(super) struct Pending {
    object: Mutex<Object>,
    small: Vec<u8>,
    published: AtomicBool,
}

impl Pending {
    pub(super) fn publish(&self) -> Result<(), Error> {
        let mut object = self.object.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.published.store(true, Ordering::SeqCst);
        let (store, path, place) =
            (object.bucket.store(), object.path.clone(), object.place.clone());
        let bucket = object.bucket.clone();
        let parts = std::mem::take(&mut object.parts);
        let id = object.id.take();
        let small = self.small.clone();
        durable(Step::BlobPut, Part::Name, &place, || {
            bucket.wait(async move {
                match id {
                    Some(id) => store.complete_multipart(&path, &id, parts).await.map(|_| ()),
                    None => store.put(&path, PutPayload::from(small)).await.map(|_| ()),
                }
            })
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.published.load(Ordering::SeqCst) {
            let object = self.object.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            object.abort();
        }
    }
}

/// An object to read from.
pub(super) struct Found {
    bucket: Bucket,
    path: Path,
    len: u64,
}

impl Found {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, Error> {
        let (store, path) = (self.bucket.store(), self.path.clone());
        let range = at..at + len as u64;
        let bytes = self.bucket.wait(async move { store.get_range(&path, range).await })?;
        if bytes.len() == len {
            Ok(bytes.into())
        } else {
            Err(Error::Corrupt("a blob is shorter than it was"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_here;

    #[test]
    fn only_this_machine_is_here() {
        for here in ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000/x"] {
            assert!(is_here(here), "{here}");
        }
        for not in ["http://127.0.0.1.example", "http://localhost.example:1", "http://10.0.0.1"] {
            assert!(!is_here(not), "{not}");
        }
    }
}

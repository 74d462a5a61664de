//! The interface to whatever holds the root key: a key file, a KMS, an HSM.

use zeroize::Zeroizing;

use crate::Error;

/// Holds a root key and wraps small payloads under it. The root key itself never
/// leaves a provider.
pub trait RootProvider: Send + Sync {
    /// The kind of provider, for the operator: `"key-file"`, `"aws-kms"`...
    fn name(&self) -> &'static str;

    /// Which root key it is. Says nothing about the key's bytes.
    fn key_id(&self) -> String;

    /// Wraps `payload` (at most 4 KiB). A provider that has AAD binds `context`;
    /// one that has none ignores it, which is why every payload of ours says
    /// itself what it is.
    ///
    /// # Errors
    /// When the key or the provider is gone.
    fn wrap(&self, context: &[u8], payload: &[u8]) -> Result<Vec<u8>, Error>;

    /// Opens what [`RootProvider::wrap`] wrapped with the same context.
    ///
    /// # Errors
    /// When the key or the provider is gone, or the bytes are not what it wrapped.
    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;
}

//! Key hierarchy, envelopes, sealed segments, root-key providers, signing

//! The test kit's own tests: a fault that is not felt and a canary that is not
//! found would make every test that rests on them worthless.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod canary;
mod faults;

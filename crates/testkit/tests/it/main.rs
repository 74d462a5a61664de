//! The test kit's own tests: a fault that is not felt and a canary that is not
//! found would make every test that rests on them worthless.

mod canary;
mod faults;

//! Believable synthetic patients, reproducible by seed

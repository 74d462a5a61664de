//! A world for tests: a real server on a free port, actors by role, faults, canaries

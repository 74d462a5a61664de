//! Accounts, roles and short-lived tokens

//! Record log, audit log, keystore, sessions and control log on SQLite; the local index; mints receipts

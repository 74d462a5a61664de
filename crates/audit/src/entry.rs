//! The audit entry: who did what to which record of which patients, when, from
//! where, why, and with what result (design §6; 164.312(b); ASTM E2147-18 §7).
//!
//! Owns the entry's fields and its closed vocabularies, whose numbers are part of
//! the sealed format: never reorder, never reuse, only append. Its bytes are in
//! `codec`, its sealing in `sealed`. It refuses to hold a resource's content: what is
//! recorded is names, versions, classes and hashes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use phial_base::{
    ClassSet, KeyHandle, LogicalId, Purpose, RequestId, RequestInfo, RowId, Sensitive, Seq,
    Subject, Surface, Version,
};

/// A node's random id, made when it first starts.
pub type NodeId = [u8; 16];

/// The id that ties an intent to its outcome and to the rows written under it.
pub type IntentId = [u8; 16];

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $n:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)*
            /// A number given by a later version.
            Other(u16),
        }

        impl $name {
            /// All that this version knows, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The number in sealed entries.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self {
                    $($name::$variant => $n,)*
                    $name::Other(n) => n,
                }
            }

            /// The variant with this number, [`Self::Other`] when a later version gave it.
            #[must_use]
            pub const fn from_number(n: u16) -> Self {
                match n {
                    $($n => $name::$variant,)*
                    _ => $name::Other(n),
                }
            }

            /// The name in views and filters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                    $name::Other(_) => "other",
                }
            }

            /// What it means, in a sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $($name::$variant => concat!($($doc),+),)*
                    $name::Other(_) => "Something that a later version names.",
                }
            }

            /// The variant with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.name() == name)
            }
        }
    };
}

numbered! {
    /// What happened. Interactions carry FHIR's own names.
    EventKind {
        /// A record was read.
        Read = 1 "read",
        /// A given version of a record was read.
        Vread = 2 "vread",
        /// Records were searched for.
        Search = 3 "search",
        /// The history of a record, a type or the system was read.
        History = 4 "history",
        /// A record was created.
        Create = 5 "create",
        /// A record was replaced.
        Update = 6 "update",
        /// Paths of a record were changed.
        Patch = 7 "patch",
        /// A record was deleted.
        Delete = 8 "delete",
        /// Several interactions at once, all or nothing.
        Transaction = 9 "transaction",
        /// Several independent interactions in one request.
        Batch = 10 "batch",
        /// A FHIR operation.
        Operation = 11 "operation",
        /// Records were exported in bulk.
        Export = 12 "export",
        /// Something was printed or shown on a page of ours.
        Print = 13 "print",

        /// About to write: named rows, versions and ciphertext hashes.
        Intent = 20 "intent",
        /// How an intent ended.
        Outcome = 21 "outcome",
        /// An interaction was refused.
        Denied = 22 "denied",

        /// Someone logged in.
        Login = 30 "login",
        /// A log-in failed.
        LoginFailed = 31 "login-failed",
        /// A session ended.
        Logout = 32 "logout",
        /// An access token was issued.
        TokenIssued = 33 "token-issued",
        /// A token was refused: unknown, ended, or of another tenant.
        TokenRefused = 34 "token-refused",
        /// A token was withdrawn.
        TokenRevoked = 35 "token-revoked",
        /// An account was added.
        UserAdded = 36 "user-added",
        /// An account's roles or standing changed.
        UserChanged = 37 "user-changed",
        /// An account was ended.
        UserEnded = 38 "user-ended",

        /// The policy in force: at start, or after a change.
        PolicyChanged = 40 "policy-changed",
        /// A setting departs from a safe default, with its rationale.
        Config = 41 "config",
        /// A break-glass grant began.
        BreakGlass = 42 "break-glass",
        /// A break-glass grant ended.
        BreakGlassEnded = 43 "break-glass-ended",

        /// A key was made.
        KeyCreated = 50 "key-created",
        /// A root or tenant key was rotated.
        KeyRotated = 51 "key-rotated",
        /// A key was destroyed.
        KeyDestroyed = 52 "key-destroyed",
        /// Records were purged; carries the certificate.
        Purge = 53 "purge",
        /// Rows were sealed anew with the same content.
        Reseal = 54 "reseal",
        /// A backup was restored.
        Restore = 55 "restore",
        /// A backup was taken.
        Backup = 56 "backup",

        /// The program started.
        Start = 60 "start",
        /// The program stopped in order.
        Stop = 61 "stop",
        /// Open intents were closed after a crash.
        Recovery = 62 "recovery",
        /// The audit log itself was read or exported.
        AuditRead = 63 "audit-read",
        /// The stores were verified.
        Verify = 64 "verify",
        /// Files were imported.
        Import = 65 "import",
        /// The index was rebuilt.
        Rebuild = 66 "rebuild",
        /// A job of ours ran.
        Job = 67 "job",
        /// A vendor or the agreement with it was added, changed or ended.
        VendorChanged = 68 "vendor-changed",
        /// A subscriber was notified: what was disclosed by a job on its owner's behalf.
        Notification = 69 "notification",
        /// Who is tied to which patient, or a restriction, was written down or ended.
        AccessChanged = 70 "access-changed",
        /// Emergency access was reviewed and signed, or the list of it was looked at.
        EmergencyReviewed = 71 "emergency-reviewed",
        /// Privacy officers were alerted.
        AlertRaised = 72 "alert-raised",
        /// Somebody saw an alert.
        AlertSeen = 73 "alert-seen",
        /// Somebody reached the cap on how much they may read, or was let read more.
        Cap = 74 "cap",

        /// Someone was invited to set the first factors of an account, or new ones.
        Invited = 80 "invited",
        /// A factor was added to an account: which kind is in `factor`.
        FactorAdded = 81 "factor-added",
        /// A factor was taken away from an account.
        FactorRemoved = 82 "factor-removed",
        /// A password was set.
        PasswordChanged = 83 "password-changed",
        /// Someone who was logged in proved once more to be who he is.
        Reauthenticated = 84 "reauthenticated",
        /// Attempts to log in were refused unlooked at: too many came from one network.
        Throttled = 85 "throttled",
        /// Someone looked at what an account may do, and signed that it is still right.
        AccessReviewed = 86 "access-reviewed",

        /// An app or a service was registered, changed or removed.
        ClientChanged = 90 "client-changed",
        /// Someone let an app act for him, within these scopes.
        GrantGiven = 91 "grant-given",
        /// What someone had let an app do was taken back.
        GrantEnded = 92 "grant-ended",
        /// An app's or a service's request was refused.
        ClientRefused = 93 "client-refused",
    }
}

numbered! {
    /// How it ended.
    OutcomeCode {
        /// As asked.
        Success = 0 "success",
        /// Policy, or a missing or bad credential, refused it.
        Denied = 1 "denied",
        /// There is no such record, or none visible.
        NotFound = 2 "not-found",
        /// The request was not valid.
        Invalid = 3 "invalid",
        /// Another version had come first, or a condition did not hold.
        Conflict = 4 "conflict",
        /// An error of ours.
        Failed = 5 "failed",
        /// A store, a key or the log could not be reached.
        Unavailable = 6 "unavailable",
    }
}

numbered! {
    /// The closed set of things that an entry may add in words. Values are short and
    /// never hold anything of a patient.
    DetailKey {
        /// A reason: of a refusal, of a break-glass grant, of a purge.
        Reason = 1 "reason",
        /// Why an operator departs from a safe default (invariant 10).
        Rationale = 2 "rationale",
        /// SHA-256 of the policy set, hexadecimal.
        PolicyHash = 3 "policy_hash",
        /// Ids of the policies that decided, comma-separated.
        Policies = 4 "policies",
        /// Obligations that came with a permit.
        Obligations = 5 "obligations",
        /// A key's handle, hexadecimal.
        KeyHandle = 6 "key_handle",
        /// A key's kind.
        KeyKind = 7 "key_kind",
        /// The version before.
        FromVersion = 8 "from_version",
        /// The version after.
        ToVersion = 9 "to_version",
        /// A count of things: rows, files, intents.
        Count = 10 "count",
        /// A purge certificate's id.
        Certificate = 11 "certificate",
        /// When something ends, RFC 3339.
        Until = 12 "until",
        /// A setting's name.
        Setting = 13 "setting",
        /// A setting's value, when it is no secret.
        Value = 14 "value",
        /// The account that was changed.
        Account = 15 "account",
        /// Roles before a change.
        RolesBefore = 16 "roles_before",
        /// Roles after a change.
        RolesAfter = 17 "roles_after",
        /// A job's id.
        Job = 18 "job",
        /// SHA-256 of a file, hexadecimal. Never its name.
        FileHash = 19 "file_hash",
        /// A tree size.
        TreeSize = 20 "tree_size",
        /// A tree's root, hexadecimal.
        TreeRoot = 21 "tree_root",
        /// How many findings a verification had.
        Findings = 22 "findings",
        /// The program's version.
        Software = 23 "software",
        /// The id of an incident in the application log.
        Incident = 24 "incident",
        /// A token's public handle.
        Token = 25 "token",
        /// The name of a FHIR operation, or the media type of an export.
        Operation = 26 "operation",
        /// The total that a search reported.
        Total = 27 "total",
        /// A filter by which the audit log was read.
        Filter = 28 "filter",
        /// The node that something is about, hexadecimal.
        Node = 29 "node",
        /// A provider of root keys.
        Provider = 30 "provider",
        /// The control log as it stands after a change: its version and SHA-256.
        ControlHead = 31 "control_head",
        /// Whom something was disclosed to, or may be: a vendor's name, or a host.
        Recipient = 32 "recipient",
        /// Which bytes of an attachment were delivered: the first, the last, how many there
        /// are.
        Range = 33 "range",
        /// Which kinds of factors: password, passkey, totp, recovery.
        Factor = 40 "factor",
        /// The app or service that something is about.
        Client = 60 "client",
        /// Scopes, as they were given or refused.
        Scope = 61 "scope",
    }
}

/// Who acted, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The account. `None` when nobody was recognised.
    pub user: Option<String>,
    /// Its roles at that moment.
    pub roles: Vec<String>,
    /// Its organisational unit.
    pub unit: Option<String>,
    /// The session's public handle, never the token.
    pub session: Option<String>,
    /// Factors of the authentication, see [`Subject::mfa`].
    pub mfa: u8,
    /// The OAuth client or service, if any.
    pub client: Option<String>,
    /// The client's own name for itself (user agent).
    pub device: Option<String>,
    /// The peer's address.
    pub ip: Option<IpAddr>,
}

/// One record that an interaction was about or that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The row: opaque without the tenant's id-key.
    pub row: RowId,
    /// The version, when one is meant.
    pub version: Option<Version>,
    /// The FHIR resource type.
    pub resource_type: String,
    /// The logical id. Of a record about patients it is sealed in their parts, and
    /// `None` after opening when none of their keys was at hand.
    pub id: Option<LogicalId>,
    /// The patients that the record is about: indexes into [`Entry::patients`].
    pub patients: Vec<u32>,
    /// Classes that were given (or written).
    pub given: ClassSet,
    /// Classes that the record has and that were withheld.
    pub withheld: ClassSet,
    /// Paths of elements withheld beside whole classes, when known. No values.
    pub elements: Vec<String>,
    /// The interaction with this one record, when it differs from the entry's
    /// (entries of a transaction).
    pub action: Option<EventKind>,
}

impl Target {
    /// A record of this type, with nothing else said.
    #[must_use]
    pub fn new(row: RowId, version: Option<Version>, resource_type: &str) -> Self {
        Target {
            row,
            version,
            resource_type: resource_type.to_owned(),
            id: None,
            patients: Vec::new(),
            given: ClassSet::NONE,
            withheld: ClassSet::NONE,
            elements: Vec::new(),
            action: None,
        }
    }
}

/// A patient whom an entry concerns. Everything that names the patient or a record of
/// the patient is sealed in a part of its own under the patient's audit key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientPart {
    /// The patient's logical id; `None` after opening when the key is not held: the
    /// patient is forgotten, or not the reader's to see.
    pub id: Option<LogicalId>,
    /// The audit key's handle, known after opening.
    pub handle: Option<KeyHandle>,
}

impl PatientPart {
    /// The part of this patient, for an entry yet to be sealed.
    #[must_use]
    pub fn of(id: &LogicalId) -> Self {
        PatientPart { id: Some(id.clone()), handle: None }
    }
}

/// A row that an intent announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row.
    pub row: RowId,
    /// The version to be written.
    pub version: Version,
    /// SHA-256 of the sealed bytes (`phial_crypto::content_hash`).
    pub hash: [u8; 32],
}

/// Consecutive positions in the record log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seqs {
    /// The first.
    pub first: Seq,
    /// How many.
    pub count: u32,
}

/// One audit entry, opened or not yet sealed. Tenant, node and number are not in it:
/// they are its [`crate::sealed::Place`], which the seal binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: EventKind,
    /// When, microseconds are kept.
    pub at: Timestamp,
    /// The request that it belongs to.
    pub request: Option<RequestId>,
    /// The door.
    pub surface: Option<Surface>,
    /// Who.
    pub who: Who,
    /// Why.
    pub purpose: Option<Purpose>,
    /// The break-glass grant under which it happened.
    pub grant: Option<String>,
    /// For `Intent`, `Outcome`, `Denied`: the interaction that it was.
    pub action: Option<EventKind>,
    /// How it ended.
    pub outcome: OutcomeCode,
    /// The records. For a search: every record delivered. For an intent: the records
    /// to be written, in the order of `writes`.
    pub what: Vec<Target>,
    /// The patients.
    pub patients: Vec<PatientPart>,
    /// A search's query. Sealed in the patient's part when the entry concerns exactly
    /// one patient, otherwise in the core.
    pub query: Option<Sensitive<String>>,
    /// The intent that this entry announces or closes.
    pub intent: Option<IntentId>,
    /// The rows that an intent announces.
    pub writes: Vec<Write>,
    /// For an outcome: whether the rows were committed.
    pub committed: Option<bool>,
    /// For an outcome: where in the record log.
    pub seqs: Option<Seqs>,
    /// What else is to be said.
    pub detail: BTreeMap<DetailKey, String>,
    /// `(i, n)`: part i of n, counted from 1, of an entry that was too large for one
    /// leaf (see [`Entry::split`]).
    pub part: Option<(u16, u16)>,
}

impl Entry {
    /// An entry about something that nobody asked for: a start, a recovery, a job.
    #[must_use]
    pub fn system(kind: EventKind, at: Timestamp) -> Self {
        Entry {
            kind,
            at,
            request: None,
            surface: None,
            who: Who::default(),
            purpose: None,
            grant: None,
            action: None,
            outcome: OutcomeCode::Success,
            what: Vec::new(),
            patients: Vec::new(),
            query: None,
            intent: None,
            writes: Vec::new(),
            committed: None,
            seqs: None,
            detail: BTreeMap::new(),
            part: None,
        }
    }

    /// An entry about a request, `subject` being unknown when nobody was recognised.
    #[must_use]
    pub fn new(kind: EventKind, subject: Option<&Subject>, request: &RequestInfo) -> Self {
        let mut entry = Entry::system(kind, request.at);
        entry.request = Some(request.id);
        entry.surface = Some(request.surface);
        entry.who.device.clone_from(&request.device);
        entry.who.ip = request.ip;
        if let Some(s) = subject {
            entry.who.user = Some(s.id.as_str().to_owned());
            entry.who.roles.clone_from(&s.roles);
            entry.who.unit.clone_from(&s.unit);
            entry.who.session.clone_from(&s.session);
            entry.who.mfa = s.mfa;
            entry.who.client = s.client.as_deref().map(str::to_owned);
            entry.purpose = Some(s.purpose);
        }
        entry
    }

    /// This entry with the outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: OutcomeCode) -> Self {
        self.outcome = outcome;
        self
    }

    /// This entry with one more detail.
    #[must_use]
    pub fn with_detail(mut self, key: DetailKey, value: impl Into<String>) -> Self {
        self.detail.insert(key, value.into());
        self
    }

    /// The announcement of `writes` for the interaction `action`.
    #[must_use]
    pub fn into_intent(mut self, id: IntentId, action: EventKind, writes: Vec<Write>) -> Self {
        self.kind = EventKind::Intent;
        self.action = Some(action);
        self.intent = Some(id);
        self.writes = writes;
        self
    }

    /// The closing of the intent `id`.
    #[must_use]
    pub fn into_outcome(mut self, id: IntentId, committed: bool, seqs: Option<Seqs>) -> Self {
        self.kind = EventKind::Outcome;
        self.intent = Some(id);
        self.committed = Some(committed);
        self.seqs = seqs;
        self
    }

    /// The index of `patient` in this entry, added when it is new.
    pub fn patient(&mut self, patient: &LogicalId) -> u32 {
        let at = self.patients.iter().position(|p| p.id.as_ref() == Some(patient));
        let at = at.unwrap_or_else(|| {
            self.patients.push(PatientPart::of(patient));
            self.patients.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Adds a record about `patients`.
    pub fn target(&mut self, mut target: Target, patients: &[LogicalId]) {
        target.patients = patients.iter().map(|p| self.patient(p)).collect();
        self.what.push(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(all: impl Iterator<Item = (u16, &'static str)>, expected: &str) {
        let got: Vec<String> = all.map(|(n, name)| format!("{n} {name}")).collect();
        assert_eq!(got.join("\n"), expected, "numbers are frozen: append, never change");
    }

    #[test]
    fn numbers_of_kinds_are_frozen() {
        check(
            EventKind::ALL.iter().map(|k| (k.number(), k.name())),
            include_str!("../tests/frozen/kinds.txt").trim_end(),
        );
        check(
            OutcomeCode::ALL.iter().map(|k| (k.number(), k.name())),
            include_str!("../tests/frozen/outcomes.txt").trim_end(),
        );
        check(
            DetailKey::ALL.iter().map(|k| (k.number(), k.name())),
            include_str!("../tests/frozen/details.txt").trim_end(),
        );
    }

    #[test]
    fn a_later_number_is_kept() {
        assert_eq!(EventKind::from_number(999), EventKind::Other(999));
        assert_eq!(EventKind::Other(999).number(), 999);
        for k in EventKind::ALL {
            assert_eq!(EventKind::from_number(k.number()), *k);
            assert_eq!(EventKind::from_name(k.name()), Some(*k));
        }
    }

    #[test]
    fn a_patient_is_listed_once() {
        let mut e = Entry::system(EventKind::Search, Timestamp::UNIX_EPOCH);
        let (a, b) = (LogicalId::new("a").unwrap(), LogicalId::new("b").unwrap());
        e.target(Target::new(RowId([1; 16]), None, "Observation"), std::slice::from_ref(&a));
        e.target(Target::new(RowId([2; 16]), None, "Observation"), &[b, a]);
        assert_eq!(e.patients.len(), 2);
        assert_eq!(e.what[1].patients, [1, 0]);
    }
}

//! Why a policy set was refused at load. Evaluation has no errors of its own: what
//! fails there denies.

/// What is wrong with one policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The policy has no `@id`.
    #[error("has no id; give it @id(\"file.purpose\")")]
    NoId,
    /// Two policies have one id.
    #[error("has the id of another policy; ids are unique over all files")]
    DuplicateId,
    /// The id is one of the floor's.
    #[error(
        "has an id that starts with \"floor.\"; those belong to the floor compiled into the program"
    )]
    FloorId,
    /// The policy has no `@classes`.
    #[error(
        "does not say which data classes it speaks of; add @classes(\"administrative,clinical\"), @classes(\"*\") for all, or @classes(\"none\") for actions that are not about records"
    )]
    NoClasses,
    /// `@classes` names something else than data classes.
    #[error(
        "names \"{0}\", which is no data class; the classes are administrative, demographic, contact, identifier, government-identifier, financial, scheduling, clinical, medication, laboratory, notes, attachment"
    )]
    UnknownClass(String),
    /// A permit with `none` that reaches records and has no obligation either.
    #[error(
        "permits no class on records; name the classes, or restrict it to actions that are not about records"
    )]
    NothingOnRecords,
    /// A permit with classes that also reaches actions without records.
    #[error(
        "permits classes and also reaches actions that are not about records; name the actions, and make a policy of its own with @classes(\"none\") for the others"
    )]
    ClassesBeyondRecords,
    /// An unknown obligation.
    #[error(
        "names the obligation \"{0}\", which the program does not know how to meet; known are redisclosure-notice, flag-access and break-glass"
    )]
    UnknownObligation(String),
    /// An obligation on a forbid.
    #[error("is a forbid with an obligation; obligations come with permits")]
    ObligationOnForbid,
    /// An annotation that means nothing here.
    #[error(
        "carries the annotation @{0}, which means nothing here; known are @id, @classes, @obligation and @note"
    )]
    UnknownAnnotation(String),
    /// A role that `roles.toml` does not have.
    #[error("names the role \"{0}\", which roles.toml does not have")]
    UnknownRole(String),
    /// A rule about one subject, record or tenant.
    #[error("names one {0}; policies speak of roles and kinds of records, not of single ones")]
    NamesIndividual(String),
    /// A template with slots.
    #[error("is a template with slots; write it out as a policy")]
    Template,
    /// Cedar's strict validation against the schema.
    #[error("does not fit the schema: {0}")]
    Schema(String),
}

/// Why a policy set was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The schema can't be read, or lacks what requests are made of.
    #[error("the policy schema is not usable: {0}")]
    Schema(String),
    /// A file is not Cedar.
    #[error("{file} is not a Cedar policy file: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// Cedar's message.
        message: String,
    },
    /// A policy is refused.
    #[error("{file}: policy {id} {problem}")]
    Policy {
        /// The file.
        file: String,
        /// The policy's id, or its position when it has none.
        id: String,
        /// What is wrong, with a hint.
        problem: Problem,
    },
    /// `roles.toml` can't be used.
    #[error("roles.toml is not usable: {0}")]
    Roles(String),
}

//! Every refusal there is: HTTP status, code of the OperationOutcome's issue, and what a
//! client should make of it. `docs/reference/errors.md` is made from it, and the
//! tests of routes, formats, capabilities, attachments and exports hold what they are
//! answered against it.

use phial_fhir::issue::IssueCode::{self, *};

/// The table, by status.
pub(crate) static ERRORS: &[(u16, IssueCode, &str)] = &[
    (
        400,
        Structure,
        "The body is no JSON, no FHIR of that shape, or not what `Content-Encoding` says.",
    ),
    (400, Required, "An element, a parameter or a header that has to be there is not."),
    (
        400,
        Value,
        "A value has not the form of its type; a paging token or an id is not one of ours.",
    ),
    (400, CodeInvalid, "A code is not of the value set that is required for its element."),
    (400, Invariant, "The resource breaks a rule of its definition."),
    (
        400,
        Extension,
        "A modifier extension that is not understood: the content can't be relied on.",
    ),
    (
        400,
        Duplicate,
        "Something stands twice that may stand once: a member, a parameter, a record of a bundle.",
    ),
    (
        400,
        Invalid,
        "The parts of the request don't fit together: another type in the body than in the URL, another kind of bundle.",
    ),
    (
        400,
        NotSupported,
        "A search parameter, modifier, prefix or preference that is not supported. `Prefer: handling=lenient` has unknown parameters left out and named.",
    ),
    (
        400,
        BusinessRule,
        "A rule of bundles is broken, such as an entry that may not be where it is.",
    ),
    (
        400,
        Forbidden,
        "A direct identifier stands in the URL: send it by `POST [type]/_search` (`http.phi_in_urls`).",
    ),
    (
        400,
        TooCostly,
        "It would cost too much: too many values, chains or levels. Ask for less at once.",
    ),
    (400, NotFound, "The record that content is to be treated as is not there, or not for you."),
    (400, TooLong, "A value or the content is longer than may be."),
    (400, Processing, "The patch is none: it can't be carried out on any record."),
    (401, Login, "No token, or none that lives: `WWW-Authenticate` says which kind is taken."),
    (
        403,
        Forbidden,
        "The role may never do this, whatever the data. A record that may not be seen is 404 instead.",
    ),
    (
        404,
        NotFound,
        "There is no such record, or none for you: the two can't be told apart. Or the path leads nowhere.",
    ),
    (
        404,
        NotSupported,
        "FHIR has no such type, or this server has no such interaction or operation: see `[base]/metadata`.",
    ),
    (
        405,
        NotSupported,
        "The path is known, this method is not for it: `Allow` has those that are.",
    ),
    (
        406,
        NotSupported,
        "`Accept` or `_format` takes nothing that is spoken here: FHIR R4 in JSON.",
    ),
    (409, Conflict, "Someone else changed the record at the same moment: read it and try again."),
    (410, Deleted, "The record was deleted, or the search that this page belongs to is too old."),
    (412, Conflict, "`If-Match` or `If-None-Match` does not hold: read the record and try again."),
    (412, NotFound, "A conditional reference matches nothing."),
    (412, TooCostly, "A conditional delete matches more records than one request may end."),
    (412, MultipleMatches, "A condition matches more than one record."),
    (413, TooLong, "The body is larger than `http.max_body_mib`, as it comes or unpacked."),
    (414, TooLong, "The URL is longer than 8 KiB: use `POST [type]/_search`."),
    (
        415,
        NotSupported,
        "The body's format, version, charset or coding is not read here: `Accept` or `Accept-Encoding` of the answer say what is.",
    ),
    (
        416,
        Value,
        "The content has none of the bytes that `Range` asks for: `Content-Range` says how many it has.",
    ),
    (
        422,
        Processing,
        "The patch can't be applied to this record: a path leads nowhere, a test fails.",
    ),
    (422, Structure, "What the patch makes of the record is not of that shape."),
    (422, Required, "What the patch makes of the record lacks something."),
    (
        422,
        Value,
        "What the patch makes of the record has a value that has not the form of its type.",
    ),
    (422, CodeInvalid, "What the patch makes of the record has a code that is not allowed there."),
    (422, Invariant, "What the patch makes of the record breaks a rule of its definition."),
    (422, Security, "The malware scanner found something in the content: nothing was stored."),
    (422, NotSupported, "The patch asks for something that is not done here."),
    (
        429,
        Throttled,
        "This account has read as many patients' records as it may in the window (`caps`): ask for leave to read more.",
    ),
    (
        500,
        Exception,
        "A defect or damage. The text has a number that the operator finds in the log, and nothing else.",
    ),
    (
        503,
        Transient,
        "A store, the keys or the audit log can't be reached. Nothing was released or acknowledged: try again after `Retry-After`.",
    ),
    (
        503,
        Timeout,
        "The request took longer than `http.request_timeout_s`. Whether a write was stored is not known: look before trying again.",
    ),
];

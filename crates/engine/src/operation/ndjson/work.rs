//! The job: inputs are fetched, lines are taken in batch by batch, and what was left out
//! is told of.

use std::collections::{HashSet, VecDeque};

use jiff::SignedDuration;
use phial_audit::EventKind;
use phial_base::LogicalId;
use phial_fhir::Limits;
use phial_fhir::capability::stored_types;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode, operation_outcome};
use phial_fhir::json::Doc;
use phial_store::spool::{FRAME, Mark, Spool};
use zeroize::Zeroizing;

use super::line::{Line, Lines};
use super::{ERRORS, Import, KIND, Sources, Unfetched};
use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::batch::status_of;
use crate::job::{Doing, Job, Next, Reason, Turn, Work};
use crate::write::{Method, Write};

/// Lines that are written together, at most.
const BATCH: usize = 200;
/// Bytes of lines that are written together, about.
const BATCH_BYTES: usize = 1 << 20;
/// How long a step goes on, in microseconds.
const STEP_US: i64 = 800_000;
/// Issues that are told of one line.
const MOST_ISSUES: usize = 50;

/// Imports as a kind of work.
pub struct ImportWork {
    sources: Box<dyn Sources>,
    keep: SignedDuration,
    copies: SignedDuration,
}

/// A line of an input.
struct Numbered {
    number: u64,
    bytes: Zeroizing<Vec<u8>>,
}

impl ImportWork {
    /// Imports from these sources; what they left out is told of for `keep`. `copies` is
    /// how long backups of the keystore are kept.
    #[must_use]
    pub fn new(sources: Box<dyn Sources>, keep: SignedDuration, copies: SignedDuration) -> Self {
        ImportWork { sources, keep, copies }
    }

    async fn advance(&self, turn: Turn<'_>) -> Result<Next, Failure> {
        let Turn { engine, tenant, caller, job } = turn;
        let Some(mut import) = Import::read(&job.work) else {
            return Ok(Next::Failed(Reason::Internal));
        };
        if !engine.policy().allows(&caller.subject, phial_policy::Action::Import) {
            return Ok(Next::Failed(Reason::Forbidden));
        }
        let failed = Engine::store_failure(caller);
        let spool = tenant.vessel.spool(&job.id).map_err(&failed)?;
        // The record says that they are done: they are needed no more.
        for number in 0..import.input {
            spool.remove(file_of(number)).map_err(&failed)?;
        }
        let Some(input) = import.inputs.get_mut(import.input) else {
            let done = import.stored.values().sum();
            return Ok(Next::Done { work: import.written(), done, keep: Some(self.keep) });
        };
        match (input.end, &input.url) {
            (Some(end), _) => engine.take_in(tenant, caller, &spool, &mut import, end).await?,
            (None, Some(url)) => {
                if !self.sources.listed(url) {
                    return Ok(Next::Failed(Reason::Forbidden));
                }
                match self.fetch(caller, &spool, file_of(import.input), url).await {
                    Ok(end) => input.end = Some(end),
                    Err(Unfetched::Source) => return Ok(Next::Failed(Reason::Source)),
                    Err(Unfetched::Kept(failure)) => return Err(failure),
                }
            }
            (None, None) => return Ok(Next::Failed(Reason::Internal)),
        }
        let done = import.stored.values().sum();
        Ok(Next::More { work: import.written(), done, of: None })
    }

    /// Copies a source into a file of the job, from its beginning.
    async fn fetch(
        &self,
        caller: &Caller,
        spool: &Spool,
        file: u32,
        url: &str,
    ) -> Result<Mark, Unfetched> {
        let mut end = Mark::default();
        let mut held: Zeroizing<Vec<u8>> = Zeroizing::default();
        let keep = |end: &mut Mark, text: &[u8]| {
            *end = spool.append(file, *end, text).map_err(Engine::store_failure(caller))?;
            Ok::<(), Failure>(())
        };
        self.sources
            .fetch(url, &mut |piece| {
                held.extend_from_slice(piece);
                if held.len() < 4 * FRAME {
                    return Ok(());
                }
                keep(&mut end, &held)?;
                held.clear();
                Ok(())
            })
            .await?;
        keep(&mut end, &held).map_err(Unfetched::Kept)?;
        Ok(end)
    }
}

impl Work for ImportWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step<'a>(&'a self, turn: Turn<'a>) -> Doing<'a, Result<Next, Failure>> {
        Box::pin(self.advance(turn))
    }

    fn clear(&self, tenant: &Tenant, job: &Job) -> Result<(), Failure> {
        tenant.vessel.destroy_spool(&job.id, self.copies).map_err(|e| Failure::Busy(Some(e)))
    }
}

/// The file of an input.
fn file_of(input: usize) -> u32 {
    u32::try_from(input + 1).unwrap_or(u32::MAX)
}

/// Where reading stands: which frame the next line begins in, and where in it.
struct Reading<'a> {
    spool: &'a Spool,
    file: u32,
    end: Mark,
    /// The next frame to read.
    at: Mark,
    lines: Lines,
    /// Frames that are read and not all given: where each begins, and its length.
    frames: VecDeque<(Mark, usize)>,
    /// Bytes of the first of these that were given before reading began.
    skipped: usize,
    number: u64,
}

impl Reading<'_> {
    /// The next line that is not blank; `None` at the end.
    fn next(&mut self) -> Result<Option<Result<Numbered, u64>>, phial_store::Error> {
        loop {
            let last = self.at == self.end;
            match self.lines.next(last) {
                Some(Line::TooLong) => {
                    self.number += 1;
                    return Ok(Some(Err(self.number)));
                }
                Some(Line::Whole(bytes)) => {
                    let bytes = Zeroizing::new(bytes.to_vec());
                    self.number += 1;
                    if bytes.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    return Ok(Some(Ok(Numbered { number: self.number, bytes })));
                }
                None if last => return Ok(None),
                None => {
                    let (text, next) = self.spool.read(self.file, self.at)?;
                    self.frames.push_back((self.at, text.len()));
                    let skip =
                        if self.frames.len() == 1 { self.skipped.min(text.len()) } else { 0 };
                    self.lines.push(text.get(skip..).unwrap_or_default());
                    self.at = next;
                }
            }
        }
    }

    /// Where the next line begins.
    fn place(&self) -> (Mark, usize) {
        // What is left ends where the last frame does.
        let mut left = self.lines.left();
        for (mark, length) in self.frames.iter().rev() {
            if left <= *length {
                let offset = length - left;
                return if offset == *length { (self.behind(*mark), 0) } else { (*mark, offset) };
            }
            left -= length;
        }
        self.frames.front().map_or((self.at, 0), |(mark, _)| (*mark, 0))
    }

    /// The mark behind this one.
    fn behind(&self, mark: Mark) -> Mark {
        let follows = self.frames.iter().find(|(m, _)| m.frames == mark.frames + 1);
        follows.map_or(self.at, |(m, _)| *m)
    }
}

impl Engine {
    /// Takes in lines of the input at hand for about a second, and moves on to the next
    /// input at its end.
    async fn take_in(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        spool: &Spool,
        import: &mut Import,
        end: Mark,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let until = self.clock().now().as_microsecond() + STEP_US;
        let mut reading = Reading {
            spool,
            file: file_of(import.input),
            end,
            at: import.at,
            lines: Lines::new(self.settings().max_bytes),
            frames: VecDeque::new(),
            skipped: import.offset,
            number: import.line,
        };
        let mut errors: Zeroizing<Vec<u8>> = Zeroizing::default();
        loop {
            let mut batch: Vec<(u64, Write)> = Vec::new();
            let mut ids: HashSet<(ResourceType, LogicalId)> = HashSet::new();
            let (mut bytes, mut ended) = (0, false);
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                match reading.next().map_err(&failed)? {
                    None => {
                        ended = true;
                        break;
                    }
                    Some(Err(number)) => {
                        let text = "the line is longer than http.max_body_mib";
                        let issue = Issue::error(IssueCode::TooLong, "", text);
                        left_out(import, &mut errors, number, vec![issue]);
                    }
                    Some(Ok(line)) => match self.write_of(tenant, caller, &line)? {
                        Err(issues) => left_out(import, &mut errors, line.number, issues),
                        Ok(write) => {
                            bytes += line.bytes.len();
                            let name = write.id.clone().map(|id| (write.ty, id));
                            // The same record twice: the later line in a commit of its own.
                            if name.is_some_and(|name| !ids.insert(name)) {
                                let full = std::mem::take(&mut batch);
                                self.store_lines(caller, full, import, &mut errors).await?;
                                ids.clear();
                                ids.extend(write.id.clone().map(|id| (write.ty, id)));
                            }
                            batch.push((line.number, write));
                        }
                    },
                }
            }
            self.store_lines(caller, batch, import, &mut errors).await?;
            if ended {
                import.input += 1;
                (import.at, import.offset, import.line) = (Mark::default(), 0, 0);
                break;
            }
            if self.clock().now().as_microsecond() >= until {
                (import.at, import.offset) = reading.place();
                import.line = reading.number;
                break;
            }
        }
        if !errors.is_empty() {
            import.errors = spool.append(ERRORS, import.errors, &errors).map_err(&failed)?;
        }
        Ok(())
    }

    /// What a line asks to be written.
    fn write_of(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        line: &Numbered,
    ) -> Result<Result<Write, Vec<Issue>>, Failure> {
        let limits = Limits { max_bytes: self.settings().max_bytes, ..Limits::default() };
        let named = match Doc::parse(&line.bytes, &limits) {
            Ok(doc) => named(doc),
            Err(issues) => Err(issues),
        };
        let (doc, ty, id) = match named {
            Ok(named) => named,
            Err(issues) => return Ok(Err(issues)),
        };
        let (method, id) = match id {
            Some(id) => (Method::Update, id),
            None => {
                let digest = phial_crypto::sha256(&line.bytes);
                let id = tenant.vessel.import_id(&digest, 0);
                (Method::Create, id.map_err(Self::store_failure(caller))?)
            }
        };
        let write = Write::new(method, ty, Some(id));
        Ok(Ok(Write { body: Some(doc), place: place(line.number), ..write }))
    }

    /// Stores a batch, without those that can't be.
    async fn store_lines(
        &self,
        caller: &Caller,
        batch: Vec<(u64, Write)>,
        import: &mut Import,
        errors: &mut Zeroizing<Vec<u8>>,
    ) -> Result<(), Failure> {
        let mut batches = vec![batch];
        while let Some(mut batch) = batches.pop() {
            if batch.is_empty() {
                continue;
            }
            let writes = batch.iter().map(|(_, w)| again(w)).collect();
            match self.write_all(caller, EventKind::Import, writes, None).await {
                Ok(written) => {
                    for w in written {
                        *import.stored.entry(w.ty.name().to_owned()).or_default() += 1;
                    }
                }
                Err(Failure::Invalid(Refusal { issues })) => {
                    let before = batch.len();
                    let mut bad: Vec<(u64, Vec<Issue>)> = Vec::new();
                    for issue in issues {
                        let Some(number) = line_of(&issue.path) else { continue };
                        match bad.iter_mut().find(|(n, _)| *n == number) {
                            Some((_, known)) => known.push(issue),
                            None => bad.push((number, vec![issue])),
                        }
                    }
                    batch.retain(|(number, _)| !bad.iter().any(|(n, _)| n == number));
                    for (number, issues) in bad {
                        left_out(import, errors, number, issues);
                    }
                    if batch.len() == before {
                        // It does not say which: one by one it will.
                        self.apart(batch, &mut batches, import, errors, &Failure::NotFound);
                    } else {
                        batches.push(batch);
                    }
                }
                Err(failure @ (Failure::Busy(_) | Failure::Internal { .. })) => {
                    return Err(failure);
                }
                Err(failure) => self.apart(batch, &mut batches, import, errors, &failure),
            }
        }
        Ok(())
    }

    /// A batch that failed as a whole is tried line by line; a line that failed is left
    /// out.
    fn apart(
        &self,
        mut batch: Vec<(u64, Write)>,
        batches: &mut Vec<Vec<(u64, Write)>>,
        import: &mut Import,
        errors: &mut Zeroizing<Vec<u8>>,
        failure: &Failure,
    ) {
        if batch.len() > 1 {
            // The last in is the first out: the order of lines stays.
            batches.extend(batch.drain(..).rev().map(|one| vec![one]));
        } else if let Some((number, _)) = batch.pop() {
            left_out(import, errors, number, status_of(failure).1);
        }
    }
}

/// A write as it was before: what is written is planned anew at each try.
fn again(w: &Write) -> Write {
    let new = Write::new(w.method, w.ty, w.id.clone());
    Write { body: w.body.clone(), place: w.place.clone(), ..new }
}

fn place(number: u64) -> String {
    format!("line[{number}]")
}

/// The line that a path such as `line[12].Patient.name[0]` is in.
fn line_of(path: &str) -> Option<u64> {
    path.strip_prefix("line[")?.split(']').next()?.parse().ok()
}

/// Tells of a line that was left out.
fn left_out(import: &mut Import, to: &mut Vec<u8>, number: u64, mut issues: Vec<Issue>) {
    issues.truncate(MOST_ISSUES);
    for issue in &mut issues {
        if line_of(&issue.path).is_none() {
            let dot = if issue.path.is_empty() { "" } else { "." };
            issue.path = format!("{}{dot}{}", place(number), issue.path);
        }
    }
    import.rejected += 1;
    to.extend_from_slice(&operation_outcome(&issues));
    to.push(b'\n');
}

/// A document with the type and id that it says it has.
fn named(doc: Doc) -> Result<(Doc, ResourceType, Option<LogicalId>), Vec<Issue>> {
    let root = doc.root();
    let name = root.member("resourceType").and_then(|t| t.as_str());
    let ty = name.as_deref().and_then(ResourceType::from_name);
    let Some(ty) = ty.filter(|ty| stored_types().any(|t| t == *ty)) else {
        let text = "the line is no resource that can be stored";
        return Err(vec![Issue::error(IssueCode::Invalid, "resourceType", text)]);
    };
    let id = match root.member("id") {
        None => None,
        Some(node) => match node.as_str().and_then(|id| LogicalId::new(&id).ok()) {
            Some(id) => Some(id),
            None => {
                let path = format!("{}.id", ty.name());
                let text = "the id has not the form of one";
                return Err(vec![Issue::error(IssueCode::Value, path, text)]);
            }
        },
    };
    Ok((doc, ty, id))
}

/// What a line of NDJSON is taken for, for the fuzzer: everything that is done with it
/// before a store is asked. Says how many lines were good.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(text: &[u8], most: usize) -> usize {
    let mut lines = Lines::new(most);
    let mut good = 0;
    let mut errors = Vec::new();
    let mut import = Import::of(String::new(), 0, Vec::new());
    let mut number = 0;
    let pieces = text.chunks(most.max(1) / 3 + 1).map(|p| (p, false)).chain([(&b""[..], true)]);
    for (piece, last) in pieces {
        lines.push(piece);
        while let Some(line) = lines.next(last) {
            number += 1;
            let Line::Whole(bytes) = line else { continue };
            match Doc::parse(bytes, &Limits::default()).and_then(named) {
                Ok((doc, _, _)) => {
                    good += usize::from(phial_fhir::validate(doc).is_ok());
                }
                Err(issues) => left_out(&mut import, &mut errors, number, issues),
            }
        }
    }
    assert_eq!(lines.left(), 0, "every byte belongs to a line");
    assert_eq!(errors.iter().filter(|b| **b == b'\n').count() as u64, import.rejected);
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_line() {
        assert_eq!(line_of("line[12].Patient.name[0]"), Some(12));
        assert_eq!(line_of("Patient.name"), None);
    }

    #[test]
    fn what_was_left_out_is_one_line_that_repeats_no_value() {
        let doc = |text: &str| Doc::parse(text.as_bytes(), &Limits::default());
        let mut import = Import::of(String::new(), 0, Vec::new());
        let mut out = Vec::new();
        for (n, text) in [
            r#"{"resourceType":"Zephyrhaugen"}"#,
            r#"{"resourceType":"Parameters"}"#,
            r#"{"resourceType":"Patient","id":"Zephyr haugen"}"#,
            r#"{"id":7}"#,
            "Zephyrhaugen",
        ]
        .iter()
        .enumerate()
        {
            let issues = doc(text).and_then(named).map(|_| ()).unwrap_err();
            left_out(&mut import, &mut out, n as u64 + 1, issues);
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 5);
        assert_eq!(import.rejected, 5);
        assert!(!text.contains("Zephyr"), "{text}");
        for (line, n) in text.lines().zip(1..) {
            let outcome: serde_json::Value = serde_json::from_str(line).unwrap();
            let place = outcome["issue"][0]["expression"][0].as_str().unwrap();
            assert!(place.starts_with(&format!("line[{n}]")), "{place}");
        }
    }
}

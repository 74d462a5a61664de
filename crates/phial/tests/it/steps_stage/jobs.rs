//! Exports on the stage: asked for, done step by step, read, ended, expired.

use std::sync::Arc;

use jiff::SignedDuration;
use phial_base::{Purpose, Subject, SubjectId, TenantId};
use phial_engine::Failure;
use phial_engine::job::{Job, State, Subjects};
use phial_engine::operation::export::{ExportWork, Kickoff, Level};
use phial_store::control::ControlLog;
use phial_store::vessel::Vessel;

use super::{Done, Is, Stage, said};

/// The owner of every job here.
struct Exporter(Arc<Subject>);

impl Subjects for Exporter {
    fn subject(
        &self,
        _: &ControlLog,
        _: &TenantId,
        _: &SubjectId,
        _: Purpose,
    ) -> Result<Option<Subject>, phial_store::Error> {
        Ok(Some(Subject::clone(&self.0)))
    }

    fn client_stands(&self, _: &ControlLog, _: &str) -> Result<bool, phial_store::Error> {
        Ok(false)
    }
}

impl Stage {
    /// Does what jobs have to do, those that rest after a failure included.
    fn drain(&self) -> Done {
        self.clock.advance(SignedDuration::from_secs(3));
        let engine = self.live()?.engine.clone();
        let runner = phial_engine::job::Runner::new(
            engine,
            Box::new(Exporter(self.caller("export-client").subject)),
            vec![Box::new(ExportWork::new(
                SignedDuration::from_hours(24),
                SignedDuration::ZERO,
                0,
            ))],
        );
        let task = self.runtime.spawn(async move { runner.drain().await });
        self.wait(task).unwrap().map(|_| ()).map_err(said)
    }

    fn jobs(&self) -> Result<Vec<Job>, String> {
        let engine = self.live()?.engine.clone();
        let operator = self.caller("operator");
        self.wait(async move { engine.jobs(&operator).await }).map_err(said)
    }

    pub(super) fn export(&self) -> Done {
        let engine = self.live()?.engine.clone();
        let caller = self.caller("export-client");
        if self.jobs()?.iter().all(|j| j.state.ended() && j.state != State::Done) {
            let asked = Kickoff {
                level: Level::System,
                pairs: Vec::new(),
                request: "the test".to_owned(),
                lenient: false,
            };
            let (engine, caller) = (engine.clone(), caller.clone());
            let task = self.runtime.spawn(async move { engine.export(&caller, asked).await });
            self.wait(task).unwrap().map_err(said)?;
        }
        self.drain()?;
        let job = self.jobs()?.into_iter().find(|j| j.state == State::Done);
        let job = job.ok_or("the export is not done")?;
        let task = self.runtime.spawn(async move {
            let mut file = engine.bulk_file(&caller, &job.id, 0).await?;
            let mut text = Vec::new();
            while let Some(piece) = file.next().await? {
                text.extend_from_slice(piece.body());
            }
            Ok::<_, Failure>(text)
        });
        let text = self.wait(task).unwrap().map_err(said)?;
        let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count();
        let there = self.model.told.values().filter(|is| **is != Is::Absent).count();
        if lines == there { Ok(()) } else { Err(format!("{lines} lines of {there} records")) }
    }

    pub(super) fn cancel_export(&self) -> Done {
        let engine = self.live()?.engine.clone();
        for job in self.jobs()? {
            let (engine, operator) = (engine.clone(), self.caller("operator"));
            let task =
                self.runtime.spawn(async move { engine.cancel_job(&operator, &job.id).await });
            self.wait(task).unwrap().map_err(said)?;
        }
        self.drain()?;
        let left = self.vessel(Vessel::spooled)?.map_err(said)?;
        if left.is_empty() { Ok(()) } else { Err("files are left".to_owned()) }
    }

    /// A day later: the files of what was done are destroyed, and another day later
    /// nothing is known of it.
    pub(crate) fn expire_export(&self) -> Done {
        let engine = self.live()?.engine.clone();
        let caller = self.caller("export-client");
        let done = self.jobs()?.into_iter().find(|j| j.state == State::Done);
        let id = done.ok_or("nothing is done")?.id;
        assert_eq!(self.vessel(Vessel::spooled)?.map_err(said)?, std::slice::from_ref(&id));
        self.clock.advance(SignedDuration::from_hours(23));
        self.drain()?;
        assert!(self.wait(engine.bulk_file(&caller, &id, 0)).is_ok(), "it is kept for a day");
        self.clock.advance(SignedDuration::from_hours(1));
        self.drain()?;
        assert!(matches!(self.wait(engine.bulk_file(&caller, &id, 0)), Err(Failure::NotFound)));
        assert!(engine.bulk_status(&caller, &id, "").is_err());
        assert!(self.vessel(Vessel::spooled)?.map_err(said)?.is_empty(), "its files are gone");
        assert!(self.vessel(|v| v.spool_if_there(&id))?.map_err(said)?.is_none(), "and its key");
        let states: Vec<State> = self.jobs()?.iter().map(|j| j.state).collect();
        assert_eq!(states, [State::Expired]);
        self.clock.advance(SignedDuration::from_hours(25));
        self.drain()?;
        assert!(self.jobs()?.is_empty());
        Ok(())
    }
}

//! Sessions on the stage: tokens, browsers, counters.

use jiff::SignedDuration;
use phial_base::{Clock as _, KeyHandle, Purpose, SubjectId};
use phial_store::sessions::NewSession;
use phial_store::sessions::counters::Counter;
use phial_store::sessions::tallies::{Tallies, Tally};

use super::{Done, Op, Stage, said};

impl Stage {
    pub(super) fn session(&mut self, op: Op) -> Done {
        let tenant = self.tenant();
        match op {
            Op::Issue => {
                let new = NewSession {
                    tenant,
                    user: SubjectId::new("ana").unwrap(),
                    purpose: Purpose::TREAT,
                    mfa: 0,
                    login: None,
                    idle: SignedDuration::from_mins(15),
                    absolute: SignedDuration::from_hours(8),
                };
                let now = self.clock.now();
                let issued = self.live()?.sessions.issue(&new, now).map_err(said)?;
                self.token = Some((issued.token.as_str().to_owned(), issued.handle));
                Ok(())
            }
            Op::Use => {
                self.clock.advance(SignedDuration::from_secs(31));
                let (token, _) = self.token.clone().ok_or("no token")?;
                let found = self.live()?.sessions.lookup(&token, self.clock.now());
                match found {
                    Ok(Some(_)) => Ok(()),
                    other => Err(said(other)),
                }
            }
            Op::Revoke => {
                let (token, handle) = self.token.clone().ok_or("no token")?;
                let now = self.clock.now();
                let sessions = &self.live()?.sessions;
                sessions.revoke(&tenant, &handle, now).map_err(said)?;
                match sessions.lookup(&token, now) {
                    Ok(None) => Ok(()),
                    other => Err(format!("a withdrawn token is good: {other:?}")),
                }
            }
            Op::PurgeSessions => {
                self.live()?.sessions.purge(self.clock.now()).map(|_| ()).map_err(said)
            }
            Op::KnowBrowser => {
                let (ana, now) = (SubjectId::new("ana").unwrap(), self.clock.now());
                let sessions = &self.live()?.sessions;
                sessions.keep_browser(&tenant, "b", &ana, now).map_err(said)?;
                match sessions.knows_browser(&tenant, "b", &ana, now) {
                    Ok(true) => Ok(()),
                    other => Err(format!("a browser that was kept is not known: {other:?}")),
                }
            }
            Op::ForgetBrowsers => {
                let (ana, now) = (SubjectId::new("ana").unwrap(), self.clock.now());
                let sessions = &self.live()?.sessions;
                sessions.forget_browsers(&tenant, &ana).map_err(said)?;
                match sessions.knows_browser(&tenant, "b", &ana, now) {
                    Ok(false) => Ok(()),
                    other => Err(format!("a browser that was forgotten is known: {other:?}")),
                }
            }
            Op::Count => {
                let counted = Counter { value: 3, at: 7 };
                let (keep, now) = (SignedDuration::from_hours(1), self.clock.now());
                let sessions = &self.live()?.sessions;
                let all: [(&[&[u8]], Counter); 1] = [(&[b"budget"], counted)];
                sessions.set_counters(&tenant, &all, now, keep).map_err(said)?;
                match sessions.counter(&tenant, &[b"budget"]) {
                    Ok(found) if found == counted => Ok(()),
                    other => Err(format!("a counter is not where it was put: {other:?}")),
                }
            }
            Op::UseCode => {
                // Each try is a later code: one that was used up without being told is
                // refused from then on, and nobody got in by it.
                self.clock.advance(SignedDuration::from_secs(30));
                let (keep, now) = (SignedDuration::from_hours(1), self.clock.now());
                let (sessions, step) = (&self.live()?.sessions, now.as_second() / 30);
                match sessions.raise(&tenant, &[b"code"], step, now, keep).map_err(said)? {
                    true => {}
                    false => return Err("a code that was never used is refused".to_owned()),
                }
                match sessions.raise(&tenant, &[b"code"], step, now, keep) {
                    Ok(false) => Ok(()),
                    other => Err(format!("a code was good twice: {other:?}")),
                }
            }
            Op::Tally => {
                let now = self.clock.now();
                let seen = vec![(KeyHandle([7; 16]), now.as_microsecond())];
                let ana = SubjectId::new("ana").unwrap();
                let all = vec![Tally { user: ana, told: None, seen }];
                let kept = Tallies { up_to: 3, all };
                let (sessions, keep) = (&self.live()?.sessions, SignedDuration::from_hours(24));
                sessions.keep_tallies(&tenant, &kept, now, keep).map_err(said)?;
                match sessions.tallies(&tenant) {
                    Ok(found) if found == kept => Ok(()),
                    other => Err(format!("a tally is not what was kept: {other:?}")),
                }
            }
            _ => Err("this is done elsewhere".to_owned()),
        }
    }
}

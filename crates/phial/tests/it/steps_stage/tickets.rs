//! Tickets of apps on the stage: given, exchanged, withdrawn, marked.

use jiff::SignedDuration;
use phial_base::SubjectId;
use phial_store::tickets::{NewTicket, Taken, TicketKind, Which};

use super::{Done, Stage, said};

fn ticket() -> NewTicket {
    NewTicket {
        kind: TicketKind::Refresh,
        family: [7; 16],
        holder: SubjectId::new("ana").unwrap(),
        client: "app".to_owned(),
        content: b"what it stands for".to_vec().into(),
        life: SignedDuration::from_hours(1),
    }
}

impl Stage {
    pub(super) fn new_ticket(&mut self) -> Done {
        let now = self.now();
        let issued = self.live()?.tickets.issue(&self.tenant(), &ticket(), now).map_err(said)?;
        self.ticket = Some(issued.token.as_str().to_owned());
        Ok(())
    }

    /// After a failure it is as good as before, or used up and nothing was shown for it.
    pub(super) fn exchange(&mut self) -> Done {
        let Some(text) = self.ticket.clone() else { return Ok(()) };
        let (tenant, now) = (self.tenant(), self.now());
        let taken = self.live()?.tickets.exchange(
            &tenant,
            TicketKind::Refresh,
            &text,
            now,
            |t| -> Result<_, phial_store::Error> {
                assert_eq!(&**t.content, b"what it stands for");
                Ok(vec![ticket()])
            },
        );
        let tickets = &self.live()?.tickets;
        match taken.map_err(said)? {
            Taken::Given(_, issued) => {
                let next = issued[0].token.as_str().to_owned();
                let found = tickets.look(&tenant, TicketKind::Refresh, &next, now).map_err(said)?;
                assert!(found.is_some(), "what is given is good");
                let old = tickets.look(&tenant, TicketKind::Refresh, &text, now).map_err(said)?;
                assert!(old.is_none(), "what is used up is not");
                self.ticket = Some(next);
                Ok(())
            }
            Taken::Again(_) => Ok(()),
            Taken::No => Err("it was withdrawn by nobody".to_owned()),
        }
    }

    pub(super) fn withdraw(&mut self) -> Done {
        let (tenant, now) = (self.tenant(), self.now());
        let tickets = &self.live()?.tickets;
        let which = Which { family: Some([7; 16]), ..Which::default() };
        tickets.revoke(&tenant, &which, now).map_err(said)?;
        if let Some(text) = &self.ticket {
            let found = tickets.look(&tenant, TicketKind::Refresh, text, now).map_err(said)?;
            assert!(found.is_none(), "what was withdrawn is good for nothing");
        }
        self.ticket = None;
        Ok(())
    }

    pub(super) fn mark(&mut self) -> Done {
        let (tenant, now) = (self.tenant(), self.now());
        let until = now + SignedDuration::from_mins(5);
        let tickets = &self.live()?.tickets;
        tickets.mark(&tenant, &["jti", "app", "1"], until, now).map_err(said)?;
        let again = tickets.mark(&tenant, &["jti", "app", "1"], until, now).map_err(said)?;
        assert!(!again, "what was marked is not new");
        Ok(())
    }
}

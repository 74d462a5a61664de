//! Subscriptions: somebody outside is told of changes of records
//! (<http://hl7.org/fhir/uv/subscriptions-backport/STU1.1>).
//!
//! Each notification is a disclosure by a job that acts as the subscription's owner:
//! whoever wrote its current version. What the owner may see is decided anew for every
//! event, when it is found and again when it is sent, by the policies as they are then;
//! what the owner may not see makes no event. Whatever leaves is [`Released`] under a
//! receipt that names the patients concerned.
//!
//! It refuses to send: to a host that is not on the allow-list, a record's content to an
//! address without an agreement in force, anything for an owner whose account has ended.
//! Sending itself is HTTP's; here it is said what may be sent, and what became of it is
//! heard.
//!
//! How far each subscription has come is kept in the outbox. The order of steps is:
//! events are found and numbered, that is made durable, the entry about their disclosure
//! is made durable, they are sent, and that they arrived is made durable. After a crash
//! between any two of them, the numbered events are sent under the same numbers; nothing
//! is left out, something may be sent twice.

mod ask;
mod next;
mod offer;
mod place;
mod tell;

pub use ask::{EventsAsked, Shown, StatusAsked};
pub use next::{Form, Next, Outgoing, Owners};
pub(crate) use offer::Offered;
pub(crate) use place::Subscriptions;
pub use tell::Patience;

use phial_base::Surface;
use phial_fhir::definitions::ResourceType;

use crate::caller::Caller;

/// The role of the job that writes down how subscriptions stand.
pub const KEEPER: &str = "subscription-keeper";

/// The type.
fn subscription() -> Option<ResourceType> {
    ResourceType::from_name("Subscription")
}

/// Whether this is the job that writes down how subscriptions stand. A session never has
/// this surface.
fn is_keeper(caller: &Caller) -> bool {
    caller.request.surface == Surface::Job && caller.subject.roles == [KEEPER]
}

//! The register of vendors: who receives data on the organisation's behalf, and
//! whether the written contract that this takes is in force (164.308(b)(3),
//! 164.314(a)). The first room of what will be `comply`.
//!
//! It lies in the tenant's control log. It refuses to take a vendor's word for
//! anything: an agreement is in force from and until the days that were written down,
//! and for the addresses that were tied to it, or it is not.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::Version;
use phial_policy::Action;
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use phial_fhir::issue::IssueCode;

const KIND: &str = "vendor";

/// The business associate agreement with a vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
pub enum Baa {
    /// There is none.
    None,
    /// It was signed.
    Executed {
        /// The first day on which it holds.
        from: Date,
        /// The last day, when it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Date>,
    },
    /// It was ended.
    Terminated {
        /// Since when.
        at: Timestamp,
    },
}

impl Baa {
    /// Whether it is in force. Days are counted in UTC.
    #[must_use]
    pub fn is_active(&self, at: Timestamp) -> bool {
        let today = at.to_zoned(TimeZone::UTC).date();
        match self {
            Baa::Executed { from, until } => {
                *from <= today && until.is_none_or(|until| today <= until)
            }
            Baa::None | Baa::Terminated { .. } => false,
        }
    }

    /// Its state at a moment, in a word.
    #[must_use]
    pub fn state(&self, at: Timestamp) -> &'static str {
        match self {
            Baa::None => "none",
            Baa::Terminated { .. } => "terminated",
            Baa::Executed { .. } if self.is_active(at) => "active",
            Baa::Executed { from, .. } if *from > at.to_zoned(TimeZone::UTC).date() => "not yet",
            Baa::Executed { .. } => "expired",
        }
    }
}

/// A vendor. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// Its name, unique in the tenant.
    pub name: String,
    /// Whom to reach there: security incidents are reported both ways (164.314(a)(2)(i)(C)).
    pub contact: String,
    /// The agreement.
    pub baa: Baa,
    /// Addresses that are theirs: everything at or below one of these.
    pub endpoints: Vec<String>,
}

impl Vendor {
    /// What is wrong with it, in words.
    fn fault(&self) -> Option<&'static str> {
        let word = |text: &str, most: usize| {
            let shown = text.trim();
            shown == text
                && (1..=most).contains(&text.chars().count())
                && !text.chars().any(char::is_control)
        };
        if !word(&self.name, 80) {
            return Some("a vendor's name has 1 to 80 characters");
        }
        if !word(&self.contact, 200) {
            return Some("a contact has 1 to 200 characters");
        }
        if let Baa::Executed { from, until: Some(until) } = &self.baa
            && until < from
        {
            return Some("an agreement can't end before it begins");
        }
        if self.endpoints.iter().any(|e| Endpoint::parse(e).is_none()) {
            return Some(
                "an endpoint is https://HOST[:PORT][/PATH], without user, query or escapes",
            );
        }
        None
    }

    fn owns(&self, endpoint: &Endpoint) -> bool {
        self.endpoints.iter().filter_map(|e| Endpoint::parse(e)).any(|e| e.covers(endpoint))
    }
}

/// That a vendor's agreement is in force for an address. Made by [`agreement`] alone, and
/// good for the moment at which it was made.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    pub(crate) vendor: String,
}

/// The agreement under which PHI may go to `endpoint` at this moment, if there is one.
/// When several vendors claim an address, each of them needs one.
pub(crate) fn agreement(
    control: &ControlLog,
    endpoint: &Endpoint,
    at: Timestamp,
) -> Result<Option<Agreement>, StoreError> {
    let mut found = None;
    for vendor in all(control)? {
        if vendor.owns(endpoint) {
            if !vendor.baa.is_active(at) {
                return Ok(None);
            }
            found = Some(Agreement { vendor: vendor.name });
        }
    }
    Ok(found)
}

fn read(value: serde_json::Value) -> Result<Vendor, StoreError> {
    serde_json::from_value(value).map_err(|_| StoreError::Corrupt("a vendor in the control log"))
}

fn all(control: &ControlLog) -> Result<Vec<Vendor>, StoreError> {
    control.list(KIND)?.into_iter().map(|r| read(r.value)).collect()
}

/// How a vendor came to be as it is.
#[derive(Clone, Debug, Serialize)]
pub struct VendorVersion {
    /// Counted from 1.
    pub version: u32,
    /// As it was then.
    pub vendor: Vendor,
}

impl Engine {
    /// Writes a vendor down: a new one, or, when `replaces` says so, in the place of the
    /// one of that name.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage vendors; [`Failure::Invalid`]
    /// for what can't be one; [`Failure::Conflict`] when the name is taken;
    /// [`Failure::NotFound`] when there is none to replace; [`Failure::Busy`] when a store
    /// or the audit log can't be reached.
    pub async fn put_vendor(
        &self,
        caller: &Caller,
        vendor: &Vendor,
        replaces: bool,
    ) -> Result<(), Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_vendors(tenant, caller).await?;
        if let Some(fault) = vendor.fault() {
            return Err(Failure::invalid(IssueCode::Value, "vendor", fault));
        }
        let failed = Self::store_failure(caller);
        let control = tenant.vessel.control();
        let before = control.get(KIND, &vendor.name).map_err(&failed)?.map(|r| r.version);
        match before {
            Some(_) if !replaces => {
                return Err(Failure::precondition("there is a vendor of that name"));
            }
            None if replaces => return Err(Failure::NotFound),
            _ => {}
        }
        self.write_vendor(tenant, caller, vendor, before).await
    }

    /// Ends the agreement with a vendor. From now on nothing of a patient goes to its
    /// addresses.
    ///
    /// # Errors
    /// As [`Engine::put_vendor`].
    pub async fn end_vendor(&self, caller: &Caller, name: &str) -> Result<Vendor, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_vendors(tenant, caller).await?;
        let failed = Self::store_failure(caller);
        let Some(record) = tenant.vessel.control().get(KIND, name).map_err(&failed)? else {
            return Err(Failure::NotFound);
        };
        let mut vendor = read(record.value).map_err(&failed)?;
        if !matches!(vendor.baa, Baa::Terminated { .. }) {
            vendor.baa = Baa::Terminated { at: self.clock().now() };
            self.write_vendor(tenant, caller, &vendor, Some(record.version)).await?;
        }
        Ok(vendor)
    }

    /// All vendors, by name.
    ///
    /// # Errors
    /// As [`Engine::put_vendor`].
    pub async fn vendors(&self, caller: &Caller) -> Result<Vec<Vendor>, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_vendors(tenant, caller).await?;
        all(tenant.vessel.control()).map_err(Self::store_failure(caller))
    }

    /// Every version of a vendor, oldest first.
    ///
    /// # Errors
    /// As [`Engine::put_vendor`].
    pub async fn vendor_history(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<Vec<VendorVersion>, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_vendors(tenant, caller).await?;
        let failed = Self::store_failure(caller);
        let history = tenant.vessel.control().history(KIND, name).map_err(&failed)?;
        if history.is_empty() {
            return Err(Failure::NotFound);
        }
        history
            .into_iter()
            .map(|r| Ok(VendorVersion { version: r.version.0, vendor: read(r.value)? }))
            .collect::<Result<_, StoreError>>()
            .map_err(&failed)
    }

    async fn may_manage_vendors(&self, tenant: &Tenant, caller: &Caller) -> Result<(), Failure> {
        if self.policy().allows(&caller.subject, Action::ManageVendors) {
            return Ok(());
        }
        let e = entry::of(caller, EventKind::VendorChanged);
        let failure = Failure::forbidden("your role may not manage vendors");
        Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await)
    }

    /// The log says what is to be, then it is, then the log says how the control log
    /// stands: a crash between leaves an announcement that did not come true.
    async fn write_vendor(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        vendor: &Vendor,
        replaced: Option<Version>,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let mut e = entry::of(caller, EventKind::VendorChanged);
        entry::note(&mut e, DetailKey::Recipient, vendor.name.clone());
        entry::note(&mut e, DetailKey::Value, vendor.baa.state(caller.request.at).to_owned());
        if let Baa::Executed { until: Some(until), .. } = &vendor.baa {
            entry::note(&mut e, DetailKey::Until, until.to_string());
        }
        self.record(tenant, caller, vec![e.clone()], None).await?;
        let value = serde_json::to_value(vendor)
            .map_err(|_| failed(StoreError::Invalid("a vendor that can't be encoded")))?;
        let control = tenant.vessel.control();
        control.put(KIND, &vendor.name, &value, replaced).map_err(&failed)?;
        entry::note(&mut e, DetailKey::ControlHead, control.head().map_err(&failed)?);
        self.record(tenant, caller, vec![e], None).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_agreement_holds_from_its_first_to_its_last_day() {
        let day = |d: &str| -> Date { d.parse().unwrap() };
        let baa =
            |until: Option<&str>| Baa::Executed { from: day("2026-03-01"), until: until.map(day) };
        for (baa, now, state) in [
            (Baa::None, "2026-03-01T00:00:00Z", "none"),
            (baa(None), "2026-02-28T23:59:59Z", "not yet"),
            (baa(None), "2026-03-01T00:00:00Z", "active"),
            (baa(None), "2099-03-01T00:00:00Z", "active"),
            (baa(Some("2026-03-31")), "2026-03-31T23:59:59Z", "active"),
            (baa(Some("2026-03-31")), "2026-04-01T00:00:00Z", "expired"),
            (
                Baa::Terminated { at: at("2026-03-02T00:00:00Z") },
                "2026-03-01T00:00:00Z",
                "terminated",
            ),
        ] {
            assert_eq!(baa.state(at(now)), state);
            assert_eq!(baa.is_active(at(now)), state == "active");
        }
    }

    #[test]
    fn what_can_be_no_vendor_is_named() {
        let good = Vendor {
            name: "Acme Billing, Inc.".to_owned(),
            contact: "security@acme.example".to_owned(),
            baa: Baa::None,
            endpoints: vec!["https://hooks.acme.example/in".to_owned()],
        };
        assert_eq!(good.fault(), None);
        let backwards = Baa::Executed {
            from: "2026-03-02".parse().unwrap(),
            until: Some("2026-03-01".parse().unwrap()),
        };
        for bad in [
            Vendor { name: String::new(), ..good.clone() },
            Vendor { name: " x".to_owned(), ..good.clone() },
            Vendor { name: "a\nb".to_owned(), ..good.clone() },
            Vendor { contact: String::new(), ..good.clone() },
            Vendor { baa: backwards, ..good.clone() },
            Vendor { endpoints: vec!["http://acme.example/".to_owned()], ..good.clone() },
        ] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
    }

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let vendor = Vendor {
            name: "Acme".to_owned(),
            contact: "x@acme.example".to_owned(),
            baa: Baa::Executed { from: "2026-03-01".parse().unwrap(), until: None },
            endpoints: vec!["https://acme.example/in".to_owned()],
        };
        let text = r#"{"name":"Acme","contact":"x@acme.example","baa":{"state":"executed","from":"2026-03-01"},"endpoints":["https://acme.example/in"]}"#;
        assert_eq!(serde_json::to_string(&vendor).unwrap(), text);
        assert_eq!(serde_json::from_str::<Vendor>(text).unwrap(), vendor);
    }
}

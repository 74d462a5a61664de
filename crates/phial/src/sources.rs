//! Sources of imports: what the operator has listed, and nothing else. A server that
//! fetches whatever it is told to reaches what only it can reach (SSRF), so an address
//! must lie under one of `import.sources`, redirects are not followed, and no proxy of
//! the environment is used.

use std::time::Duration;

use phial_engine::Failure;
use phial_engine::job::Doing;
use phial_engine::operation::ndjson::{Sources, Unfetched};
use reqwest::Url;
use reqwest::redirect::Policy;

/// How long a connection may take to come about, and to give another piece.
const CONNECT: Duration = Duration::from_secs(10);
const PIECE: Duration = Duration::from_secs(30);

/// The sources of `import.sources`.
pub(crate) struct Listed {
    under: Vec<Url>,
    /// The most bytes of one source.
    most: u64,
}

/// An entry of the list, when it can be one: https, with a host, no account, no query.
pub(crate) fn entry(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.scheme() == "https"
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.path().ends_with('/');
    plain.then_some(url)
}

impl Listed {
    pub(crate) fn new(list: &[String], most_mib: u64) -> Self {
        Listed { under: list.iter().filter_map(|text| entry(text)).collect(), most: most_mib << 20 }
    }

    fn allowed(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        // What a server beyond might take for a step upwards or aside.
        let path = url.path().to_ascii_lowercase();
        let tricky = path.contains("%2e")
            || path.contains("%2f")
            || path.contains("%5c")
            || path.contains('\\')
            || path.contains("/../");
        let plain = url.username().is_empty() && url.password().is_none() && !tricky;
        let under = |entry: &Url| {
            url.scheme() == entry.scheme()
                && url.host_str() == entry.host_str()
                && url.port_or_known_default() == entry.port_or_known_default()
                && url.path().starts_with(entry.path())
        };
        (plain && self.under.iter().any(under)).then_some(url)
    }
}

impl Sources for Listed {
    fn listed(&self, url: &str) -> bool {
        self.allowed(url).is_some()
    }

    fn fetch<'a>(
        &'a self,
        url: &'a str,
        to: &'a mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Doing<'a, Result<(), Unfetched>> {
        Box::pin(async move {
            let url = self.allowed(url).ok_or(Unfetched::Source)?;
            // Another part of the program may have named it before: it is the same.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let client = reqwest::Client::builder()
                .https_only(true)
                .redirect(Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT)
                .read_timeout(PIECE)
                .build()
                .map_err(|_| Unfetched::Source)?;
            let sent = client.get(url).header("accept", "application/fhir+ndjson").send().await;
            let mut answer = sent.map_err(|_| Unfetched::Source)?;
            if answer.status() != reqwest::StatusCode::OK {
                return Err(Unfetched::Source);
            }
            let mut taken: u64 = 0;
            while let Some(piece) = answer.chunk().await.map_err(|_| Unfetched::Source)? {
                taken += piece.len() as u64;
                if taken > self.most {
                    return Err(Unfetched::Source);
                }
                to(&piece).map_err(Unfetched::Kept)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_must_lie_under_one_that_is_listed() {
        let list = ["https://data.example.org/exports/", "https://b.example.org:8443/"];
        let listed = Listed::new(&list.map(str::to_owned), 1);
        for good in [
            "https://data.example.org/exports/a.ndjson",
            "https://data.example.org:443/exports/x/y?token=1",
            "https://DATA.example.org/exports/./a",
            "https://b.example.org:8443/a",
        ] {
            assert!(listed.listed(good), "{good}");
        }
        for bad in [
            "http://data.example.org/exports/a",
            "https://data.example.org/other/a",
            "https://data.example.org/exports/../secret",
            "https://data.example.org/exports/%2e%2e/secret",
            "https://data.example.org/exports/..%2fsecret",
            "https://data.example.org/exports/..%5csecret",
            "https://data.example.org.evil.example/exports/a",
            "https://data.example.org@evil.example/exports/a",
            "https://u:p@data.example.org/exports/a",
            "https://data.example.org:8443/exports/a",
            "https://b.example.org/a",
            "https://127.0.0.1/exports/a",
            "https://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "exports/a",
            "",
        ] {
            assert!(!listed.listed(bad), "{bad}");
        }
        assert!(!Listed::new(&[], 1).listed("https://data.example.org/"));
    }

    #[test]
    fn an_entry_is_a_place_and_nothing_more() {
        assert!(entry("https://data.example.org/exports/").is_some());
        for bad in [
            "https://data.example.org/exports",
            "http://data.example.org/",
            "https://u@data.example.org/",
            "https://data.example.org/?a=1",
            "data.example.org/",
        ] {
            assert!(entry(bad).is_none(), "{bad}");
        }
    }
}

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};

use super::error::Error;

/// Under which names the node may be asked.
///
/// A page in a browser on this machine reaches what listens on loopback, and reads the answers if
/// the name that it came under leads there. So on loopback the node answers only to names that no
/// stranger can lead anywhere, and never to a page of another site. What changes something is not
/// for pages at all.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    /// None: any.
    names: Option<Vec<String>>,
}

impl Hosts {
    /// For a listener on this address, with these names besides those that are always good.
    pub(super) fn new(listener: Option<IpAddr>, names: Vec<String>) -> Self {
        let is_loopback = listener.is_none_or(|addr| addr.to_canonical().is_loopback());
        Self {
            names: is_loopback.then_some(names),
        }
    }

    /// Whether this is to be answered.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        // From which pages clients connect, the gateway decides.
        let is_client = request.uri().path() == CLIENTS;
        if is_cross_site(request.headers()) && !is_client {
            let problem = "pages of other sites are not answered";
            return Err(Error::new(StatusCode::FORBIDDEN, problem));
        }
        let is_mcp = request.uri().path() == MCP;
        if !request.method().is_safe() && is_of_a_page(request.headers(), is_mcp) {
            let problem = "no page may change anything here";
            return Err(Error::new(StatusCode::FORBIDDEN, problem));
        }
        let Some(names) = &self.names else {
            return Ok(());
        };
        if hosts(request.uri(), request.headers()).all(|host| is_known(host, names)) {
            return Ok(());
        }
        let problem = "this node is not asked under that name; `http_hosts` says which are good";
        Err(Error::new(StatusCode::MISDIRECTED_REQUEST, problem))
    }
}

/// Where clients of the gateway connect.
pub(super) const CLIENTS: &str = "/nats";

/// Where agents connect that speak MCP.
pub(super) const MCP: &str = "/mcp";

fn is_cross_site(headers: &HeaderMap) -> bool {
    headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| site == "cross-site")
}

/// Whether a page in a browser asks, be it of whatever site: the node has none of its own.
///
/// Programs that speak MCP may say as well that they are from this machine. A page of this machine is known by what
/// browsers say besides, and by that it asks first whether it may.
fn is_of_a_page(headers: &HeaderMap, is_mcp: bool) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_foreign = |origin: &HeaderValue| !(is_mcp && is_local(origin));
    origins.any(is_foreign) || sites.any(|site| site != "none")
}

fn is_local(origin: &HeaderValue) -> bool {
    let origin = origin.to_str().ok();
    let origin = origin.and_then(|text| text.parse::<Uri>().ok());
    // Without a scheme it is no origin.
    let origin = origin.filter(|uri| uri.scheme().is_some());
    let host = origin.as_ref().and_then(Uri::host).unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let addr = literal.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || addr.is_ok_and(|addr| addr.is_loopback())
}

/// All hosts that a request names; none for one that is not text.
fn hosts<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> impl Iterator<Item = Option<Authority>> {
    let from_uri = uri.authority().cloned().map(Some);
    let from_headers = headers.get_all(HOST).iter();
    from_uri
        .into_iter()
        .chain(from_headers.map(|host| host.to_str().ok()?.parse().ok()))
}

fn is_known(host: Option<Authority>, names: &[String]) -> bool {
    let Some(host) = host else { return false };
    let name = host.host();
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    literal.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::response::IntoResponse;

    use super::*;

    fn status(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match hosts.check(&request.body(()).unwrap()) {
            Ok(()) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[test]
    fn on_loopback_only_names_that_lead_nowhere_else_are_answered() {
        let hosts = Hosts::new(
            Some(Ipv4Addr::LOCALHOST.into()),
            vec!["node.internal".into()],
        );
        for host in [
            "localhost",
            "LOCALHOST:8222",
            "127.0.0.1:8222",
            "10.1.2.3",
            "[::1]:8222",
            "node.internal:80",
        ] {
            assert_eq!(status(&hosts, "/", &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a b",
            "",
        ] {
            assert_eq!(status(&hosts, "/", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(
            status(&hosts, "http://evil.example/", &[("host", "localhost")]),
            421
        );
        let both = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(status(&hosts, "/", &both), 421);
        assert_eq!(status(&hosts, "/", &[]), 200, "no browser leaves it out");
    }

    #[test]
    fn clients_come_from_any_page_but_under_no_other_names() {
        let hosts = Hosts::new(Some(Ipv4Addr::LOCALHOST.into()), Vec::new());
        let from = |host| [("host", host), ("sec-fetch-site", "cross-site")];
        assert_eq!(status(&hosts, CLIENTS, &from("localhost")), 200);
        assert_eq!(status(&hosts, CLIENTS, &from("evil.example")), 421);
        assert_eq!(status(&hosts, "/v1/nodes", &from("localhost")), 403);
    }

    #[test]
    fn programs_of_this_machine_speak_mcp_and_no_page_does() {
        let hosts = Hosts::new(Some(Ipv4Addr::LOCALHOST.into()), Vec::new());
        let post = |path: &str, origin: &str, site: Option<&str>| {
            let request = Request::post(path).header("host", "localhost:8222");
            let request = match site {
                Some(site) => request.header("sec-fetch-site", site),
                None => request,
            };
            let request = request.header("origin", origin).body(()).unwrap();
            hosts.check(&request).is_ok()
        };
        for origin in [
            "http://localhost:8222",
            "http://127.0.0.1",
            "http://[::1]:1",
        ] {
            assert!(post(MCP, origin, None), "{origin}");
            assert!(!post("/v1/topics/a", origin, None), "{origin}");
            for site in ["same-origin", "same-site", "cross-site"] {
                assert!(!post(MCP, origin, Some(site)), "{origin} {site}");
            }
        }
        for origin in [
            "http://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "null",
            "localhost",
            "",
        ] {
            assert!(!post(MCP, origin, None), "{origin}");
        }
    }

    #[test]
    fn elsewhere_any_name_is_answered_but_no_page_of_another_site() {
        let hosts = Hosts::new(Some(Ipv4Addr::new(10, 0, 0, 1).into()), Vec::new());
        assert_eq!(status(&hosts, "/", &[("host", "node.example")]), 200);
        for (site, expected) in [("cross-site", 403), ("same-origin", 200), ("none", 200)] {
            assert_eq!(status(&hosts, "/", &[("sec-fetch-site", site)]), expected);
        }
    }
}

use std::fmt::{self, Write as _};

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Whom a client's certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CertificateNames {
    /// Its alternative names that are addresses of mail.
    pub(super) emails: Vec<String>,
    /// Its alternative names in the DNS.
    pub(super) dns: Vec<String>,
    /// Its alternative names that are URIs.
    pub(super) uris: Vec<String>,
    /// Its subject as RFC 2253 writes it: `CN=planner,O=Example`. Empty if it has none.
    pub(super) subject: String,
}

impl CertificateNames {
    /// Reads them; none if this is no certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = Self {
            subject: rfc2253(certificate.subject()),
            ..Self::default()
        };
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives = alternatives.map_or(&[][..], |names| &names.value.general_names);
        for name in alternatives {
            match name {
                GeneralName::RFC822Name(email) => names.emails.push((*email).to_owned()),
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        Some(names)
    }

    /// All of them, in the order in which the NATS server looks for a user of that name.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        let alternatives = self.emails.iter().chain(&self.dns).chain(&self.uris);
        let subject = (!self.subject.is_empty()).then_some(&self.subject);
        alternatives.chain(subject).map(String::as_str)
    }
}

/// For the log.
impl fmt::Display for CertificateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("certificate=[")?;
        for (at, name) in self.all().enumerate() {
            write!(f, "{}{name:?}", if at > 0 { ", " } else { "" })?;
        }
        f.write_char(']')
    }
}

/// The last part first, and what would end a part escaped.
fn rfc2253(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let parts = parts.into_iter().rev().map(|part| {
        let attributes: Vec<_> = part.iter().map(attribute).collect();
        attributes.join("+")
    });
    parts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let known = SHORT.iter().find(|(known, _)| *known == oid);
    let name = known.map_or(oid.as_str(), |(_, name)| name);
    let mut text = format!("{name}=");
    let value = attribute.as_str().unwrap_or_default();
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        let is_special = matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        let is_at_edge = (at == 0 && matches!(char, ' ' | '#')) || (at == last && char == ' ');
        if is_special || is_at_edge {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

/// Attributes of subjects that have a short name, as Go writes them and so the NATS server.
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.6", "C"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.17", "POSTALCODE"),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn names(params: CertificateParams) -> CertificateNames {
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        CertificateNames::read(certificate.der()).unwrap()
    }

    #[test]
    fn names_are_read_in_the_order_in_which_a_user_is_looked_for() {
        let mut params = CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
        let text = |text: &str| text.try_into().unwrap();
        params.subject_alt_names.extend([
            SanType::URI(text("spiffe://example/agent")),
            SanType::Rfc822Name(text("agent@example.com")),
        ]);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "NL");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Agents, Inc.");
        params
            .distinguished_name
            .push(DnType::CommonName, " #1 <x> ");
        let names = names(params);
        let all: Vec<_> = names.all().collect();
        let subject = r"CN=\ #1 \<x\>\ ,O=Agents\, Inc.,C=NL";
        let expected = [
            "agent@example.com",
            "agent.example",
            "spiffe://example/agent",
            subject,
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_certificate_may_have_no_names_and_what_is_none_has_none() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        assert_eq!(names(params), CertificateNames::default());
        assert_eq!(CertificateNames::read(b"nothing"), None);
    }
}

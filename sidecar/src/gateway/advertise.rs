use std::fmt;
use std::net::SocketAddr;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidings::{CLIENT_ADDRS_MAX, ClientAddr, ClientDoor, ClientDoorError};

/// Which addresses other nodes are told, so that their clients find this one when they need another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Advertise {
    /// Where the gateway listens, if others can reach it there. On all addresses of the machine it is the
    /// one under which other nodes reach this node. One on loopback is only told by a node that they
    /// reach there, too.
    #[default]
    Auto,
    /// None: nobody is sent here.
    None,
    /// These, at least one.
    Addrs(Vec<ClientAddr>),
}

impl Advertise {
    /// Where clients connect: to a gateway that listens here, of a node that others reach there.
    pub(crate) fn door(&self, listens: SocketAddr, node: Option<SocketAddr>) -> ClientDoor {
        let addrs = match self {
            Self::None => Vec::new(),
            Self::Addrs(addrs) => addrs.clone(),
            Self::Auto => {
                let ip = listens.ip();
                let addr = match node.map(|addr| addr.ip()) {
                    Some(node) if ip.is_unspecified() => {
                        Some(SocketAddr::new(node, listens.port()))
                    }
                    Some(node) if ip.is_loopback() && !node.is_loopback() => None,
                    Some(_) => Some(listens),
                    // A node on its own has nobody to tell.
                    None => None,
                };
                addr.map(ClientAddr::from).into_iter().collect()
            }
        };
        // There are no more of them than fit.
        ClientDoor::new(addrs, false).unwrap_or_default()
    }

    /// What clients are told is the address of this node, if it is not where they have connected to.
    pub(crate) fn first(&self) -> Option<&ClientAddr> {
        match self {
            Self::Addrs(addrs) => addrs.first(),
            Self::Auto | Self::None => None,
        }
    }

    fn of<'a>(addrs: impl Iterator<Item = &'a str>) -> Result<Self, ClientDoorError> {
        let addrs: Vec<_> = addrs.map(ClientAddr::parse).collect::<Result<_, _>>()?;
        match addrs.len() {
            0 => Ok(Self::None),
            count if count > CLIENT_ADDRS_MAX => Err(ClientDoorError::TooMany(count)),
            _ => Ok(Self::Addrs(addrs)),
        }
    }
}

impl Serialize for Advertise {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::None => serializer.serialize_str(NONE),
            Self::Addrs(addrs) => addrs.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrList)
    }
}

struct TextOrList;

impl<'de> Visitor<'de> for TextOrList {
    type Value = Advertise;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{AUTO}`, `{NONE}` or a list of host:port")
    }

    /// From the environment a list comes as one text, with commas.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Advertise, E> {
        match text {
            AUTO => Ok(Advertise::Auto),
            NONE => Ok(Advertise::None),
            list => Advertise::of(list.split(',').map(str::trim)).map_err(E::custom),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Advertise, A::Error> {
        let mut texts: Vec<String> = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Advertise::of(texts.iter().map(String::as_str)).map_err(serde::de::Error::custom)
    }
}

const AUTO: &str = "auto";
const NONE: &str = "none";

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn others_are_told_an_address_only_if_they_reach_it() {
        let door = |listens: &str, node: Option<&str>| {
            let node = node.map(|addr| addr.parse().unwrap());
            let door = Advertise::Auto.door(listens.parse().unwrap(), node);
            let addrs: Vec<_> = door.addrs().iter().map(ToString::to_string).collect();
            addrs.join(" ")
        };
        let there = Some("10.0.0.1:7946");
        assert_eq!(door("0.0.0.0:4222", there), "10.0.0.1:4222");
        assert_eq!(door("[::]:4222", Some("[fe80::1]:7946")), "[fe80::1]:4222");
        assert_eq!(door("10.0.0.9:4222", there), "10.0.0.9:4222");
        assert_eq!(door("127.0.0.1:4222", there), "");
        assert_eq!(
            door("127.0.0.1:4222", Some("127.0.0.1:7946")),
            "127.0.0.1:4222"
        );
        assert_eq!(door("10.0.0.9:4222", None), "");
    }

    #[test]
    fn it_is_given_as_a_word_a_list_or_a_text_with_commas() {
        let read = |value| from_value::<Advertise>(value).map_err(|e| e.to_string());
        let two = read(json!(["a:1", "b:2"]));
        assert!(matches!(&two, Ok(Advertise::Addrs(addrs)) if addrs.len() == 2));
        assert_eq!(read(json!("a:1, b:2")), two);
        assert_eq!(read(json!("none")), Ok(Advertise::None));
        assert_eq!(read(json!([])), Ok(Advertise::None));
        assert_eq!(read(json!("auto")), Ok(Advertise::Auto));
        assert!(read(json!("a")).unwrap_err().contains("host:port"));
        assert!(
            read(json!(vec!["a:1"; 9]))
                .unwrap_err()
                .contains("more than")
        );
        for known in [Advertise::Auto, Advertise::None, two.clone().unwrap()] {
            assert_eq!(read(serde_json::to_value(&known).unwrap()), Ok(known));
        }
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings::{Incarnation, Message, NodeId, Pattern, Position, Recall, Recalled, Session, Topic};

/// What has changed at an MCP server, as far as the client may have missed it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changed {
    /// The name of the server.
    server: String,
    /// Up to which number the client knows the changes of each run of a node. None of any at a start, when it has missed
    /// nothing, and wants these numbers.
    #[serde(default)]
    known: BTreeMap<String, i64>,
    /// The nodes on which something may have been published that nobody can know.
    #[serde(default)]
    suspect: BTreeSet<NodeId>,
    /// Whether nodes that cannot be reached are not waited for any more.
    #[serde(default)]
    give_up: bool,
}

/// What all nodes say.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    changes: Vec<Change>,
    /// What they take, and those that were too many took.
    #[serde(skip)]
    bytes: usize,
    /// Whether anything may have changed.
    all: bool,
    known: BTreeMap<String, i64>,
    /// Whether a node cannot be reached that may come back with changes.
    missing: bool,
    /// Whether a live node did not answer in time.
    silent: bool,
}

#[derive(Debug, Serialize)]
struct Change {
    topic: Topic,
    params: Box<RawValue>,
}

type Run = (NodeId, Incarnation);

impl Changed {
    /// What is asked for, by a session that may hear of it. An error says, for people, why it is refused.
    pub(super) fn parse(payload: &[u8], session: &Session) -> Result<Self, String> {
        let asked: Self = serde_json::from_slice(payload).map_err(|error| {
            format!("the payload is not {{\"server\":\"…\",\"known\":{{…}}}}: {error}")
        })?;
        let heard =
            Pattern::parse(&format!("{}.>", asked.topic()?)).map_err(|error| error.to_string())?;
        let may_listen = session.may_listen(&heard);
        may_listen.map_err(|error| error.to_string())?;
        if asked.known.len() > KNOWN_MAX {
            return Err(format!("it knows more than {KNOWN_MAX} runs of nodes"));
        }
        match asked.known.keys().find(|run| read(run).is_none()) {
            Some(odd) => Err(format!(
                "{odd:?} is not the name of a node and its run, as in \"n1 7\""
            )),
            None => Ok(asked),
        }
    }

    /// Asks all nodes.
    pub(super) fn ask(
        self,
        session: &Session,
    ) -> Result<impl Future<Output = Answer> + Send + use<>, String> {
        let mut position = Position::default();
        for (run, number) in &self.known {
            if let Some((node, incarnation)) = read(run) {
                position.advance(&node, incarnation, u64::try_from(*number).unwrap_or(0));
            }
        }
        let since = (!self.known.is_empty()).then_some(&position);
        let recall = session.recall(&self.topic()?, since, LIMIT);
        Ok(self.answer(recall))
    }

    async fn answer(self, mut recall: Recall) -> Answer {
        let mut answer = Answer::default();
        while let Some(said) = recall.next().await {
            self.take(said, &mut answer);
        }
        answer
    }

    fn take(&self, said: Recalled, answer: &mut Answer) {
        match said {
            Recalled::Changes {
                node,
                incarnation,
                number,
                messages,
                is_complete,
                ..
            } => {
                answer.all |= !is_complete;
                answer.add(messages);
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                answer.known.insert(write(&(node, incarnation)), number);
            }
            Recalled::Left { node, .. } => answer.all |= self.suspect.contains(&node),
            Recalled::Gone { .. } => answer.all = true,
            Recalled::Missing { node, incarnation } => {
                self.missing(&(node, incarnation), answer);
            }
            Recalled::Silent { node, incarnation } => {
                let run = write(&(node, incarnation));
                // When it has told a part, more is known already.
                if let Some(number) = self.known.get(&run) {
                    answer.known.entry(run).or_insert(*number);
                }
                answer.silent = true;
            }
            _ => answer.all = true,
        }
    }

    /// A run of which nothing is known yet, or that was given up, is not waited for, but to be known when it is back.
    fn missing(&self, run: &Run, answer: &mut Answer) {
        let run = write(run);
        let number = match self.known.get(&run) {
            Some(number) if *number >= 0 && self.give_up => {
                answer.all = true;
                -1
            }
            Some(number) => *number,
            None => -1,
        };
        answer.missing |= number >= 0;
        answer.known.insert(run, number);
    }

    fn topic(&self) -> Result<Topic, String> {
        let server: Result<tidings_mcp::ServerName, _> = self.server.parse();
        let server = server.map_err(|error| error.to_string())?;
        let topic = Topic::parse(&format!("mcp.{server}"));
        topic.map_err(|error| error.to_string())
    }
}

impl Answer {
    /// Adds changes, as long as there is room. When there is none any more, all are told in a word.
    fn add(&mut self, messages: Vec<Message>) {
        for Message { topic, payload, .. } in messages {
            self.bytes += topic.as_str().len() + payload.len() + CHANGE_BYTES;
            if self.bytes > ANSWER_BYTES_MAX {
                self.changes = Vec::new();
                self.all = true;
                return;
            }
            // What is no JSON is no change, either.
            if let Ok(params) = serde_json::from_slice(&payload) {
                self.changes.push(Change { topic, params });
            }
        }
    }
}

fn write((node, incarnation): &Run) -> String {
    format!("{node} {incarnation}")
}

fn read(run: &str) -> Option<Run> {
    let (node, incarnation) = run.split_once(' ')?;
    let incarnation: u64 = incarnation.parse().ok()?;
    Some((node.parse().ok()?, incarnation.into()))
}

/// How long nodes have to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How many runs of nodes a client may know.
const KNOWN_MAX: usize = 10_000;
/// What the changes in an answer may take.
const ANSWER_BYTES_MAX: usize = 512 << 10;
/// What each of them takes besides its topic and its parameters.
const CHANGE_BYTES: usize = r#"{"topic":"","params":},"#.len();

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidings::{Config, Node, SessionOptions};

    use super::*;

    async fn answer(session: &Session, asked: &Value) -> Value {
        let asked = Changed::parse(asked.to_string().as_bytes(), session).unwrap();
        serde_json::to_value(asked.ask(session).unwrap().await).unwrap()
    }

    #[tokio::test]
    async fn what_has_changed_is_told_since_what_the_client_knows() {
        let node = Node::start(Config::default(), None).await.unwrap();
        let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
        let topic = || Topic::parse("mcp.weather.resources.updated").unwrap();
        for uri in ["a", "b", "a"] {
            let params = json!({ "uri": uri }).to_string();
            session.broadcast(Message::new(topic(), params)).unwrap();
        }
        let own = format!("{} {}", node.name(), node.incarnation());
        let change = |uri: &str| json!({"topic": topic().as_str(), "params": {"uri": uri}});
        let known = json!({&own: 0});
        let all = answer(&session, &json!({"server": "weather", "known": known})).await;
        assert_eq!(all["changes"], json!([change("b"), change("a")]));
        assert_eq!(
            (&all["known"], &all["all"]),
            (&json!({&own: 3}), &json!(false))
        );
        let since = json!({"server": "weather", "known": {&own: 2}});
        assert_eq!(
            answer(&session, &since).await["changes"],
            json!([change("a")])
        );

        // A run that ended before this one has taken with it what it knew; of a stranger nothing is known yet.
        let earlier = format!("{} 1", node.name());
        let known = json!({&own: 3, earlier: 5, "n9 7": 4});
        let gone = answer(&session, &json!({"server": "weather", "known": known})).await;
        assert_eq!(gone["known"], json!({&own: 3, "n9 7": 4}));
        assert_eq!(
            (&gone["all"], &gone["missing"]),
            (&json!(true), &json!(true))
        );
        let known = json!({"server": "weather", "known": gone["known"], "give_up": true});
        let given_up = answer(&session, &known).await;
        assert_eq!(given_up["known"], json!({&own: 3, "n9 7": -1}));
        assert_eq!(
            (&given_up["all"], &given_up["missing"]),
            (&json!(true), &json!(false))
        );
        let again = json!({"server": "weather", "known": given_up["known"], "give_up": true});
        assert_eq!(answer(&session, &again).await["all"], json!(false));
    }

    #[tokio::test]
    async fn who_knows_nothing_yet_is_told_the_numbers_only() {
        let node = Node::start(Config::default(), None).await.unwrap();
        let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
        let topic = Topic::parse("mcp.weather.resources.updated").unwrap();
        session.broadcast(Message::new(topic, "{}")).unwrap();
        let own = format!("{} {}", node.name(), node.incarnation());
        for asked in [
            json!({"server": "weather"}),
            json!({"server": "weather", "known": {}}),
        ] {
            let told = answer(&session, &asked).await;
            let (changes, all) = (&told["changes"], &told["all"]);
            assert_eq!((changes, all), (&json!([]), &json!(false)));
            assert_eq!(told["known"], json!({&own: 1}));
        }
    }

    #[test]
    fn what_is_too_much_for_an_answer_is_told_in_a_word_and_what_follows_is_not_kept() {
        let mut answer = Answer::default();
        let page = |bytes: usize| {
            let topic = Topic::parse("mcp.weather.resources.updated").unwrap();
            vec![Message::new(topic, "7".repeat(bytes))]
        };
        answer.add(page(ANSWER_BYTES_MAX - 100));
        assert_eq!((answer.changes.len(), answer.all), (1, false));
        for _ in 0..2 {
            answer.add(page(100));
            assert_eq!((answer.changes.len(), answer.all), (0, true));
        }
    }

    #[test]
    fn of_whom_has_told_a_part_and_is_silent_then_that_part_is_known() {
        let asked = r#"{"server": "weather", "known": {"n1 7": 3, "n2 7": 4}}"#;
        let asked: Changed = serde_json::from_str(asked).unwrap();
        let mut answer = Answer::default();
        let (node, incarnation): Run = ("n1".parse().unwrap(), 7.into());
        let part = Recalled::Changes {
            node: node.clone(),
            incarnation,
            number: 9,
            messages: Vec::new(),
            is_complete: true,
            has_more: true,
        };
        asked.take(part, &mut answer);
        for node in [node, "n2".parse().unwrap(), "n3".parse().unwrap()] {
            asked.take(Recalled::Silent { node, incarnation }, &mut answer);
        }
        let known = [("n1 7".to_owned(), 9), ("n2 7".to_owned(), 4)];
        assert_eq!((answer.known, answer.silent), (known.into(), true));
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_refused_with_a_reason() {
        let node = Node::start(Config::default(), None).await.unwrap();
        let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
        for (asked, why) in [
            ("", "payload"),
            ("{}", "server"),
            (r#"{"server":"a.b"}"#, "server"),
            (r#"{"server":"a","known":{"n1":1}}"#, "its run"),
            (r#"{"server":"a","other":1}"#, "other"),
        ] {
            let refused = Changed::parse(asked.as_bytes(), &session).unwrap_err();
            assert!(refused.contains(why), "{asked}: {refused}");
        }
    }
}

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Url;
use serde::de::DeserializeOwned;
use tidings_sidecar::answers::ErrorAnswer;

/// Which node to ask, and in which form to tell.
#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// The node to ask, by the address of its HTTP
    #[arg(
        long,
        value_name = "ADDR",
        env = "TIDINGS_HTTP_SERVER",
        default_value = "127.0.0.1:8222",
        hide_env_values = true
    )]
    http: String,
    /// Print the node's answer as it is, in JSON
    #[arg(long)]
    json: bool,
}

/// What a node answers: the text, and what it says.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    text: String,
    items: Vec<T>,
    as_json: bool,
}

/// How long a node may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl HttpArgs {
    /// Asks for a list. The path is given in parts, which may hold any characters.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<Answer<T>> {
        let url = self.url(path)?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        let ask = async || {
            let answer = client.get(url.clone()).query(query).send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        let (status, text) = ask()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("cannot ask the node at {}", self.http))?;
        if !status.is_success() {
            let reason = serde_json::from_str(&text).map(|ErrorAnswer { error }| error);
            bail!(
                "the node at {} answers {status}: {}",
                self.http,
                reason.unwrap_or(text)
            );
        }
        let items = serde_json::from_str(&text)
            .with_context(|| format!("{url} does not answer as a node does"))?;
        Ok(Answer {
            text,
            items,
            as_json: self.json,
        })
    }

    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let has_scheme = self.http.contains("://");
        let text = if has_scheme {
            self.http.clone()
        } else {
            format!("http://{}", self.http)
        };
        let problem = || format!("{:?} is not the address of a node's HTTP", self.http);
        let mut url = Url::parse(&text).with_context(problem)?;
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => bail!(problem()),
        };
        Ok(url)
    }
}

impl<T> Answer<T> {
    /// What to print: the answer as it came, or else what `human` makes of it.
    pub(crate) fn show(&self, human: impl FnOnce(&[T]) -> String) -> String {
        if self.as_json {
            format!("{}\n", self.text.trim_end())
        } else {
            human(&self.items)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(http: &str, path: &[&str]) -> anyhow::Result<String> {
        let args = HttpArgs {
            http: http.to_owned(),
            json: false,
        };
        args.url(path).map(String::from)
    }

    #[test]
    fn an_address_does_as_well_as_a_url() {
        let nodes = ["v1", "nodes"];
        let expected = "http://127.0.0.1:8222/v1/nodes";
        for http in [
            "127.0.0.1:8222",
            "http://127.0.0.1:8222",
            "http://127.0.0.1:8222/",
        ] {
            assert_eq!(url(http, &nodes).unwrap(), expected);
        }
        assert!(url("http://", &nodes).is_err());
    }

    #[test]
    fn any_topic_fits_into_a_path() {
        let members = url("h:1", &["v1", "topics", "a/b?c%#.>", "members"]).unwrap();
        assert_eq!(members, "http://h:1/v1/topics/a%2Fb%3Fc%25%23.%3E/members");
    }
}

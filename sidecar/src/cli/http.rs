use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::header::LINK;
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidings_sidecar::answers::ErrorAnswer;
use tokio::time::timeout;

use crate::cli::credentials::CredentialsArgs;
use crate::cli::events::Events;

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
    #[command(flatten)]
    credentials: CredentialsArgs,
    /// Print the node's answer as it is, in JSON
    #[arg(long)]
    json: bool,
}

/// What a node answers, over all pages: the texts, and what they say.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pages: Vec<String>,
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
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let client = client()?;
        let mut all = Answer {
            pages: Vec::new(),
            items: Vec::new(),
            as_json: self.json,
        };
        loop {
            let (next, text) = self.page(&client, &url).await?;
            let items: Vec<T> = serde_json::from_str(&text)
                .with_context(|| format!("{url} does not answer as a node does"))?;
            let is_empty = items.is_empty();
            all.items.extend(items);
            all.pages.push(text);
            match next {
                // An empty page leads nowhere.
                Some(next) if !is_empty => url = url.join(&next)?,
                _ => return Ok(all),
            }
        }
    }

    /// Asks for server-sent events, which go on for as long as the node gives them.
    pub(crate) async fn follow(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<Events> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = self.credentials.sign(client.get(url));
        let asked = timeout(PATIENCE, request.send()).await;
        let problem = || format!("cannot ask the node at {}", self.http);
        let answer = asked.context("no answer").with_context(problem)?;
        let answer = answer
            .map_err(reqwest::Error::without_url)
            .with_context(problem)?;
        let status = answer.status();
        if !status.is_success() {
            let text = timeout(PATIENCE, answer.text()).await;
            return self.refused(status, text.context("no answer")??);
        }
        Ok(Events::new(answer))
    }

    /// Whether the answer is to be printed as it is.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    fn refused<T>(&self, status: StatusCode, text: String) -> anyhow::Result<T> {
        let reason = serde_json::from_str(&text).map(|ErrorAnswer { error }| error);
        bail!(
            "the node at {} answers {status}: {}",
            self.http,
            reason.unwrap_or(text)
        );
    }

    /// Asks for one thing, after it was changed to this, if anything: the text, and what it says.
    pub(crate) async fn one<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        change: Option<&impl Serialize>,
    ) -> anyhow::Result<Answer<T>> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        let client = client()?;
        let request = match change {
            Some(change) => client.put(url.clone()).json(change),
            None => client.get(url.clone()),
        };
        let (_, text) = self.answer(request).await?;
        let item = serde_json::from_str(&text)
            .with_context(|| format!("{url} does not answer as a node does"))?;
        Ok(Answer {
            pages: vec![text],
            items: vec![item],
            as_json: self.json,
        })
    }

    /// Asks for something to be done: the text of the answer, and what it says.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> anyhow::Result<Answer<T>> {
        let url = self.url(path)?;
        let (_, text) = self.answer(client()?.post(url.clone())).await?;
        let item = serde_json::from_str(&text)
            .with_context(|| format!("{url} does not answer as a node does"))?;
        Ok(Answer {
            pages: vec![text],
            items: vec![item],
            as_json: self.json,
        })
    }

    /// Whether anything listens where the node was.
    pub(crate) async fn is_there(&self) -> anyhow::Result<bool> {
        let asked = client()?.get(self.url(&["livez"])?).send().await;
        Ok(!asked.is_err_and(|error| error.is_connect()))
    }

    /// One page, and where the next is.
    async fn page(
        &self,
        client: &reqwest::Client,
        url: &Url,
    ) -> anyhow::Result<(Option<String>, String)> {
        self.answer(client.get(url.clone())).await
    }

    /// What is answered, and where the next page is.
    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<(Option<String>, String)> {
        let request = self.credentials.sign(request);
        let ask = async || {
            let answer = request.send().await?;
            let link = answer
                .headers()
                .get(LINK)
                .and_then(|link| link.to_str().ok());
            let next = link.and_then(next_page).map(str::to_owned);
            Ok::<_, reqwest::Error>((answer.status(), next, answer.text().await?))
        };
        let (status, next, text) = ask()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("cannot ask the node at {}", self.http))?;
        if !status.is_success() {
            return self.refused(status, text);
        }
        Ok((next, text))
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

fn client() -> reqwest::Result<reqwest::Client> {
    let client = reqwest::Client::builder();
    client.no_proxy().timeout(PATIENCE).build()
}

impl<T> Answer<T> {
    /// What it says.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    /// What to print of an answer that is no list.
    pub(crate) fn show_one(&self, human: impl FnOnce(&[T]) -> String) -> String {
        if self.as_json {
            format!("{}\n", self.pages.concat().trim())
        } else {
            human(&self.items)
        }
    }

    /// What to print: the answer as it came, or else what `human` makes of it.
    pub(crate) fn show(&self, human: impl FnOnce(&[T]) -> String) -> String {
        if self.as_json {
            format!("{}\n", joined(&self.pages))
        } else {
            human(&self.items)
        }
    }
}

/// The address that a header `Link` has for the next page.
fn next_page(link: &str) -> Option<&str> {
    let (url, relation) = link.strip_prefix('<')?.split_once('>')?;
    relation.contains("rel=\"next\"").then_some(url)
}

/// Arrays of JSON as one.
fn joined(pages: &[String]) -> String {
    let inner = |page: &String| {
        let inner = page.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
        (!inner.is_empty()).then(|| inner.to_owned())
    };
    let inner: Vec<_> = pages.iter().filter_map(inner).collect();
    format!("[{}]", inner.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(http: &str, path: &[&str]) -> anyhow::Result<String> {
        let args = HttpArgs {
            http: http.to_owned(),
            json: false,
            credentials: CredentialsArgs::default(),
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
    fn pages_are_followed_and_make_one_list() {
        let next = next_page("</v1/topics?limit=2&after=a%2Fb>; rel=\"next\"");
        assert_eq!(next, Some("/v1/topics?limit=2&after=a%2Fb"));
        assert_eq!(next_page("</x>; rel=\"prev\""), None);
        assert_eq!(next_page("nonsense"), None);
        let pages = ["[1,[2]]", "[]", " [ 3 ]\n"].map(str::to_owned);
        assert_eq!(joined(&pages), "[1,[2],3]");
        assert_eq!(joined(&["[]".to_owned()]), "[]");
    }

    #[test]
    fn any_topic_fits_into_a_path() {
        let members = url("h:1", &["v1", "topics", "a/b?c%#.>", "members"]).unwrap();
        assert_eq!(members, "http://h:1/v1/topics/a%2Fb%3Fc%25%23.%3E/members");
    }
}

use clap::Args;
use reqwest::RequestBuilder;
use serde_json::Value;

/// Who to be for a node that has identities. The password is in the environment variable TIDINGS_PASSWORD,
/// or else a token in TIDINGS_TOKEN, where other users of the machine do not see them.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CredentialsArgs {
    /// As whom to ask; the password is in TIDINGS_PASSWORD. Without it, the token in TIDINGS_TOKEN is shown, if any
    #[arg(
        long,
        value_name = "NAME",
        env = "TIDINGS_USER",
        hide_env_values = true
    )]
    user: Option<String>,
}

impl CredentialsArgs {
    /// Adds them to the options of CONNECT.
    pub(crate) fn add_to(&self, options: &mut Value) {
        if let Some(user) = &self.user {
            options["user"] = user.as_str().into();
            options["pass"] = secret("TIDINGS_PASSWORD").unwrap_or_default().into();
        } else if let Some(token) = secret("TIDINGS_TOKEN") {
            options["auth_token"] = token.into();
        }
    }

    /// Adds them to a request.
    pub(crate) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match (&self.user, secret("TIDINGS_TOKEN")) {
            (Some(user), _) => request.basic_auth(user, secret("TIDINGS_PASSWORD")),
            (None, Some(token)) => request.bearer_auth(token),
            (None, None) => request,
        }
    }
}

fn secret(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

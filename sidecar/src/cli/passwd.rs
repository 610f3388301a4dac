use std::io::{IsTerminal, stdin};

use anyhow::{Context, ensure};
use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use tidings_sidecar::identities::{hash_password, hash_token};

use crate::cli::{stderr, stdout};

/// Print the hash of a password, for `password` of an identity in the settings
///
/// The password is asked for at a terminal, and else it is the first line of standard input.
#[derive(Debug, Args)]
pub(crate) struct PasswdArgs {
    /// Make a new token instead, and print it and its hash, for `token` of an identity
    #[arg(long)]
    token: bool,
}

/// Prints it.
pub(crate) fn passwd(args: &PasswdArgs) -> anyhow::Result<()> {
    if args.token {
        let token = BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>());
        stderr::tell(format_args!("for the client, shown only now: {token}"));
        return stdout::write(format!("{}\n", hash_token(&token)).as_bytes());
    }
    let password = read().context("cannot read the password")?;
    ensure!(!password.is_empty(), "an empty password protects nothing");
    stdout::write(format!("{}\n", hash_password(&password)?).as_bytes())
}

fn read() -> anyhow::Result<String> {
    if stdin().is_terminal() {
        let first = rpassword::prompt_password("password: ")?;
        let second = rpassword::prompt_password("again: ")?;
        ensure!(first == second, "they are not the same");
        return Ok(first);
    }
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

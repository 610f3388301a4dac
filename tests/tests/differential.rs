//! The NATS server and nodes of Tidings say the same to the same clients.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use tidings_tests::differential::{Cut, Script, Seen, Site, deviations, run, scripts};
use tidings_tests::repository;

#[tokio::test]
async fn clients_see_what_the_nats_server_shows_but_for_what_is_documented() -> Result<()> {
    let (nats, node) = (Site::nats(&[]).await?, Site::node(&[]).await?);
    let three = Site::three_nodes().await?;
    let listed: BTreeSet<_> = deviations()?.into_iter().map(|one| one.script).collect();
    let (mut deviating, mut differences) = (BTreeSet::new(), String::new());
    for script in scripts()? {
        let settings = &script.settings;
        let difference = if settings.is_empty() {
            difference(&script, &nats, &[&node, &three]).await?
        } else {
            let nats = Site::nats(settings).await?;
            difference(&script, &nats, &[&Site::node(settings).await?]).await?
        };
        if let Some(difference) = difference {
            deviating.insert(script.name.clone());
            if !listed.contains(&script.name) {
                differences.push_str(&difference);
            }
        }
    }
    for name in listed.difference(&deviating) {
        writeln!(differences, "{name:?} does not deviate, or is no script")?;
    }
    ensure!(differences.is_empty(), "\n{differences}");
    Ok(())
}

#[test]
fn every_deviation_is_documented_with_its_reason() -> Result<()> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = words(&std::fs::read_to_string(
        repository().join("docs/clients.md"),
    )?);
    for deviation in deviations()? {
        let reason = words(&deviation.reason);
        ensure!(page.contains(&reason), "docs/clients.md has no: {reason}");
    }
    Ok(())
}

/// Runs a script everywhere, and shows the first difference from the NATS server.
async fn difference(script: &Script, nats: &Site, sites: &[&Site]) -> Result<Option<String>> {
    let expected = run(script, nats, Cut::Steps, None).await?;
    for site in sites {
        // How bytes are cut makes no difference beyond the node that a client talks to.
        let cuts = match site.addrs() {
            [_] => &[Cut::Steps, Cut::Bytes][..],
            _ => &[Cut::Steps],
        };
        for &cut in cuts {
            let seen = run(script, site, cut, Some(&expected)).await?;
            if seen != expected {
                return Ok(Some(told(script, site, cut, &expected, &seen)?));
            }
        }
    }
    Ok(None)
}

fn told(script: &Script, site: &Site, cut: Cut, expected: &Seen, seen: &Seen) -> Result<String> {
    let mut text = String::new();
    let mut steps = expected.iter().zip(seen).zip(&script.steps);
    if let Some(((expected, seen), step)) = steps.find(|((expected, seen), _)| expected != seen) {
        let (name, nodes) = (&script.name, site.addrs().len());
        writeln!(
            text,
            "{name:?} on {nodes} nodes, sent by {cut:?}, at {step}"
        )?;
        for (client, told) in expected {
            let by_node = seen.get(client).cloned().unwrap_or_default();
            if by_node != *told {
                let by = "the NATS server tells";
                writeln!(text, "    {by} {client}\n{told}    and the node\n{by_node}")?;
            }
        }
    }
    Ok(text)
}

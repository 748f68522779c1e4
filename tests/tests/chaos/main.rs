//! Real processes under fire: hosts, controllers and NATS are killed, stopped and started again and
//! hosts cut off while applications change; afterwards everything is as deployed, and then nothing more is sent.
//!
//! `CHAOS_SECONDS` says for how long (20 in `make test`), `CHAOS_SEED` repeats a run's choices.

mod apps;
mod faults;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use harness::{Lattice, eventually};
use proto::subject::{Ctl, CtlSubject, ctl};

use apps::Apps;
use faults::{Dice, Faults};

/// Hosts, each in the zone of its number modulo the number of zones.
pub const HOSTS: usize = 5;

/// Zones.
pub const ZONES: usize = 3;

const CONTROLLERS: usize = 3;

const APPLICATIONS: usize = 20;

/// How soon after the last fault everything must be as deployed.
const HEALED_WITHIN: Duration = Duration::from_secs(15);

/// For how long nothing may be sent after that.
const SILENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn after_any_faults_the_lattice_is_as_deployed_and_silent() -> anyhow::Result<()> {
    let setting = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let duration = Duration::from_secs(setting("CHAOS_SECONDS", 20));
    let seed = setting("CHAOS_SEED", u64::from(std::process::id()));
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={}", duration.as_secs());

    let mut lattice = Lattice::start().await?;
    for _ in 0..CONTROLLERS {
        lattice.start_wadm()?;
    }
    for number in 0..HOSTS {
        lattice
            .start_host_on_a_road(&[&format!("zone=z{}", number % ZONES)])
            .await?;
    }
    let mut apps = Apps::new(&lattice, APPLICATIONS)?;
    apps.deploy_all(&lattice).await?;
    converged(&lattice, &apps, Duration::from_secs(60)).await?;

    let mut faults = Faults::new(Dice::new(seed));
    let end = Instant::now() + duration;
    while Instant::now() < end {
        faults.one(&mut lattice, &mut apps).await?;
    }
    faults.heal(&mut lattice).await?;
    let healed = Instant::now();
    converged(&lattice, &apps, HEALED_WITHIN).await?;
    println!(
        "{} faults; as deployed {:.1} s after the last was healed",
        faults.count(),
        healed.elapsed().as_secs_f64()
    );
    silent(&lattice).await?;
    apps.status_agrees(&lattice).await
}

async fn converged(lattice: &Lattice, apps: &Apps, deadline: Duration) -> anyhow::Result<()> {
    let done = eventually("all applications as deployed", deadline, || {
        apps.check(lattice)
    })
    .await;
    if done.is_err() {
        apps.explain(lattice).await?;
        for wadm in &lattice.wadm {
            println!("--- wadm {}\n{}", wadm.id(), tail(&wadm.log()));
        }
    }
    done
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Fails when any command is sent during [`SILENCE`].
async fn silent(lattice: &Lattice) -> anyhow::Result<()> {
    let name = proto::id::Lattice::new(lattice.name.clone())?;
    let client = lattice.nats.connect().await?;
    let mut requests = client
        .subscribe(ctl::every_request(ctl::DEFAULT_PREFIX, &name))
        .await?;
    let until = tokio::time::Instant::now() + SILENCE;
    while let Ok(Some(request)) = tokio::time::timeout_at(until, requests.next()).await {
        let subject: CtlSubject = request.subject.parse()?;
        let question = matches!(
            subject.request,
            Ctl::PingHosts | Ctl::Inventory(_) | Ctl::GetLinks | Ctl::GetClaims | Ctl::GetConfig(_)
        );
        let body = String::from_utf8_lossy(&request.payload);
        anyhow::ensure!(
            question,
            "a command after everything was as deployed: {} {body}",
            request.subject
        );
    }
    Ok(())
}

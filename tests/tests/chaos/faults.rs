//! What goes wrong.

use std::time::Duration;

use harness::{Lattice, program};
use nix::sys::signal::Signal;

use crate::apps::Apps;

/// Chances that repeat with the seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap_or(0)
    }

    fn seconds(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis(1000 * least as u64 + self.roll(1000 * (most - least)) as u64)
    }
}

pub struct Faults {
    dice: Dice,
    count: usize,
    dead: Vec<usize>,
}

impl Faults {
    pub fn new(dice: Dice) -> Self {
        Self {
            dice,
            count: 0,
            dead: Vec::new(),
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// One fault, or one change of an application, and a short rest.
    pub async fn one(&mut self, lattice: &mut Lattice, apps: &mut Apps) -> anyhow::Result<()> {
        self.count += 1;
        let host = self.dice.roll(lattice.hosts.len());
        let controller = self.dice.roll(lattice.wadm.len());
        match self.dice.roll(10) {
            0 => self.kill_host(lattice, host),
            1 => {
                self.revive(lattice).await?;
                say("restart host", host);
                lattice.restart_host(host).await?;
            }
            2 => self.freeze(lattice, Who::Host(host), 2, 6).await?,
            3 => {
                say("kill controller", controller);
                lattice.wadm[controller].kill();
                self.rest(0, 2).await;
                restart_controller(lattice, controller)?;
            }
            4 => {
                self.freeze(lattice, Who::Controller(controller), 2, 12)
                    .await?
            }
            5 => {
                say("restart nats", 0);
                lattice.nats.stop();
                self.rest(0, 3).await;
                lattice.nats.restart().await?;
            }
            6 => self.cut_off(lattice, host).await,
            7 | 8 => {
                let app = self.dice.roll(apps.len());
                say("change application", app);
                apps.change(lattice, app).await?;
            }
            _ => {
                let app = self.dice.roll(apps.len());
                say("undeploy or deploy application", app);
                apps.toggle(lattice, app).await?;
            }
        }
        self.rest(0, 2).await;
        Ok(())
    }

    /// Everything that was killed runs again.
    pub async fn heal(&mut self, lattice: &mut Lattice) -> anyhow::Result<()> {
        self.revive(lattice).await
    }

    fn kill_host(&mut self, lattice: &mut Lattice, host: usize) {
        // Someone has to stay, or nothing else can be tried.
        if self.dead.contains(&host) || self.dead.len() + 2 >= lattice.hosts.len() {
            return;
        }
        say("kill host", host);
        lattice.hosts[host].process.kill();
        self.dead.push(host);
    }

    async fn revive(&mut self, lattice: &mut Lattice) -> anyhow::Result<()> {
        for host in std::mem::take(&mut self.dead) {
            say("revive host", host);
            lattice.restart_host(host).await?;
        }
        Ok(())
    }

    /// Cuts a host off for a while: it goes on working and nobody hears of it.
    async fn cut_off(&mut self, lattice: &Lattice, host: usize) {
        if let Some(road) = &lattice.hosts[host].road
            && !self.dead.contains(&host)
        {
            say("cut off host", host);
            road.cut();
            self.rest(2, 8).await;
            road.mend();
        }
    }

    /// Stops a process for a while: it hears nothing, says nothing, and wakes up with old ideas.
    async fn freeze(
        &mut self,
        lattice: &Lattice,
        who: Who,
        least: usize,
        most: usize,
    ) -> anyhow::Result<()> {
        let process = match who {
            Who::Host(host) if self.dead.contains(&host) => return Ok(()),
            Who::Host(host) => &lattice.hosts[host].process,
            Who::Controller(controller) => &lattice.wadm[controller],
        };
        println!("freeze {who:?}");
        process.signal(Signal::SIGSTOP)?;
        self.rest(least, most).await;
        process.signal(Signal::SIGCONT)
    }

    async fn rest(&mut self, least: usize, most: usize) {
        tokio::time::sleep(self.dice.seconds(least, most)).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Host(usize),
    Controller(usize),
}

fn say(what: &str, number: usize) {
    println!("{what} {number}");
}

fn restart_controller(lattice: &mut Lattice, index: usize) -> anyhow::Result<()> {
    anyhow::ensure!(program("wadm")?.is_file(), "wadm is not built");
    lattice.start_wadm()?;
    let last = lattice.wadm.len() - 1;
    lattice.wadm.swap(index, last);
    lattice.wadm.truncate(last);
    Ok(())
}

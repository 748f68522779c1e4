//! What ran here, on this host's own disk, so that it can be brought back without the lattice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use proto::Annotations;
use proto::ctl::{ScaleComponentCommand, StartProviderCommand};
use proto::id::{ComponentId, ConfigName};
use proto::record::ComponentRecord;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Workloads;
use crate::inventory::Command;
use crate::task::{OnFailure, Task, TaskError};

/// Version of the file's form.
const VERSION: u32 = 1;
/// Changes within this time are written together.
const GATHER: Duration = Duration::from_millis(100);

/// What a host needs to come back by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    #[serde(default)]
    components: BTreeMap<ComponentId, SavedComponent>,
    #[serde(default)]
    providers: BTreeMap<ComponentId, SavedProvider>,
    #[serde(default)]
    records: BTreeMap<ComponentId, ComponentRecord>,
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedComponent {
    image: String,
    max_instances: u32,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    config: Vec<ConfigName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limits: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedProvider {
    image: String,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    config: Vec<ConfigName>,
}

impl Saved {
    /// True if there is nothing to bring back.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty() && self.providers.is_empty()
    }

    /// How many components and providers there are.
    pub fn count(&self) -> (usize, usize) {
        (self.components.len(), self.providers.len())
    }

    /// The references of everything that would be brought back.
    pub fn images(&self) -> Vec<String> {
        let components = self.components.values().map(|component| &component.image);
        let providers = self.providers.values().map(|provider| &provider.image);
        components.chain(providers).cloned().collect()
    }

    /// True if any of them carries this annotation.
    pub fn has_mark(&self, key: &str, value: &str) -> bool {
        let components = self
            .components
            .values()
            .map(|component| &component.annotations);
        let mut all = components.chain(
            self.providers
                .values()
                .map(|provider| &provider.annotations),
        );
        all.any(|marks| marks.get(key).is_some_and(|mark| mark == value))
    }
}

/// The file all this is in.
#[derive(Clone, Debug)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// The file in a data directory.
    pub fn in_dir(dir: &Path) -> Self {
        Self(dir.join("state.json"))
    }

    /// Reads it; one that is missing or unreadable holds nothing.
    pub fn read(&self) -> Saved {
        let bytes = match std::fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Saved::default(),
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "the last known state cannot be read");
                return Saved::default();
            }
        };
        match serde_json::from_slice::<Saved>(&bytes) {
            Ok(saved) if saved.version == VERSION => saved,
            Ok(saved) => {
                tracing::warn!(path = %self.0.display(), version = saved.version, "the last known state is of another version");
                Saved::default()
            }
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "the last known state is damaged");
                Saved::default()
            }
        }
    }

    /// Writes it: whole and on disk, or not at all.
    fn write(&self, saved: &Saved) -> io::Result<()> {
        let dir = self.0.parent().unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix("state-").tempfile_in(dir)?;
        serde_json::to_writer(io::BufWriter::new(file.as_file()), saved)?;
        file.as_file().sync_all()?;
        file.persist(&self.0).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Writes the state down whenever it changed.
pub struct Saver {
    /// Whose state.
    pub workloads: Arc<Workloads>,
    /// Where to.
    pub file: StateFile,
}

impl Task for Saver {
    const NAME: &'static str = "saver";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let mut last = None;
        loop {
            tokio::select! {
                // What was being done when the host stopped is not what ran: nothing is written any more.
                () = stop.cancelled() => return Ok(()),
                () = self.workloads.stopping.cancelled() => return stop_waits(stop).await,
                () = self.workloads.dirty.notified() => {}
            }
            tokio::time::sleep(GATHER).await;
            let untouched = !self.workloads.touched.load(Ordering::SeqCst);
            if untouched || self.workloads.stopping.is_cancelled() {
                continue;
            }
            let saved = self.workloads.to_save();
            if last.as_ref() == Some(&saved) {
                continue;
            }
            let file = self.file.clone();
            let copy = saved.clone();
            let written = tokio::task::spawn_blocking(move || file.write(&copy)).await;
            match written {
                Ok(Ok(())) => last = Some(saved),
                Ok(Err(error)) => return Err(TaskError::from_error(&error)),
                Err(error) => return Err(TaskError::from_error(&error)),
            }
        }
    }
}

async fn stop_waits(stop: &CancellationToken) -> Result<(), TaskError> {
    stop.cancelled().await;
    Ok(())
}

impl Workloads {
    fn to_save(&self) -> Saved {
        let (components, providers) = self.inventory(|now| {
            let components = now.components().map(|(id, component)| {
                let saved = SavedComponent {
                    image: component.image_ref.clone(),
                    max_instances: component.max_instances,
                    annotations: component.annotations.clone(),
                    config: component.config.clone(),
                    limits: component.limits.clone(),
                };
                (id.clone(), saved)
            });
            let providers = now.providers().map(|(id, provider)| {
                let saved = SavedProvider {
                    image: provider.image_ref.clone(),
                    annotations: provider.annotations.clone(),
                    config: provider.config.clone(),
                };
                (id.clone(), saved)
            });
            (components.collect(), providers.collect())
        });
        Saved {
            version: VERSION,
            components,
            providers,
            records: self.parts.records.snapshot(),
            configs: self.parts.configs.snapshot(),
        }
    }

    /// Notes that somebody else decides about this id: from now on nothing saved is restored for it.
    pub fn note_command(&self, id: &ComponentId) {
        if let Some(commanded) = &mut *self.commanded() {
            commanded.insert(id.clone());
        }
    }

    /// Nothing saved is brought back by this run.
    pub fn forgo_restore(&self) {
        *self.commanded() = None;
    }

    /// Starts what is saved again, from this host's own disk where it can. What was commanded
    /// since the host started, or runs already, stays as it is.
    pub fn restore(self: &Arc<Self>, saved: Saved) {
        // Held to the end: a command is either noted before this, or takes its turn after it.
        let mut commanded = self.commanded();
        let Some(commanded) = commanded.take() else {
            return;
        };
        self.from_disk.store(true, Ordering::SeqCst);
        self.parts.records.restore(saved.records);
        self.parts.configs.restore(saved.configs);
        let mut begun = Vec::new();
        for (id, provider) in saved.providers {
            let request = provider.request(&id);
            if !commanded.contains(&id)
                && self.inventory(|now| now.start_provider(&request)).success
            {
                begun.push(self.submit(id, Command::StartProvider(request)));
            }
        }
        for (id, component) in saved.components {
            let runs = self.inventory(|now| now.component(&id).is_some());
            if !commanded.contains(&id) && !runs {
                let request = component.request(&id);
                begun.push(self.submit(id, Command::Scale(request)));
            }
        }
        let own = self.clone();
        self.parts.tasks.work("restored", async move {
            // An error means that the work ended without a word, which is an end, too.
            futures::future::join_all(begun).await;
            own.from_disk.store(false, Ordering::SeqCst);
        });
    }

    fn commanded(&self) -> MutexGuard<'_, Option<BTreeSet<ComponentId>>> {
        self.commanded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl SavedProvider {
    fn request(self, id: &ComponentId) -> StartProviderCommand {
        StartProviderCommand {
            provider_id: id.clone(),
            provider_ref: self.image,
            host_id: String::new(),
            config: self.config,
            annotations: Some(self.annotations),
            fence: None,
        }
    }
}

impl SavedComponent {
    fn request(self, id: &ComponentId) -> ScaleComponentCommand {
        ScaleComponentCommand {
            component_ref: self.image,
            component_id: id.clone(),
            count: self.max_instances,
            annotations: Some(self.annotations),
            component_limits: self.limits,
            host_id: String::new(),
            config: self.config,
            allow_update: false,
            fence: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_survives_and_damage_is_no_fault() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = StateFile::in_dir(dir.path());
        assert!(file.read().is_empty(), "nothing was saved");
        let component = SavedComponent {
            image: "r.example/a:1".into(),
            max_instances: 3,
            annotations: Annotations::from([("a".to_owned(), "b".to_owned())]),
            config: vec![ConfigName::new("c").expect("a name")],
            limits: None,
        };
        let saved = Saved {
            version: VERSION,
            components: [(ComponentId::new("web").expect("an id"), component)].into(),
            ..Saved::default()
        };
        file.write(&saved).expect("written");
        assert_eq!(file.read(), saved);
        std::fs::write(dir.path().join("state.json"), b"{\"version\":1,\"compo").expect("a write");
        assert!(file.read().is_empty());
    }
}

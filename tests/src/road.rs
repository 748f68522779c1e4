//! A way to a server that can be cut like a cable: nothing passes any more, and nobody is told.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes on what comes to its port, until it is cut.
pub struct Road {
    port: u16,
    cut: watch::Sender<bool>,
    carrying: JoinHandle<()>,
}

impl Drop for Road {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

impl Road {
    /// Leads to a port on loopback.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (cut, state) = watch::channel(false);
        Ok(Self {
            port: listener.local_addr()?.port(),
            cut,
            carrying: tokio::spawn(carry_all(listener, port, state)),
        })
    }

    /// The port to connect to instead.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets nothing pass any more, in neither direction; connections stay open and silent.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Lets everything pass again; connections from before the cut break now.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn carry_all(listener: TcpListener, to: u16, cut: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((near, _)) = accepted {
                connections.spawn(carry(near, to, cut.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection. Whatever ends it closes both sides, which is all that either learns.
async fn carry(mut near: TcpStream, to: u16, mut cut: watch::Receiver<bool>) {
    let mut mended = cut.clone();
    if mended.wait_for(|cut| !cut).await.is_err() {
        return;
    }
    let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
        return;
    };
    let was_cut = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => false,
        known = cut.wait_for(|cut| *cut) => known.is_ok(),
    };
    if was_cut {
        // The connections are held until then: nobody is told.
        let _ = mended.wait_for(|cut| !cut).await;
    }
}

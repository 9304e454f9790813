//! A certificate that the server makes itself, and renews without anybody noticing.
//!
//! All replicas share one, in a Secret. When two thirds of its life are over, whichever replica notices
//! first makes a new one; the others find it. Clients have to trust the new authority before they are shown
//! its certificate, so the old and the new one are published together first, and the old one stays published
//! until it has ended: a replica may still show its certificate.

use std::fmt;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;

use super::issue::issue;
use super::{Leaf, Pair, certificates, time};

/// What a Secret keeps. All of it is PEM.
#[derive(Clone, Default, Eq, PartialEq)]
pub(in crate::serve) struct Kept {
    /// `tls.crt`.
    pub(in crate::serve) certificate: String,
    /// `tls.key`.
    pub(in crate::serve) key: String,
    /// `ca.crt`: the certificate's authority first, then earlier ones that have not ended.
    pub(in crate::serve) authorities: String,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("authorities", &self.authorities).finish_non_exhaustive()
    }
}

/// Where the certificate is kept, and where its authority is published.
pub(in crate::serve) trait Keeps: Send + Sync {
    /// What is kept, with its version.
    fn read(&self) -> impl Future<Output = Result<Option<(Kept, String)>, StoreError>> + Send;

    /// Keep something else, if what is kept still has this version; `None`: if nothing is kept.
    fn write(
        &self,
        kept: &Kept,
        version: Option<&str>,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Have clients trust these authorities, and no others.
    fn publish(&self, authorities: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// How writing went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::serve) enum Written {
    /// It is kept.
    Stored,
    /// Somebody else was faster.
    Conflict,
}

/// What keeps certificates does not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::serve) struct StoreError(pub(in crate::serve) String);

/// Looks after the certificate of one replica.
#[derive(Debug)]
pub(in crate::serve) struct Keeper<S> {
    store: S,
    names: Vec<String>,
    shown: Option<Kept>,
    /// What is shown next, and since when clients know its authority.
    next: Option<(Kept, i64)>,
}

/// What came of a look at the certificate.
#[derive(Debug)]
pub(in crate::serve) struct Looked {
    /// To be shown from now on.
    pub(in crate::serve) show: Option<Pair>,
    /// When to look again.
    pub(in crate::serve) again: Duration,
    /// What did not work, and is tried again.
    pub(in crate::serve) fault: Option<StoreError>,
}

impl<S: Keeps> Keeper<S> {
    /// For a server that is reached by these names.
    pub(in crate::serve) fn new(store: S, names: Vec<String>) -> Self {
        Self { store, names, shown: None, next: None }
    }

    /// See to it that there is a certificate. The first time, there is one afterwards.
    ///
    /// # Errors
    ///
    /// There is none, and none can be made or kept.
    pub(in crate::serve) async fn look(&mut self, now: i64) -> Result<Looked, StoreError> {
        let (kept, mut fault) = self.kept(now).await?;
        let published = self.store.publish(&kept.authorities).await;
        let known = published.is_ok();
        // The webhook configurations may come after the server: there is nothing to show this to yet.
        fault = fault.or(published.err());
        let again = if fault.is_some() { TRY_AGAIN } else { CHECK_EVERY };
        let nothing = Looked { show: None, again, fault };
        let Some(shown) = &self.shown else {
            return Ok(Looked { show: Some(self.show(kept)), ..nothing });
        };
        if shown.certificate == kept.certificate {
            self.next = None;
            return Ok(nothing);
        }
        if !known {
            self.next = None;
            return Ok(nothing);
        }
        let since = match &self.next {
            Some((next, since)) if next.certificate == kept.certificate => *since,
            _ => now,
        };
        if now - since < PROPAGATION {
            self.next = Some((kept, since));
            let again = u64::try_from(PROPAGATION - (now - since)).unwrap_or_default();
            return Ok(Looked { again: Duration::from_secs(again), ..nothing });
        }
        self.next = None;
        Ok(Looked { show: Some(self.show(kept)), ..nothing })
    }

    fn show(&mut self, kept: Kept) -> Pair {
        let pair = pair(&kept);
        self.shown = Some(kept);
        pair
    }

    /// What is kept, made anew if it is due. The second is why it could not be renewed.
    async fn kept(&self, now: i64) -> Result<(Kept, Option<StoreError>), StoreError> {
        for _ in 0..MAX_CONFLICTS {
            let found = self.store.read().await?;
            let (kept, version) = match found {
                Some((kept, version)) => (Some(kept), Some(version)),
                None => (None, None),
            };
            let state = kept.as_ref().map_or(State::Unusable, |kept| self.state(kept, now));
            let usable = match (state, kept) {
                (State::Good, Some(kept)) => return Ok((kept, None)),
                (State::Due, Some(kept)) => Some(kept),
                (State::Unusable, kept) => {
                    if kept.is_some() {
                        tracing::warn!(
                            "the certificate that is kept cannot be used, and is replaced"
                        );
                    }
                    None
                }
                (State::Good | State::Due, None) => None,
            };
            let mut new = issue(&self.names, now)
                .map_err(|e| StoreError(format!("cannot make a certificate: {e}")))?;
            if let Some(old) = &usable {
                new.authorities.push_str(&not_ended(&old.authorities, now));
            }
            match (self.store.write(&new, version.as_deref()).await, usable) {
                (Ok(Written::Stored), _) => {
                    tracing::info!("made a certificate");
                    return Ok((new, None));
                }
                (Ok(Written::Conflict), _) => {}
                (Err(fault), Some(old)) => return Ok((old, Some(fault))),
                (Err(fault), None) => return Err(fault),
            }
        }
        Err(StoreError(format!(
            "the Secret of the certificate was changed {MAX_CONFLICTS} times while it was written"
        )))
    }

    fn state(&self, kept: &Kept, now: i64) -> State {
        let leaf = pair(kept)
            .certified(&default_provider())
            .and_then(|certified| Leaf::read(&certified))
            .ok()
            .filter(|leaf| leaf.begins <= now && now < leaf.ends && leaf.names == self.names)
            .filter(|_| certificates(kept.authorities.as_bytes()).is_ok());
        match leaf {
            None => State::Unusable,
            Some(leaf) if now - leaf.begins < (leaf.ends - leaf.begins) / 3 * 2 => State::Good,
            Some(leaf) => {
                tracing::info!(ends = time(leaf.ends), "the certificate is due to be renewed");
                State::Due
            }
        }
    }
}

#[derive(Clone, Copy)]
enum State {
    Good,
    /// Good, but not for long.
    Due,
    Unusable,
}

fn pair(kept: &Kept) -> Pair {
    Pair {
        certificate: kept.certificate.clone().into_bytes(),
        key: kept.key.clone().into_bytes(),
        origin: "of the Secret".to_owned(),
    }
}

/// Those of a bundle's authorities that have not ended.
fn not_ended(bundle: &str, now: i64) -> String {
    let end = "-----END CERTIFICATE-----\n";
    let good = |pem: &&str| {
        let read = certificates(pem.as_bytes()).ok();
        let leaf = read.as_ref().and_then(|read| Leaf::of(read.first()?).ok());
        leaf.is_some_and(|leaf| now < leaf.ends)
    };
    bundle.split_inclusive(end).filter(good).collect()
}

/// How often a replica looks whether another one has renewed, and whether what it published is still there: a webhook
/// configuration that is applied, or applied again, gets its authority within this time, and fails closed until then.
const CHECK_EVERY: Duration = Duration::from_secs(15);

/// Until the next attempt after one that failed.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Half a minute, in seconds: API servers watch webhook configurations, and know within a second or two.
const PROPAGATION: i64 = 30;

/// More replicas than start at the same moment.
const MAX_CONFLICTS: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::Shown;
    use super::super::issue::LIFE;
    use super::*;

    /// A Secret in memory, and what was published.
    #[derive(Default)]
    struct Memory {
        kept: Mutex<Option<(Kept, u64)>>,
        published: Mutex<Vec<String>>,
        /// Before the next write, somebody else writes this.
        rival: Mutex<Option<Kept>>,
        fault: Mutex<Option<&'static str>>,
        publish_fault: Mutex<bool>,
    }

    impl Memory {
        fn bundle(&self) -> String {
            self.published.lock().expect("a lock").last().cloned().unwrap_or_default()
        }

        fn fail(&self) -> Result<(), StoreError> {
            let fault = *self.fault.lock().expect("a lock");
            fault.map_or(Ok(()), |fault| Err(StoreError(fault.to_owned())))
        }
    }

    impl Keeps for &Memory {
        async fn read(&self) -> Result<Option<(Kept, String)>, StoreError> {
            let kept = self.kept.lock().expect("a lock").clone();
            Ok(kept.map(|(kept, version)| (kept, version.to_string())))
        }

        async fn write(&self, kept: &Kept, version: Option<&str>) -> Result<Written, StoreError> {
            self.fail()?;
            let mut place = self.kept.lock().expect("a lock");
            if let Some(rival) = self.rival.lock().expect("a lock").take() {
                *place = Some((rival, 100));
            }
            let current = place.as_ref().map(|(_, version)| version.to_string());
            if current.as_deref() != version {
                return Ok(Written::Conflict);
            }
            let next = place.as_ref().map_or(1, |(_, version)| version + 1);
            *place = Some((kept.clone(), next));
            Ok(Written::Stored)
        }

        async fn publish(&self, authorities: &str) -> Result<(), StoreError> {
            if *self.publish_fault.lock().expect("a lock") {
                return Err(StoreError("no webhook configuration".to_owned()));
            }
            self.published.lock().expect("a lock").push(authorities.to_owned());
            Ok(())
        }
    }

    fn keeper(memory: &Memory) -> Keeper<&Memory> {
        Keeper::new(memory, vec!["countersign.ns.svc".to_owned()])
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(future)
    }

    fn authorities(bundle: &str) -> usize {
        certificates(bundle.as_bytes()).map_or(0, |list| list.len())
    }

    #[test]
    fn first_replica_makes_what_the_second_finds() {
        let memory = Memory::default();
        let first = block(keeper(&memory).look(NOW)).expect("a certificate").show.expect("a pair");
        let second = block(keeper(&memory).look(NOW)).expect("a certificate").show.expect("a pair");
        assert_eq!(first.certificate, second.certificate);
        assert!(Shown::new(&first, None, NOW).is_ok());
        assert_eq!(authorities(&memory.bundle()), 1);
    }

    #[test]
    fn loser_of_a_race_shows_what_the_winner_made() {
        let memory = Memory::default();
        let winner = issue(&["countersign.ns.svc".to_owned()], NOW).expect("a certificate");
        *memory.rival.lock().expect("a lock") = Some(winner.clone());
        let shown = block(keeper(&memory).look(NOW)).expect("a certificate").show.expect("a pair");
        assert_eq!(shown.certificate, winner.certificate.as_bytes());
    }

    #[test]
    fn new_certificate_is_shown_after_its_authority_is_known_and_the_old_one_stays() {
        let memory = Memory::default();
        let mut keeper = keeper(&memory);
        let old = block(keeper.look(NOW)).expect("a certificate").show.expect("a pair");
        let due = NOW + LIFE / 3 * 2;
        let before = block(keeper.look(due - 7200)).expect("a look");
        assert!(before.show.is_none());
        assert_eq!(authorities(&memory.bundle()), 1);
        let noticed = block(keeper.look(due)).expect("a look");
        assert!(noticed.show.is_none());
        assert_eq!(noticed.again, Duration::from_secs(30));
        assert_eq!(authorities(&memory.bundle()), 2);
        assert!(block(keeper.look(due + 29)).expect("a look").show.is_none());
        let new = block(keeper.look(due + 30)).expect("a look").show.expect("a pair");
        assert_ne!(new.certificate, old.certificate);
        assert_eq!(authorities(&memory.bundle()), 2);
        // At the next renewal the first authority has ended.
        let next = due + LIFE / 3 * 2;
        block(keeper.look(next)).expect("a look");
        assert_eq!(authorities(&memory.bundle()), 2);
    }

    #[test]
    fn nothing_new_is_shown_while_it_cannot_be_published() {
        let memory = Memory::default();
        let mut keeper = keeper(&memory);
        block(keeper.look(NOW)).expect("a certificate");
        let due = NOW + LIFE / 3 * 2;
        *memory.publish_fault.lock().expect("a lock") = true;
        for later in [0, 60, 3600] {
            let looked = block(keeper.look(due + later)).expect("a look");
            assert!(looked.show.is_none() && looked.fault.is_some());
            assert_eq!(looked.again, TRY_AGAIN);
        }
        *memory.publish_fault.lock().expect("a lock") = false;
        assert!(block(keeper.look(due + 3610)).expect("a look").show.is_none());
        assert!(block(keeper.look(due + 3640)).expect("a look").show.is_some());
    }

    #[test]
    fn webhook_configurations_may_come_after_the_server() {
        let memory = Memory::default();
        *memory.publish_fault.lock().expect("a lock") = true;
        let looked = block(keeper(&memory).look(NOW)).expect("a certificate");
        assert!(looked.show.is_some() && looked.fault.is_some());
    }

    #[test]
    fn good_certificate_is_shown_though_it_cannot_be_renewed() {
        let memory = Memory::default();
        block(keeper(&memory).look(NOW)).expect("a certificate");
        *memory.fault.lock().expect("a lock") = Some("forbidden");
        let due = NOW + LIFE / 3 * 2;
        let looked = block(keeper(&memory).look(due)).expect("a certificate");
        assert!(looked.show.is_some());
        assert_eq!(looked.fault.expect("a fault").to_string(), "forbidden");
        let over = block(keeper(&memory).look(NOW + LIFE)).expect_err("it has ended");
        assert_eq!(over.to_string(), "forbidden");
    }

    #[test]
    fn damaged_or_foreign_certificate_is_replaced() {
        let foreign = issue(&["elsewhere.svc".to_owned()], NOW).expect("a certificate");
        let mut mixed = issue(&["countersign.ns.svc".to_owned()], NOW).expect("a certificate");
        mixed.key.clone_from(&foreign.key);
        for kept in [foreign.clone(), mixed, Kept::default()] {
            let memory = Memory::default();
            *memory.kept.lock().expect("a lock") = Some((kept.clone(), 7));
            let shown = block(keeper(&memory).look(NOW)).expect("a certificate").show;
            assert_ne!(shown.expect("a pair").certificate, kept.certificate.as_bytes());
        }
    }

    #[test]
    fn keys_are_in_no_debug_output() {
        let kept = issue(&["a".to_owned()], NOW).expect("a certificate");
        assert!(!format!("{kept:?}").contains("PRIVATE"));
    }

    const NOW: i64 = 1_795_564_800;
}

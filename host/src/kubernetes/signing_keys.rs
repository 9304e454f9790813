//! A key that signs, as a Secret, and its public half as a ConfigMap: made once, replaced in steps that leave no
//! moment in which what is signed is not trusted.

use serde_json::Value;

use super::objects::{Collection, ObjectPath};
use super::{Cluster, ClusterError};
use crate::keys::{KeyError, ObjectName, SecretKey, StoredFault, StoredKey, annotation};

/// Where a key is.
#[derive(Clone, Debug)]
pub struct SigningKeyPlace {
    secret: ObjectPath,
    config_map: ObjectPath,
}

impl SigningKeyPlace {
    /// The Secret and the ConfigMap of these names.
    ///
    /// # Errors
    ///
    /// One of them is no name.
    pub fn new(
        namespace: &str,
        secret: &ObjectName,
        config_map: &ObjectName,
    ) -> Result<Self, ClusterError> {
        Ok(Self {
            secret: Collection::secrets(namespace)?.object(secret.as_str())?,
            config_map: Collection::config_maps(namespace)?.object(config_map.as_str())?,
        })
    }
}

/// Nothing was stored, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// What is there is not touched.
    #[error(
        "there is a {0} already, and it stays as it is: choose another {1}, or replace its key with --rotate"
    )]
    Exists(String, &'static str),
    /// There is nothing to take the place of.
    #[error("there is no {0}, whose key could be replaced: leave out --rotate to make one")]
    Missing(String),
    /// It is not for people to change.
    #[error("{0} is looked after by {1}: change its spec.rotation or spec.revoked instead")]
    LookedAfter(String, String),
    /// Too many keys are trusted.
    #[error(
        "{0} has {MAX_PREVIOUS_KEYS} keys already whose signatures are trusted: wait until one has gone by"
    )]
    Full(String),
    /// Somebody else writes there, too.
    #[error("{0} was changed meanwhile by somebody else: look at it, and try again")]
    Conflict(String),
    /// What is there cannot be understood.
    #[error("cannot use {0}: {1}")]
    Unusable(String, StoredFault),
    /// The Secret is there, and nobody knows its public half.
    #[error(
        "{config_map} was not written: {fault}. {secret} has the new key, which nobody trusts yet: delete it and \
         try again"
    )]
    Unpublished {
        /// What has the new key.
        secret: String,
        /// What has not.
        config_map: String,
        /// Why.
        fault: Box<Self>,
    },
    /// The API does not do as it is asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// No key was written.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Cluster {
    /// Look whether a key can be stored there, before it is made.
    ///
    /// # Errors
    ///
    /// There is a Secret or ConfigMap already, or the API does not answer.
    pub async fn has_room_for_signing_key(
        &self,
        place: &SigningKeyPlace,
    ) -> Result<(), SigningKeyError> {
        for (object, option) in [(&place.secret, "--name"), (&place.config_map, "--config-map")] {
            if self.object(object).await?.is_some() {
                return Err(SigningKeyError::Exists(object.what().to_owned(), option));
            }
        }
        Ok(())
    }

    /// Store a new key where there is none.
    ///
    /// # Errors
    ///
    /// Every [`SigningKeyError`]. What was there before is as it was.
    pub async fn store_signing_key(
        &self,
        place: &SigningKeyPlace,
        key: &StoredKey,
        now: u64,
    ) -> Result<(), SigningKeyError> {
        let (mut secret, mut config_map) = (Value::Null, Value::Null);
        key.fill(&mut secret)?;
        key.published(now, &[])?.fill(&mut config_map);
        if !self.create_object(&place.secret, &secret).await? {
            return Err(SigningKeyError::Exists(place.secret.what().to_owned(), "--name"));
        }
        let published = match self.create_object(&place.config_map, &config_map).await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                SigningKeyError::Exists(place.config_map.what().to_owned(), "--config-map")
            }
            Err(fault) => fault.into(),
        };
        Err(SigningKeyError::Unpublished {
            secret: place.secret.what().to_owned(),
            config_map: place.config_map.what().to_owned(),
            fault: Box::new(published),
        })
    }

    /// What a Secret holds whose key is to be replaced, to be shown to [`Cluster::rotate_signing_key`].
    ///
    /// # Errors
    ///
    /// There is no Secret, no key in it, or somebody else looks after it.
    pub async fn signing_key(&self, place: &SigningKeyPlace) -> Result<Value, SigningKeyError> {
        let what = || place.secret.what().to_owned();
        let secret = self.object(&place.secret).await?;
        let secret = secret.ok_or_else(|| SigningKeyError::Missing(what()))?;
        if let Some(owner) = secret["metadata"]["annotations"][annotation("owner")].as_str() {
            return Err(SigningKeyError::LookedAfter(what(), owner.to_owned()));
        }
        read(place, &secret)?;
        Ok(secret)
    }

    /// Let a new key sign in place of the one in `secret`, whose signatures are trusted `until` then. The new one is
    /// published first: at no time is something signed by a key that the ConfigMap does not have.
    ///
    /// # Errors
    ///
    /// Every [`SigningKeyError`]. Asking again goes on with what there is.
    pub async fn rotate_signing_key(
        &self,
        place: &SigningKeyPlace,
        mut secret: Value,
        next: SecretKey,
        until: u64,
        now: u64,
    ) -> Result<StoredKey, SigningKeyError> {
        let mut key = read(place, &secret)?;
        if key.previous(now).count() >= MAX_PREVIOUS_KEYS {
            return Err(SigningKeyError::Full(place.secret.what().to_owned()));
        }
        key.announce(next, now)?;
        self.publish_signing_key(place, &key, now).await?;
        key.switch(Some(until), now);
        key.fill(&mut secret)?;
        if !self.replace_object(&place.secret, &secret).await? {
            return Err(SigningKeyError::Conflict(place.secret.what().to_owned()));
        }
        self.publish_signing_key(place, &key, now).await?;
        Ok(key)
    }

    async fn publish_signing_key(
        &self,
        place: &SigningKeyPlace,
        key: &StoredKey,
        now: u64,
    ) -> Result<(), SigningKeyError> {
        let there = self.object(&place.config_map).await?;
        let mut document = there.clone().unwrap_or_default();
        key.published(now, &[])?.fill(&mut document);
        let written = match there {
            None => self.create_object(&place.config_map, &document).await?,
            Some(_) => self.replace_object(&place.config_map, &document).await?,
        };
        match written {
            true => Ok(()),
            false => Err(SigningKeyError::Conflict(place.config_map.what().to_owned())),
        }
    }
}

fn read(place: &SigningKeyPlace, secret: &Value) -> Result<StoredKey, SigningKeyError> {
    let unusable = |fault| SigningKeyError::Unusable(place.secret.what().to_owned(), fault);
    StoredKey::read(secret).map_err(unusable)
}

/// Most keys of before whose signatures are trusted: one for each month of a year, and some. Each is another one
/// that could have been stolen.
pub(crate) const MAX_PREVIOUS_KEYS: usize = 16;

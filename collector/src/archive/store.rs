//! An S3-compatible object store that is never taken at its word.
//!
//! An object is put once (`If-None-Match: *`) with its SHA-256, and a lock in compliance mode.
//! Then size, checksum, mode and expiry are asked for and compared; a legal hold likewise. A store that does not say that it locked has
//! not locked. And before the first object of a run, the store must refuse to delete a small locked one: some answer
//! that they lock, and do not.
//!
//! The crate `object_store` knows neither lock headers nor the requests that read them back, and adds headers only after
//! signing. So requests are signed with `rusty-s3` and sent over this program's own HTTP and TLS.

use super::http::{Answer, Endpoint, HttpError};
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use rusty_s3::{Bucket, Method, UrlStyle};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::time::Duration;

/// How long a signature is good for.
const SIGNED_SECONDS: u64 = 900;
/// How long the object is locked that the store must refuse to delete.
const PROBE_LOCK: Duration = Duration::from_secs(300);
/// The largest object that is put in one request (S3's limit is 5 GiB).
const OBJECT_MAX: u64 = 5 << 30;
const COMPLIANCE: &str = "COMPLIANCE";

/// Where the store is and what it must do.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// URL without the bucket.
    pub endpoint: url::Url,
    /// Region that requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Before the keys of objects; empty, or ends with `/`.
    pub prefix: String,
    /// Whether the bucket is in the path of URLs instead of in the host's name.
    pub path_style: bool,
    /// Authorities of its certificate.
    pub ca: Option<PathBuf>,
    /// File with the access key, in the form of AWS's tools.
    pub credentials: PathBuf,
    /// How long objects are locked; `None` where they are not.
    pub retain: Option<Duration>,
}

/// A store.
#[derive(Debug)]
pub struct Store {
    settings: StoreSettings,
    bucket: Bucket,
    endpoint: Endpoint,
}

/// Why an object is not kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work later.
    #[error("{0}")]
    Unavailable(String),
    /// It does not do what it is asked for, and will not.
    #[error("{0}")]
    Refused(String),
}

impl From<HttpError> for StoreError {
    fn from(error: HttpError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// An object that the store proved to keep as it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The store's version of it; empty where it has none.
    pub version: String,
}

/// What a store does with an object beyond having it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It does not have it any more, or would delete it at once.
    Nothing,
    /// It refuses to delete it; why.
    Locked(String),
}

/// What an object must be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its key below the prefix.
    pub object: &'a str,
    /// SHA-256.
    pub sha256: [u8; 32],
    /// Length.
    pub bytes: u64,
    /// Locked until then, seconds since 1970; `None` where it is not locked.
    pub retain_until: Option<i64>,
}

impl Store {
    /// A store that is not asked anything yet.
    ///
    /// # Errors
    /// Its settings or its authorities cannot be used.
    pub fn new(settings: StoreSettings) -> Result<Self, String> {
        let style = if settings.path_style {
            UrlStyle::Path
        } else {
            UrlStyle::VirtualHost
        };
        let bucket = Bucket::new(
            settings.endpoint.clone(),
            style,
            settings.bucket.clone(),
            settings.region.clone(),
        )
        .map_err(|error| error.to_string())?;
        let endpoint = Endpoint::new(&bucket.object_url(""), settings.ca.as_deref())?;
        Ok(Self {
            settings,
            bucket,
            endpoint,
        })
    }

    /// Where an object is, for people and records.
    pub fn url(&self, object: &str) -> String {
        format!("s3://{}/{}{object}", self.settings.bucket, self.settings.prefix)
    }

    /// How long objects are locked.
    pub fn retain(&self) -> Option<Duration> {
        self.settings.retain
    }

    /// Asks the store to delete a small object that it was told to lock, which it must refuse.
    pub async fn prove_locks(&self) -> Result<(), StoreError> {
        if self.settings.retain.is_none() {
            return Ok(());
        }
        let now = Timestamp::now().as_second();
        let object = format!("norma-lock-probe/{now}");
        let content = Bytes::from_static(b"The collector asks whether what is locked here can be deleted.\n");
        let wanted = Wanted {
            object: &object,
            sha256: Sha256::digest(&content).into(),
            bytes: content.len() as u64,
            retain_until: Some(now + PROBE_LOCK.as_secs() as i64),
        };
        let kept = self.keep(&wanted, content).await?;
        let version = versioned(&kept.version);
        let answer = self
            .ask(Method::Delete, &object, &version, &[], Bytes::new())
            .await?;
        match answer.status {
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST | StatusCode::CONFLICT => Ok(()),
            status if status.is_success() => Err(StoreError::Refused(format!(
                "it deleted an object that it had said was locked until {}: its locks protect nothing",
                PROBE_LOCK.as_secs() as i64 + now
            ))),
            _ => Err(failed("it did not say whether it refuses to delete", &answer)),
        }
    }

    /// Puts an object, unless it is there, and proves that the store keeps it as it must.
    pub async fn keep(&self, wanted: &Wanted<'_>, content: Bytes) -> Result<Object, StoreError> {
        if wanted.bytes > OBJECT_MAX {
            return Err(StoreError::Refused(format!(
                "{} bytes are more than one object takes ({OBJECT_MAX}): lower audit.segment_bytes",
                wanted.bytes
            )));
        }
        let checksum = base64(&wanted.sha256);
        let mut headers = vec![
            ("content-type", "application/vnd.apache.parquet".to_owned()),
            ("if-none-match", "*".to_owned()),
            ("x-amz-checksum-sha256", checksum),
            ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
        ];
        if let Some(until) = wanted.retain_until {
            headers.push(("x-amz-object-lock-mode", COMPLIANCE.to_owned()));
            headers.push(("x-amz-object-lock-retain-until-date", date(until)?));
        }
        let answer = self
            .ask(Method::Put, wanted.object, &[], &headers, content)
            .await?;
        let version = match answer.status {
            StatusCode::OK => answer.header("x-amz-version-id"),
            // It was put before a crash, or before an answer that never came.
            StatusCode::PRECONDITION_FAILED => String::new(),
            _ => return Err(failed("it does not take an object", &answer)),
        };
        self.compare(wanted, version).await
    }

    /// Proves that the store keeps an object as it must.
    async fn compare(&self, wanted: &Wanted<'_>, version: String) -> Result<Object, StoreError> {
        let refused = |what: String| {
            Err(StoreError::Refused(format!(
                "{}: {what}",
                self.url(wanted.object)
            )))
        };
        let headers = [("x-amz-checksum-mode", "ENABLED".to_owned())];
        let query = versioned(&version);
        let head = self
            .ask(Method::Head, wanted.object, &query, &headers, Bytes::new())
            .await?;
        if head.status != StatusCode::OK {
            return Err(failed("it does not have what was put", &head));
        }
        let version = if version.is_empty() {
            head.header("x-amz-version-id")
        } else {
            version
        };
        let query = versioned(&version);
        let length = head.header("content-length");
        if length != wanted.bytes.to_string() {
            return refused(format!("it has {length} bytes instead of {}", wanted.bytes));
        }
        let checksum = head.header("x-amz-checksum-sha256");
        if checksum.is_empty() {
            // It keeps no checksums: then all of it is read.
            let answer = self
                .ask(Method::Get, wanted.object, &query, &[], Bytes::new())
                .await?;
            if answer.status != StatusCode::OK || Sha256::digest(&answer.body)[..] != wanted.sha256 {
                return refused("what it gives back is not what was put".to_owned());
            }
        } else if checksum != base64(&wanted.sha256) {
            return refused(format!("it has other content, of SHA-256 {checksum} (base64)"));
        }
        if let Some(until) = wanted.retain_until {
            self.compare_lock(wanted, &query, &head, until).await?;
        }
        Ok(Object { version })
    }

    /// Compares mode and expiry, which come with the object's headers, and where not are asked for.
    async fn compare_lock(
        &self,
        wanted: &Wanted<'_>,
        query: &[(&str, String)],
        head: &Answer,
        until: i64,
    ) -> Result<(), StoreError> {
        let url = self.url(wanted.object);
        let refused = |what: String| Err(StoreError::Refused(format!("{url}: {what}")));
        let mut mode = head.header("x-amz-object-lock-mode");
        let mut date = head.header("x-amz-object-lock-retain-until-date");
        let mut told = head.status.to_string();
        if mode.is_empty() {
            let mut with = vec![("retention", String::new())];
            with.extend_from_slice(query);
            let answer = self
                .ask(Method::Get, wanted.object, &with, &[], Bytes::new())
                .await?;
            if answer.status.is_server_error() && answer.status != StatusCode::NOT_IMPLEMENTED {
                return Err(failed("it does not say how long it keeps an object", &answer));
            }
            let text = answer.text();
            if answer.status.is_success() {
                (mode, date) = (element(&text, "Mode"), element(&text, "RetainUntilDate"));
            }
            told = format!("{} {}", answer.status, element(&text, "Code"));
        }
        if mode.is_empty() {
            return refused(format!(
                "the store ignored the lock: it was told to keep the object until {} and says nothing of that ({}). \
                 Use a bucket with Object Lock, or set archive.store.retain: none to go without",
                self::date(until)?,
                told.trim_end()
            ));
        }
        if mode != COMPLIANCE {
            return refused(format!(
                "its lock is of mode {mode}, which can be lifted; {COMPLIANCE} was asked for"
            ));
        }
        match date.parse::<Timestamp>() {
            Ok(kept) if kept.as_second() >= until => Ok(()),
            _ => refused(format!(
                "it is locked until `{date}` instead of {}",
                self::date(until)?
            )),
        }
    }

    /// Places or lifts the legal hold of an object, and proves that the store did.
    pub async fn hold(&self, object: &str, version: &str, on: bool) -> Result<(), StoreError> {
        let mut query = vec![("legal-hold", String::new())];
        query.extend(versioned(version));
        let status = if on { "ON" } else { "OFF" };
        let body = format!(
            "<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status></LegalHold>"
        );
        let headers = [
            ("content-type", "application/xml".to_owned()),
            ("x-amz-checksum-sha256", base64(&Sha256::digest(&body))),
            ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
        ];
        let answer = self
            .ask(Method::Put, object, &query, &headers, Bytes::from(body))
            .await?;
        if !answer.status.is_success() {
            return Err(failed("it does not take a legal hold", &answer));
        }
        self.compare_hold(object, &versioned(version), on).await
    }

    async fn compare_hold(&self, object: &str, query: &[(&str, String)], on: bool) -> Result<(), StoreError> {
        let mut with = vec![("legal-hold", String::new())];
        with.extend_from_slice(query);
        let answer = self.ask(Method::Get, object, &with, &[], Bytes::new()).await?;
        let status = element(&answer.text(), "Status");
        if answer.status.is_success() && (status == "ON") == on {
            Ok(())
        } else {
            Err(StoreError::Refused(format!(
                "{}: it was told that its legal hold is {}, and says `{status}` ({})",
                self.url(object),
                if on { "on" } else { "off" },
                answer.status
            )))
        }
    }

    /// Asks whether a store still keeps an object that it was told to lock: the lock may have been extended since, and
    /// others may have placed a hold there.
    pub async fn keeping(&self, object: &str, version: &str) -> Result<Keeping, StoreError> {
        let query = versioned(version);
        let head = self.ask(Method::Head, object, &query, &[], Bytes::new()).await?;
        match head.status {
            StatusCode::NOT_FOUND => return Ok(Keeping::Nothing),
            StatusCode::OK => {}
            _ => return Err(failed("it does not say whether it has an object", &head)),
        }
        let hold = self.about(object, "legal-hold", &query).await?;
        if element(&hold, "Status") == "ON" {
            return Ok(Keeping::Locked("it is under a legal hold there".to_owned()));
        }
        let mut date = head.header("x-amz-object-lock-retain-until-date");
        if date.is_empty() {
            date = element(&self.about(object, "retention", &query).await?, "RetainUntilDate");
        }
        match date.parse::<Timestamp>() {
            Ok(until) if until < Timestamp::now() => Ok(Keeping::Nothing),
            // It was locked once, and where nothing is said of that it may be so still.
            _ => Ok(Keeping::Locked(format!("it is locked there until `{date}`"))),
        }
    }

    /// What a store says of an object's lock or hold; nothing where it has none.
    async fn about(&self, object: &str, what: &str, query: &[(&str, String)]) -> Result<String, StoreError> {
        let mut with = vec![(what, String::new())];
        with.extend_from_slice(query);
        let answer = self.ask(Method::Get, object, &with, &[], Bytes::new()).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.text()),
            StatusCode::NOT_FOUND => Ok(String::new()),
            _ => Err(failed("it does not say how long it keeps an object", &answer)),
        }
    }

    /// Sends a signed request about an object.
    async fn ask(
        &self,
        method: Method,
        object: &str,
        query: &[(&str, String)],
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Answer, StoreError> {
        let keys = Credentials::read(&self.settings.credentials)?;
        let key = format!("{}{object}", self.settings.prefix);
        let mut query: Vec<(&str, &str)> = query
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut signed: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        query.sort_unstable();
        signed.sort_unstable();
        let url = rusty_s3::signing::sign(
            &Timestamp::now(),
            method,
            self.bucket.object_url(&key),
            &keys.id,
            &keys.secret,
            keys.token.as_deref(),
            self.bucket.region(),
            SIGNED_SECONDS,
            query.into_iter(),
            signed.clone().into_iter(),
        );
        Ok(self.endpoint.send(method.to_str(), &url, &signed, body).await?)
    }
}

/// What signs requests.
struct Credentials {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Credentials {
    /// Reads a file as AWS's tools have it, of which the first profile counts: it is read for each request, as it may
    /// be replaced at any time.
    fn read(path: &std::path::Path) -> Result<Self, StoreError> {
        let told = |what: &str| StoreError::Unavailable(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| told(&error.to_string()))?;
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        let need = |name: &str| {
            value(name).ok_or_else(|| {
                told(&format!(
                    "it has no line `{name} = …`, as a credentials file of AWS does"
                ))
            })
        };
        Ok(Self {
            id: need("aws_access_key_id")?,
            secret: need("aws_secret_access_key")?,
            token: value("aws_session_token"),
        })
    }
}

fn versioned(version: &str) -> Vec<(&'static str, String)> {
    if version.is_empty() {
        Vec::new()
    } else {
        vec![("versionId", version.to_owned())]
    }
}

fn failed(what: &str, answer: &Answer) -> StoreError {
    let text = answer.text();
    let told = format!(
        "{what}: {} {} {}",
        answer.status,
        element(&text, "Code"),
        element(&text, "Message")
    );
    let told = told.trim_end().to_owned();
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => {
            StoreError::Unavailable(told)
        }
        StatusCode::NOT_IMPLEMENTED => StoreError::Refused(told),
        status if status.is_server_error() => StoreError::Unavailable(told),
        _ => StoreError::Refused(told),
    }
}

/// The text of an element of one of S3's flat answers, which have each name once and no attributes on these.
fn element(text: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map(|(value, _)| value.trim().to_owned())
        .unwrap_or_default()
}

fn date(seconds: i64) -> Result<String, StoreError> {
    Timestamp::from_second(seconds)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .map_err(|error| StoreError::Refused(format!("archive.store.retain is too long: {error}")))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

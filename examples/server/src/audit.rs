//! The audit: the record of who did what. It is stored, append-only, and also logged.

use serde::Serialize;

use crate::domain::Moment;

/// An action that the audit records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// A video was accepted for a stored analysis.
    Submit,
    /// A video was accepted for an analysis within one request.
    Predict,
    /// A stored video was accepted for a further analysis.
    SubmitAgain,
    /// An address was accepted, whose video is fetched for a stored analysis.
    Fetch,
    /// The video of an address has arrived.
    Fetched,
    /// A report was downloaded.
    Download,
    /// The list of analyses was downloaded.
    Export,
    /// Label, tags or note of an analysis were changed.
    Remark,
    /// A link that shows an analysis without a key was made.
    Share,
    /// Such a link was revoked.
    Unshare,
    /// Such a link was opened.
    OpenShare,
    /// An analysis was removed.
    Remove,
    /// An API key was made by an admin.
    NewKey,
    /// An API key was revoked by an admin.
    RevokeKey,
    /// A browser was signed in.
    SignIn,
    /// A browser was signed out.
    SignOut,
    /// An address sent several wrong keys, and its requests are delayed.
    WrongKeys,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Predict => "predict",
            Self::SubmitAgain => "submit-again",
            Self::Fetch => "fetch",
            Self::Fetched => "fetched",
            Self::Download => "download",
            Self::Export => "export",
            Self::Remark => "remark",
            Self::Share => "share",
            Self::Unshare => "unshare",
            Self::OpenShare => "open-share",
            Self::Remove => "remove",
            Self::NewKey => "new-key",
            Self::RevokeKey => "revoke-key",
            Self::SignIn => "sign-in",
            Self::SignOut => "sign-out",
            Self::WrongKeys => "wrong-keys",
        }
    }
}

/// The actor: an API key, the address that uses it, and the request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Actor {
    /// Name of the API key; empty without one.
    pub(crate) key: String,
    pub(crate) address: String,
    /// The request's id, as in the log.
    pub(crate) request: String,
}

/// An entry of the audit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    pub(crate) time: Moment,
    pub(crate) action: &'static str,
    #[serde(flatten)]
    pub(crate) actor: Actor,
    /// The analysis, if the action has one.
    pub(crate) analysis: Option<String>,
    /// The name of the key whose analysis it was; empty if it was sent without a key.
    pub(crate) owner: Option<String>,
    /// SHA-256 of the video, if the action has one. It is empty before the video has arrived.
    pub(crate) sha256: Option<String>,
    /// What the action changed, as a JSON object, if it changed anything.
    pub(crate) change: Option<String>,
}

impl Entry {
    pub(crate) fn new(action: Action, actor: &Actor) -> Self {
        Self {
            time: Moment::now(),
            action: action.name(),
            actor: actor.clone(),
            analysis: None,
            owner: None,
            sha256: None,
            change: None,
        }
    }

    /// Names the analysis, its owner and its video.
    #[must_use]
    pub(crate) fn about(mut self, id: &str, owner: &str, sha256: &str) -> Self {
        self.analysis = Some(id.to_owned());
        self.owner = Some(owner.to_owned());
        self.sha256 = Some(sha256.to_owned());
        self
    }

    /// Adds what the action changes.
    #[must_use]
    pub(crate) fn changing(mut self, change: &serde_json::Value) -> Self {
        self.change = Some(change.to_string());
        self
    }

    /// Writes the entry to the log. Call this once it is stored.
    pub(crate) fn log(&self) {
        let Self { action, actor, analysis, owner, .. } = self;
        let (key, client) = (&actor.key, &actor.address);
        let (analysis, owner) = (analysis.as_deref().unwrap_or_default(), owner.as_deref().unwrap_or_default());
        tracing::info!(action, key, client, analysis, owner, "audit");
    }
}

//! The words for runs and stages. They stand in JSON, in the store and on the screen alike.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Self::parse(&word).ok_or_else(|| {
                    serde::de::Error::custom(format!("{word:?} is no {}", stringify!($name)))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

words!(RunStatus {
    /// It waits for another run to end.
    Queued = "queued",
    Running = "running",
    /// A checkpoint waits for a person; nothing runs.
    Waiting = "waiting",
    Succeeded = "succeeded",
    Degraded = "degraded",
    Failed = "failed",
    Cancelled = "cancelled",
    /// Its supervisor was told to end while it ran; `continue` goes on with it.
    Interrupted = "interrupted",
});

impl RunStatus {
    /// It will never change again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Degraded | Self::Failed | Self::Cancelled)
    }

    /// More comes of it by itself, as long as somebody supervises.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// Nothing more comes of it by itself.
    pub const fn rests(self) -> bool {
        !self.is_under_way()
    }

    /// While it is so, no other run of its lineage may be so on its branch. A queued run waits for that one's end.
    pub const fn holds_lock(self) -> bool {
        matches!(self, Self::Running | Self::Waiting)
    }
}

words!(StageStatus {
    Pending = "pending",
    Running = "running",
    Backoff = "backoff",
    /// Its checkpoint waits for a person.
    Waiting = "waiting",
    Succeeded = "succeeded",
    Degraded = "degraded",
    Failed = "failed",
    /// Ruled out by its `when`, or by one that it needs.
    Skipped = "skipped",
    /// Something it needs failed.
    NotRun = "not_run",
    Cancelled = "cancelled",
});

impl StageStatus {
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Backoff | Self::Waiting => false,
            Self::Succeeded
            | Self::Degraded
            | Self::Failed
            | Self::Skipped
            | Self::NotRun
            | Self::Cancelled => true,
        }
    }

    /// Nothing is left to be done of it: it ended well, or was ruled out.
    pub const fn counts_as_done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Degraded | Self::Skipped)
    }

    /// Nothing of it was executed so far, or ever.
    pub const fn never_ran(self) -> bool {
        matches!(self, Self::Pending | Self::Skipped | Self::NotRun)
    }

    /// It left a checkpoint that others may build on.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Succeeded | Self::Degraded)
    }
}

words!(Decision {
    Execute = "execute",
    Reuse = "reuse",
});

words!(
    /// Why a stage is executed, or that it is not.
    Reason {
        /// The first run of this stage in a run that is no retry.
        First = "first run",
        /// The target of the retry.
        Failed = "failed",
        /// The target of a forced retry, though it had succeeded.
        Forced = "forced",
        /// The target's validator is what failed.
        Validated = "its validator failed",
        Descendant = "descendant",
        NeverRan = "never ran",
        RecipeChanged = "recipe changed",
        InputChanged = "input changed",
        OutputMissing = "output missing",
        /// A person sent the run back to here.
        Rejected = "rejected",
        /// What it is built on was edited.
        Edited = "edited",
        /// Reused, and its bytes are what they were.
        Verified = "verified",
    }
);

words!(Cause {
    /// Somebody typed `restage run`.
    Manual = "manual",
    Retry = "retry",
    /// `continue` after an edit or on another branch.
    Continue = "continue",
    /// From a stage or a runner of another run.
    Flow = "flow",
});

words!(
    /// The command after a run.
    Hook {
        OnSuccess = "on_success",
        OnFailure = "on_failure",
    }
);

words!(Approval {
    Pending = "pending",
    Approved = "approved",
    Rejected = "rejected",
});

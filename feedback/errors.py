"""What can be wrong with a question to a person or with the answer, each with its remedy."""


class FeedbackError(Exception):
    """A comparison or a preference that is refused; the message says why and what to do."""


class InvalidPrompt(FeedbackError):
    """The prompt is empty, does not end with a person's message, or holds text that cannot be stored."""


class InvalidComparison(FeedbackError):
    """The completions cannot be compared: too few, too many, repeated or unknown."""


class InvalidRanking(FeedbackError):
    """The ranks do not rank the completions that were shown."""


class InvalidAnswer(FeedbackError):
    """Something beside the ranks is wrong: the comment, the criteria, the seconds or the key."""


class ComparisonNotFound(FeedbackError):
    """No comparison has this id."""


class NotYourComparison(FeedbackError):
    """The comparison was shown to another person."""


class ComparisonSuperseded(FeedbackError):
    """A newer comparison took the place of this one before it was answered."""


class IdempotencyKeyReused(FeedbackError):
    """The key of this answer already belongs to the person's answer to another comparison."""


class SnapshotCorrupt(FeedbackError):
    """The file of a snapshot is missing, or is not what was frozen."""


class SnapshotNotWritten(FeedbackError):
    """The file of a snapshot cannot be written."""

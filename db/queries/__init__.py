"""Named queries; they take the caller's session and never commit."""

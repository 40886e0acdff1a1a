"""Stage 1 of the paper: speech and style to lip-synced geometry."""

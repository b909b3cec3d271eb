"""From pairs to static priors, and how good they are."""

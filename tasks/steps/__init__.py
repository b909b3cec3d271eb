"""What steps share: artifacts, tables, look-up, progress and what the dashboard shows."""

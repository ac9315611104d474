"""Where results go: files in the run's folder, and the Postgres store that history, board and metrics read."""

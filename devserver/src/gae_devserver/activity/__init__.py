"""What happened: requests, attempts, API calls, log lines. Imports nothing else."""

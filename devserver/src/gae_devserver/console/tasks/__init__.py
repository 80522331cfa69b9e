"""Pages on queues, tasks, attempts, cron jobs and the clock."""

"""The jobs of cron.yaml. Imports tasks, config, clock."""

"""Order, settings, schedule, command line: the stages of medai composed as Prefect flows."""

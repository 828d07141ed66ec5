"""Each stage with its Prefect decorator: timeout, retries, artifact; nothing else."""

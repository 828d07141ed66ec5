"""The servers that medai starts, finds and ends: Prefect's, MLflow's and a worker, on loopback only.

A run needs a Prefect server. One that ``medai up`` keeps, or one named in the settings, is used; otherwise, and where
that one does not answer, the run starts its own as a child process, early, so that its imports overlap with the run's.
All own ones share one database in ``MEDAI_HOME``, so that the page of ``medai up`` shows every run.
"""

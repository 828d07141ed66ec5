"""The lab notebook: the only room that speaks to MLflow.

MLflow is a projection of what medai knows: every value in it comes from a content record, and a run can be written
again from its Package at any time. Importing this package does not import MLflow.

    Tracking(uri, artifacts, workspace)
      .register(package)                 one run, one model version, however often it is killed and called again
      .set_alias / .alias                champion, challenger
      .model / .models / .tag            aliases and tags of a registered model
      .decision_tag                      what the gate said of a version

MLflow reads its own patience and manners from the environment, which belongs to the flows layer: set there
``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` (3) and ``MLFLOW_HTTP_REQUEST_TIMEOUT`` (20 seconds; MLflow's defaults wait for
minutes), ``MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR`` (1), ``MLFLOW_DISABLE_TELEMETRY=true``,
``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`` and, for a server that asks who is there, ``MLFLOW_TRACKING_USERNAME``
and ``MLFLOW_TRACKING_PASSWORD``.
"""

from medai.tracking.package import Package
from medai.tracking.registry import Model, Registered, Tracking

__all__ = ["Model", "Package", "Registered", "Tracking"]

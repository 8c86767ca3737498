"""MLflow: runs, the registry, the gate, the served model. The only package that imports mlflow."""

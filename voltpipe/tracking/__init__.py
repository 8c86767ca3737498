"""MLflow: runs, the model registry, promotion and the served model. The only package that imports mlflow."""

"""The champion in service: live skill, drift, decay, new recordings, when to retrain. No Dagster, no MLflow."""

"""What Retell AI sends and expects. Nothing in here knows Django, the database or our models."""

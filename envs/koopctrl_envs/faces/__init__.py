"""Plants in the forms of other tools; each module imports its tool and is imported on call."""
